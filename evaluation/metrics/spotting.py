"""Spotting scores: counts pooled over videos, then one precision, recall and F1."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evaluation.metrics.matching import Interval, match


@dataclass(frozen=True, slots=True)
class SpottingScore:
    """Pooled counts. Ratios are 0 where they are undefined, never NaN."""

    tp: int
    fp: int
    fn: int

    @property
    def precision(self) -> float:
        """Share of predictions that are right."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else 0.0

    @property
    def recall(self) -> float:
        """Share of true intervals that were found."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else 0.0

    @property
    def f1(self) -> float:
        """2·TP / (2·TP + FP + FN)."""
        whole = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / whole if whole else 0.0

    def __add__(self, other: SpottingScore) -> SpottingScore:
        return SpottingScore(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)


def spotting_score(
    videos: Iterable[tuple[Sequence[Interval], Sequence[Interval]]], threshold: float = 0.5
) -> SpottingScore:
    """Score (predicted, true) interval lists, one pair for each video; videos without either count as they are."""
    total = SpottingScore(0, 0, 0)
    for predicted, true in videos:
        found = len(match(predicted, true, threshold))
        total += SpottingScore(found, len(predicted) - found, len(true) - found)
    return total
