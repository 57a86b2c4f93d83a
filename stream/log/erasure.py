"""Erasing events that are in the middle of the log, without a silent hole.

Where an event was, a *tombstone* stands: an ``events.erased`` of the same source that tells how many are gone and
between which numbers. Neighbours share one, so that an erased month costs one row. A replay carries tombstones like
any other event, whatever types the reader has chosen: nobody takes an erased event for one that never was.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from mellm.stream.protocol import wire
from mellm.stream.protocol.events import EVENTS_ERASED, Event

DAY_NS: Final = 86_400 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events; all that is given must hold.

    :param consent: reference in the events' ``consent`` field
    :param expression: id of an expression, in all its stages
    :param before_ns: wall clock, nanoseconds since 1970
    :raises ValueError: if nothing is given: that would be everything
    """

    source: str | None = None
    consent: str | None = None
    expression: str | None = None
    before_ns: int | None = None

    def __post_init__(self) -> None:
        if (
            self.source is None
            and self.consent is None
            and self.expression is None
            and self.before_ns is None
        ):
            raise ValueError("a selection needs a source, consent, expression or age")
        if "" in (self.source, self.consent, self.expression):
            raise ValueError("a selection by an empty name would take what belongs to nobody")

    @property
    def only_age(self) -> bool:
        """Whether nothing but age is asked for."""
        return self.source is None and self.consent is None and self.expression is None


@dataclass(frozen=True, slots=True)
class Erased:
    """What went, or would go.

    :param expressions: ids of those whose events went, for whoever keeps evidence
    :param wiped: whether the bytes are gone from the files too; another process that reads the log may keep them
    """

    events: int = 0
    expressions: tuple[str, ...] = ()
    sources: frozenset[str] = frozenset()
    from_seq: int | None = None
    to_seq: int | None = None
    wiped: bool = True


@dataclass(frozen=True, slots=True)
class _Run:
    """Events of one source with consecutive numbers."""

    source: str
    first: int
    last: int
    time: int


def select(db: sqlite3.Connection, what: Selection) -> tuple[list[tuple[int, str, int]], Erased]:
    """Number, source and time of each selected event, in order, and the sum of them. Tombstones are not selected."""
    where: list[str] = ["type != ?"]
    values: list[str | int] = [EVENTS_ERASED]
    for column, value in (("source = ?", what.source), ("id = ?", what.expression)):
        if value is not None:
            where.append(column)
            values.append(value)
    if what.before_ns is not None:
        where.append("time < ?")
        values.append(what.before_ns)
    rows: list[tuple[int, str, int]] = []
    expressions: dict[str, None] = {}
    query = (
        f"SELECT seq, type, source, id, time, payload FROM events WHERE {' AND '.join(where)} ORDER BY seq"
    )
    for seq, type, source, id, time, payload in db.execute(query, values):
        if what.consent is not None and json.loads(payload)["data"].get("consent") != what.consent:
            continue
        if what.expression is not None and not type.startswith("expression."):
            continue
        rows.append((seq, source, time))
        if type.startswith("expression."):
            expressions[id] = None
    if not rows:
        return rows, Erased()
    sources = frozenset(source for _, source, _ in rows)
    return rows, Erased(len(rows), tuple(expressions), sources, rows[0][0], rows[-1][0])


def bury(db: sqlite3.Connection, epoch: str, rows: Iterable[tuple[int, str, int]], reason: str) -> None:
    """Delete events and put tombstones into their places, in one transaction.

    :raises sqlite3.Error: and nothing was changed
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        for run in _runs(rows):
            db.execute("DELETE FROM events WHERE seq BETWEEN ? AND ?", (run.first, run.last))
            stone = _tombstone(run, epoch, reason)
            db.execute(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?, NULL, ?)",
                (run.last, stone.type, stone.source, stone.id, stone.time, wire.encode(stone)),
            )
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def wipe(db: sqlite3.Connection, *, vacuum: bool) -> bool:
    """Bring the deletion from the write-ahead log into the file, and empty that log.

    Needs ``secure_delete`` on the connection: SQLite then overwrites what it frees. :param vacuum: rebuild the file
    too, for what was freed by a version that did not.

    :returns: whether it was possible; another process that reads may prevent it
    :raises sqlite3.Error: if the disk refuses
    """
    if vacuum:
        db.execute("VACUUM")
    busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return not busy


def _runs(rows: Iterable[tuple[int, str, int]]) -> Iterator[_Run]:
    run: _Run | None = None
    for seq, source, time in rows:
        if run is not None and source == run.source and seq == run.last + 1:
            run = _Run(source, run.first, seq, time)
            continue
        if run is not None:
            yield run
        run = _Run(source, seq, seq, time)
    if run is not None:
        yield run


def _tombstone(run: _Run, epoch: str, reason: str) -> Event:
    data = {
        "reason": reason,
        "events": run.last - run.first + 1,
        "from_seq": run.first,
        "to_seq": run.last,
    }
    # the day is enough for retention by age; the moment would tell when somebody was there
    day = run.time // DAY_NS * DAY_NS
    return Event(EVENTS_ERASED, f"{epoch}-{run.last}", run.last, epoch, run.source, day, data)
