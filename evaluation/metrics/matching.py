"""Pairing predicted with true intervals, the way the MEGC spotting rule means it.

Frames are counted inclusively on both ends; a pair matches when its intersection over union reaches the threshold;
each interval is used at most once; the number of matches is the largest possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

Interval: TypeAlias = tuple[int, int]
"""First and last frame, both included."""


def iou(a: Interval, b: Interval) -> float:
    """Intersection over union in frames; 0 for intervals that do not touch.

    :raises ValueError: an interval that ends before it begins
    """
    for first, last in (a, b):
        if last < first:
            raise ValueError(f"interval {first}–{last} ends before it begins")
    shared = min(a[1], b[1]) - max(a[0], b[0]) + 1
    if shared <= 0:
        return 0.0
    return shared / (a[1] - a[0] + b[1] - b[0] + 2 - shared)


def match(
    predicted: Sequence[Interval], true: Sequence[Interval], threshold: float = 0.5
) -> list[tuple[int, int]]:
    """A largest one-to-one matching by augmenting paths; index pairs (predicted, true), by true index.

    Better overlaps are tried first, so that of several largest matchings a good one comes out.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold lies in (0, 1], got {threshold}")
    reachable = [
        sorted(
            (j for j, t in enumerate(true) if iou(p, t) >= threshold),
            key=lambda j: (-iou(predicted[i], true[j]), j),
        )
        for i, p in enumerate(predicted)
    ]
    owner: dict[int, int] = {}

    def claim(i: int, tried: set[int]) -> bool:
        for j in reachable[i]:
            if j in tried:
                continue
            tried.add(j)
            if j not in owner or claim(owner[j], tried):
                owner[j] = i
                return True
        return False

    best_first = sorted(
        range(len(predicted)),
        key=lambda i: -iou(predicted[i], true[reachable[i][0]]) if reachable[i] else 0.0,
    )
    for i in best_first:
        claim(i, set())
    return sorted(((i, j) for j, i in owner.items()), key=lambda pair: pair[1])
