from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.evaluation.metrics.extraction import extract_label, extract_units, extract_yes_no

COARSE = ("negative", "positive", "surprise")
COMBINED = (
    "The action units present are: brow lowerer, lid tightener. Therefore, the fine-grained expression class is "
    "disgust, and the coarse expression class is negative."
)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Negative.", "negative"),
        ("**Positive**", "positive"),
        ("The class is positive, not negative.", "positive"),
        ("It could be positive or negative.", None),
        ("I first thought negative. Answer: positive", "positive"),
        ("Negative: the brow is lowered, so it is no surprise, and positive signs are weak.", "negative"),
        ("non-positive", None),
        ("It isn't negative", None),
        ("surprised", "surprise"),
        ("unsurprising, impositive", None),
        ("", None),
        (None, None),
    ],
)
def test_labels(text: str | None, label: str | None) -> None:
    assert extract_label(text, COARSE) == label


def test_labels_of_several_words_and_common_spellings() -> None:
    assert extract_label("I see a Happy face", ["happiness", "sadness"]) == "happiness"
    assert extract_label("class: no expression", ["no expression", "sadness"]) == "no expression"
    assert extract_label("pos", COARSE) is None  # a spelling of tables, not a word of an answer


def test_parts_of_a_combined_answer() -> None:
    fine = ("disgust", "happiness", "surprise")
    assert extract_label(COMBINED, COARSE, "coarse") == "negative"
    assert extract_label(COMBINED, fine, "fine") == "disgust"
    twice = COMBINED.replace("disgust", "surprise").replace("negative", "surprise")
    assert extract_label(twice, COARSE, "coarse") == extract_label(twice, fine, "fine") == "surprise"
    assert extract_label("It is negative.", COARSE, "coarse") is None
    assert extract_units(COMBINED) == {4, 7}


@given(
    st.sampled_from(COARSE), st.sampled_from(["{}", "The answer is {}.", "I see it: {}!", "  {}\n", "*{}*"])
)
def test_a_text_with_one_label_gives_it(label: str, frame: str) -> None:
    for spelled in (label, label.upper(), label.capitalize()):
        assert extract_label(frame.format(spelled), COARSE) == label


@given(st.text())
def test_no_answer_is_made_up(text: str) -> None:
    label = extract_label(text, COARSE)
    assert label is None or label[:7] in text.casefold()
    assert extract_yes_no(text) is None or extract_yes_no(text) in text.casefold()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Yes.", "yes"),
        ("No, yes", "no"),
        ("I think yes", "yes"),
        ("**no**", "no"),
        ("maybe", None),
        ("either yes or no", None),
        ("Nothing", None),
        ("", None),
        (None, None),
    ],
)
def test_yes_and_no(text: str | None, answer: str | None) -> None:
    assert extract_yes_no(text) == answer


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("brow lowerer, Lid Tightener", {4, 7}),
        ("upper lip raiser", {10}),
        ("left inner brow raiser; eyes left", {1, 61}),
        ("AU4+7 and AU 12, AU1", {1, 4, 7, 12}),
        ("AUs 9, 10", {9, 10}),
        ("lip-corner puller", {12}),
        ("12 frames, no unit", set()),
        (None, set()),
    ],
)
def test_units(text: str | None, units: set[int]) -> None:
    assert extract_units(text) == units
