"""Scores a run against human corrections of it: what was kept, removed, added, moved, and coded otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mellm.engine.export import words
from mellm.engine.export.corrections import Interval
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.run_reader import Run
from mellm.evaluation.metrics.action_units import ActionUnitScore, action_unit_score
from mellm.evaluation.metrics.matching import match
from mellm.evaluation.metrics.moments import MomentErrors, Moments, moment_errors
from mellm.evaluation.metrics.recognition import RecognitionScore, recognition_score
from mellm.evaluation.metrics.spotting import SpottingScore
from mellm.stream.errors import UsageError

ANCHORING = (
    "Corrections begin with what the program proposed: people tend to keep it, and to overlook what it missed. "
    "For a score without that, code the recording without the proposals first."
)


@dataclass(frozen=True, slots=True)
class CorrectionScore:
    """The person is taken to be right. Times are milliseconds, found minus corrected.

    :param spotting: pairs that overlap by ``iou``: kept (tp), removed (fp), added (fn)
    :param untouched: of the kept ones, those whose onset, apex and offset are the run's to the millisecond
    :param moments: of the kept ones; ``None`` where there is nothing to compare
    :param units: as ``moments``
    :param emotions: as ``moments``
    :param sides: of the units named on both sides, the share with the same side; ``None`` where there are none
    :param undescribed: kept ones that were coded and have no description: counted as naming nothing
    """

    spotting: SpottingScore
    untouched: int
    moments: MomentErrors | None
    units: ActionUnitScore | None
    emotions: RecognitionScore | None
    sides: float | None
    undescribed: int
    removed: tuple[ExpressionRecord, ...]
    added: tuple[Interval, ...]

    def as_dict(self) -> dict[str, Any]:
        """As JSON data."""
        s = self.spotting
        return {
            "kept": s.tp,
            "removed": s.fp,
            "added": s.fn,
            "precision": s.precision,
            "recall": s.recall,
            "f1": s.f1,
            "untouched": self.untouched,
            "moments": None if self.moments is None else self.moments.as_dict(),
            "units": None if self.units is None else self.units.as_dict(),
            "emotions": None if self.emotions is None else self.emotions.as_dict(),
            "sides": self.sides,
            "undescribed": self.undescribed,
            "removed_ids": [r.id for r in self.removed],
            "added_ms": [[i.onset_ms, i.offset_ms] for i in self.added],
        }


def score(
    run: Run, corrected: Sequence[Interval], *, source: str | None = None, iou: float = 0.5
) -> CorrectionScore:
    """Compare a run with the corrected intervals.

    Intervals of one face are held against those of the same face; where the corrections name no face, all faces of a
    recording are taken together. Overlaps are counted in whole milliseconds.

    :param source: the recording that the corrections are about, where they do not say
    :raises UsageError: the corrections do not say which of several recordings they are about, or name an unknown one
    :raises MetricsError: a threshold outside (0, 1]
    """
    named = [_placed(i, run, source) for i in corrected]
    sources = {i.source for i in named} if named else {source} if source else set(run.sources)
    records = [r for r in run.expressions if r.source in sources]
    faces = all(i.track is not None for i in named)
    pairs: list[tuple[ExpressionRecord, Interval]] = []
    for group in sorted({_group(r.source, r.track, faces) for r in records}):
        mine = [r for r in records if _group(r.source, r.track, faces) == group]
        theirs = [i for i in named if _group(str(i.source), i.track, faces) == group]
        found = match(
            [_whole(r.onset_ms, r.offset_ms) for r in mine],
            [_whole(i.onset_ms, i.offset_ms) for i in theirs],
            iou,
        )
        pairs += [(mine[k], theirs[j]) for k, j in found]
    kept_ids, kept = {id(r) for r, _ in pairs}, {id(i) for _, i in pairs}
    removed = tuple(r for r in records if id(r) not in kept_ids)
    added = tuple(i for i in named if id(i) not in kept)
    coded = [(r, i) for r, i in pairs if i.units is not None]
    return CorrectionScore(
        SpottingScore(len(pairs), len(removed), len(added)),
        sum(_untouched(r, i) for r, i in pairs),
        replace(moment_errors([_moments(r, i) for r, i in pairs]), unit="ms") if pairs else None,
        _units(coded),
        _emotions(pairs),
        _sides(coded),
        sum(r.state != "described" for r, _ in coded),
        removed,
        added,
    )


def _placed(interval: Interval, run: Run, source: str | None) -> Interval:
    name = source or interval.source or (run.sources[0] if len(run.sources) == 1 else None)
    if name is None:
        raise UsageError(
            f"the corrections do not say which of {', '.join(run.sources)} they are about",
            remedy="name the recording with --source",
        )
    run.only(name)  # refuses an unknown one
    return replace(interval, source=name)


def _group(source: str, track: int | None, faces: bool) -> tuple[str, int]:
    return source, (track or 0) if faces else 0


def _whole(onset_ms: float, offset_ms: float) -> tuple[int, int]:
    return round(onset_ms), round(offset_ms)


def _untouched(record: ExpressionRecord, interval: Interval) -> bool:
    same = _whole(record.onset_ms, record.offset_ms) == _whole(interval.onset_ms, interval.offset_ms)
    return same and (interval.apex_ms is None or round(interval.apex_ms) == round(record.apex_ms))


def _moments(record: ExpressionRecord, interval: Interval) -> tuple[Moments, Moments]:
    apex = None if interval.apex_ms is None else round(interval.apex_ms)
    true = Moments(round(interval.onset_ms), apex, round(interval.offset_ms))
    return true, Moments(*(round(at) for at in (record.onset_ms, record.apex_ms, record.offset_ms)))


def _units(coded: Sequence[tuple[ExpressionRecord, Interval]]) -> ActionUnitScore | None:
    true = [frozenset(au for au, _ in i.units or ()) for _, i in coded]
    if not any(true):
        return None  # nobody coded a unit: there is no truth to score
    found = [frozenset(u.au for u in r.action_units) if r.state == "described" else None for r, _ in coded]
    return action_unit_score(true, found)


def _sides(coded: Sequence[tuple[ExpressionRecord, Interval]]) -> float | None:
    same = [
        (u.au, u.side) in (i.units or ())
        for r, i in coded
        for u in r.action_units
        if u.au in {au for au, _ in i.units or ()}
    ]
    return sum(same) / len(same) if same else None


def _emotions(pairs: Sequence[tuple[ExpressionRecord, Interval]]) -> RecognitionScore | None:
    both = [(i.emotion, words.coarse(r)) for r, i in pairs if i.emotion is not None]
    return recognition_score([t for t, _ in both], [p for _, p in both]) if both else None
