"""A stretch of a server's log as a run, for exports: the log is read, never changed, also while a server writes it.

What a log does not hold, a run made of it has not: the curves of scores and sensitivity, and how long faces could be
judged. A session that is kept (`mellm serve --runs`) has all of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from mellm.engine.results.expressions import ExpressionRecord, FieldInvalid
from mellm.engine.results.run_folder import FORMAT
from mellm.engine.results.run_reader import Marker, Run
from mellm.stream.errors import JournalError, ProtocolError, UsageError
from mellm.stream.protocol import wire
from mellm.stream.protocol.events import (
    EVENTS_ERASED,
    EXPRESSION_ENDS,
    EXPRESSION_SPOTTED,
    MARKER,
    SOURCE_GAP,
    SOURCE_ONLINE,
    SOURCE_SESSION,
    Event,
    media_time,
)

RESTART_NS: Final = 5_000_000_000
"""A media clock that jumps back by more than this was started anew."""

TIMED: Final = ("from", "to", "at")


def is_journal(path: Path) -> bool:
    """Whether it is a file that begins like a log."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(15) == b"SQLite format 3"


def read_journal(
    path: Path,
    source: str | None = None,
    *,
    since_ns: int | None = None,
    until_ns: int | None = None,
    evidence: Path | None = None,
) -> Run:
    """The events of a source between two moments, as a run whose media time begins with the first of them.

    :param source: needed where the log has several
    :param since_ns: wall clock, nanoseconds since 1970; by default from the beginning
    :param until_ns: likewise; by default to the end
    :param evidence: folder of motion maps, as `mellm serve --keep-evidence` named it
    :raises JournalError: the log cannot be read
    :raises UsageError: it has no such source, none or several; nothing lies between the moments; or the source was
        started anew between them, so that one clock does not hold them all
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as db:
            found = _sources(db)
            name = _one(path, found, source)
            events = list(_events(db, name, since_ns, until_ns))
    except (sqlite3.Error, ProtocolError) as error:
        raise JournalError(
            f"the journal {path} cannot be read: {error}", remedy="name the event log of a server"
        ) from error
    if not any(event.type != SOURCE_SESSION for event in events):
        raise UsageError(
            f"{path}: nothing of {name!r} lies in that time", remedy="give other moments with --from and --to"
        )
    return _run(path, name, events, evidence)


def moment_ns(text: str) -> int:
    """A moment as a person writes it, nanoseconds since 1970; without a zone it is this machine's.

    :raises UsageError: it is none
    """
    try:
        return round(datetime.fromisoformat(text).astimezone().timestamp() * 1e9)
    except ValueError:
        raise UsageError(
            f"{text!r} is not a valid time", remedy="write 2026-11-29T10:30 or 2026-11-29T10:30:00Z"
        ) from None


def _sources(db: sqlite3.Connection) -> list[str]:
    return [
        row[0] for row in db.execute("SELECT DISTINCT source FROM events WHERE source != '' ORDER BY source")
    ]


def _one(path: Path, there: list[str], asked: str | None) -> str:
    if asked is None and len(there) == 1:
        return there[0]
    if asked in there:
        return asked
    known = ", ".join(there) or "none"
    what = "holds several sources" if asked is None else f"has no source {asked!r}"
    raise UsageError(f"{path} {what}", remedy=f"choose one with --source; there are: {known}")


def _events(
    db: sqlite3.Connection, source: str, since_ns: int | None, until_ns: int | None
) -> Iterator[Event]:
    query = "SELECT payload FROM events WHERE source IN (?, '') AND time >= ? AND time <= ? ORDER BY seq"
    for (payload,) in db.execute(query, (source, since_ns or 0, 2**63 - 1 if until_ns is None else until_ns)):
        event = wire.decode(payload)
        if event.type == MARKER or (event.source == source and event.type != EVENTS_ERASED):
            yield event


def _run(path: Path, source: str, events: list[Event], evidence: Path | None) -> Run:
    timed = [int(e.data["t_ns"]) for e in events if e.source == source and "t_ns" in e.data]
    _one_clock(path, source, timed)
    origin = min((_begin(e) for e in events if e.source == source and "t_ns" in e.data), default=0)
    moved = [
        _moved(event, origin) for event in events if event.source == source and event.type != SOURCE_SESSION
    ]
    records = [_record(event, evidence) for event in moved if event.type in EXPRESSION_ENDS]
    markers = [marker for event in events if (marker := _marker(event, source, origin)) is not None]
    last = max(timed, default=origin)
    online = next((e.data for e in reversed(events) if e.type == SOURCE_ONLINE), {})
    states = [record.state for record in records]
    gaps: dict[str, int] = {}
    for event in moved:
        if event.type == SOURCE_GAP:
            gaps[str(event.data["reason"])] = gaps.get(str(event.data["reason"]), 0) + 1
    summary: dict[str, Any] = {
        "state": "done",
        "path": online.get("uri", source),
        "live": True,
        "source": {**online, "id": source} if online else None,
        "media_s": round((last - origin) / 1e9, 3),
        "counts": {
            "spotted": sum(event.type == EXPRESSION_SPOTTED for event in moved),
            "described": states.count("described"),
            "abstained": states.count("abstained"),
            "gaps": gaps,
        },
        "remarks": ["Made from a server's log, which has no curves: judged time is not known."],
    }
    state = {
        "format": FORMAT,
        "epoch": events[0].epoch,
        "settings": {},
        "facts": {},
        "sources": {source: summary},
    }
    folder = evidence if evidence is not None else path.parent
    return Run(folder, state, tuple(records), tuple(e for e in moved if e.type != MARKER)).with_markers(
        markers
    )


def _one_clock(path: Path, source: str, timed: list[int]) -> None:
    latest = 0
    for t_ns in timed:
        if t_ns < latest - RESTART_NS:
            raise UsageError(
                f"{path}: {source!r} was started anew in that time, and its clock began at 0 again",
                remedy="choose one of the sessions with --from and --to",
            )
        latest = max(latest, t_ns)


def _begin(event: Event) -> int:
    """The earliest media time that an event speaks of."""
    return int(event.data.get("onset_ns", event.data["t_ns"]))


def _moved(event: Event, origin: int) -> Event:
    data = dict(event.data)
    for name in (*TIMED, "t", "onset", "apex", "offset"):
        if f"{name}_ns" in data:
            data |= media_time(name, int(data[f"{name}_ns"]) - origin)
    return replace(event, data=data)


def _record(event: Event, evidence: Path | None) -> ExpressionRecord:
    try:
        record = ExpressionRecord.from_json(event.data)
    except FieldInvalid as error:
        raise JournalError(
            f"event {event.seq} of the log has {error}", remedy="choose another time"
        ) from error
    kept = f"{record.id}.png"
    return replace(record, evidence=kept if evidence is not None and (evidence / kept).is_file() else None)


def _marker(event: Event, source: str, origin: int) -> Marker | None:
    if event.type != MARKER:
        return None
    t_ns = (
        event.data.get("t_ns") if event.source else event.data.get("clocks", {}).get(source, {}).get("t_ns")
    )
    return (
        None if t_ns is None else Marker((int(t_ns) - origin) / 1e6, str(event.data.get("label", "")), source)
    )
