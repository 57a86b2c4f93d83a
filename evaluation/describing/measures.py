"""Scores of readings against known truth. Pure functions; 95 % intervals by resampling people."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mellm.engine.types import Coarse, Side
from mellm.evaluation.metrics.bootstrap import interval
from mellm.evaluation.spotting.stats import Estimate
from mellm.training.instruct import labels

COMMONEST = 12
"""Units are scored over so many of the commonest ones of the set."""

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Case:
    """A pair's truth. ``units`` is empty and ``coarse`` ``None`` where there is no expression.

    :param above: whether the motion floor lets the pair through
    """

    subject: str
    kind: str
    units: Mapping[int, Side]
    coarse: Coarse | None
    above: bool
    talks: bool = False
    peak: float = 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What a describer said. ``abstained``: nothing was described, for whatever reason.

    :param parsed: the answer could be read
    :param named: units that the text names, ``None`` where text is not
        the model's own
    """

    abstained: bool
    units: Mapping[int, Side] = field(default_factory=dict)
    coarse: Coarse | None = None
    parsed: bool = True
    named: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """Of one describer on one set.

    :param f1: units, micro-averaged over expressions above the floor; silence names no unit
    :param precision: as ``f1``
    :param recall: as ``f1``
    :param sides: share of right sides among right units
    :param coarse: UF1
    :param ceiling: the best that perfect
        units allow
    :param abstains: share of pairs without expression that are not described
    :param talk:
        the same of speech, and of all above the floor
    :param silent: share of expressions above the floor
        that are not described
    :param parsed: shares of answers
    :param consistent: as ``parsed``
    :param moving: as ``talk``
    """

    f1: Estimate
    precision: float
    recall: float
    sides: float
    coarse: Estimate
    ceiling: float
    abstains: Estimate
    moving: Estimate
    silent: Estimate
    parsed: float
    consistent: float
    expressions: int
    negatives: int

    @property
    def coarse_share(self) -> float:
        """UF1 as a share of the ceiling."""
        return self.coarse.value / self.ceiling if self.ceiling else 0.0


Judged = tuple[Case, Reading]


def commonest(cases: Sequence[Case], count: int = COMMONEST) -> frozenset[int]:
    """The units that occur most often; the lower number where two are equal."""
    seen = Counter(au for case in cases for au in case.units)
    return frozenset(au for au, _ in sorted(seen.items(), key=lambda item: (-item[1], item[0]))[:count])


def balanced(cases: Sequence[Case]) -> list[int]:
    """Indices of all expressions, and of negatives such that half of those lie above the motion floor.

    They keep their order: the first so many of each half.
    """
    expressions = [i for i, case in enumerate(cases) if case.units]
    halves = [[i for i, c in enumerate(cases) if not c.units and c.above is above] for above in (True, False)]
    many = min(map(len, halves))
    return sorted([*expressions, *halves[0][:many], *halves[1][:many]])


def score(cases: Sequence[Case], readings: Sequence[Reading], gate: bool, seed: int = 0) -> Scores:
    """Scores over a set.

    :param gate: whether the motion floor silences pairs under it before anybody is asked, as the product does
    """
    units = commonest(cases)
    silent = Reading(abstained=True)
    judged = [
        (case, reading if case.above or not gate else silent)
        for case, reading in zip(cases, readings, strict=True)
    ]
    shown = [j for j in judged if j[0].units and j[0].above]
    nothing = [j for j in judged if not j[0].units]
    moving = [j for j in nothing if j[0].above]
    said = [j for j in judged if not j[1].abstained]

    def f1(some: Sequence[Judged]) -> float:
        hits, false, missed = _counts(some, units)
        return 2 * hits / max(1, 2 * hits + false + missed)

    hits, false, missed = _counts(shown, units)
    right = [
        case.units[au] == reading.units[au]
        for case, reading in shown
        if not reading.abstained
        for au in case.units.keys() & reading.units.keys() & units
    ]
    return Scores(
        f1=_interval(shown, f1, seed),
        precision=hits / max(1, hits + false),
        recall=hits / max(1, hits + missed),
        sides=float(np.mean(right)) if right else 0.0,
        coarse=_interval(shown, _uf1, seed),
        ceiling=labels.ceiling([(frozenset(c.units), c.coarse) for c, _ in shown if c.coarse is not None]),
        abstains=_interval(nothing, _silence, seed),
        moving=_interval(moving, _silence, seed),
        silent=_interval(shown, _silence, seed),
        parsed=float(np.mean([r.parsed for _, r in judged])),
        consistent=float(np.mean([r.named is None or r.named <= r.units.keys() for _, r in said]))
        if said
        else 1.0,
        expressions=len(shown),
        negatives=len(nothing),
    )


def _counts(some: Sequence[Judged], units: frozenset[int]) -> tuple[int, int, int]:
    hits = false = missed = 0
    for case, reading in some:
        true = case.units.keys() & units
        told = frozenset[int]() if reading.abstained else reading.units.keys() & units
        hits, false, missed = hits + len(true & told), false + len(told - true), missed + len(true - told)
    return hits, false, missed


def _uf1(some: Sequence[Judged]) -> float:
    truth = [c.coarse for c, _ in some if c.coarse is not None]
    told = [None if r.abstained else r.coarse for c, r in some if c.coarse is not None]
    return labels.uf1(truth, told)


def _silence(some: Sequence[Judged]) -> float:
    return float(np.mean([reading.abstained for _, reading in some])) if some else 0.0


def _interval(some: Sequence[Judged], measure: Callable[[Sequence[Judged]], float], seed: int) -> Estimate:
    """A measure with its percentile interval, people drawn again with replacement."""
    groups: dict[str, list[Judged]] = {}
    for judged in some:
        groups.setdefault(judged[0].subject, []).append(judged)
    whole = measure(some)
    if len(groups) < 2:
        return Estimate(whole, 0.0, 1.0)
    in_order = {f"{k:06}": group for k, group in enumerate(groups.values())}
    return Estimate(whole, *interval(in_order, measure, draws=RESAMPLES, seed=seed))


_NAMED = re.compile(r"AU(\d{1,2})")


def named_units(text: str) -> frozenset[int]:
    """Units that a text names by number."""
    return frozenset(int(number) for number in _NAMED.findall(text))
