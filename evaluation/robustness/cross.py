"""A threshold chosen on one kind of pictures, scored on another: nothing is ever chosen on the data it is scored on.

Rows of the matrices are validation sets, columns are test sets; no person is in both. The last row is the best that any
threshold reaches on the test set itself: no score of ours, but the measure of what a wrong threshold costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mellm.engine.describe.local import NanoDescriber
from mellm.engine.types import Evidence
from mellm.evaluation.describing.cases import Example
from mellm.evaluation.describing.measures import balanced
from mellm.evaluation.metrics.bootstrap import interval
from mellm.evaluation.spotting.data import require_validation
from mellm.evaluation.spotting.measures import judge, minutes, pooled
from mellm.evaluation.spotting.stats import Estimate, bootstrap
from mellm.evaluation.spotting.systems import System
from mellm.training.spotter.records import Record

NEAR = 0.005
"""Of thresholds within so much of the best on validation the strictest is taken, as ``spotting --tune`` does."""

ABSTAIN_LEVELS = tuple(round(0.02 * k, 2) for k in range(1, 50))
"""Probabilities of abstaining from which on the small model may be made to abstain."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A threshold from one set, scored on another.

    :param value: F1 of spots, or balanced accuracy of describing
    :param more: false alarms a minute of spots;
        of describing the share of expressions described, and of other pairs left alone
    """

    level: float
    value: Estimate
    more: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """``cells``: name of the validation set (or :data:`ITSELF`, or the shipped threshold) → test set → cell."""

    name: str
    cells: Mapping[str, Mapping[str, Cell]]


ITSELF, SHIPPED = "best on the test set itself", "as shipped"


def strictest(scores: Mapping[float, float]) -> float:
    """The highest threshold whose score is within :data:`NEAR` of the best."""
    best = max(scores.values())
    return max(level for level, score in scores.items() if score >= best - NEAR)


def _rows(
    chosen_on: Mapping[str, Mapping[float, float]], shipped: float, scored_on: Mapping[str, Mapping[float, float]],
    cell: Callable[[str, float], Cell],
) -> dict[str, dict[str, Cell]]:  # fmt: skip
    require_validation(list(chosen_on))
    levels = {name: strictest(scores) for name, scores in chosen_on.items()} | {SHIPPED: shipped}
    rows = {name: {test: cell(test, level) for test in scored_on} for name, level in levels.items()}
    rows[ITSELF] = {
        test: cell(test, max(scores, key=lambda v: (scores[v], v))) for test, scores in scored_on.items()
    }
    return rows


def spotting(
    system: System, chosen_on: Mapping[str, Sequence[Record]], scored_on: Mapping[str, Sequence[Record]]
) -> Matrix:
    """Thresholds of a spotter.

    :raises UsageError: a threshold was to be chosen on a test set
    """
    levels = sorted({*system.levels, system.level})

    def curve(records: Sequence[Record]) -> dict[float, float]:
        return {level: pooled(judge(system, records, level)).f1 for level in levels}

    def cell(test: str, level: float) -> Cell:
        judged = judge(system, scored_on[test], level)
        by_person = {
            who: pooled(j for j in judged if j.record.subject == who)
            for who in {j.record.subject for j in judged}
        }
        total, time = pooled(judged), minutes(judged)
        return Cell(level, bootstrap(dict(sorted(by_person.items()))).f1, (total.fp / time if time else 0.0,))

    chosen = {name: curve(records) for name, records in chosen_on.items()}
    tested = {name: curve(records) for name, records in scored_on.items()}
    return Matrix(system.name, _rows(chosen, system.level, tested, cell))


@dataclass(frozen=True, slots=True)
class Doubt:
    """How sure the small model is that a pair shows nothing. ``abstains`` is 1 where it was not asked."""

    subject: str
    expression: bool
    abstains: float


def doubts(examples: Sequence[Example], model: NanoDescriber | None = None) -> list[Doubt]:
    """The small model's probability of abstaining: expressions, and as many others above the motion floor as under."""
    chosen = [examples[i] for i in balanced([e.case for e in examples])]
    shown = [e.evidence if e.case.above else None for e in chosen]
    readings = iter((model or NanoDescriber()).read_many(_seen(shown)))
    out = []
    for example, evidence in zip(chosen, shown, strict=True):
        share = 1.0
        if evidence is not None:
            reading = next(readings)
            share = (
                float(reading.description.abstained is not None)
                if reading.abstains is None
                else reading.abstains
            )
        out.append(Doubt(example.case.subject, bool(example.case.units), share))
    return out


def _seen(shown: Sequence[Evidence | None]) -> list[Evidence]:
    return [e for e in shown if e is not None]


def accuracy(some: Sequence[Doubt], level: float) -> tuple[float, float, float]:
    """Balanced accuracy, share of expressions described, share of other pairs left alone; NaN without either kind."""
    silent = np.array([d.abstains >= level for d in some])
    shown = np.array([d.expression for d in some])
    if not shown.any() or shown.all():
        return float("nan"), float("nan"), float("nan")
    described, kept = float(1 - silent[shown].mean()), float(silent[~shown].mean())
    return (described + kept) / 2, described, kept


def describing(
    chosen_on: Mapping[str, Sequence[Doubt]], scored_on: Mapping[str, Sequence[Doubt]], shipped: float = 0.5
) -> Matrix:
    """The probability from which on the small model abstains.

    :param shipped: the product's: it takes the likelier of the two, which is a half
    :raises UsageError: a threshold was to be chosen on a test set
    """

    def curve(some: Sequence[Doubt]) -> dict[float, float]:
        return {level: accuracy(some, level)[0] for level in ABSTAIN_LEVELS}

    def cell(test: str, level: float) -> Cell:
        people: dict[str, list[Doubt]] = {}
        for d in scored_on[test]:
            people.setdefault(d.subject, []).append(d)
        value, described, kept = accuracy(scored_on[test], level)
        low, high = interval(people, lambda drawn: accuracy(drawn, level)[0])
        return Cell(level, Estimate(value, low, high), (described, kept))

    chosen = {name: curve(some) for name, some in chosen_on.items()}
    tested = {name: curve(some) for name, some in scored_on.items()}
    return Matrix("nano", _rows(chosen, shipped, tested, cell))


def examples(name: str, root: Path) -> list[Example]:
    """Stored pairs of ``val-rendered``, ``val-stills``, ``rendered`` or ``stills``; empty where none were drawn."""
    from mellm.evaluation.describing.cases import case_of
    from mellm.training.mellm import store

    source = name.removeprefix("val-")
    split = "val" if name.startswith("val-") else "test"
    return [Example(case_of(p), p) for p in store.load(root, source, split)]  # type: ignore[arg-type]
