"""A bus in this process: the fake for tests, and what several roles in one process share."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import ClassVar

from mellm.engine.bus.base import (
    ACK_WAIT_S,
    BUCKETS,
    MAX_BYTES,
    MOST_DELIVERIES,
    STREAMS,
    Bucket,
    Delivery,
    Entry,
    Facts,
    Message,
    Stream,
    matches,
    stream_of,
)
from mellm.stream.errors import BusConflict, BusUnavailable, MessageInvalid


@dataclass(slots=True)
class _Work:
    """What became of one message that is work."""

    tries: int = 0
    free_at: float = 0.0


@dataclass(slots=True)
class _Log:
    number: int = 0
    messages: dict[int, tuple[float, Message]] = field(default_factory=dict)
    work: dict[int, _Work] = field(default_factory=dict)


class MemoryBus:
    """See :class:`mellm.engine.bus.base.Bus`.

    :param clock: seconds; by it messages age and hands that hold them are given up
    :ivar away: while true, everything raises ``BusUnavailable``
    """

    _shared: ClassVar[dict[str, MemoryBus]] = {}

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logs = {stream: _Log() for stream in STREAMS}
        self._ids: dict[str, int] = {}
        self._keys: dict[Bucket, dict[str, tuple[float, Entry]]] = {bucket: {} for bucket in BUCKETS}
        self._revisions = itertools.count(1)
        self._listeners: list[tuple[str, asyncio.Queue[tuple[str, bytes]]]] = []
        self._changed: asyncio.Event | None = None
        self.away = False

    @classmethod
    def shared(cls, url: str) -> MemoryBus:
        """The bus of this address in this process."""
        return cls._shared.setdefault(url, cls())

    async def open(self) -> None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        self._here()

    async def close(self) -> None:
        """See :class:`mellm.engine.bus.base.Bus`; others may go on with it."""

    async def append(self, subject: str, body: bytes, *, id: str, expect: int | None = None) -> int:
        """See :class:`mellm.engine.bus.base.Bus`."""
        self._here()
        if len(body) > MAX_BYTES:
            raise MessageInvalid(f"a message of {len(body)} bytes; {MAX_BYTES} may be sent")
        stream = stream_of(subject)
        if (known := self._ids.get(f"{stream} {id}")) is not None:
            return known
        log = self._logs[stream]
        before = await self.last(subject)
        if expect is not None and (before.seq if before else 0) != expect:
            raise BusConflict(f"the last message of {subject} is {before.seq if before else 0}, not {expect}")
        log.number += 1
        log.messages[log.number] = (self._clock(), Message(subject, log.number, id, body))
        if STREAMS[stream].work:
            log.work[log.number] = _Work()
        self._ids[f"{stream} {id}"] = log.number
        self._ring()
        return log.number

    async def read(self, pattern: str, after: int, wait_s: float = 0.0) -> Message | None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        until = time.monotonic() + wait_s
        while True:
            self._here()
            log = self._logs[stream_of(pattern)]
            for seq, (_, message) in log.messages.items():
                if seq > after and matches(pattern, message.subject):
                    return message
            if not await self._bell(until - time.monotonic()):
                return None

    async def last(self, subject: str) -> Message | None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        self._here()
        messages = self._logs[stream_of(subject)].messages.values()
        return next((each for _, each in reversed(messages) if each.subject == subject), None)

    async def end(self, stream: Stream) -> int:
        """See :class:`mellm.engine.bus.base.Bus`."""
        self._here()
        return self._logs[stream].number

    async def take(self, stream: Stream, wait_s: float) -> Delivery | None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        until = time.monotonic() + wait_s
        while True:
            self._here()
            log, now = self._logs[stream], self._clock()
            for seq, work in log.work.items():
                if work.free_at <= now and (stream != "evidence" or work.tries < MOST_DELIVERIES):
                    work.tries += 1
                    work.free_at = now + ACK_WAIT_S
                    born, message = log.messages[seq]
                    return Delivery(message, work.tries, now - born)
            left = until - time.monotonic()
            if left <= 0:
                return None
            await self._bell(min(left, 0.05))

    async def done(self, delivery: Delivery) -> None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        self._here()
        self._logs[stream_of(delivery.message.subject)].work.pop(delivery.message.seq, None)

    async def again(self, delivery: Delivery, delay_s: float = 0.0) -> None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        self._hold(delivery, delay_s)
        self._ring()

    async def busy(self, delivery: Delivery) -> None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        self._hold(delivery, ACK_WAIT_S)

    async def get(self, bucket: Bucket, key: str) -> Entry | None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        return (await self.keys(bucket)).get(key)

    async def put(self, bucket: Bucket, key: str, value: bytes, revision: int | None) -> int:
        """See :class:`mellm.engine.bus.base.Bus`."""
        known = await self.get(bucket, key)
        if revision is not None and (known.revision if known else 0) != revision:
            raise BusConflict(f"{bucket} {key} has changed")
        made = Entry(value, next(self._revisions))
        self._keys[bucket][key] = (self._clock(), made)
        return made.revision

    async def keys(self, bucket: Bucket) -> dict[str, Entry]:
        """See :class:`mellm.engine.bus.base.Bus`."""
        self._here()
        age, now = BUCKETS[bucket], self._clock()
        kept = self._keys[bucket]
        for key in [key for key, (born, _) in kept.items() if age is not None and now - born > age]:
            del kept[key]
        return {key: entry for key, (_, entry) in kept.items()}

    async def purge(self, pattern: str) -> int:
        """See :class:`mellm.engine.bus.base.Bus`."""
        self._here()
        log = self._logs[stream_of(pattern)]
        gone = [seq for seq, (_, each) in log.messages.items() if matches(pattern, each.subject)]
        for seq in gone:
            del log.messages[seq]
            log.work.pop(seq, None)
        return len(gone)

    async def forget(self, bucket: Bucket, key: str) -> None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        self._here()
        self._keys[bucket].pop(key, None)

    async def tell(self, subject: str, body: bytes) -> None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        self._here()
        for pattern, queue in self._listeners:
            if matches(pattern, subject) and not queue.full():
                queue.put_nowait((subject, body))

    async def hear(self, pattern: str) -> AsyncIterator[tuple[str, bytes]]:
        """See :class:`mellm.engine.bus.base.Bus`."""
        mine: tuple[str, asyncio.Queue[tuple[str, bytes]]] = (pattern, asyncio.Queue(256))
        self._listeners.append(mine)
        try:
            while True:
                yield await mine[1].get()
        finally:
            self._listeners.remove(mine)

    async def facts(self) -> Facts:
        """See :class:`mellm.engine.bus.base.Bus`."""
        self._here()
        return Facts(
            "memory",
            None,
            {
                stream: (len(log.messages), sum(len(each.body) for _, each in log.messages.values()))
                for stream, log in self._logs.items()
            },
            {
                s: sum(not w.tries for w in log.work.values())
                for s, log in self._logs.items()
                if STREAMS[s].work
            },
        )

    def _here(self) -> None:
        if self.away:
            raise BusUnavailable("the bus is away")

    def _hold(self, delivery: Delivery, seconds: float) -> None:
        self._here()
        work = self._logs[stream_of(delivery.message.subject)].work.get(delivery.message.seq)
        if work is not None and work.tries == delivery.tries:
            work.free_at = self._clock() + seconds

    def _ring(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def _bell(self, wait_s: float) -> bool:
        """Whether something has changed before that."""
        if wait_s <= 0:
            return False
        if self._changed is None:
            self._changed = asyncio.Event()
        try:
            async with asyncio.timeout(wait_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True
