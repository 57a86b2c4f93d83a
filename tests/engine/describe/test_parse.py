from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.engine.describe.parse import MAX_TEXT, clean, parse_json, parse_prose
from mellm.engine.types import ActionUnit

GOOD = {
    "text": "The inner brows rose.",
    "action_units": [{"au": 1, "side": "both", "score": 0.8}],
    "emotion": {"negative": 0.2, "positive": 0.1, "surprise": 0.7},
    "abstain": False,
}


@pytest.mark.parametrize("wrap", ["{}", "```json\n{}\n```", "Here it is:\n{}\nHope this helps."])
def test_json_with_and_without_chatter(wrap: str) -> None:
    parsed = parse_json(wrap.replace("{}", json.dumps(GOOD)))
    assert parsed.problem is None
    assert parsed.action_units == (ActionUnit(1, "both", 0.8),)
    assert parsed.emotion is not None
    assert parsed.emotion.coarse == "surprise"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("", "empty_answer"),
        ("   \n", "empty_answer"),
        ("I cannot help with that.", "model_refused"),
        (json.dumps(GOOD)[:-30], "unparsable"),
        (json.dumps(GOOD | {"abstain": True}), "model_abstained"),
        (json.dumps(GOOD | {"emotion": "bored"}), "unparsable"),
        (json.dumps(GOOD | {"emotion": {"negative": 1}}), "unparsable"),
        (json.dumps(GOOD | {"emotion": {"negative": 0, "positive": 0, "surprise": 0}}), "unparsable"),
        (json.dumps(GOOD | {"action_units": "AU4"}), "unparsable"),
        (json.dumps(GOOD | {"action_units": [{"au": 4, "side": "up", "score": 1}]}), "unparsable"),
        (json.dumps(GOOD | {"action_units": [{"au": 4, "score": float("nan")}]}), "unparsable"),
        (json.dumps(GOOD | {"text": 7}), "unparsable"),
        ("{" * 20000, "unparsable"),
        ('{"a":' * 20000, "unparsable"),
    ],
)
def test_what_cannot_be_read_is_named_and_never_raises(answer: str, problem: str) -> None:
    assert parse_json(answer).problem == problem


def test_unknown_units_are_left_out_and_class_names_are_taken() -> None:
    answer = GOOD | {"action_units": [{"au": 99}, {"au": "AU12"}, {"au": True}], "emotion": "Positive"}
    parsed = parse_json(json.dumps(answer))
    assert parsed.action_units == (ActionUnit(12, "both", 1.0),)
    assert parsed.emotion is not None
    assert parsed.emotion.scores == {"negative": 0.0, "positive": 1.0, "surprise": 0.0}


@given(st.text())
def test_any_text_is_read_or_named(answer: str) -> None:
    for parsed in (parse_json(answer), parse_prose(answer)):
        assert len(parsed.text) <= MAX_TEXT
        assert parsed.problem is not None or parsed.emotion is not None


@given(st.text())
def test_clean_leaves_no_control_characters(text: str) -> None:
    assert all(c.isprintable() or c == " " or not c.isspace() for c in clean(text))
    assert not any(ord(c) < 32 or ord(c) == 127 for c in clean(text))


@pytest.mark.parametrize(
    ("answer", "units", "coarse"),
    [
        ("AU4 and left AU12 are seen. Micro-expression: Negative", [(4, "both"), (12, "left")], "negative"),
        ("Not surprise. No AU1. AU6, AU12R. Conclusion: Positive.", [(6, "both"), (12, "right")], "positive"),
        ("右侧AU14, 没有AU9。结论: AU14, 轻蔑", [(14, "both"), (14, "right")], "negative"),
        ("眉毛上抬, AU1+AU2, 类别为惊讶", [(1, "both"), (2, "both")], "surprise"),
    ],
)
def test_prose_in_two_languages(answer: str, units: list[tuple[int, str]], coarse: str) -> None:
    parsed = parse_prose(answer)
    assert [(u.au, u.side) for u in parsed.action_units] == units
    assert parsed.emotion is not None
    assert parsed.emotion.coarse == coarse


def test_prose_without_a_class_is_unparsable() -> None:
    assert parse_prose("AU4 moved.").problem == "unparsable"


ANSWER = '{"text": "t", "action_units": %s, "emotion": %s, "abstain": false}'


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ('["AU4", "L12", "AU7: lid tightener"]', [(4, "both"), (7, "both"), (12, "left")]),
        ('["AU14 (right)"]', [(14, "right")]),
        ("[4, 7, 99, true]", [(4, "both"), (7, "both")]),
        ('[{"au": "AU 12", "side": "Left"}, {"au": 14, "side": "双侧"}]', [(12, "left"), (14, "both")]),
        ('[{"au": 4, "side": null}]', [(4, "both")]),
        ('["brow lowerer"]', []),
        ("[]", []),
    ],
)  # fmt: skip
def test_units_in_other_shapes(units: str, expected: list[tuple[int, str]]) -> None:
    parsed = parse_json(ANSWER % (units, '"negative"'))
    assert parsed.problem is None
    assert [(u.au, u.side) for u in parsed.action_units] == expected


@pytest.mark.parametrize(
    ("emotion", "coarse"),
    [
        ('["Negative", "Surprise"]', "negative"),
        ('"Disgust (negative)"', "negative"),
        ('"惊讶"', "surprise"),
        ('{"label": "happiness", "probability": 0.7}', "positive"),
        ('{"negative": 1, "positive": 0, "surprise": 0}', "negative"),
        ('"confusion"', None),
        ("[]", None),
        ('{"anger": 0.7, "joy": 0.3}', None),
        ('{"negative": 80, "positive": 10, "surprise": 10}', None),
        ("null", None),
    ],
)
def test_emotions_in_other_shapes_and_labels_that_are_none(emotion: str, coarse: str | None) -> None:
    parsed = parse_json(ANSWER % ('["AU4"]', emotion))
    assert parsed.problem == (None if coarse else "unparsable")
    assert (parsed.emotion.coarse if parsed.emotion else None) == coarse


@pytest.mark.parametrize(
    "answer",
    [
        '<think>a draft: {"text": "no", "abstain": true}</think>\n```json\n%s\n```',
        "The schema is {text, action_units}; here it is: %s",
        "a thought that the prompt began {}</think>%s",
        "好的，结果如下：\n```json\n%s\n```\n希望有帮助！",
    ],
)
def test_thoughts_and_braces_before_the_object(answer: str) -> None:
    parsed = parse_json(answer % json.dumps(GOOD))
    assert parsed.text == "The inner brows rose."


def test_full_width_punctuation() -> None:
    answer = (
        "｛“text”：“眉头上抬”，“action_units”：［｛“au”：1，“side”：“both”，“score”：0.8｝］，"
        "“emotion”：“惊讶”，“abstain”：false｝"
    )
    parsed = parse_json(answer)
    assert (parsed.text, [u.au for u in parsed.action_units]) == ("眉头上抬", [1])


def test_abstaining_needs_no_emotion_and_keeps_its_words() -> None:
    parsed = parse_json('{"abstain":true,"action_units":[],"emotion":null,"text":"No expression."}')
    assert (parsed.problem, parsed.text) == ("model_abstained", "No expression.")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("<think>{", "cut_answer"),
        ("I'm sorry, I can't judge faces.", "model_refused"),
        ("抱歉，我不能判断。", "model_refused"),
        ("<think>hm</think>", "cut_answer"),
        ('{"answer": 4}', "unparsable"),
    ],
)
def test_thoughts_without_answers_and_refusals(answer: str, problem: str) -> None:
    assert parse_json(answer).problem == problem
