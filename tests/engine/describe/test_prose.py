"""Answers in the shapes in which the published models and others like them answer; written for these tests."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.engine.describe.prose import parse_prose
from mellm.engine.describe.words import MAX_TEXT

V1_CHINESE = """### 第一步：视觉观察
眉间与两侧眉头区域出现明显的黄绿色（向下），亮度较高；嘴角区域较暗，可忽略。推断可能的动作单元：**AU4**（皱眉肌）。左侧嘴角有微弱的青色，但没有出现AU12。
### 第二步：推理
AU4 常见于愤怒、厌恶和恐惧；若伴随 AU9 则偏向厌恶，但图中AU9不明显。
### 第三步：结论
动作单元：AU４、AU７
微表情类别：**消极**（愤怒）"""

V3_ENGLISH = """1. **ROI analysis**: The left and right brow regions move up (88°, mean 1.42 px), so do the eyelids.
There is no clear motion at the lip corners, so AU12 is not present.
2. **Reasoning**: AU1 and AU2 (inner and outer brow raisers) with AU5 usually mean surprise, rather than fear.
3. **Summary**
Action units: 1, 2 and 5
Micro-expression: Surprise"""

THINKING = (
    "<think>Perhaps AU12? It could be happiness. The table says the lip corners stay. So no. AU4 it is, "
    "maybe AU7.</think>\nAUs: AU4+AU7\nMicro-expression: Negative"
)


@pytest.mark.parametrize(
    ("answer", "units", "coarse"),
    [
        (V1_CHINESE, [(4, "both"), (7, "both")], "negative"),
        (V3_ENGLISH, [(1, "both"), (2, "both"), (5, "both")], "surprise"),
        (THINKING, [(4, "both"), (7, "both")], "negative"),
        ("still thinking of AU12 and joy</think>AU4. Conclusion: anger.", [(4, "both")], "negative"),
        ("AU 4 and 7 suggest anger.", [(4, "both"), (7, "both")], "negative"),
        ("AU4, 7 and 12 are active. Emotion: fear", [(4, "both"), (7, "both"), (12, "both")], "negative"),
        ("AU12, 30 px at the corner, 14% of the face. Happiness.", [(12, "both")], "positive"),
        ("AU1, 2 regions move. Surprise.", [(1, "both")], "surprise"),
        ("ＡＵ１＋ＡＵ２，类别：惊讶", [(1, "both"), (2, "both")], "surprise"),
        ("动作单元4、7和17；结论：悲伤。", [(4, "both"), (7, "both"), (17, "both")], "negative"),
        ("左侧AU12，右侧的AU14。综上，轻蔑。", [(12, "left"), (14, "right")], "negative"),
        ("AU12（左侧）、AU6（双侧）。类别为积极", [(6, "both"), (12, "left")], "positive"),
        ("AU12 (on the left side) and AU R14. Label: contempt", [(12, "left"), (14, "right")], "negative"),
        ("Left-sided AU 14; AU-4; AU_7; AU09. Sad.", [(4, "both"), (7, "both"), (9, "both"), (14, "left")], "negative"),
        ("| AU4 | brow lowerer |\n| AU12 | absent |\n**Category:** *Negative*", [(4, "both")], "negative"),
        ("Not only AU4 but also AU7. Negative.", [(4, "both"), (7, "both")], "negative"),
        ("AU9 is not present. There is no AU6 or AU12. AU4: yes. Final: negative", [(4, "both")], "negative"),
        ("AU99 and AU12345 and AU4.5 do not exist. Positive", [], "positive"),
        ("AU4。这是厌恶，而不是惊讶。", [(4, "both")], "negative"),
        ("AU4. It is disgust rather than surprise", [(4, "both")], "negative"),
        ("AU15. 看起来不高兴。", [(15, "both")], "negative"),
        ("AU15. She looks unhappy.", [(15, "both")], "negative"),
        ("AU4. Micro-expression: Negative. With AU12 absent, joy would need more.", [(4, "both")], "negative"),
        ("AU12. Micro-expression: Negative, Positive or Surprise.\nIt is Positive", [(12, "both")], "positive"),
        ("AU4. " + "The brow moves. " * 300 + "Conclusion: Negative", [(4, "both")], "negative"),
    ],
)  # fmt: skip
def test_units_sides_and_the_class_of_the_conclusion(
    answer: str, units: list[tuple[int, str]], coarse: str
) -> None:
    parsed = parse_prose(answer)
    assert parsed.problem is None
    assert [(u.au, u.side) for u in parsed.action_units] == units
    assert parsed.emotion is not None
    assert parsed.emotion.coarse == coarse
    assert len(parsed.text) <= MAX_TEXT
    assert "<think>" not in parsed.text


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("I'm sorry, but I can't identify emotions such as happiness or sadness in a face.", "model_refused"),
        ("抱歉，我无法根据这张图片判断情绪，例如高兴或悲伤。", "model_refused"),
        ("<think>AU4, anger, surely", "cut_answer"),
        ("AU4 is active. Micro-expression: Confusion", "unparsable"),
        ("AU4 常见于愤怒。\n微表情类别：其他", "unparsable"),
        ("The brow region moves down (265°), which is typical of", "unparsable"),
        ("No expression: the face is still.", "model_abstained"),
        ("面部没有微表情。", "model_abstained"),
        ("The saddle-shaped region enjoys little motion.", "unparsable"),
    ],
)
def test_what_is_no_finding_is_named(answer: str, problem: str) -> None:
    parsed = parse_prose(answer)
    assert parsed.problem == problem
    assert parsed.action_units == ()
    assert parsed.emotion is None


def test_cannot_in_the_middle_of_an_argument_is_no_refusal() -> None:
    said = "The brows move down, which is AU4. Whether AU9 acts cannot be told. Conclusion: Negative."
    assert parse_prose(said).problem is None


@given(st.text(alphabet="AU1234 ,.和not没有左侧left(Negative):消极\n*|", max_size=300))
def test_any_mixture_of_its_own_words_is_read_or_named(answer: str) -> None:
    parsed = parse_prose(answer)
    assert (parsed.problem is None) == (parsed.emotion is not None)


@pytest.mark.parametrize(
    "piece", ["no AU4, ", "AU4 and 7 ", "消极", "类别:", "not ", "<think>", "(" * 9, "AU1," * 3]
)
def test_long_answers_do_not_take_long(piece: str) -> None:
    began = time.process_time()
    parse_prose(piece * (60_000 // len(piece)))
    assert time.process_time() - began < 2
