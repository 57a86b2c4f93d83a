"""Spotting scores: counts pooled over videos, then one precision, recall and F1.

The rule is the one of the MEGC 2019 spotting guideline: an interval is a true positive if its intersection over union
with a true one reaches 0.5; per video only counts are noted, the whole database "could be considered as one long
video". What the guideline leaves open is settled here: frames count inclusively, one prediction answers one truth,
and the number of matches is the largest possible.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mellm.evaluation.metrics.counts import Counts
from mellm.evaluation.metrics.matching import Interval, match


@dataclass(frozen=True, slots=True)
class SpottingScore(Counts):
    """Pooled counts. Ratios are 0 where they are undefined, never NaN."""

    def __add__(self, other: SpottingScore) -> SpottingScore:
        return SpottingScore(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)


def spotting_score(
    videos: Iterable[tuple[Sequence[Interval], Sequence[Interval]]], threshold: float = 0.5
) -> SpottingScore:
    """Score (predicted, true) interval lists, one pair for each video; videos without either count as they are.

    :raises MetricsError: a threshold outside (0, 1], or an interval that ends before it begins
    """
    total = SpottingScore(0, 0, 0)
    for predicted, true in videos:
        found = len(match(predicted, true, threshold))
        total += SpottingScore(found, len(predicted) - found, len(true) - found)
    return total
