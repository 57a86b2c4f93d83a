"""The one thread that changes a log. Events are written in batches, everything else in short pieces between them.

Nobody else waits for the disk: publishers leave their events in a bounded queue, in the order in which they are
numbered, and are called back once they are written.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from mellm.stream.errors import JournalError, MellmError
from mellm.stream.log.record import Record
from mellm.stream.log.tables import Ends
from mellm.stream.protocol.events import Event
from mellm.stream.worker import Turn, Vitals, Worker

logger = logging.getLogger(__name__)

T = TypeVar("T")

BOUND: Final = 4096
"""What may wait."""

BATCH: Final = 256
"""Events in one transaction."""

PIECE: Final = 500
"""Rows that anything but a batch may change in one go."""

TRIM_EVERY: Final = 1024
"""Events after which the old end is looked at; as many again may go at once."""

LIMIT_S: Final = 5.0
"""For one batch or piece."""


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


@dataclass(slots=True, eq=False)
class Post:
    """An event that is to be numbered and written.

    :param wanted: asked just before it is written; ``None`` is its result where it is not
    :param then: called with the record once it is written, in order, before ``done`` is resolved
    """

    type: str
    source: str
    data: Mapping[str, Any]
    time: int
    id: str | None
    wanted: Callable[[], bool] = lambda: True
    then: Callable[[Record], None] = lambda record: None
    done: Future[Record | None] = field(default_factory=Future)
    tries: int = 0


@dataclass(slots=True, eq=False)
class _Call:
    run: Callable[[sqlite3.Connection], Any]
    done: Future[Any] = field(default_factory=Future)


class LogWriter:
    """Owns the connection that writes. :meth:`post` and :meth:`call` may be used from any thread.

    :param shared: held while the database is used, where readers have no connection of their own
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        path: str,
        ends: Ends,
        retention: Retention,
        *,
        shared: threading.Lock | None = None,
        vitals: Vitals | None = None,
    ) -> None:
        self.epoch = ends.epoch
        self.last = ends.last
        self.forgotten = ends.forgotten
        self.unwiped = False
        """Whether something was forgotten whose bytes may still be in the write-ahead log."""
        self.db = db
        self._path = path
        self._retention = retention
        self._shared: AbstractContextManager[Any] = shared or nullcontext()
        self._items: deque[Post | _Call] = deque()
        self._hand: list[Post] = []
        self._changed = threading.Condition()
        self._closed = False
        self._worker = Worker(
            "journal", self._work, on_death=self._died, vitals=vitals, limit_s=LIMIT_S
        )  # never replaced: two would number events twice

    def post(self, post: Post, patience_s: float | None = None) -> Future[Record | None]:
        """Have an event written. Waits only while the queue is full.

        :param patience_s: longest wait, ``None`` for any
        :raises JournalError: the log is closed, or there was no room in time
        """
        self._put(post, patience_s)
        return post.done

    def call(self, run: Callable[[sqlite3.Connection], T]) -> T:
        """Do something to the database between two batches, and wait for it; it should be short.

        :raises JournalError: the log is closed; besides, whatever ``run`` raises
        """
        call = _Call(run)
        self._put(call, None)
        result: T = call.done.result()
        return result

    def stop(self) -> None:
        """Write what waits, then end."""
        self._worker.stop()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def close(self) -> None:
        """As :meth:`stop`, wait for it, and close the connection. Safe to call twice."""
        self.stop()
        self._worker.join()
        while self._items:  # it was at rest after a failure
            self._carry_out(self._next())
        self.db.close()

    def _put(self, item: Post | _Call, patience_s: float | None) -> None:
        until = None if patience_s is None else time.monotonic() + patience_s
        with self._changed:
            while len(self._items) >= BOUND and not self._closed:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise JournalError(
                        f"the journal {self._path} does not keep up", remedy="check the disk that it is on"
                    )
                self._changed.wait(left)
            if self._closed:
                raise JournalError(f"the journal {self._path} is closed")
            self._items.append(item)
            if not self._worker.started:
                self._worker.start()
            self._changed.notify_all()

    # -- the thread -----------------------------------------------------------------------------------

    def _work(self, turn: Turn) -> None:
        while True:
            with self._changed:
                turn.rest()
                self._changed.wait_for(lambda: self._items or turn.over)
                turn.heartbeat()
                if not self._items:
                    return
                taken = self._next()
            self._carry_out(taken)
            turn.worked()

    def _next(self) -> list[Post] | _Call:
        """A batch of events, or one piece of something else."""
        first = self._items.popleft()
        if isinstance(first, _Call):
            self._changed_room()
            return first
        batch = [first]
        while len(batch) < BATCH and self._items and isinstance(self._items[0], Post):
            batch.append(self._items.popleft())  # type: ignore[arg-type]
        self._changed_room()
        return batch

    def _changed_room(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _carry_out(self, taken: list[Post] | _Call) -> None:
        if isinstance(taken, _Call):
            self._run(taken)
            return
        self._hand = taken
        written = self._write(taken)
        self._hand = []
        for post, record in written:
            _resolve(post, record)
        if written and self._retention != Retention() and self.last % TRIM_EVERY < len(written):
            self._run(_Call(lambda db: self.forget(db, self._retention, taken[-1].time, 2 * TRIM_EVERY)))

    def _run(self, call: _Call) -> None:
        with self._shared:
            try:
                result = call.run(self.db)
            except BaseException as error:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                call.done.set_exception(error)
                return
        call.done.set_result(result)

    def _write(self, batch: list[Post]) -> list[tuple[Post, Record | None]]:
        """One transaction. What cannot be written gets its error here; after one of the disk nothing was written and no
        number is spent."""
        written: list[tuple[Post, Record | None]] = []
        seq = self.last
        with self._shared:
            try:
                self.db.execute("BEGIN")
                for post in batch:
                    if not post.wanted():
                        written.append((post, None))
                        continue
                    try:
                        record = self.record(post, seq + 1)
                    except (TypeError, ValueError) as error:
                        post.done.set_exception(error)
                        continue
                    self._insert(record, post)
                    written.append((post, record))
                    seq += 1
                self.db.execute("COMMIT")
            except sqlite3.Error as error:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                failed = failure(self._path, "write", error)
                for post in batch:
                    if not post.done.done():
                        post.done.set_exception(failed)
                return []
        self.last = seq
        return written

    def record(self, post: Post, seq: int) -> Record:
        """The event under that number.

        :raises TypeError, ValueError: its data is not JSON
        """
        id = post.id or f"{self.epoch}-{seq}"
        return Record.of(Event(post.type, id, seq, self.epoch, post.source, post.time, post.data))

    def _insert(self, record: Record, post: Post) -> None:
        consent = post.data.get("consent")
        values = (record.seq, record.type, record.source, record.id, post.time, record.score, record.payload)
        self.db.execute(
            "INSERT INTO events (seq, type, source, id, time, score, payload, consent) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*values, consent if isinstance(consent, str) else None),
        )

    def forget(self, db: sqlite3.Connection, rule: Retention, now: int, piece: int = PIECE) -> int:
        """Forget some of the oldest events, for :meth:`call`. Numbers are not used again.

        :param now: wall clock, nanoseconds
        :returns: how many went; :attr:`forgotten` stays where it is once the rest is to be kept
        """
        reach = min(self.last, self.forgotten + piece)
        upto = self.forgotten
        if rule.max_events is not None:
            upto = max(upto, min(reach, self.last - rule.max_events))
        if rule.max_age_s is not None:
            # a prefix, never a hole: up to the first event that is young enough
            young = db.execute(
                "SELECT seq FROM events WHERE seq <= ? AND time >= ? ORDER BY seq LIMIT 1",
                (reach, now - int(rule.max_age_s * 1e9)),
            ).fetchone()
            upto = max(upto, young[0] - 1 if young else reach)
        if upto <= self.forgotten:
            return 0
        db.execute("BEGIN")
        gone = db.execute("DELETE FROM events WHERE seq <= ?", (upto,)).rowcount
        db.execute("UPDATE meta SET value = ? WHERE key = 'forgotten'", (str(upto),))
        db.execute("COMMIT")
        self.forgotten, self.unwiped = upto, True
        return gone

    def _died(self, error: MellmError) -> None:
        """Nothing of what it had in hand was written: it is tried once more."""
        if self.db.in_transaction:
            self.db.execute("ROLLBACK")
        again, self._hand = self._hand, []
        for post in again:
            post.tries += 1
            if post.tries > 1 and not post.done.done():
                post.done.set_exception(JournalError(f"cannot write the journal {self._path}: {error}"))
        with self._changed:
            self._items.extendleft(reversed([post for post in again if not post.done.done()]))


def failure(path: str, verb: str, error: sqlite3.Error) -> JournalError:
    """What SQLite said, as ours."""
    return JournalError(
        f"cannot {verb} the journal {path}: {error}", remedy="check free space and permissions"
    )


def _resolve(post: Post, record: Record | None) -> None:
    try:
        if record is not None:
            post.then(record)
    except Exception:
        logger.exception("%s is written, and could not be handed on", post.type)
    post.done.set_result(record)
