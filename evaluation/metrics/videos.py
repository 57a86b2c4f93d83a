"""Intervals of videos out of files: what ``spotting`` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mellm.evaluation.metrics.errors import MetricsError
from mellm.evaluation.metrics.files import Record, as_text, interval, load, records
from mellm.evaluation.metrics.inputs import NAMES_OF, Files, Given, Side
from mellm.evaluation.metrics.joining import SUBJECT, VIDEO, listed, repeated
from mellm.evaluation.metrics.matching import Interval


@dataclass(frozen=True, slots=True)
class Video:
    """Intervals of one video on both sides; ``types`` are those of its rows (``me``, ``mae``), where files tell."""

    subject: str | None
    video: str
    predicted: tuple[Interval, ...] = ()
    true: tuple[Interval, ...] = ()
    types: tuple[tuple[str, ...], tuple[str, ...]] | None = None


Found = dict[tuple[str | None, str], list[tuple[Interval, str | None]]]


def spotting(files: Files) -> Given:
    """Videos with intervals on both sides.

    :raises MetricsError: nothing to score; see :class:`~mellm.evaluation.metrics.errors.RowError` for rows
    """
    if (path := files.both()) is not None:
        found = {side: _videos(path, side, strict=True) for side in NAMES_OF}
    else:
        assert files.predicted is not None
        assert files.true is not None
        found = {
            "pred": _videos(files.predicted, "pred", strict=False),
            "gt": _videos(files.true, "gt", strict=False),
        }
    return _joined(found["pred"], found["gt"])


def _joined(predicted: Found, true: Found) -> Given:
    if not true and not predicted:
        raise MetricsError("there are no videos to score", remedy="give at least one")
    if len({subject is None for subject, _ in (*predicted, *true)}) > 1:
        raise MetricsError(
            "some rows name a subject and some do not", remedy="name it on both sides or on none"
        )
    notes = []
    if not any(predicted.values()):
        notes.append("there are no predictions at all: every true interval is missed")
    if only := [key for key in true if key not in predicted]:
        notes.append(f"{len(only)} videos only in the truth, all missed: {_list_keys(only)}")
    if only := [key for key in predicted if key not in true]:
        notes.append(f"{len(only)} videos only predicted, all false: {_list_keys(only)}")
    for found, what in ((predicted, "predicted intervals"), (true, "true intervals")):
        notes += repeated([(key[1], *row[0]) for key, rows in found.items() for row in rows], what)
    keys = sorted({*predicted, *true}, key=lambda key: (key[0] or "", key[1]))
    typed = all(
        kind is not None for found in (predicted, true) for rows in found.values() for _, kind in rows
    )
    videos = [
        Video(
            *key,
            tuple(i for i, _ in predicted.get(key, ())),
            tuple(i for i, _ in true.get(key, ())),
            (
                tuple(kind or "" for _, kind in predicted.get(key, ())),
                tuple(kind or "" for _, kind in true.get(key, ())),
            )
            if typed
            else None,
        )
        for key in keys
    ]
    return Given(videos, [video.subject for video in videos], tuple(notes))


def _list_keys(keys: Sequence[tuple[str | None, str]]) -> str:
    return listed([f"{subject} {video}" if subject else video for subject, video in keys])


def _videos(path: Path, side: Side, *, strict: bool) -> Found:
    document = load(path)
    if isinstance(document, Mapping) and "videos" in document:
        return _listed_videos(records(document, path, "videos"), side, strict=strict)
    if isinstance(document, list) and document:
        rows = records(document, path)
        if isinstance(rows[0].values.get(side), list):
            return _listed_videos(rows, side, strict=strict)
    if strict:
        raise MetricsError(
            f"{path} has no list 'videos'",
            remedy='write {"videos": [{"video": …, "pred": [[on, off], …], "gt": […]}]}, or give --truth as well',
        )
    out: Found = {}
    for record in records(document, path, side, "rows", "intervals"):
        key = (as_text(record.first(*SUBJECT)), record.text(*VIDEO))
        row = interval(record.first("onset"), record.first("offset"), record), as_text(record.first("type"))
        out.setdefault(key, []).append(row)
    return out


def _listed_videos(rows: Sequence[Record], side: Side, *, strict: bool) -> Found:
    out: Found = {}
    for record in rows:
        key = (as_text(record.first(*SUBJECT)), record.text(*VIDEO))
        if key in out:
            raise record.wrong(f"video {key[1]!r} occurs twice", remedy="put all its intervals into one list")
        names = (side,) if strict else (side, "intervals")
        listed = next((record.values[name] for name in names if name in record.values), None)
        if not isinstance(listed, list):
            raise record.wrong(f"video {key[1]!r} has no list {side!r}", remedy="an empty list is []")
        out[key] = [_interval(item, record) for item in listed]
    return out


def _interval(item: Any, place: Record) -> tuple[Interval, str | None]:
    if isinstance(item, Mapping):
        return interval(item.get("onset"), item.get("offset"), place), as_text(item.get("type"))
    if not isinstance(item, list) or len(item) != 2:
        raise place.wrong(f"{item!r:.60} is not an interval", remedy="write [onset, offset]")
    return interval(item[0], item[1], place), None
