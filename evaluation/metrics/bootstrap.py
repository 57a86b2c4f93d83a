"""Intervals of confidence by drawing people again.

Clips of one person are not independent, so whole subjects are drawn with replacement (cluster bootstrap, percentile
interval; Efron and Tibshirani 1993, chapter 13).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isnan, nan
from typing import Final, TypeVar

import numpy as np

from mellm.evaluation.metrics.errors import MetricsError

Item = TypeVar("Item")
LEVEL: Final = 0.95


def intervals(
    items_by_subject: Mapping[str, Sequence[Item]],
    score: Callable[[list[Item]], Mapping[str, float]],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % intervals of several scores from the same draws.

    :param score: items of the drawn subjects (of one drawn twice, twice) → name → value; NaN where a draw
        leaves a score undefined, which is then not counted
    :param draws: how often all subjects are drawn
    :returns: name → (low, high); NaN for both with fewer than two subjects, where nothing is known
    :raises MetricsError: no subjects, or no draws
    """
    if not items_by_subject or draws < 1:
        raise MetricsError("an interval needs subjects and at least one draw", remedy="give both")
    groups = [list(items_by_subject[name]) for name in sorted(items_by_subject)]
    if len(groups) < 2:
        return dict.fromkeys(score([item for group in groups for item in group]), (nan, nan))
    chosen = np.random.default_rng(seed).integers(len(groups), size=(draws, len(groups)))
    drawn = [score([item for k in row for item in groups[k]]) for row in chosen]
    tail = 50 * (1 - LEVEL)
    out = {}
    for name in drawn[0]:
        known = [d[name] for d in drawn if not isnan(d[name])]
        low, high = np.percentile(known, [tail, 100 - tail]) if known else (nan, nan)
        out[name] = (float(low), float(high))
    return out


def interval(
    items_by_subject: Mapping[str, Sequence[Item]],
    score: Callable[[list[Item]], float],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """The 95 % interval of one score; see :func:`intervals`.

    :raises MetricsError: no subjects, or no draws
    """
    return intervals(items_by_subject, lambda items: {"score": score(items)}, draws=draws, seed=seed)["score"]
