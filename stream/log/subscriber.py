"""One reader of a hub: first the journal from where it left off, then live, without a hole or a repetition in between.

Everything up to the hub's ``delivered`` number comes from the journal, everything after it from memory. A subscriber
that cannot keep up costs its backlog and nothing else. Lossy events are coalesced (the latest of each kind, source and
id stays); when reliable ones overflow, the subscriber is cut with a place to resume.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from mellm.stream.errors import ProtocolError
from mellm.stream.log.journal import PAGE, Journal, Record
from mellm.stream.protocol import wire
from mellm.stream.protocol.events import Filter, Position


@dataclass(frozen=True, slots=True)
class HubLimits:
    """Bounds on memory.

    :param backlog_events: reliable events waiting for one subscriber
    :param backlog_bytes: as ``backlog_events``
    :param incoming_events: published and not yet handed out; beyond it subscribers reread the journal
    """

    backlog_events: int = 64
    backlog_bytes: int = 1024 * 1024
    incoming_events: int = 4096

    def __post_init__(self) -> None:
        if min(self.backlog_events, self.backlog_bytes, self.incoming_events) < 1:
            raise ValueError(f"limits must be positive: {self}")


@dataclass(frozen=True, slots=True)
class Skipped:
    """Lossy events that were coalesced since the last notice, by type."""

    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class ReplayDone:
    """The journal has been read up to ``position``; what follows is live."""

    position: Position
    events: int


@dataclass(frozen=True, slots=True)
class ReplayTruncated:
    """Not everything asked for is there.

    :param reason: ``retention`` (forgotten), ``epoch`` (another log: all of this one follows) or ``ahead``
        (the log is shorter than the reader's place in it)
    :param resumes: the replay starts after this
    """

    reason: str
    asked: Position
    resumes: Position


Item: TypeAlias = Record | Skipped | ReplayDone | ReplayTruncated


class SlowConsumer(ProtocolError):
    """A subscriber did not keep up; close code 4409. ``resume`` is the last event handed to it."""

    def __init__(self, resume: Position) -> None:
        super().__init__(
            f"too slow: the backlog is full after seq {resume.seq}",
            close_code=wire.SLOW_CONSUMER,
            remedy="reconnect and resume, read faster, or narrow the subscription",
        )
        self.resume = resume


@dataclass(slots=True)
class Totals:
    """Counts of one subscriber. ``offered = delivered + coalesced + abandoned + waiting``."""

    offered: int = 0
    delivered_reliable: int = 0
    delivered_lossy: int = 0
    coalesced: int = 0
    abandoned: int = 0


class Feed(Protocol):
    """What a subscriber needs of the hub."""

    @property
    def journal(self) -> Journal:
        """Where events are read that came before."""
        ...

    @property
    def limits(self) -> HubLimits:
        """Bounds on the backlog."""
        ...

    @property
    def delivered(self) -> int:
        """The newest number that has been offered to live subscribers."""
        ...


class Subscriber:
    """One reader's side of a hub. Made by :meth:`mellm.stream.log.hub.Hub.subscribe`, used on the loop only."""

    def __init__(self, hub: Feed, wanted: Filter, after: Position | None) -> None:
        self.wanted = wanted
        self.totals = Totals()
        self.on_overflow: Callable[[SlowConsumer], None] | None = None
        self._overflowed = False
        self._hub = hub
        self._wake = asyncio.Event()
        self._finishing = False
        self._reliable: deque[Record] = deque()
        self._bytes = 0
        self._lossy: dict[tuple[str, str, str], Record] = {}
        self._skipped: Counter[str] = Counter()
        self._notices: deque[Item] = deque()
        # replay: read the journal after the cursor until it meets hub.delivered
        self._replaying = after is not None
        self._announce = after is not None
        self._page: deque[Record] = deque()
        self._cursor = hub.delivered
        self._replayed = 0
        if after is not None:
            self._seek(after)
        self.start = Position(hub.journal.epoch, self._cursor)
        self._handed = self._cursor

    @property
    def position(self) -> Position:
        """Everything up to here has been handed over or did not match."""
        behind = self._replaying or self._reliable
        seq = self._handed if behind else max(self._handed, self._hub.delivered)
        return Position(self._hub.journal.epoch, seq)

    @property
    def waiting(self) -> int:
        """Live events in the backlog, both classes."""
        return len(self._reliable) + len(self._lossy)

    async def next(self) -> Item:
        """The next event or notice; waits for one.

        :raises SlowConsumer: when the backlog has overflowed
        :raises StopAsyncIteration: after :meth:`finish`, when all has been handed over
        :raises JournalError: when the journal cannot be read
        """
        while True:
            if self._overflowed:
                raise self._too_slow()
            item = self._take()
            if item is not None:
                return item
            if self._replaying:
                await self._turn_page()
                continue
            if self._finishing:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()

    def finish(self) -> None:
        """Hand over what waits, then end."""
        self._finishing = True
        self._wake.set()

    def _take(self) -> Item | None:
        if self._notices:
            return self._notices.popleft()
        if self._page:
            self.totals.offered += 1
            return self._hand(self._page.popleft())
        if self._replaying:
            if self._cursor < self._hub.delivered:
                return None
            # no await between this comparison and going live: nothing falls in between
            self._replaying = False
            self._handed = max(self._handed, self._cursor)
            if self._announce:
                self._announce = False
                return ReplayDone(Position(self._hub.journal.epoch, self._cursor), self._replayed)
        if self._skipped:
            counts, self._skipped = dict(self._skipped), Counter()
            return Skipped(counts)
        if self._reliable:
            record = self._reliable.popleft()
            self._bytes -= len(record.payload)
            return self._hand(record)
        if self._lossy:
            return self._hand(self._lossy.pop(next(iter(self._lossy))))
        return None

    def _hand(self, record: Record) -> Record:
        if record.seq is None:
            self.totals.delivered_lossy += 1
        else:
            self._handed = record.seq
            self.totals.delivered_reliable += 1
        return record

    async def _turn_page(self) -> None:
        upto = self._hub.delivered
        page = await asyncio.to_thread(self._hub.journal.read, self._cursor, upto=upto, wanted=self.wanted)
        self._page.extend(page)
        self._replayed += len(page)
        self._cursor = upto if len(page) < PAGE or page[-1].seq is None else page[-1].seq

    def _seek(self, after: Position) -> None:
        journal = self._hub.journal
        oldest = journal.first_seq - 1
        if after.epoch != journal.epoch:
            self._cursor, reason = oldest, "epoch"
        elif after.seq < oldest:
            self._cursor, reason = oldest, "retention"
        elif after.seq > journal.last_seq:
            self._cursor, reason = self._hub.delivered, "ahead"
        else:
            # may lie past `delivered`: such events are still on their way from a publisher's thread
            self._cursor = after.seq
            return
        resumes = Position(journal.epoch, self._cursor)
        self._notices.append(ReplayTruncated(reason, after, resumes))

    def enqueue(self, record: Record) -> None:
        """Take a live event into the backlog, if it is wanted. For the hub."""
        if self._overflowed or not self.wanted.matches(record.type, record.source, record.score):
            return
        if record.seq is None:
            self.totals.offered += 1
            key = (record.type, record.source, record.id)
            if self._lossy.pop(key, None) is not None:
                self.totals.coalesced += 1
                self._skipped[record.type] += 1
            self._lossy[key] = record
            if len(self._lossy) > self._hub.limits.backlog_events:
                oldest = self._lossy.pop(next(iter(self._lossy)))
                self.totals.coalesced += 1
                self._skipped[oldest.type] += 1
        else:
            if self._replaying or record.seq <= self._cursor:
                return  # it is read from the journal, or was seen before the reader came back
            self.totals.offered += 1
            self._reliable.append(record)
            self._bytes += len(record.payload)
            limits = self._hub.limits
            if len(self._reliable) > limits.backlog_events or self._bytes > limits.backlog_bytes:
                self.discard()
                self._overflowed = True
                if self.on_overflow is not None:
                    self.on_overflow(self._too_slow())
        self._wake.set()

    def replay_from(self, seq: int) -> None:
        """Reread the journal after ``seq``, because the hub had no room to remember. For the hub."""
        if not self._replaying:
            # what waits in the backlog is in the journal too
            first = self._reliable[0].seq if self._reliable else None
            self._cursor = max(seq, self._cursor) if first is None else first - 1
            self.totals.offered -= len(self._reliable)
            self._reliable.clear()
            self._bytes = 0
            self._replaying = True
            self._wake.set()

    def _too_slow(self) -> SlowConsumer:
        return SlowConsumer(Position(self._hub.journal.epoch, self._handed))

    def discard(self) -> None:
        """Forget what waits. For the hub."""
        self.totals.abandoned += self.waiting
        self._reliable.clear()
        self._lossy.clear()
        self._bytes = 0
