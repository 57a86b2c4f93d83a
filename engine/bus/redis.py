"""Redis Streams as a bus, for sites that run Redis already.

Everything is on its disk before it is acknowledged only with ``appendonly yes`` and ``appendfsync always``; the
configuration as distributions ship it loses what it has acknowledged. What must happen together is one script at the
server. Each stream of ours is one stream there; a message's number is a counter of our own, and its id is ``0-NUMBER``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar, cast

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

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
    matches,
    stream_of,
)
from mellm.stream.errors import BusConflict, BusRefused, BusUnavailable, MessageInvalid

T = TypeVar("T")

logger = logging.getLogger(__name__)

TIMEOUT_S: Final = 5.0
WORKERS: Final = "workers"
POLL_S: Final = 0.05
PAGE: Final = 64
SAME_S: Final = 120
REWRITES: Final = 100
TRIM_EVERY_S: Final = 60.0

# KEYS: stream, ids, last of each subject, counter; ARGV: subject, id, body, expected (or -1), oldest time kept
APPEND: Final = """
local known = redis.call('GET', KEYS[2] .. ARGV[2])
if known then return tonumber(known) end
local last = tonumber(redis.call('HGET', KEYS[3], ARGV[1]) or '0')
if tonumber(ARGV[4]) >= 0 and last ~= tonumber(ARGV[4]) then return -1 - last end
local number = redis.call('INCR', KEYS[4])
local time = redis.call('TIME')
redis.call('XADD', KEYS[1], '0-' .. number, 's', ARGV[1], 'i', ARGV[2], 'b', ARGV[3], 't', time[1] .. '.' ..
  string.format('%06d', time[2]))
redis.call('HSET', KEYS[3], ARGV[1], number)
redis.call('SET', KEYS[2] .. ARGV[2], number, 'EX', ARGV[5])
return number
"""

# KEYS: key, counter; ARGV: value, expected revision (or -1), seconds (or 0)
PUT: Final = """
local known = tonumber(redis.call('HGET', KEYS[1], 'r') or '0')
if tonumber(ARGV[2]) >= 0 and known ~= tonumber(ARGV[2]) then return -1 end
local number = redis.call('INCR', KEYS[2])
redis.call('HSET', KEYS[1], 'v', ARGV[1], 'r', number)
if tonumber(ARGV[3]) > 0 then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return number
"""


class RedisBus:
    """See :class:`mellm.engine.bus.base.Bus`."""

    def __init__(self, options: BusOptions) -> None:
        self._options = options
        self._redis: Redis | None = None
        self._name = os.urandom(6).hex()
        self._trimming: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        options = self._options
        more: dict[str, Any] = {"ssl_ca_certs": str(options.tls_ca)} if options.tls_ca else {}
        self._redis = Redis.from_url(
            options.url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            health_check_interval=5,
            **more,
        )
        try:
            async with self._told("the server"):
                await self._db.ping()
                for stream, rule in STREAMS.items():
                    if rule.work:
                        with suppress(exceptions.ResponseError):  # it is there
                            await self._redis.xgroup_create(self._key(stream), WORKERS, "0", mkstream=True)
        except BaseException:
            await self.close()
            raise
        self._trimming = asyncio.create_task(self._keep_trimming())

    async def close(self) -> None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        client, self._redis = self._redis, None
        trimming, self._trimming = self._trimming, None
        if trimming is not None:
            trimming.cancel()
            await asyncio.gather(trimming, return_exceptions=True)
        if client is not None:
            with suppress(exceptions.RedisError, OSError):
                await client.aclose()

    # -- streams --------------------------------------------------------------------------------------

    async def append(self, subject: str, body: bytes, *, id: str, expect: int | None = None) -> int:
        """See :class:`mellm.engine.bus.base.Bus`."""
        if len(body) > MAX_BYTES:
            raise MessageInvalid(f"a message of {len(body)} bytes; {MAX_BYTES} may be sent")
        stream = stream_of(subject)
        keys = [
            self._key(stream),
            self._key(f"id:{stream}:"),
            self._key(f"last:{stream}"),
            self._key(f"count:{stream}"),
        ]
        told = int(
            await self._script(
                subject, APPEND, keys, [subject, id, body, -1 if expect is None else expect, SAME_S]
            )
        )
        if told < 0:
            raise BusConflict(f"the last message of {subject} is {-1 - told}, not {expect}")
        return told

    async def read(self, pattern: str, after: int, wait_s: float = 0.0) -> Message | None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        until, key = time.monotonic() + wait_s, self._key(stream_of(pattern))
        while True:
            page = await self._call(pattern, self._db.xrange(key, f"(0-{after}", "+", count=PAGE))
            for place, fields in page:
                message = _message(place, fields)
                after = message.seq
                if matches(pattern, message.subject):
                    return message
            if page:
                continue
            left = until - time.monotonic()
            if left <= 0:
                return None
            wait_ms = max(1, round(min(left, 1.0) * 1e3))
            await self._call(pattern, self._db.xread({key: f"0-{after}"}, count=1, block=wait_ms))

    async def last(self, subject: str) -> Message | None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        stream = stream_of(subject)
        number = await self._call(subject, self._hash("HGET", self._key(f"last:{stream}"), subject))
        if number is None:
            return None
        place = f"0-{int(number)}"
        found = await self._call(subject, self._db.xrange(self._key(stream), place, place))
        return _message(*found[0]) if found else None

    async def end(self, stream: Stream) -> int:
        """See :class:`mellm.engine.bus.base.Bus`."""
        return int(await self._call(stream, self._db.get(self._key(f"count:{stream}"))) or 0)

    async def purge(self, pattern: str) -> int:
        """See :class:`mellm.engine.bus.base.Bus`. The append-only file is written anew: there the bytes would stay."""
        stream, gone, at = stream_of(pattern), 0, 0
        while (message := await self.read(pattern, at)) is not None:
            at = message.seq
            await self._call(pattern, self._db.xdel(self._key(stream), f"0-{at}"))
            await self._call(pattern, self._hash("HDEL", self._key(f"last:{stream}"), message.subject))
            gone += 1
        if gone:
            await self._rewrite()
        return gone

    async def _rewrite(self) -> None:
        for _ in range(REWRITES):
            try:
                await self._db.bgrewriteaof()
                return
            except exceptions.ResponseError:  # one is under way, which began too early
                await asyncio.sleep(4 * POLL_S)
            except (exceptions.RedisError, OSError) as error:
                raise BusUnavailable(f"{self._where} cannot write its file anew: {error}") from error
        raise BusUnavailable(f"{self._where} does not write its append-only file anew")

    # -- work -----------------------------------------------------------------------------------------

    async def take(self, stream: Stream, wait_s: float) -> Delivery | None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        until, key = time.monotonic() + wait_s, self._key(stream)
        while True:
            found = await self._left(stream) or await self._fresh(key)
            if found is not None:
                return found
            left = until - time.monotonic()
            if left <= 0:
                return None
            await asyncio.sleep(min(left, POLL_S))

    async def _fresh(self, key: str) -> Delivery | None:
        told = await self._call(key, self._db.xreadgroup(WORKERS, self._name, {key: ">"}, count=1))
        for _, entries in told or ():
            for place, fields in entries:
                return await self._delivery(key, place, fields, 1)
        return None

    async def _left(self, stream: Stream) -> Delivery | None:
        """What somebody has taken and not ended."""
        key, idle_ms = self._key(stream), round(ACK_WAIT_S * 1e3)
        pending = await self._call(
            key, self._db.xpending_range(key, WORKERS, min="-", max="+", count=PAGE, idle=idle_ms)
        )
        for each in pending:
            place, tries = each["message_id"], int(each["times_delivered"])
            if stream == "evidence" and tries >= MOST_DELIVERIES:
                continue
            claimed = await self._call(key, self._db.xclaim(key, WORKERS, self._name, idle_ms, [place]))
            for _, fields in claimed:
                if fields:
                    return await self._delivery(key, place, fields, tries + 1)
        return None

    async def _delivery(self, key: str, place: bytes, fields: dict[bytes, bytes], tries: int) -> Delivery:
        seconds, micros = await self._call(key, self._db.time())
        age_s = max(0.0, seconds + micros / 1e6 - float(fields[b"t"]))
        return Delivery(_message(place, fields), tries, age_s, (key, place))

    async def done(self, delivery: Delivery) -> None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        key, place = cast("tuple[str, bytes]", delivery.token)
        await self._call(key, self._db.xack(key, WORKERS, place))

    async def again(self, delivery: Delivery, delay_s: float = 0.0) -> None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        await self._idle(delivery, ACK_WAIT_S - delay_s)

    async def busy(self, delivery: Delivery) -> None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        await self._idle(delivery, 0.0)

    async def _idle(self, delivery: Delivery, seconds: float) -> None:
        """Say for how long nobody has had it; how often it was given out does not change."""
        key, place = cast("tuple[str, bytes]", delivery.token)
        idle_ms = max(0, round(seconds * 1e3))
        await self._call(
            key,
            self._db.xclaim(
                *(key, WORKERS, self._name, 0, [place]),
                idle=idle_ms,
                retrycount=delivery.tries,
                justid=True,
            ),
        )

    # -- keys -----------------------------------------------------------------------------------------

    async def get(self, bucket: Bucket, key: str) -> Entry | None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        found = await self._call(bucket, self._hash("HMGET", self._key(f"{bucket}:{key}"), "v", "r"))
        return None if found[1] is None else Entry(found[0] or b"", int(found[1]))

    async def put(self, bucket: Bucket, key: str, value: bytes, revision: int | None) -> int:
        """See :class:`mellm.engine.bus.base.Bus`."""
        keys = [self._key(f"{bucket}:{key}"), self._key("revisions")]
        ttl = BUCKETS[bucket]
        told = await self._script(
            bucket, PUT, keys, [value, -1 if revision is None else revision, 0 if ttl is None else round(ttl)]
        )
        if int(told) < 0:
            raise BusConflict(f"{bucket} {key} has changed")
        return int(told)

    async def keys(self, bucket: Bucket) -> dict[str, Entry]:
        """See :class:`mellm.engine.bus.base.Bus`."""
        start = self._key(f"{bucket}:")
        found = {}
        async with self._told(bucket):
            async for name in self._db.scan_iter(match=f"{start}*", count=256):
                key = name.decode().removeprefix(start)
                entry = await self.get(bucket, key)
                if entry is not None:
                    found[key] = entry
        return found

    async def forget(self, bucket: Bucket, key: str) -> None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        await self._call(bucket, self._db.delete(self._key(f"{bucket}:{key}")))

    # -- lossy ----------------------------------------------------------------------------------------

    async def tell(self, subject: str, body: bytes) -> None:
        """See :class:`mellm.engine.bus.base.Bus`."""
        await self._call(subject, self._db.publish(self._key(f"live:{subject}"), body))

    async def hear(self, pattern: str) -> AsyncIterator[tuple[str, bytes]]:
        """See :class:`mellm.engine.bus.base.Bus`."""
        start = self._key("live:")
        chosen = start + (pattern[:-1] + "*" if pattern.endswith(">") else pattern)
        listening: PubSub = self._db.pubsub()
        try:
            await self._call(pattern, listening.psubscribe(chosen))
            while True:
                async with self._told(pattern):
                    told = await listening.get_message(ignore_subscribe_messages=True, timeout=1.0)
                if told is not None:
                    yield told["channel"].decode().removeprefix(start), told["data"]
        finally:
            with suppress(exceptions.RedisError, OSError):
                await listening.aclose()  # type: ignore[no-untyped-call]

    # -- the server -----------------------------------------------------------------------------------

    async def facts(self) -> Facts:
        """See :class:`mellm.engine.bus.base.Bus`."""
        about = await self._call("info", self._db.info())
        try:
            kept = await self._call("config", self._db.config_get("append*"))
            synced: bool | None = kept.get("appendonly") == "yes" and kept.get("appendfsync") == "always"
        except BusRefused:
            synced = None
        streams, waiting = {}, {}
        for stream, rule in STREAMS.items():
            key = self._key(stream)
            count = int(await self._call(stream, self._db.xlen(key)))
            size = int(await self._call(stream, self._db.memory_usage(key, samples=0)) or 0)
            streams[str(stream)] = (count, size)
            if rule.work:
                groups = await self._call(stream, self._db.xinfo_groups(key))
                waiting[str(stream)] = int(groups[0].get("lag") or 0)
        return Facts(f"redis {about['redis_version']}", synced, streams, waiting)

    async def trim(self) -> None:
        """Forget what is older than its stream keeps: Redis does not by itself. Each open bus does it once a minute."""
        seconds, _ = await self._call("time", self._db.time())
        for stream, rule in STREAMS.items():
            oldest = seconds - rule.max_age_s
            key = self._key(stream)
            while True:
                page = await self._call(stream, self._db.xrange(key, count=PAGE))
                gone = [place for place, fields in page if float(fields[b"t"]) < oldest]
                if not gone:
                    break
                await self._call(stream, self._db.xdel(key, *gone))

    async def _keep_trimming(self) -> None:
        while True:
            try:
                await self.trim()
            except (BusUnavailable, BusRefused) as error:
                logger.info("old messages are not removed: %s", error)
            await asyncio.sleep(TRIM_EVERY_S)

    # -- calls ----------------------------------------------------------------------------------------

    @property
    def _db(self) -> Any:  # the library says bytes or text everywhere
        if self._redis is None:
            raise BusUnavailable("the bus is not open")
        return self._redis

    def _key(self, name: str) -> str:
        # in a cluster of servers one installation's keys lie together, or no script could change several
        return f"{{{self._options.prefix}}}:{name}"

    def _hash(self, *command: str) -> Awaitable[Any]:
        return cast("Awaitable[Any]", self._db.execute_command(*command))

    async def _script(self, what: str, text: str, keys: list[str], given: list[Any]) -> Any:
        return await self._call(what, cast("Awaitable[Any]", self._db.eval(text, len(keys), *keys, *given)))

    async def _call(self, what: str, call: Awaitable[T]) -> T:
        async with self._told(what):
            return await call

    @asynccontextmanager
    async def _told(self, what: str) -> AsyncIterator[None]:
        """The client's errors as ours."""
        try:
            yield
        except (exceptions.NoPermissionError, exceptions.AuthenticationError) as error:
            raise BusRefused(f"no right to {what}: {error}") from error
        except exceptions.ResponseError as error:
            raise BusUnavailable(f"{self._where}, {what}: {error}") from error
        except (exceptions.RedisError, OSError, TimeoutError) as error:
            raise BusUnavailable(f"{self._where} does not answer ({what}: {error})") from error

    @property
    def _where(self) -> str:
        return self._options.url.rpartition("@")[2]


def _message(place: bytes, fields: dict[bytes, bytes]) -> Message:
    return Message(fields[b"s"].decode(), int(place.rpartition(b"-")[2]), fields[b"i"].decode(), fields[b"b"])
