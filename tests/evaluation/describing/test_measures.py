from __future__ import annotations

import pytest

from mellm.engine.types import Side
from mellm.evaluation.describing.measures import Case, Reading, balanced, commonest, named_units, score

LEFT: Side = "left"


def case(subject: str, units: dict[int, Side], coarse: str | None = "negative", above: bool = True) -> Case:
    kind = "expression" if units else "speech"
    return Case(subject, kind, units, coarse if units else None, above)  # type: ignore[arg-type]


CASES = [
    case("a", {4: "both", 7: "both"}),
    case("a", {12: "left"}, "positive"),
    case("b", {1: "both"}, "surprise"),
    case("b", {4: "both"}, above=False),
    case("a", {}),
    case("b", {}, above=False),
]
READINGS = [
    Reading(False, {4: "both"}, "negative", named=frozenset({4})),  # one of two
    Reading(
        False, {12: "right", 14: "both"}, "positive", named=frozenset({12})
    ),  # wrong side, one unit too many
    Reading(True),
    Reading(False, {4: "both"}, "negative", named=frozenset({4, 9})),  # under the floor
    Reading(False, {20: "both"}, "negative"),  # described, though there is nothing
    Reading(False, {9: "both"}, "negative", parsed=False),
]


def test_units_are_counted_on_expressions_above_the_floor() -> None:
    # AU14 is none of the set's units, so it is not counted: 2 hits, 0 false, 2 missed
    scores = score(CASES, READINGS, gate=True)
    assert scores.f1.value == pytest.approx(2 * 2 / (2 * 2 + 0 + 2))
    assert scores.precision == 1
    assert scores.recall == pytest.approx(0.5)
    assert scores.sides == pytest.approx(0.5)
    assert scores.expressions == 3
    assert scores.silent.value == pytest.approx(1 / 3)
    assert scores.f1.low <= scores.f1.value <= scores.f1.high


def test_the_gate_silences_what_lies_under_the_floor() -> None:
    gated, free = score(CASES, READINGS, gate=True), score(CASES, READINGS, gate=False)
    assert gated.abstains.value == pytest.approx(0.5)
    assert free.abstains.value == 0
    assert gated.moving.value == free.moving.value == 0
    assert free.parsed == pytest.approx(5 / 6)
    assert gated.parsed == 1
    assert free.consistent == pytest.approx(4 / 5)


def test_class_scores_stand_beside_what_perfect_units_allow() -> None:
    scores = score(CASES, READINGS, gate=True)
    assert scores.coarse.value == pytest.approx(2 / 3)  # negative and positive right, surprise not said
    assert scores.ceiling == 1
    assert scores.coarse_share == pytest.approx(2 / 3)


def test_half_of_the_negatives_lie_above_the_floor() -> None:
    many = [*CASES, *(case("c", {}) for _ in range(5))]
    chosen = [many[i] for i in balanced(many)]
    quiet = [c for c in chosen if not c.units]
    assert len(quiet) == 2
    assert sum(c.above for c in quiet) == 1
    assert sum(bool(c.units) for c in chosen) == 4


def test_commonest_units_and_units_in_text() -> None:
    assert commonest(CASES, 1) == {4}
    assert commonest(CASES) == {4, 7, 12, 1}
    assert named_units("The brow is lowered (AU4), perhaps AU12.") == {4, 12}
