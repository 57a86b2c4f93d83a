"""The event log: append-only, numbered without holes, on SQLite.

An event is in the journal before any client sees it. ``epoch`` names the log and is stored in it, so a
restart on the same file continues both epoch and numbering, and clients resume where they were.

Durability: a commit survives the death of the process. With ``durable=True`` it also survives a loss of
power, at the price of one flush to disk for each batch.
"""

from __future__ import annotations

import itertools
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic_ns as time_ns
from typing import IO, Any, Final

from mellm.stream.closing import Closing
from mellm.stream.errors import JournalError
from mellm.stream.log import erasure, tables
from mellm.stream.log.erasure import Erased, Row, Selection, Stone
from mellm.stream.log.record import Record
from mellm.stream.log.writer import LogWriter, Post, Retention, failure
from mellm.stream.protocol.events import (
    EVENTS_ERASED,
    EXPRESSION_ENDS,
    EXPRESSION_SPOTTED,
    Filter,
    Position,
)
from mellm.stream.worker import Vitals

__all__ = ["MEMORY", "PAGE", "Journal", "Record", "Retention"]

PAGE: Final = 256
MEMORY: Final = ":memory:"

WAL_PAGES: Final = 25_000
"""Of the write-ahead log while much changes, 4 KB each; beyond it the writer waits until it is in the file."""


class Journal(Closing):
    """One log file, or memory. All methods may be called from any thread; what changes the log is done by one writer
    thread (:mod:`mellm.stream.log.writer`), in the order in which it was asked for.

    :param path: a file, made with its folder, or ``:memory:``
    :param retention: by default a file keeps everything and memory the last 10 000 events
    :param durable: flush to disk with each batch of events
    :param vitals: watches the writer
    :raises JournalError: if the file cannot be opened, is no journal, or is in use by another process
    """

    def __init__(
        self,
        path: str | Path = MEMORY,
        *,
        retention: Retention | None = None,
        durable: bool = False,
        vitals: Vitals | None = None,
    ) -> None:
        self.path = str(path)
        in_memory = self.path == MEMORY
        self.retention = retention or Retention(max_events=10_000 if in_memory else None)
        self._read_lock = threading.Lock()
        self._erasing = threading.Lock()
        self._guard: IO[bytes] | None = None
        db: sqlite3.Connection | None = None
        try:
            if not in_memory:
                self._guard = tables.claim(Path(self.path))
            db = tables.connect(self.path)
            ends = tables.prepare(db, self.path, durable=durable)
            erasure.finish(db, ends.epoch)
            if in_memory:
                self._reader: sqlite3.Connection | None = db
            else:
                # replays read beside the writer, so that a crowd of late clients does not hold up a camera;
                # in memory a second connection would be another database
                self._reader = tables.connect(self.path)
                self._reader.execute("PRAGMA query_only=1")
        except (sqlite3.Error, OSError, JournalError) as error:
            if db is not None:
                db.close()
            self._release()
            if isinstance(error, JournalError):
                raise
            raise JournalError(
                f"cannot open the journal {self.path}: {error}",
                remedy="name a writable file that is a journal or does not exist yet",
            ) from error
        self._writer = LogWriter(
            db,
            self.path,
            ends,
            self.retention,
            shared=self._read_lock if in_memory else None,
            vitals=vitals,
        )
        weakref.finalize(self, self._writer.stop)  # a log that nobody closes leaves no thread behind

    @property
    def epoch(self) -> str:
        """The name of this log; a new file has a new one."""
        return self._writer.epoch

    @property
    def first_seq(self) -> int:
        """The oldest number that can still be read; ``last_seq + 1`` when there is none."""
        return self._writer.forgotten + 1

    @property
    def last_seq(self) -> int:
        """The newest number that is written, 0 in an empty log."""
        return self._writer.last

    @property
    def position(self) -> Position:
        """The end of the log."""
        return Position(self.epoch, self.last_seq)

    def append(
        self, type: str, source: str, data: Mapping[str, Any], *, time: int, id: str | None = None
    ) -> Record:
        """Number an event, write it, and wait until that is done. After an error nothing was written and no number is
        spent.

        :param time: wall clock, nanoseconds
        :param id: what it is about; by default a name made of epoch and number
        :raises JournalError: if the disk is full or the file cannot be written
        :raises TypeError, ValueError: if ``data`` is not JSON
        """
        record = self._writer.post(Post(type, source, data, time, id)).result()
        assert record is not None
        return record

    def post(
        self,
        type: str,
        source: str,
        data: Mapping[str, Any],
        *,
        time: int,
        id: str | None = None,
        wanted: Callable[[], bool] = lambda: True,
        then: Callable[[Record], None] = lambda record: None,
        patience_s: float | None = None,
    ) -> Future[Record | None]:
        """As :meth:`append`, without waiting for the disk.

        :param wanted: asked on the writer's thread just before the event is numbered; without it the result is ``None``
        :param then: called there with the record once it is written, in the order of numbers
        :param patience_s: longest wait for room in the queue
        :raises JournalError: if there was none
        :raises TypeError, ValueError: if ``data`` is not JSON
        """
        post = Post(type, source, data, time, id, wanted, then)
        self._writer.record(post, 1)  # whoever made it hears of it, and not the writer
        return self._writer.post(post, patience_s)

    def flush(self) -> None:
        """Wait until everything that was posted before is written."""
        self._writer.call(lambda db: None)

    def read(
        self, after: int, *, upto: int | None = None, limit: int = PAGE, wanted: Filter | None = None
    ) -> list[Record]:
        """Up to ``limit`` matching events with ``after < seq <= upto``, in order."""
        wanted = wanted or Filter()
        where, values = ["seq > ?", "seq <= ?"], [after, self._writer.last if upto is None else upto]
        query: list[object] = list(values)
        if wanted.types is not None:
            chosen = wanted.types | {EVENTS_ERASED}
            where.append(f"type IN ({_marks(chosen)})")
            query += sorted(chosen)
        if wanted.sources is not None:
            # pages are read in the order of numbers; the index on sources would sort the whole log for each
            where.append(f"(+source = '' OR +source IN ({_marks(wanted.sources)}))")
            query += sorted(wanted.sources)
        if not wanted.whole_server:
            where.append("source != ''")
        if wanted.min_score > 0:
            where.append("(score IS NULL OR score >= ?)")
            query.append(wanted.min_score)
        return self._select(f"WHERE {' AND '.join(where)} ORDER BY seq LIMIT ?", [*query, limit])

    def replay(self, after: int = 0, *, wanted: Filter | None = None) -> Iterator[Record]:
        """All matching events after ``after``, a page at a time, up to the end at the time of the call."""
        upto = self._writer.last
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
            [self._writer.last - within, EXPRESSION_SPOTTED, *ends],
        )

    def prune(self, retention: Retention | None = None, *, now: int) -> int:
        """Forget the oldest events, piece by piece. Numbers are not used again.

        :param now: wall clock, nanoseconds
        :returns: how many were forgotten
        """
        rule = retention or self.retention
        gone = 0
        try:
            before = -1
            with self._much_changes() as checkpoint:
                while before != self._writer.forgotten:
                    before = self._writer.forgotten
                    gone += self._writer.call(lambda db: self._writer.forget(db, rule, now))
                    if gone:
                        checkpoint()
            if self._writer.unwiped:
                self._wipe(vacuum=False)
        except sqlite3.Error as error:
            raise failure(self.path, "prune", error) from error
        return gone

    def erase(self, what: Selection, *, reason: str, dry_run: bool = False, vacuum: bool = False) -> Erased:
        """Erase events and leave tombstones, see :mod:`mellm.stream.log.erasure`. Their bytes are overwritten in the
        file. What is posted meanwhile is written in between, and stays.

        :param reason: stands in the tombstones
        :param dry_run: only tell what would go
        :param vacuum: rebuild the file too, which takes as long as copying it; publishers wait meanwhile
        :raises JournalError: if the disk refuses; if some of it is gone already, the rest goes when the log is opened
            again
        """
        with self._erasing:
            self.flush()
            upto, found, begun = self.last_seq, Erased(), False
            after, most, stone = 0, erasure.PIECE, None
            try:
                if not dry_run:
                    self._writer.call(lambda db: erasure.intend(db, what, upto, reason))
                with self._much_changes() as checkpoint:
                    for number in itertools.count(1):
                        with self._reading() as db:
                            rows, after = erasure.select(db, what, after=after, upto=upto, most=most)
                        found = erasure.add_up(rows, found)
                        if rows and not dry_run:
                            stone, took_s = self._bury(rows, reason, stone)
                            begun = True
                            most = erasure.piece(most, took_s)
                        if begun and number % erasure.CHECKPOINT_EVERY == 0:
                            checkpoint()
                        if after >= upto:
                            break
                    if not dry_run:
                        self._writer.call(erasure.done)
                        checkpoint()
                if begun or (vacuum and not dry_run):
                    found = replace(found, wiped=self._wipe(vacuum=vacuum))
            except BaseException as error:
                if not dry_run and not begun:
                    self._writer.call(erasure.done)  # nothing is gone, and nothing will be
                if isinstance(error, sqlite3.Error):
                    raise failure(self.path, "erase from", error) from error
                raise
            return found

    def _bury(self, rows: list[Row], reason: str, before: Stone | None) -> tuple[Stone | None, float]:
        """The last tombstone, and how long the writer took."""

        def bury(db: sqlite3.Connection) -> tuple[Stone | None, float]:
            started = time_ns()
            return erasure.bury(db, self.epoch, rows, reason, before), (time_ns() - started) / 1e9

        return self._writer.call(bury)

    @contextmanager
    def _much_changes(self) -> Iterator[Callable[[], object]]:
        """While much of the log changes the writer does not bring the write-ahead log into the file: that may take
        seconds of a disk. Whoever has asked for the changes does, with what this yields, and the writer goes on."""
        if self.path == MEMORY:
            yield lambda: None
            return
        self._writer.call(lambda db: db.execute("PRAGMA wal_autocheckpoint=0"))
        beside = tables.connect(self.path)
        passive = "PRAGMA wal_checkpoint(PASSIVE)"

        def checkpoint() -> None:
            # twice: the first takes long and the writer goes on meanwhile, the second is up to date with it, as a rule,
            # and then the write-ahead log begins anew
            beside.execute(passive).fetchone()
            _, pages, _ = beside.execute(passive).fetchone()
            if pages > WAL_PAGES:  # it has never been: the writer itself stops for it
                self._writer.call(lambda db: db.execute(passive).fetchone())

        try:
            yield checkpoint
        finally:
            beside.close()
            self._writer.call(lambda db: db.execute("PRAGMA wal_autocheckpoint=1000"))

    def _wipe(self, *, vacuum: bool) -> bool:
        """Whether erased bytes are gone from the files."""
        if self.path == MEMORY:
            return True

        def wipe(db: sqlite3.Connection) -> bool:
            with self._read_lock:  # a reader in the old state of the file would keep it
                return erasure.wipe(db, vacuum=vacuum)

        wiped = self._writer.call(wipe)
        self._writer.unwiped = not wiped
        return wiped

    def note(self, key: str, value: str | None = None) -> str | None:
        """Keep a fact about the log beside it, or (without a value) look it up.

        :raises JournalError: if the file cannot be read or written
        """
        try:
            if value is not None:
                self._writer.call(
                    lambda db: db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"note:{key}", value))
                )
            with self._reading() as db:
                row = db.execute("SELECT value FROM meta WHERE key = ?", (f"note:{key}",)).fetchone()
        except sqlite3.Error as error:
            raise failure(self.path, "read" if value is None else "write", error) from error
        return None if row is None else str(row[0])

    def notes(self, prefix: str) -> dict[str, str]:
        """All facts that :meth:`note` keeps under keys that begin so."""
        try:
            with self._reading() as db:
                rows = db.execute("SELECT key, value FROM meta ORDER BY key").fetchall()
        except sqlite3.Error as error:
            raise failure(self.path, "read", error) from error
        start = f"note:{prefix}"
        return {key.removeprefix("note:"): value for key, value in rows if key.startswith(start)}

    def close(self) -> None:
        """Write what waits, then close the file. Safe to call twice."""
        with self._read_lock:
            reader, self._reader = self._reader, None
        self._writer.close()
        if reader is not None:
            reader.close()
        self._release()

    def _release(self) -> None:
        if self._guard is not None:
            self._guard.close()
            self._guard = None

    def __repr__(self) -> str:
        return f"<Journal {self.path} epoch {self.epoch} seq {self.first_seq}…{self.last_seq}>"

    def _select(self, tail: str, values: list[object]) -> list[Record]:
        columns = "seq, type, source, id, score, payload"
        try:
            with self._reading() as db:
                rows = db.execute(f"SELECT {columns} FROM events {tail}", values).fetchall()
        except sqlite3.Error as error:
            raise failure(self.path, "read", error) from error
        return [Record(*row) for row in rows]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._read_lock:
            if self._reader is None:
                raise JournalError(f"the journal {self.path} is closed")
            yield self._reader


def _marks(values: frozenset[str]) -> str:
    return ", ".join("?" * len(values))
