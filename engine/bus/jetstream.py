"""NATS JetStream as a bus: streams, one pull consumer for work, key-value buckets.

Reading keeps no state at the broker: the next message after a number is asked for, and a plain subscription only rings
the bell. Work is fetched one by one: larger fetches of the client stall after one that timed out (nats.py#986).
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import httpx
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError, NoRespondersError
from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext, api
from nats.js import errors as js_errors
from nats.js.kv import KeyValue

from mellm.engine.bus.base import (
    ACK_WAIT_S,
    BUCKETS,
    MAX_BYTES,
    MOST_DELIVERIES,
    STREAMS,
    Bucket,
    BusOptions,
    Delivery,
    Entry,
    Facts,
    Message,
    Stream,
    stream_of,
)
from mellm.stream.errors import BusConflict, BusRefused, BusUnavailable, MessageInvalid, UsageError

logger = logging.getLogger(__name__)

T = TypeVar("T")

TIMEOUT_S: Final = 5.0
POLL_S: Final = 1.0
"""The bell may be missed while the connection comes back."""

WRONG_LAST: Final = 10071
"""The broker's code for a last sequence that is another."""

WORKERS: Final = "workers"

CLOCK_S: Final = 60.0
"""Between two looks at the broker's clock."""


class JetStreamBus:
    """See :class:`mellm.engine.bus.base.Bus`."""

    def __init__(self, options: BusOptions) -> None:
        self._options = options
        self._client: Client | None = None
        self._js: JetStreamContext | None = None
        self._buckets: dict[Bucket, KeyValue] = {}
        self._takers: dict[Stream, JetStreamContext.PullSubscription] = {}
        self._taking = {stream: asyncio.Lock() for stream in STREAMS}
        self._bells: dict[str, asyncio.Event] = {}
        self._refused: list[str] = []
        self._last_said = ""

    async def open(self) -> None:
        """See :class:`mellm.engine.bus.base.Bus`. Without the right to make streams, those that are there are used."""
        options = self._options
        tls = ssl.create_default_context(cafile=options.tls_ca) if options.tls_ca else None
        self._client = Client()
        try:
            # the client tries for ever, which is right once it was connected
            async with asyncio.timeout(TIMEOUT_S):
                await self._client.connect(
                    options.url,
                    connect_timeout=int(TIMEOUT_S),
                    reconnect_time_wait=1,
                    max_reconnect_attempts=-1,
                    ping_interval=5,
                    max_outstanding_pings=2,
                    pending_size=4 * MAX_BYTES,
                    allow_reconnect=True,
                    error_cb=self._complain,
                    disconnected_cb=self._quiet,
                    nkeys_seed=str(options.nkey) if options.nkey else None,
                    inbox_prefix=f"_INBOX_{options.prefix}".encode(),
                    tls=tls,
                )
        except (NatsError, OSError, TimeoutError, ssl.SSLError) as error:
            await self.close()
            said = str(error) or self._last_said or type(error).__name__
            if "authorization" in said.lower():
                raise BusRefused(f"{self._where} refuses this key", remedy="give --bus-nkey FILE") from error
            raise BusUnavailable(
                f"{self._where} does not answer ({said})", remedy="is the broker up, and is this its address?"
            ) from error
        self._js = self._client.jetstream(timeout=TIMEOUT_S)
        async with self._told("the streams"):
            for stream, rule in STREAMS.items():
                await self._make(stream, rule.max_age_s, rule.max_bytes)
            for bucket, ttl in BUCKETS.items():
                self._buckets[bucket] = await self._bucket(bucket, ttl)

    @property
    def _where(self) -> str:
        return self._options.url.rpartition("@")[2]

    async def _make(self, stream: Stream, max_age_s: float, max_bytes: int) -> None:
        js = self._context
        config = api.StreamConfig(
            name=self._name(stream),
            subjects=[f"{self._options.prefix}.{stream}.>"],
            storage=api.StorageType.FILE,
            max_age=max_age_s,
            max_bytes=max_bytes,
            max_msg_size=MAX_BYTES + 4096,  # the broker counts its headers, too
            discard=api.DiscardPolicy.OLD,
            num_replicas=self._options.replicas,
            allow_direct=True,
            duplicate_window=120,
        )
        with suppress(
            js_errors.BadRequestError
        ):  # it is there, set up in another way by whoever runs the broker
            try:
                await js.stream_info(config.name or "")
            except js_errors.NotFoundError:
                await js.add_stream(config)
        if STREAMS[stream].work:
            chosen = api.ConsumerConfig(
                durable_name=WORKERS,
                ack_policy=api.AckPolicy.EXPLICIT,
                ack_wait=ACK_WAIT_S,
                max_deliver=MOST_DELIVERIES if stream == "evidence" else -1,
                max_ack_pending=10_000,
                deliver_policy=api.DeliverPolicy.ALL,
            )
            try:
                await js.consumer_info(config.name or "", WORKERS)
            except js_errors.NotFoundError:
                await js.add_consumer(config.name or "", chosen)

    async def _bucket(self, bucket: Bucket, ttl: float | None) -> KeyValue:
        name = self._name(bucket)
        try:
            return await self._context.key_value(f"keys_{name}")
        except js_errors.NotFoundError:
            return await self._context.create_key_value(
                api.KeyValueConfig(
                    bucket=f"keys_{name}", history=1, ttl=ttl, replicas=self._options.replicas, direct=True
                )
            )

    async def close(self) -> None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        client, self._client, self._js = self._client, None, None
        if client is not None:
            with suppress(NatsError, OSError):
                await client.close()

    # -- streams --------------------------------------------------------------------------------------

    async def append(self, subject: str, body: bytes, *, id: str, expect: int | None = None) -> int:
        """See :class:`mellm.engine.bus.base.Bus`."""
        if len(body) > MAX_BYTES:
            raise MessageInvalid(f"a message of {len(body)} bytes; {MAX_BYTES} may be sent")
        headers = {"Nats-Msg-Id": id}
        if expect is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(expect)
        told = await self._call(
            subject, self._context.publish(self._subject(subject), body, TIMEOUT_S, headers=headers)
        )
        return int(told.seq)

    async def read(self, pattern: str, after: int, wait_s: float = 0.0) -> Message | None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        until = time.monotonic() + wait_s
        bell = await self._bell(pattern) if wait_s > 0 else None
        while True:
            if bell is not None:
                bell.clear()
            found = await self._get(pattern, seq=after + 1, next=True)
            left = until - time.monotonic()
            if found is not None or bell is None or left <= 0:
                return found
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, POLL_S)):
                    await bell.wait()

    async def last(self, subject: str) -> Message | None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        return await self._get(subject)

    async def _get(self, subject: str, **more: Any) -> Message | None:
        try:
            raw = await self._call(
                subject,
                self._context.get_msg(
                    self._name(stream_of(subject)), subject=self._subject(subject), direct=True, **more
                ),
            )
        except _NothingThere:
            return None
        return Message(
            str(raw.subject).removeprefix(f"{self._options.prefix}."),
            int(raw.seq or 0),
            (raw.headers or {}).get("Nats-Msg-Id", ""),
            raw.data or b"",
        )

    async def end(self, stream: Stream) -> int:
        """See :class:`mellm.engine.bus.base.Bus`."""
        info = await self._call(stream, self._context.stream_info(self._name(stream)))
        return int(info.state.last_seq)

    async def purge(self, pattern: str) -> int:
        """See :class:`mellm.engine.bus.base.Bus`. Message by message: the broker overwrites what is deleted so, and
        only marks what is purged in one go."""
        stream, gone, at = self._name(stream_of(pattern)), 0, 0
        while (found := await self._get(pattern, seq=at + 1, next=True)) is not None:
            at = found.seq
            await self._call(pattern, self._context.delete_msg(stream, at))
            gone += 1
        return gone

    # -- work -----------------------------------------------------------------------------------------

    async def take(self, stream: Stream, wait_s: float) -> Delivery | None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        refused = len(self._refused)
        async with self._taking[stream], self._told(stream):
            if stream not in self._takers:
                self._takers[stream] = await self._context.pull_subscribe_bind(WORKERS, self._name(stream))
            try:
                (taken,) = await self._takers[stream].fetch(1, wait_s)
            except NatsTimeout:
                if self._refused[refused:]:
                    raise
                return None
        facts = taken.metadata
        subject = taken.subject.removeprefix(f"{self._options.prefix}.")
        id = (taken.headers or {}).get("Nats-Msg-Id", "")
        message = Message(subject, facts.sequence.stream, id, taken.data)
        age_s = await self._age_s(stream, facts.timestamp)
        return Delivery(message, facts.num_delivered, age_s, taken)

    async def _age_s(self, stream: Stream, born: datetime) -> float:
        """Since a message came to the broker, by its clock: ours may be an hour off."""
        return max(0.0, await self._broker_s() - born.timestamp())

    async def _broker_s(self) -> float:
        now = time.monotonic()
        if now - self._measured_at > CLOCK_S:
            name = f"$JS.API.STREAM.INFO.{self._name('control')}"
            answer = await self._call("control", self._nats.request(name, b"", timeout=TIMEOUT_S))
            told = str(json.loads(answer.data)["ts"])
            # nanoseconds are more than the parser takes
            moment = datetime.fromisoformat(told.rstrip("Z")[:26]).replace(tzinfo=UTC)
            self._measured_at = now
            self._offset_s = moment.timestamp() - (now + time.monotonic()) / 2
        return self._offset_s + time.monotonic()

    _measured_at = float("-inf")
    _offset_s = 0.0

    async def done(self, delivery: Delivery) -> None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        with suppress(js_errors.Error):  # it was given to somebody else meanwhile
            await self._call("work", _taken(delivery).ack_sync(TIMEOUT_S))

    async def again(self, delivery: Delivery, delay_s: float = 0.0) -> None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        await self._call("work", _taken(delivery).nak(delay_s or None))

    async def busy(self, delivery: Delivery) -> None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        await self._call("work", _taken(delivery).in_progress())

    # -- keys -----------------------------------------------------------------------------------------

    async def get(self, bucket: Bucket, key: str) -> Entry | None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        try:
            found = await self._call(bucket, self._buckets[bucket].get(key))
        except _NothingThere:
            return None
        return Entry(found.value or b"", int(found.revision or 0))

    async def put(self, bucket: Bucket, key: str, value: bytes, revision: int | None) -> int:
        """See :class:`mellm.engine.bus.base.Bus`."""
        keys = self._buckets[bucket]
        if revision is None:
            return int(await self._call(bucket, keys.put(key, value)))
        if revision == 0:
            return int(await self._call(bucket, keys.create(key, value)))
        return int(await self._call(bucket, keys.update(key, value, last=revision)))

    async def keys(self, bucket: Bucket) -> dict[str, Entry]:
        """See :class:`mellm.engine.bus.base.Bus`."""
        try:
            names = await self._call(bucket, self._buckets[bucket].keys())
        except _NothingThere:
            return {}
        found = {name: await self.get(bucket, name) for name in names}
        return {name: entry for name, entry in found.items() if entry is not None}

    async def forget(self, bucket: Bucket, key: str) -> None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        await self._call(bucket, self._buckets[bucket].purge(key))

    # -- lossy ----------------------------------------------------------------------------------------

    async def tell(self, subject: str, body: bytes) -> None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        if self._nats.is_connected:  # what cannot be said now is not said later
            await self._call(subject, self._nats.publish(f"{self._options.prefix}.live.{subject}", body))

    async def hear(self, pattern: str) -> AsyncIterator[tuple[str, bytes]]:
        """See :class:`mellm.engine.bus.base.Bus`."""
        start = f"{self._options.prefix}.live."
        heard = await self._nats.subscribe(start + pattern, pending_msgs_limit=1024)
        try:
            async for message in heard.messages:
                yield message.subject.removeprefix(start), message.data
        finally:
            with suppress(NatsError):
                await heard.unsubscribe()

    # -- the broker -----------------------------------------------------------------------------------

    async def facts(self) -> Facts:
        """See :class:`mellm.engine.bus.base.Bus`."""
        streams, waiting = {}, {}
        for stream, rule in STREAMS.items():
            info = await self._call(stream, self._context.stream_info(self._name(stream)))
            streams[str(stream)] = (int(info.state.messages), int(info.state.bytes))
            if rule.work:
                taken = await self._call(stream, self._context.consumer_info(self._name(stream), WORKERS))
                waiting[str(stream)] = int(taken.num_pending or 0)
        version = self._nats.connected_server_version
        return Facts(
            f"nats-server {version.major}.{version.minor}.{version.patch}",
            await self._synced(),
            streams,
            waiting,
        )

    async def _synced(self) -> bool | None:
        if self._options.monitor is None:
            return None
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as http:
                told = (await http.get(f"{self._options.monitor.rstrip('/')}/varz")).json()
        except (httpx.HTTPError, ValueError) as error:
            raise BusUnavailable(f"{self._options.monitor}/varz cannot be read: {error}") from error
        config = told.get("jetstream", {}).get("config", {}) if isinstance(told, dict) else {}
        return bool(config.get("sync_always")) or config.get("sync_interval") == 0

    # -- calls ----------------------------------------------------------------------------------------

    @property
    def _nats(self) -> Client:
        if self._client is None:
            raise BusUnavailable("the bus is not open")
        return self._client

    @property
    def _context(self) -> JetStreamContext:
        if self._js is None:
            raise BusUnavailable("the bus is not open")
        return self._js

    def _name(self, stream: str) -> str:
        return f"{self._options.prefix}_{stream}"

    def _subject(self, subject: str) -> str:
        return f"{self._options.prefix}.{subject}"

    async def _bell(self, pattern: str) -> asyncio.Event:
        if pattern not in self._bells:
            self._bells[pattern] = bell = asyncio.Event()

            async def ring(message: Msg) -> None:
                bell.set()

            await self._call(pattern, self._nats.subscribe(self._subject(pattern), cb=ring))
        return self._bells[pattern]

    async def _call(self, what: str, call: Awaitable[T]) -> T:
        async with self._told(what):
            return await call

    @asynccontextmanager
    async def _told(self, what: str) -> AsyncIterator[None]:
        """The client's errors as ours."""
        refused = len(self._refused)
        try:
            yield
        except (js_errors.NotFoundError, js_errors.NoKeysError) as error:
            raise _NothingThere(what) from error
        except js_errors.KeyWrongLastSequenceError as error:
            raise BusConflict(f"{what} has changed") from error
        except MaxPayloadError as error:
            raise MessageInvalid(f"the broker takes no message of this size ({what})") from error
        except js_errors.APIError as error:
            if error.err_code == WRONG_LAST:
                raise BusConflict(f"{what}: {error.description}") from error
            raise BusUnavailable(f"{self._where}, {what}: {error.description or error}") from error
        except (NatsTimeout, NoRespondersError, TimeoutError) as error:
            # the broker says nothing to whoever may not speak, and tells it beside
            if denied := self._refused[refused:]:
                raise BusRefused(f"no right to {what}: {denied[0]}") from error
            raise BusUnavailable(f"{self._where} does not answer ({what})") from error
        except (NatsError, OSError) as error:
            raise BusUnavailable(f"{self._where}, {what}: {error}") from error

    async def _complain(self, error: Exception) -> None:
        if "permissions violation" in str(error).lower():
            self._refused.append(str(error))
        self._last_said = str(error) or type(error).__name__
        logger.info("bus: %s", error)

    async def _quiet(self) -> None:
        if self._client is not None:
            logger.warning("bus: the connection to %s is lost; it is tried again", self._where)


class _NothingThere(UsageError):
    """Nothing there; never leaves this module."""


def _taken(delivery: Delivery) -> Msg:
    assert isinstance(delivery.token, Msg)
    return delivery.token
