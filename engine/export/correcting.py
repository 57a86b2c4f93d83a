"""Intervals that a person drew or mended, as decisions about a run: what was kept, corrected, rejected and added."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from mellm.engine.export.corrections import Interval, Reading, read_corrections
from mellm.engine.results import corrections
from mellm.engine.results.corrections import Correction, Corrections, mark_of, units_of
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.run_reader import Run, with_corrections
from mellm.stream.errors import RunError, UsageError

MOVED_MS: Final = 0.6
"""ELAN counts whole milliseconds: a smaller shift is rounding."""


def decisions(
    path: Path, run: Run, reading: Reading, *, by: str | None, when: str, source: str | None, partial: bool
) -> list[Correction]:
    """What a file decides about a run: the report's own file, an ELAN file or a table.

    An ELAN file and a table hold all that stands: an expression of the run that has no interval in them is rejected,
    unless ``partial``. Of the report's file each item says who decided; elsewhere ``by`` does.

    :param run: as it is now, earlier corrections included
    :param source: recording that the file is about, where it does not say
    :param partial: what the file does not hold stays as it is
    :raises RunError: the file cannot be read, or is about another run
    :raises UsageError: nobody is named who decided, or the recording is not known
    """
    if path.suffix.lower() == ".json":
        if by or partial:
            flag = "--by" if by else "--partial"
            raise UsageError(
                f"{flag} does not apply to {path}", remedy="its items say who decided about what"
            )
        return _continued(corrections.read(path).items, run)
    if not by:
        raise UsageError(
            f"{path} does not say who corrected it", remedy="say it with --by NAME (a pseudonym)"
        )
    intervals = [_placed(i, run, source) for i in read_corrections(path, reading)]
    about = {i.source for i in intervals} or ({source} if source else set(run.sources))
    mine = [r for r in run.expressions if r.source in about]
    found = []
    partners = paired(mine, intervals)
    for n, interval in enumerate(intervals):
        record = partners.get(n)
        found.append(_added(interval, by, when) if record is None else _decided(record, interval, by, when))
    if not partial:
        kept = {r.id for r in partners.values()}
        found += [Correction("reject", by, when, r.id) for r in mine if r.id not in kept]
    return found


def _continued(items: Sequence[Correction], run: Run) -> list[Correction]:
    """Items of a report that was made of a run which had been corrected before: what they leave open stands as it was
    shown. Of items about one expression the later ones change their mind within one file, and say all."""
    shown = {r.id: r for r in run.expressions}
    found, seen = [], set()
    for item in items:
        record = shown.get(item.key)
        mark = None if record is None else mark_of(record)
        first = item.key not in seen
        seen.add(item.key)
        if (
            record is None
            or mark is None
            or mark.verdict != "correct"
            or not first
            or item in run.corrections.items
        ):
            found.append(item)
        elif item.verdict in ("accept", "correct"):
            found.append(
                replace(
                    item,
                    verdict="correct",
                    onset_s=record.onset_ms / 1000 if item.onset_s is None else item.onset_s,
                    apex_s=record.apex_ms / 1000
                    if item.apex_s is None and item.onset_s is None
                    else item.apex_s,
                    offset_s=record.offset_ms / 1000 if item.offset_s is None else item.offset_s,
                    units=units_of(record) if item.units is None and "units" in mark.changes else item.units,
                    emotion=mark.emotion if item.emotion is None else item.emotion,
                )
            )
        else:
            found.append(item)
    return found


def paired(records: Sequence[ExpressionRecord], intervals: Sequence[Interval]) -> dict[int, ExpressionRecord]:
    """Number of an interval → the record that it is: by its id where it has one, else by the largest overlap."""
    by_id = {r.id: r for r in records}
    found = {n: by_id[i.id] for n, i in enumerate(intervals) if i.id in by_id}
    doubled = [id for id, count in Counter(r.id for r in found.values()).items() if count > 1]
    if doubled:
        raise RunError(f"two rows have the id {doubled[0]!r}", remedy="give an added expression no id")
    taken = {r.id for r in found.values()}
    overlaps = sorted(
        (-_overlap(r, i), n, r.id)
        for n, i in enumerate(intervals)
        for r in records
        if n not in found
        and r.id not in taken
        and i.track in (None, r.track)
        and i.source in (None, r.source)
    )
    for shared, n, id in overlaps:
        if shared < 0 and n not in found and id not in taken:
            found[n] = by_id[id]
            taken.add(id)
    return found


def _overlap(record: ExpressionRecord, interval: Interval) -> float:
    """Intersection over union."""
    shared = min(record.offset_ms, interval.offset_ms) - max(record.onset_ms, interval.onset_ms)
    whole = max(record.offset_ms, interval.offset_ms) - min(record.onset_ms, interval.onset_ms)
    return max(0.0, shared) / whole if whole > 0 else 0.0


def _placed(interval: Interval, run: Run, source: str | None) -> Interval:
    name = source or interval.source or (run.sources[0] if len(run.sources) == 1 else None)
    if name is None:
        raise UsageError(
            f"the file does not say which of {', '.join(run.sources)} it is about",
            remedy="name the recording with --source",
        )
    run.only(name)  # refuses an unknown one
    return replace(interval, source=name)


def _decided(record: ExpressionRecord, interval: Interval, by: str, when: str) -> Correction:
    if interval.verdict == "reject":
        return Correction("reject", by, when, record.id, comment=interval.comment)
    mark = mark_of(record)
    units = interval.units if interval.units is not None and interval.units != units_of(record) else None
    named = (mark.emotion if mark else None) or (record.emotion.coarse if record.emotion else None)
    emotion = interval.emotion if interval.emotion not in (None, named) else None
    moved = _moved(record.onset_ms, interval.onset_ms), _moved(record.offset_ms, interval.offset_ms)
    apex = None if interval.apex_ms is None else _moved(record.apex_ms, interval.apex_ms)
    if units is None and emotion is None and moved == (None, None) and apex is None:
        if mark is None or mark.verdict in ("accept", "add"):
            return Correction("accept", by, when, record.id, comment=interval.comment)
        # a decision says all: what was corrected before is said again
        units, emotion = units_of(record), mark.emotion
        moved = (record.onset_ms / 1000, record.offset_ms / 1000)
        apex = record.apex_ms / 1000
    elif mark is not None and mark.verdict == "correct":
        units = units_of(record) if units is None else units
        emotion = mark.emotion if emotion is None else emotion
        moved = (
            record.onset_ms / 1000 if moved[0] is None else moved[0],
            record.offset_ms / 1000 if moved[1] is None else moved[1],
        )
        apex = record.apex_ms / 1000 if apex is None and interval.apex_ms is not None else apex
    return Correction(
        "correct",
        by,
        when,
        record.id,
        onset_s=moved[0],
        apex_s=apex,
        offset_s=moved[1],
        units=units,
        emotion=emotion,
        comment=interval.comment,
    )


def _moved(before_ms: float, after_ms: float) -> float | None:
    return None if abs(before_ms - after_ms) < MOVED_MS else after_ms / 1000


def _added(interval: Interval, by: str, when: str) -> Correction:
    return Correction(
        "add",
        by,
        when,
        None,
        interval.source,
        interval.track,
        interval.onset_ms / 1000,
        None if interval.apex_ms is None else interval.apex_ms / 1000,
        interval.offset_ms / 1000,
        interval.units,
        interval.emotion,
        interval.comment,
    )


def correct(run: Run, decided: Sequence[Correction]) -> Run:
    """Apply decisions to a run folder, and keep them there beside the earlier ones.

    :param run: as :func:`mellm.engine.results.run_reader.read_run` gives it with ``corrected=False``
    :returns: the corrected run
    :raises RunError: they are about another run, or cannot be written
    """
    path = run.path / corrections.FILE
    before = corrections.read(path) if path.is_file() else Corrections((), str(run.state.get("epoch") or ""))
    after = before.plus(decided)
    found = with_corrections(run, after)  # refuses what is about another run before anything is written
    corrections.write(path, after)
    return found
