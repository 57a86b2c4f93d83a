from __future__ import annotations

from pathlib import Path

import pytest

from mellm.training.mellm.finetune.data import Record
from mellm.training.mellm.finetune.evaluate import Estimate, read_answer, score, spread
from tests.training.mellm.finetune import tiny

RED, GREEN, BLACK = tiny.ANSWERS["red"], tiny.ANSWERS["green"], tiny.ANSWERS["black"]


def record(subject: str, answer: str, **extra: str) -> Record:
    user = {"role": "user", "content": [{"type": "text", "text": "?"}]}
    said = {"role": "assistant", "content": [{"type": "text", "text": answer}]}
    return Record(f"{subject}-{answer[:9]}", subject, "x:1", (user, said), (), extra)


@pytest.mark.parametrize(
    ("answer", "units", "coarse", "abstains", "readable"),
    [
        (RED, {4}, "negative", False, True),
        (BLACK, set(), None, True, True),
        ('{"abstain":false,"action', set(), None, False, False),
        ("AU4 and AU7 move. Conclusion: negative.", {4, 7}, "negative", False, True),
        ("brow lowerer, lid tightener", {4, 7}, None, False, True),
        (
            "The action units present are: cheek raiser, lip corner puller. Therefore, the fine-grained expression "
            "class is happiness, and the coarse expression class is positive.",
            {6, 12},
            "positive",
            False,
            True,
        ),
        ("No expression: the eyes blink.", set(), None, True, True),
        ("读不出表情: 运动太微弱。", set(), None, True, True),
        (
            "Inspection: left upper lid up by 6.40 px.\nNo expression: this is a blink.",
            set(),
            None,
            True,
            True,
        ),
        (
            "出现的动作单元：眉毛下压、皱鼻。因此，表情的细分类是悲伤，粗分类是消极。",
            {4, 9},
            "negative",
            False,
            True,
        ),
        ("dimpler, lower lip depressor", {14, 16}, None, False, True),
        ("", set(), None, False, False),
    ],
)
def test_answers_of_every_form_are_read(
    answer: str, units: set[int], coarse: str | None, abstains: bool, readable: bool
) -> None:
    said = read_answer(answer)
    assert (set(said.units), said.coarse, said.abstains, said.readable) == (units, coarse, abstains, readable)


def test_all_right_and_all_wrong() -> None:
    records = [record(s, a) for s in "abc" for a in (RED, GREEN, BLACK)]
    good = score(records, [r.answer for r in records])
    assert good.units == Estimate(1.0, 1.0, 1.0, 6)
    assert good.coarse.value == good.abstains.value == good.readable.value == 1.0
    assert good.withheld.value == 0.0
    bad = score(records, [BLACK if r.answer != BLACK else RED for r in records])
    assert (bad.units.value, bad.coarse.value, bad.abstains.value, bad.withheld.value) == (0.0, 0.0, 0.0, 1.0)


def test_the_measures_by_hand() -> None:
    records = [record("a", RED), record("a", RED), record("b", GREEN), record("b", BLACK)]
    answers = [RED, GREEN, GREEN, "nonsense"]
    got = score(records, answers)
    # units: hits 4, 12; false 12; missed 4 → 2·2 / (2·2 + 1 + 1)
    assert got.units.value == pytest.approx(0.6667, abs=1e-3)
    # negative: 1 of 2, no false → 2/3; positive: hit, one false → 2/3
    assert got.coarse.value == pytest.approx(0.6667, abs=1e-3)
    assert got.units.low is not None
    assert got.units.low <= 0.6667 <= (got.units.high or 0)
    assert got.abstains.value == 0.0
    assert got.readable.value == 1.0, "prose that says nothing can still be read"
    assert got.exact["json"].value == 0.5


def test_a_class_that_the_truth_does_not_hold_counts_against_no_class_of_its_own() -> None:
    got = score([record("a", RED), record("b", RED)], [RED, GREEN])
    assert got.coarse.value == pytest.approx(2 / 3, abs=1e-3)


def test_the_record_knows_better_than_its_reference() -> None:
    drawn = record("a", RED, task="json", coarse="surprise")
    assert score([drawn], [RED]).coarse.value == 0.0
    assert score([record("a", "disgust", task="fine")], ["fear"]).coarse.value is None


def test_tasks_apart_and_nothing_to_measure() -> None:
    got = score([record("a", "Yes.", task="shown"), record("b", "no", task="shown")], ["yes", "yes"])
    assert got.exact["shown"].value == 0.5
    assert got.units.value is None
    assert str(got.units) == "–"


def test_questions_are_spread_over_the_file() -> None:
    records = [record(str(i), RED) for i in range(10)]
    assert [r.subject for r in spread(records, 5)] == ["0", "2", "4", "6", "8"]
    assert spread(records, 20) == records
    assert spread(records, 0) == []
    assert Path(records[0].where)
