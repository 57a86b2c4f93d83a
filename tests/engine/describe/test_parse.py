from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.describe.parse import MAX_TEXT, clean, parse_json, parse_prose
from engine.types import ActionUnit

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
        ("I cannot help with that.", "unparsable"),
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
