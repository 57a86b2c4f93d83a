"""The event log: append-only, numbered without holes, on SQLite.

An event is in the journal before any client sees it. ``epoch`` names the log and is stored in it, so a
restart on the same file continues both epoch and numbering, and clients resume where they were.

Durability: a commit survives the death of the process. With ``durable=True`` it also survives a loss of
power, at the price of one flush to disk for each event.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

from mellm.stream import private
from mellm.stream.closing import Closing
from mellm.stream.errors import JournalError
from mellm.stream.log.erasure import Erased, Selection, bury, select, wipe
from mellm.stream.protocol import wire
from mellm.stream.protocol.events import (
    EVENTS_ERASED,
    EXPRESSION_ENDS,
    EXPRESSION_SPOTTED,
    Event,
    Filter,
    Position,
    score_of,
)

logger = logging.getLogger(__name__)

SCHEMA: Final = 1
PAGE: Final = 256
MEMORY: Final = ":memory:"
_HEADER: Final = b"SQLite format 3\0"

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY,
    type TEXT NOT NULL,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    time INTEGER NOT NULL,
    score REAL,
    payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_id ON events (id);
"""


@dataclass(frozen=True, slots=True)
class Record:
    """An event as it is stored and sent: serialised once, with the columns that filters look at."""

    seq: int | None
    type: str
    source: str
    id: str
    score: float | None
    payload: bytes
    binary: bool = False

    @classmethod
    def of(cls, event: Event) -> Record:
        """Serialise an event.

        :raises TypeError, ValueError: if its data is not JSON, see :func:`mellm.stream.protocol.wire.encode`
        """
        score = score_of(event.type, event.data)
        binary = bool(event.picture)
        payload = wire.encode_picture(event) if binary else wire.encode(event)
        return cls(event.seq, event.type, event.source, event.id, score, payload, binary)

    @property
    def event(self) -> Event:
        """The event, parsed anew."""
        return wire.decode_picture(self.payload) if self.binary else wire.decode(self.payload)


@dataclass(frozen=True, slots=True)
class Retention:
    """What may be forgotten: events older than ``max_age_s``, and the oldest beyond ``max_events``."""

    max_events: int | None = None
    max_age_s: float | None = None

    def __post_init__(self) -> None:
        if self.max_events is not None and self.max_events < 1:
            raise ValueError(f"max_events must be positive: {self.max_events}")
        if self.max_age_s is not None and not self.max_age_s > 0:
            raise ValueError(f"max_age_s must be positive: {self.max_age_s}")


class Journal(Closing):
    """One log file, or memory. All methods may be called from any thread.

    :param path: a file, made with its folder, or ``:memory:``
    :param retention: by default a file keeps everything and memory the last 10 000 events
    :param durable: flush to disk with each event
    :raises JournalError: if the file cannot be opened, is no journal, or is in use by another process
    """

    def __init__(
        self, path: str | Path = MEMORY, *, retention: Retention | None = None, durable: bool = False
    ) -> None:
        self.path = str(path)
        in_memory = self.path == MEMORY
        self.retention = retention or Retention(max_events=10_000 if in_memory else None)
        self._lock = self._read_lock = threading.Lock()
        self._guard: IO[bytes] | None = None
        self._db: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        try:
            if not in_memory:
                private.folder(Path(self.path).parent)
                _check_header(Path(self.path))
                self._guard = _guard(self.path)
                for part in ("", "-wal", "-shm"):  # SQLite gives its new files the mode of the first
                    if not part or os.path.exists(self.path + part):
                        os.close(private.opener(self.path + part, os.O_RDWR | os.O_CREAT))
            self._db = self._reader = _connect(self.path)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._db.execute("PRAGMA secure_delete=ON")  # what is forgotten is overwritten
            self._db.executescript(_TABLES)
            self._open_epoch(self._db)
            if not in_memory:
                # replays read beside the writer, so that a crowd of late clients does not hold up a camera;
                # in memory a second connection would be another database
                self._reader, self._read_lock = _connect(self.path), threading.Lock()
                self._reader.execute("PRAGMA query_only=1")
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise JournalError(
                f"cannot open the journal {self.path}: {error}",
                remedy="name a writable file that is a journal or does not exist yet",
            ) from error
        except JournalError:
            self.close()
            raise

    def _open_epoch(self, db: sqlite3.Connection) -> None:
        schema = _meta(db, "schema", str(SCHEMA))
        if schema != str(SCHEMA):
            raise JournalError(
                f"the journal {self.path} has format {schema}, this version reads {SCHEMA}",
                remedy="use the version that wrote it, or another file",
            )
        self._epoch = _meta(db, "epoch", uuid.uuid4().hex[:16])
        # everything up to here has been forgotten; kept so that numbers are never used twice
        self._forgotten = int(_meta(db, "forgotten", "0"))
        (last,) = db.execute("SELECT max(seq) FROM events").fetchone()
        self._last = max(last or 0, self._forgotten)

    @property
    def epoch(self) -> str:
        """The name of this log; a new file has a new one."""
        return self._epoch

    @property
    def first_seq(self) -> int:
        """The oldest number that can still be read; ``last_seq + 1`` when there is none."""
        return self._forgotten + 1

    @property
    def last_seq(self) -> int:
        """The newest number, 0 in an empty log."""
        return self._last

    @property
    def position(self) -> Position:
        """The end of the log."""
        return Position(self._epoch, self._last)

    def append(
        self, type: str, source: str, data: Mapping[str, Any], *, time: int, id: str | None = None
    ) -> Record:
        """Number an event and write it. Atomic: after an error nothing was written and no number is spent.

        :param time: wall clock, nanoseconds
        :param id: what it is about; by default a name made of epoch and number
        :raises JournalError: if the disk is full or the file cannot be written
        :raises TypeError, ValueError: if ``data`` is not JSON
        """
        with self._lock:
            db = self._open()
            seq = self._last + 1
            event = Event(type, id or f"{self._epoch}-{seq}", seq, self._epoch, source, time, data)
            record = Record.of(event)
            try:
                db.execute(
                    "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (seq, type, source, event.id, time, record.score, record.payload),
                )
            except sqlite3.Error as error:
                raise self._failed("write", error) from error
            self._last = seq
        if seq % 1024 == 0 and self.retention != Retention():
            try:
                self.prune(now=time)
            except JournalError as error:
                logger.warning("%s", error)  # the event itself is written
        return record

    def read(
        self, after: int, *, upto: int | None = None, limit: int = PAGE, wanted: Filter | None = None
    ) -> list[Record]:
        """Up to ``limit`` matching events with ``after < seq <= upto``, in order."""
        wanted = wanted or Filter()
        where, values = ["seq > ?", "seq <= ?"], [after, self._last if upto is None else upto]
        query: list[object] = list(values)
        if wanted.types is not None:
            chosen = wanted.types | {EVENTS_ERASED}
            where.append(f"type IN ({_marks(chosen)})")
            query += sorted(chosen)
        if wanted.sources is not None:
            where.append(f"(source = '' OR source IN ({_marks(wanted.sources)}))")
            query += sorted(wanted.sources)
        if not wanted.whole_server:
            where.append("source != ''")
        if wanted.min_score > 0:
            where.append("(score IS NULL OR score >= ?)")
            query.append(wanted.min_score)
        return self._select(f"WHERE {' AND '.join(where)} ORDER BY seq LIMIT ?", [*query, limit])

    def replay(self, after: int = 0, *, wanted: Filter | None = None) -> Iterator[Record]:
        """All matching events after ``after``, a page at a time, up to the end at the time of the call."""
        upto = self._last
        while page := self.read(after, upto=upto, wanted=wanted):
            yield from page
            after = page[-1].seq or upto

    def about(self, id: str, *, limit: int = 16) -> list[Record]:
        """The events about one thing, oldest first: the stages of an expression."""
        return self._select("WHERE id = ? ORDER BY seq LIMIT ?", [id, limit])

    def unfinished(self, *, within: int = 10_000) -> list[Record]:
        """Expressions that were spotted and have no end: what a process left open that is no more.

        :param within: looks at so many of the newest events; no more can be open than the queues hold
        """
        ends = sorted(EXPRESSION_ENDS)
        return self._select(
            "AS spotted WHERE seq > ? AND type = ? AND NOT EXISTS (SELECT 1 FROM events AS ended"
            f" WHERE ended.id = spotted.id AND ended.type IN ({_marks(EXPRESSION_ENDS)})) ORDER BY seq",
            [self._last - within, EXPRESSION_SPOTTED, *ends],
        )

    def prune(self, retention: Retention | None = None, *, now: int) -> int:
        """Forget the oldest events. Numbers are not used again.

        :param now: wall clock, nanoseconds
        :returns: how many were forgotten
        """
        rule = retention or self.retention
        with self._lock:
            db = self._open()
            upto = 0
            try:
                if rule.max_events is not None:
                    upto = self._last - rule.max_events
                if rule.max_age_s is not None:
                    # a prefix, never a hole: up to the first event that is young enough
                    young = db.execute(
                        "SELECT seq FROM events WHERE time >= ? ORDER BY seq LIMIT 1",
                        (now - int(rule.max_age_s * 1e9),),
                    ).fetchone()
                    upto = max(upto, young[0] - 1 if young else self._last)
                if upto <= self._forgotten:
                    return 0
                db.execute("BEGIN")
                gone = db.execute("DELETE FROM events WHERE seq <= ?", (upto,)).rowcount
                db.execute("UPDATE meta SET value = ? WHERE key = 'forgotten'", (str(upto),))
                db.execute("COMMIT")
                self._forgotten = upto
                if gone and self.path != MEMORY:
                    with self._read_lock:
                        wipe(db, vacuum=False)
            except sqlite3.Error as error:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise self._failed("prune", error) from error
            return int(gone)

    def erase(self, what: Selection, *, reason: str, dry_run: bool = False, vacuum: bool = False) -> Erased:
        """Erase events and leave tombstones, see :mod:`mellm.stream.log.erasure`.

        Their bytes are overwritten in the file.

        Publishers wait meanwhile, seconds for 100 000 events.

        :param reason: stands in the tombstones
        :param dry_run: only tell what would go
        :param vacuum: rebuild the file too, which takes as long as copying it
        """
        with self._lock:
            db = self._open()
            try:
                rows, found = select(db, what)
                if dry_run:
                    return found
                if rows:
                    bury(db, self._epoch, rows, reason)
                if (rows or vacuum) and self.path != MEMORY:
                    with self._read_lock:  # a reader in the old state of the file would keep it
                        found = replace(found, wiped=wipe(db, vacuum=vacuum))
            except sqlite3.Error as error:
                raise self._failed("erase from", error) from error
            return found

    def note(self, key: str, value: str | None = None) -> str | None:
        """Keep a fact about the log beside it, or (without a value) look it up.

        :raises JournalError: if the file cannot be read or written
        """
        with self._lock:
            db = self._open()
            try:
                if value is not None:
                    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"note:{key}", value))
                row = db.execute("SELECT value FROM meta WHERE key = ?", (f"note:{key}",)).fetchone()
            except sqlite3.Error as error:
                raise self._failed("write" if value is not None else "read", error) from error
        return None if row is None else str(row[0])

    def notes(self, prefix: str) -> dict[str, str]:
        """All facts that :meth:`note` keeps under keys that begin so."""
        with self._lock:
            try:
                rows = self._open().execute("SELECT key, value FROM meta ORDER BY key").fetchall()
            except sqlite3.Error as error:
                raise self._failed("read", error) from error
        start = f"note:{prefix}"
        return {key.removeprefix("note:"): value for key, value in rows if key.startswith(start)}

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        with self._lock:
            reader, self._reader = self._reader, None
            if self._db is not None:
                self._db.close()
            if reader is not self._db and reader is not None:
                with self._read_lock:
                    reader.close()
            self._db = None
            if self._guard is not None:
                self._guard.close()
                self._guard = None

    def __repr__(self) -> str:
        return f"<Journal {self.path} epoch {self._epoch} seq {self.first_seq}…{self._last}>"

    def _select(self, tail: str, values: list[object]) -> list[Record]:
        columns = "seq, type, source, id, score, payload"
        with self._read_lock:
            if self._reader is None:
                raise JournalError(f"the journal {self.path} is closed")
            try:
                rows = self._reader.execute(f"SELECT {columns} FROM events {tail}", values).fetchall()
            except sqlite3.Error as error:
                raise self._failed("read", error) from error
        return [Record(*row) for row in rows]

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            raise JournalError(f"the journal {self.path} is closed")
        return self._db

    def _failed(self, verb: str, error: sqlite3.Error) -> JournalError:
        return JournalError(
            f"cannot {verb} the journal {self.path}: {error}", remedy="check free space and permissions"
        )


def _connect(path: str) -> sqlite3.Connection:
    return sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5.0)


def _guard(path: str) -> IO[bytes]:
    """Two writers would number events twice. A lock file of its own: closing any descriptor of the database
    would drop SQLite's locks on it."""
    file = open(path + ".lock", "ab", opener=private.opener)  # noqa: SIM115 - held for the life of the journal
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise JournalError(
            f"the journal {path} is in use by another process",
            remedy="stop it, or name another journal",
        ) from None
    os.set_inheritable(file.fileno(), False)
    return file


def _check_header(path: Path) -> None:
    """SQLite takes a file of a few bytes for an empty database and would overwrite it."""
    if path.exists():
        with path.open("rb") as file:
            header = file.read(len(_HEADER))
        if header not in (b"", _HEADER):
            raise sqlite3.DatabaseError("file is not a database")


def _meta(db: sqlite3.Connection, key: str, default: str) -> str:
    db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, default))
    (value,) = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return str(value)


def _marks(values: frozenset[str]) -> str:
    return ", ".join("?" * len(values))
