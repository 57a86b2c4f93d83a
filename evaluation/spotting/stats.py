"""Intervals of confidence for the counts of an evaluation; all of them 95 %.

Counts of false alarms are Poisson (exact interval of Garwood 1936), shares are binomial (exact interval of Clopper
and Pearson 1934), pooled F1 is resampled over people, because clips of one person are not independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import beta, chi2

from mellm.evaluation.metrics.spotting import SpottingScore

LEVEL = 0.95
RESAMPLES = 2000


class Estimate(NamedTuple):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


def poisson_rate(count: int, minutes: float) -> Estimate:
    """Events a minute with the exact interval. Without any time nothing is known: 0 to infinity."""
    if minutes <= 0:
        return Estimate(0.0, 0.0, float("inf"))
    tail = (1 - LEVEL) / 2
    low = float(chi2.ppf(tail, 2 * count)) / 2 if count else 0.0
    high = float(chi2.ppf(1 - tail, 2 * count + 2)) / 2
    return Estimate(count / minutes, low / minutes, high / minutes)


def share(hits: int, of: int) -> Estimate:
    """Hits out of ``of`` with the exact interval; 0 in [0, 1] out of nothing."""
    if of <= 0:
        return Estimate(0.0, 0.0, 1.0)
    tail = (1 - LEVEL) / 2
    low = float(beta.ppf(tail, hits, of - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, of - hits)) if hits < of else 1.0
    return Estimate(hits / of, low, high)


class Ratios(NamedTuple):
    """F1, precision and recall of pooled counts."""

    f1: Estimate
    precision: Estimate
    recall: Estimate


def bootstrap(by_subject: Mapping[str, SpottingScore], resamples: int = RESAMPLES, seed: int = 0) -> Ratios:
    """Pooled ratios; people are drawn again with replacement for their intervals (percentile bootstrap).

    With one person nothing can be resampled: the interval is then [0, 1].
    """
    counts = np.array([(s.tp, s.fp, s.fn) for s in by_subject.values()], np.float64).reshape(-1, 3)
    whole = _ratios(counts.sum(0)[None])[0]
    if len(counts) < 2:
        return Ratios(*(Estimate(float(v), 0.0, 1.0) for v in whole))
    drawn = np.random.default_rng(seed).integers(len(counts), size=(resamples, len(counts)))
    spread = _ratios(counts[drawn].sum(1))
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(spread, [tail, 100 - tail], axis=0)
    return Ratios(*(Estimate(float(v), float(a), float(b)) for v, a, b in zip(whole, low, high, strict=True)))


def _ratios(counts: np.ndarray) -> np.ndarray:
    """F1, precision, recall of each row of tp, fp, fn; 0 where undefined."""
    tp, fp, fn = counts.T
    wholes = (2 * tp + fp + fn, tp + fp, tp + fn)
    parts = (2 * tp, tp, tp)
    return np.stack(
        [np.divide(p, w, out=np.zeros_like(w), where=w > 0) for p, w in zip(parts, wholes, strict=True)], 1
    )


def percentiles(values: Sequence[float], at: Sequence[float] = (50, 95)) -> tuple[float, ...]:
    """Percentiles; NaN of nothing."""
    if not len(values):
        return tuple(float("nan") for _ in at)
    return tuple(float(v) for v in np.percentile(values, at))
