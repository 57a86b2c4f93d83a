"""From one journal to many readers, each with a bounded backlog of its own.

Pipelines publish from their threads; delivery to :mod:`mellm.stream.log.subscriber` happens on one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final, TypeAlias

from mellm.stream.errors import JournalError
from mellm.stream.log.journal import Journal, Record
from mellm.stream.log.subscriber import HubLimits, Subscriber
from mellm.stream.protocol.events import (
    EVENT_TYPES,
    EVENTS_ERASED,
    LOSSY,
    PREVIEW,
    SOURCE_OFFLINE,
    Event,
    Filter,
    Position,
    media_time,
)

logger = logging.getLogger(__name__)

BATCH: Final = 32
"""Events handed out in one turn of the loop; less than a backlog, so that writers run in between."""

PATIENCE_S: Final = 2.0
"""For a journal whose queue is full: some thousand events wait for a disk that does not answer."""

AFTERWARDS: Final = frozenset({EVENTS_ERASED, SOURCE_OFFLINE})
"""What is still told of a source that was silenced."""

Observer: TypeAlias = Callable[[str, str, Mapping[str, Any]], None]


class Hub:
    """Publishes to the journal and to subscribers.

    :param clock_ns: wall clock of envelopes, nanoseconds
    """

    def __init__(
        self, journal: Journal, *, limits: HubLimits | None = None, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.journal = journal
        self.limits = limits or HubLimits()
        self.lossy_overflow = 0
        self.unjournalled = 0
        self.journal_failing = False
        self._clock_ns = clock_ns
        self._observers: list[Observer] = []
        self._consents: dict[str, str] = {}
        self._stamps: dict[str, Callable[[], Mapping[str, Any]]] = {}
        self._silent: frozenset[str] = frozenset()
        # nobody holds it for long: the journal's writer numbers, writes and then queues, publishers of lossy events
        # only queue
        self._lock = threading.Lock()
        self._incoming: deque[Record] = deque()
        self._scheduled = False
        self._hole = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._complained_ns = 0
        # touched on the loop only
        self._subscribers: dict[Subscriber, None] = {}
        self._delivered = journal.last_seq
        self._preview_filters: tuple[Filter, ...] = ()

    def attach(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Deliver on this loop (the running one by default). Events published before are in the journal."""
        with self._lock:
            self._loop = loop or asyncio.get_running_loop()
            self._delivered = self.journal.last_seq
            self._incoming.clear()
            self._scheduled = self._hole = False

    def detach(self) -> None:
        """Stop delivering; publishing still reaches the journal."""
        with self._lock:
            self._loop = None

    def observe(self, observer: Observer) -> None:
        """Call ``observer(type, source, data)`` for every event, on the publisher's thread, before it is
        journalled. Register before publishing starts; observers must be thread-safe and quick."""
        self._observers.append(observer)

    def consent(self, source: str, reference: str) -> None:
        """From now on this reference stands as ``consent`` in every journalled event of the source, so that they can
        be found by it. Set it before the source starts."""
        self._consents[source] = reference

    def stamp(self, source: str, facts: Callable[[], Mapping[str, Any]]) -> None:
        """From now on these facts stand in every journalled event of the source, as they are when it is published;
        asked on the publisher's thread."""
        self._stamps = {**self._stamps, source: facts}

    def silence(self, source: str) -> None:
        """Take nothing more of this source but that it is gone (:data:`AFTERWARDS`). Waits for what is being
        written."""
        with self._lock:
            self._silent |= {source}
        self.journal.flush()

    def hear(self, source: str) -> None:
        """Take events of a silenced source again: somebody else is before it, who has agreed."""
        with self._lock:
            self._silent -= {source}

    def publish_threadsafe(
        self,
        type: str,
        source: str,
        data: Mapping[str, Any],
        time_ns: int | None = None,
        *,
        id: str | None = None,
        picture: bytes = b"",
    ) -> Record | None:
        """Journal an event (reliable types) and hand it to all subscribers; wait until it is written. From any thread
        but the journal's.

        :param time_ns: media time of the event; becomes ``t_ns`` and ``t_ms`` in its data
        :param id: what it is about; by default ``data["id"]``. Lossy events are coalesced by type, source
            and id
        :param picture: of a preview; lossy events only
        :returns: what was published; ``None`` when the journal could not be written (logged, counted in
            :attr:`unjournalled`): a full disk must not stop the camera; or when the source is silenced
        :raises ValueError: unknown type, NaN in the data, or an event over the size bound
        :raises TypeError: data that JSON does not have, such as arrays
        """
        said = self._say(type, source, data, time_ns, id, picture, None)
        if not isinstance(said, Future):
            return said
        try:
            return said.result()
        except JournalError:
            return None

    def post(
        self,
        type: str,
        source: str,
        data: Mapping[str, Any],
        time_ns: int | None = None,
        *,
        id: str | None = None,
    ) -> None:
        """As :meth:`publish_threadsafe`, without waiting for the disk: events are written and handed out in the order
        in which they were posted. A journal that takes nothing for :data:`PATIENCE_S` loses the event, which is
        counted.

        :raises TypeError, ValueError: as there
        """
        self._say(type, source, data, time_ns, id, b"", PATIENCE_S)

    def _say(
        self,
        type: str,
        source: str,
        data: Mapping[str, Any],
        time_ns: int | None,
        id: str | None,
        picture: bytes,
        patience_s: float | None,
    ) -> Record | Future[Record | None] | None:
        if type not in EVENT_TYPES:
            raise ValueError(f"unknown event type {type!r}; known: {', '.join(sorted(EVENT_TYPES))}")
        if picture and type not in LOSSY:
            raise ValueError(f"{type} is journalled, and pictures are not kept there")
        if time_ns is not None:
            data = {**data, **media_time("t", time_ns)}
        if id is None and isinstance(data.get("id"), str):
            id = data["id"]
        if source in self._consents and type not in LOSSY and type != EVENTS_ERASED:
            data = {**data, "consent": self._consents[source]}
        if source in self._stamps and type not in LOSSY:
            data = {**data, **self._stamps[source]()}
        if self._is_silent(type, source):
            return None
        for observer in self._observers:
            observer(type, source, data)
        now = self._clock_ns() // 1000 * 1000
        if type in LOSSY:
            name = id or (f"{type}:{source}" if source else type)
            record = Record.of(Event(type, name, None, self.journal.epoch, source, now, data, picture))
            self._hand(record)
            return record
        try:
            posted = self.journal.post(
                type,
                source,
                data,
                time=now,
                id=id,
                wanted=lambda: not self._is_silent(type, source),
                then=self._hand,
                patience_s=patience_s,
            )
        except JournalError as error:
            self._complain(error)
            return None
        posted.add_done_callback(self._written)
        return posted

    def _hand(self, record: Record) -> None:
        with self._lock:
            self._enqueue(record)

    def _written(self, posted: Future[Record | None]) -> None:
        """On the journal's thread."""
        error = posted.exception()
        if error is None:
            self.journal_failing = False
        elif isinstance(error, JournalError):
            self._complain(error)

    def _is_silent(self, type: str, source: str) -> bool:
        return source in self._silent and type not in AFTERWARDS

    def subscribe(self, wanted: Filter | None = None, *, after: Position | None = None) -> Subscriber:
        """A new reader, from ``after`` (through the journal) or from now. On the loop only."""
        subscriber = Subscriber(self, wanted or Filter(), after)
        self._subscribers[subscriber] = None
        self._survey()
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Forget a reader and what waits for it. On the loop only."""
        if subscriber in self._subscribers:
            del self._subscribers[subscriber]
            subscriber.discard()
            self._survey()

    def wants_preview(self, source: str) -> bool:
        """Whether any subscriber has asked for previews of this source. From any thread."""
        return any(wanted.matches(PREVIEW, source, None) for wanted in self._preview_filters)

    @property
    def subscribers(self) -> int:
        """How many readers there are."""
        return len(self._subscribers)

    @property
    def delivered(self) -> int:
        """The newest number that has been offered to live subscribers."""
        return self._delivered

    def flush(self) -> None:
        """Hand out everything that has been published. On the loop only; used when shutting down."""
        while self._hand_out():
            pass

    def _survey(self) -> None:
        """Filters that name previews; a new tuple each time, so that other threads may read it."""
        filters = (subscriber.wanted for subscriber in self._subscribers)
        self._preview_filters = tuple(each for each in filters if each.types and PREVIEW in each.types)

    def _enqueue(self, record: Record) -> None:
        if self._loop is None:
            return
        if self._hole or len(self._incoming) >= self.limits.incoming_events:
            # the loop is stuck: memory stays bounded, and what is in the journal is read from there later
            if record.seq is None:
                self.lossy_overflow += 1
            else:
                self._hole = True
        else:
            self._incoming.append(record)
        if not self._scheduled:
            try:
                self._loop.call_soon_threadsafe(self._turn)
                self._scheduled = True
            except RuntimeError:  # the loop was closed; the journal has the event
                self._loop = None

    def _turn(self) -> None:
        if self._hand_out():
            loop = self._loop
            if loop is not None:
                loop.call_soon(self._turn)

    def _hand_out(self) -> bool:
        """Up to :data:`BATCH` events; whether there may be more."""
        for _ in range(BATCH):
            with self._lock:
                if not self._incoming:
                    if self._hole:
                        self._hole = False
                        before, self._delivered = self._delivered, self.journal.last_seq
                        for subscriber in self._subscribers:
                            subscriber.replay_from(before)
                    self._scheduled = False
                    return False
                record = self._incoming.popleft()
            if record.seq is not None:
                self._delivered = max(self._delivered, record.seq)
            for subscriber in self._subscribers:
                subscriber.enqueue(record)
        return True

    def _complain(self, error: JournalError) -> None:
        self.unjournalled += 1
        self.journal_failing = True
        now = time.monotonic_ns()
        if now - self._complained_ns > 10_000_000_000 or not self._complained_ns:
            self._complained_ns = now
            logger.error("event not published (%d so far): %s", self.unjournalled, error)
