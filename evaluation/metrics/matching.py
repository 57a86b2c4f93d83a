"""Pairing predicted with true intervals, the way the MEGC spotting rule means it.

Frames are counted inclusively on both ends; a pair matches when its intersection over union reaches the threshold;
each interval is used at most once; the number of matches is the largest possible.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TypeAlias

from mellm.evaluation.metrics.errors import MetricsError

Interval: TypeAlias = tuple[int, int]
"""First and last frame, both included."""


def iou(a: Interval, b: Interval) -> float:
    """Intersection over union in frames; 0 for intervals that do not touch.

    :raises MetricsError: an interval that ends before it begins
    """
    for first, last in (a, b):
        if last < first:
            raise MetricsError(f"interval {first}–{last} ends before it begins", remedy="swap its ends")
    shared = min(a[1], b[1]) - max(a[0], b[0]) + 1
    if shared <= 0:
        return 0.0
    return shared / (a[1] - a[0] + b[1] - b[0] + 2 - shared)


def match(
    predicted: Sequence[Interval], true: Sequence[Interval], threshold: float = 0.5
) -> list[tuple[int, int]]:
    """A largest one-to-one matching by augmenting paths; index pairs (predicted, true), by true index.

    Better overlaps are tried first, so that of several largest matchings a good one comes out.

    :raises MetricsError: a threshold outside (0, 1], or an interval that ends before it begins
    """
    if not 0 < threshold <= 1:
        raise MetricsError(f"threshold {threshold} of the overlap", remedy="it lies in (0, 1]")
    overlaps = _overlaps(predicted, true, threshold)
    best_first = sorted(range(len(predicted)), key=lambda i: -overlaps[i][0][0] if overlaps[i] else 0.0)
    reachable = [[j for _, j in found] for found in overlaps]
    owner: dict[int, int] = {}
    for i in best_first:
        _augment(i, reachable, owner)
    return sorted(((i, j) for j, i in owner.items()), key=lambda pair: pair[1])


def _overlaps(
    predicted: Sequence[Interval], true: Sequence[Interval], threshold: float
) -> list[list[tuple[float, int]]]:
    """For each prediction, (overlap, index) of the truths it may match, best first."""
    for interval in (*predicted, *true):
        iou(interval, interval)  # refuses one that ends before it begins, wherever it lies
    order = sorted(range(len(true)), key=lambda j: true[j][0])
    onsets = [true[j][0] for j in order]
    longest = max((last - first for first, last in true), default=0)
    out = []
    for first, last in predicted:
        near = order[bisect_left(onsets, first - longest) : bisect_right(onsets, last)]
        found = ((iou((first, last), true[j]), j) for j in near)
        out.append(sorted((f for f in found if f[0] >= threshold), key=lambda f: (-f[0], f[1])))
    return out


def _augment(start: int, reachable: Sequence[Sequence[int]], owner: dict[int, int]) -> None:
    """Give ``start`` a truth if any chain of swaps allows it; depth first, without recursion: chains may be long."""
    tried: set[int] = set()
    path = [(start, iter(reachable[start]))]
    taken: list[int] = []  # taken[k] is the truth through which path[k] reached path[k + 1]
    while path:
        j = next((j for j in path[-1][1] if j not in tried), None)
        if j is None:
            path.pop()
            if taken:
                taken.pop()
            continue
        tried.add(j)
        taken.append(j)
        if j not in owner:
            for (swapped, _), truth in zip(path, taken, strict=True):
                owner[truth] = swapped
            return
        path.append((owner[j], iter(reachable[owner[j]])))
