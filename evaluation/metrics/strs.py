"""Spot-then-recognise score: the product of a spotting F1 and an analysis F1.

Liong, See and Chan 2023 (Signal Processing: Image Communication 110, 116875). Recognition is judged on spotted true
positives only; its F1 is the harmonic mean of macro precision and macro recall, not the mean of the F1 of each class.
Classes are those of the truth of the spotted intervals: a class of which nothing was spotted says nothing about
recognition, and has cost the spotting F1 already.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from mellm.evaluation.metrics.counts import harmonic
from mellm.evaluation.metrics.matching import match
from mellm.evaluation.metrics.recognition import RecognitionScore, recognition_score
from mellm.evaluation.metrics.spotting import SpottingScore


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """One interval with its emotion; frames inclusive on both ends. An empty emotion is an answer that is none."""

    subject: str
    video: str
    onset: int
    offset: int
    emotion: str


@dataclass(frozen=True, slots=True)
class StrsScore:
    """Spotting, recognition of what was spotted, and their product.

    :param analysis: ``None`` where nothing was spotted
    """

    spotting: SpottingScore
    analysis: RecognitionScore | None

    @property
    def analysis_f1(self) -> float:
        """Harmonic mean of macro precision and macro recall over spotted true positives; 0 where undefined."""
        if self.analysis is None:
            return 0.0
        return harmonic(self.analysis.precision, self.analysis.uar)

    @property
    def strs(self) -> float:
        """F1 of spotting times F1 of analysis."""
        return self.spotting.f1 * self.analysis_f1

    def as_dict(self) -> dict[str, Any]:
        """As JSON data."""
        analysis = self.analysis.as_dict() if self.analysis else {"uf1": 0.0, "uar": 0.0, "rows": 0}
        analysis["precision"] = self.analysis.precision if self.analysis else 0.0
        analysis["recall"] = self.analysis.uar if self.analysis else 0.0
        analysis["f1"] = self.analysis_f1
        return {
            "strs": self.strs,
            "f1_spotting": self.spotting.f1,
            "f1_analysis": self.analysis_f1,
            "spotting": self.spotting.as_dict(),
            "analysis": analysis,
        }


def strs_score(
    truth: Sequence[Row],
    predicted: Sequence[Row],
    threshold: float = 0.5,
    emotions: Collection[str] | None = None,
) -> StrsScore:
    """Match within each video of each subject, then judge the emotions of the matched pairs.

    The order of rows does not matter.

    :param emotions: judge recognition on these true emotions only; all of them by default
    :raises MetricsError: a threshold outside (0, 1], or an interval that ends before it begins
    """
    spotting, pairs = SpottingScore(0, 0, 0), []
    for ours, theirs in by_video(truth, predicted).values():
        found = match([(r.onset, r.offset) for r in theirs], [(r.onset, r.offset) for r in ours], threshold)
        spotting += SpottingScore(len(found), len(theirs) - len(found), len(ours) - len(found))
        pairs += [(ours[j].emotion, theirs[i].emotion or None) for i, j in found]
    judged = [(t, p) for t, p in pairs if emotions is None or t in emotions]
    if not judged:
        return StrsScore(spotting, None)
    return StrsScore(spotting, recognition_score([t for t, _ in judged], [p for _, p in judged]))


def by_video(
    truth: Sequence[Row], predicted: Sequence[Row]
) -> dict[tuple[str, str], tuple[list[Row], list[Row]]]:
    """(Subject, video) → sorted rows of the truth and of the prediction, wherever either has one."""
    out: defaultdict[tuple[str, str], tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for side, rows in enumerate((truth, predicted)):
        for row in sorted(rows):
            out[row.subject, row.video][side].append(row)
    return dict(sorted(out.items()))
