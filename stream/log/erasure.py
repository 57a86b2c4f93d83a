"""Erasing events that are in the middle of the log, without a silent hole.

Where an event was, a *tombstone* stands: an ``events.erased`` of the same source that tells how many are gone and
between which numbers. Neighbours share one, so that an erased month costs one row. A replay carries tombstones like
any other event, whatever types the reader has chosen: nobody takes an erased event for one that never was.

It goes piece by piece, so that other events are written in between. What is intended is written down first: after a
crash in the middle the rest goes when the log is opened again, before anybody reads it.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Final, NamedTuple

from mellm.stream.protocol import wire
from mellm.stream.protocol.events import EVENTS_ERASED, Event

logger = logging.getLogger(__name__)

DAY_NS: Final = 86_400 * 1_000_000_000

PIECE: Final = 200
"""Events that go in the first transaction; :func:`piece` finds how many fit into the time."""

PIECE_S: Final = 0.03
"""For one transaction: other events are written in between."""

CHECKPOINT_EVERY: Final = 16
"""Transactions after which the write-ahead log is brought into the file, from another thread than the writer's."""

STRETCH: Final = 20_000
"""Of the log, that is read for one piece where there is no index."""

_INTENT: Final = "erasing"


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


class Row(NamedTuple):
    """Of an event that is selected."""

    seq: int
    type: str
    source: str
    id: str
    time: int


@dataclass(frozen=True, slots=True)
class Stone:
    """What stands for events of one source with consecutive numbers; ``time`` is that of the last."""

    source: str
    first: int
    last: int
    time: int


def select(
    db: sqlite3.Connection, what: Selection, *, after: int, upto: int, most: int = PIECE
) -> tuple[list[Row], int]:
    """The next selected events behind ``after``, and up to where the log was looked through; no tombstones.

    Bounded: age has no index, so for it alone a stretch of the log is read and no more.
    """
    where = ["seq > ?", "seq <= ?", "type != ?"]
    values: list[str | int] = [EVENTS_ERASED]
    for column, value in (
        ("source = ?", what.source),
        ("consent = ?", what.consent),
        ("id = ?", what.expression),
    ):
        if value is not None:
            where.append(column)
            values.append(value)
    if what.before_ns is not None:
        where.append("time < ?")
        values.append(what.before_ns)
    if what.expression is not None:
        where.append("type GLOB 'expression.*'")
    end = min(upto, after + STRETCH) if what.only_age else upto
    query = f"SELECT seq, type, source, id, time FROM events WHERE {' AND '.join(where)} ORDER BY seq LIMIT ?"
    rows = [Row(*row) for row in db.execute(query, (after, end, *values, most))]
    return rows, rows[-1].seq if len(rows) == most else end


def piece(most: int, took_s: float) -> int:
    """How many events to take next, when so many took so long."""
    return max(100, min(2000, int(most * min(2.0, PIECE_S / max(took_s, 1e-4)))))


def add_up(rows: Iterable[Row], before: Erased | None = None) -> Erased:
    """The sum of some rows and of those before them."""
    known = before or Erased()
    rows = list(rows)
    if not rows:
        return known
    named = dict.fromkeys((*known.expressions, *(r.id for r in rows if r.type.startswith("expression."))))
    sources = known.sources | {row.source for row in rows}
    first = rows[0].seq if known.from_seq is None else known.from_seq
    return Erased(known.events + len(rows), tuple(named), sources, first, rows[-1].seq)


def intend(db: sqlite3.Connection, what: Selection, upto: int, reason: str) -> None:
    """Note what is going to be erased, so that :func:`finish` can, whatever happens in between."""
    told = json.dumps({"what": asdict(what), "upto": upto, "reason": reason})
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_INTENT, told))


def done(db: sqlite3.Connection) -> None:
    """What was intended is done, or is not going to be."""
    db.execute("DELETE FROM meta WHERE key = ?", (_INTENT,))


def finish(db: sqlite3.Connection, epoch: str) -> int:
    """At the opening of a log: erase the rest of what a process before this one had begun to.

    :returns: how many events that were; none may be left when it was the last step that is missing
    """
    found = db.execute("SELECT value FROM meta WHERE key = ?", (_INTENT,)).fetchone()
    if found is None:
        return 0
    told = json.loads(found[0])
    what, upto = Selection(**told["what"]), int(told["upto"])
    after = count = 0
    stone: Stone | None = None
    while after < upto:
        rows, after = select(db, what, after=after, upto=upto)
        stone = bury(db, epoch, rows, told["reason"], stone)
        count += len(rows)
    done(db)
    wipe(db, vacuum=False)
    logger.warning("an erasure that was cut short is finished: %d events were left", count)
    return count


def bury(
    db: sqlite3.Connection, epoch: str, rows: Iterable[Row], reason: str, before: Stone | None = None
) -> Stone | None:
    """Delete events and put tombstones into their places, in one transaction.

    :param before: the last tombstone of the piece before; it grows if these rows follow on it
    :returns: the last tombstone
    :raises sqlite3.Error: and nothing was changed
    """
    stone = before
    db.execute("BEGIN IMMEDIATE")
    try:
        for stone in _stones(rows, before):
            if stone.first < stone.last:
                db.execute("DELETE FROM events WHERE seq >= ? AND seq < ?", (stone.first, stone.last))
            told = _erasure_event(stone, epoch, reason)
            db.execute(
                "UPDATE events SET type = ?, id = ?, time = ?, score = NULL, payload = ?, consent = NULL WHERE seq = ?",
                (told.type, told.id, told.time, wire.encode(told), stone.last),
            )
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return stone


def wipe(db: sqlite3.Connection, *, vacuum: bool) -> bool:
    """Bring the deletion from the write-ahead log into the file, and empty that log.

    Needs ``secure_delete`` on the connection: SQLite then overwrites what it frees.

    :param vacuum: rebuild the file
    too, for what was freed by a version that did not.

    :returns: whether it was possible; another process that reads may prevent it
    :raises sqlite3.Error: if the disk refuses
    """
    if vacuum:
        db.execute("VACUUM")
    busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return not busy


def _stones(rows: Iterable[Row], before: Stone | None) -> Iterator[Stone]:
    stone, changed = before, False
    for row in rows:
        if stone is not None and row.source == stone.source and row.seq == stone.last + 1:
            stone = Stone(row.source, stone.first, row.seq, row.time)
        else:
            if stone is not None and changed:
                yield stone
            stone = Stone(row.source, row.seq, row.seq, row.time)
        changed = True
    if stone is not None and changed:
        yield stone


def _erasure_event(stone: Stone, epoch: str, reason: str) -> Event:
    data = {
        "reason": reason,
        "events": stone.last - stone.first + 1,
        "from_seq": stone.first,
        "to_seq": stone.last,
    }
    # the day is enough for retention by age; the moment would tell when somebody was there
    day = stone.time // DAY_NS * DAY_NS
    return Event(EVENTS_ERASED, f"{epoch}-{stone.last}", stone.last, epoch, stone.source, day, data)
