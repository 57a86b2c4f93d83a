"""The seam between this program and whatever carries messages between machines.

Five *streams* keep what is appended to them, in one order each (:data:`STREAMS`). A subject is the stream's name and
words after it: ``event.door.3`` lies in the stream ``event``. Readers keep their own place; work is taken from a stream
by whoever is free. *Keys* lie in buckets and change by compare-and-set only. Lossy things are told and heard without
any promise.

All methods belong to one event loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias

Stream: TypeAlias = Literal["event", "evidence", "result", "control", "job"]
Bucket: TypeAlias = Literal["lease", "node", "asked", "job"]

MAX_BYTES: Final = 1 << 20
"""Of one message; brokers are set up for the same."""


@dataclass(frozen=True, slots=True)
class StreamRule:
    """How long a stream keeps what it holds.

    :param max_age_s: older messages go, and nobody is told: whoever waits for an answer has a deadline of his own
    :param max_bytes: the oldest go first
    :param work: whether messages are taken by whoever is free, see :meth:`Bus.take`
    """

    max_age_s: float
    max_bytes: int
    work: bool = False


STREAMS: Final[dict[Stream, StreamRule]] = {
    "event": StreamRule(86_400, 1 << 30),
    "evidence": StreamRule(600, 2 << 30, work=True),
    "result": StreamRule(86_400, 512 << 20),
    "control": StreamRule(30 * 86_400, 64 << 20),
    "job": StreamRule(30 * 86_400, 256 << 20, work=True),
}
BUCKETS: Final[dict[Bucket, float | None]] = {
    "lease": None,
    "node": 30.0,
    "asked": 3600.0,
    "job": 30 * 86_400.0,
}
"""And for how many seconds a key that nobody changes is kept; ``None`` is for ever."""

ACK_WAIT_S: Final = 3.0
"""What was taken and is neither ended nor said to be in hand for so long is given to somebody else."""

MOST_DELIVERIES: Final = 2
"""Of one piece of evidence. Jobs are given out until they end, and count their tries themselves."""


@dataclass(frozen=True, slots=True)
class BusOptions:
    """How a bus is reached.

    :param url: ``nats://…``, ``tls://…``, ``redis://…``, ``rediss://…`` or ``memory://NAME``
    :param prefix: of all names at the broker, so that several installations can share one
    :param nkey: file with the seed of this machine's key
    :param tls_ca: certificate authority of the broker
    :param monitor: address of the broker's monitoring page, where it tells how it writes to its disk
    :param replicas: copies of each stream in a cluster of brokers
    """

    url: str
    prefix: str = "mellm"
    nkey: Path | None = None
    tls_ca: Path | None = None
    monitor: str | None = None
    replicas: int = 1


@dataclass(frozen=True, slots=True)
class Message:
    """What lies in a stream.

    :param seq: rises along the stream
    :param id: what whoever appended it called it
    """

    subject: str
    seq: int
    id: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that was taken; ends with :meth:`Bus.done` or :meth:`Bus.again`.

    :param tries: how often it was given out, this time included
    :param age_s: since it was appended, by the broker's clock alone
    :param token: the adapter's own
    """

    message: Message
    tries: int
    age_s: float
    token: object = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class Entry:
    """The value of a key.

    :param revision: of this value, for :meth:`Bus.put`; a removed key keeps none
    """

    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What a broker says of itself.

    :param synced: whether what it acknowledged is on its disk; ``None`` when it does not tell
    :param streams: stream → number of messages and bytes
    :param waiting: stream of work → messages that nobody has taken yet
    """

    server: str
    synced: bool | None
    streams: dict[str, tuple[int, int]]
    waiting: dict[str, int]


class Bus(Protocol):
    """See the module. Everything but :meth:`close` raises :class:`~mellm.stream.errors.BusUnavailable` while the broker
    cannot be reached, and :class:`~mellm.stream.errors.BusRefused` where there is no right to the subject."""

    async def open(self) -> None:
        """Connect, and make what is missing at the broker."""
        ...

    async def close(self) -> None:
        """Safe to call twice."""
        ...

    async def append(self, subject: str, body: bytes, *, id: str, expect: int | None = None) -> int:
        """Put a message at the end of its stream; on the broker's disk when this returns.

        :param id: the same id again, within two minutes, is not stored again
        :param expect: number of the last message of this subject, 0 for none
        :returns: its number
        :raises BusConflict: the last message of the subject is another
        :raises MessageInvalid: over :data:`MAX_BYTES`
        """
        ...

    async def read(self, pattern: str, after: int, wait_s: float = 0.0) -> Message | None:
        """The next message after this number; ``None`` when none came in time.

        :param pattern: a subject, or words before ``>``
        """
        ...

    async def last(self, subject: str) -> Message | None:
        """The newest message of a subject."""
        ...

    async def end(self, stream: Stream) -> int:
        """Number of the newest message of a stream, 0 in an empty one."""
        ...

    async def take(self, stream: Stream, wait_s: float) -> Delivery | None:
        """One message that nobody has in hand; ``None`` when none came in time."""
        ...

    async def done(self, delivery: Delivery) -> None:
        """It is not given out again."""
        ...

    async def again(self, delivery: Delivery, delay_s: float = 0.0) -> None:
        """It is given out again, after a while."""
        ...

    async def busy(self, delivery: Delivery) -> None:
        """It is in hand for another :data:`ACK_WAIT_S`."""
        ...

    async def get(self, bucket: Bucket, key: str) -> Entry | None:
        """The value of a key."""
        ...

    async def put(self, bucket: Bucket, key: str, value: bytes, revision: int | None) -> int:
        """Change a key.

        :param revision: that was read, 0 for a key that is not there, ``None`` for whatever is there
        :returns: the new revision
        :raises BusConflict: it has changed since
        """
        ...

    async def keys(self, bucket: Bucket) -> dict[str, Entry]:
        """All keys of a bucket."""
        ...

    async def purge(self, pattern: str) -> int:
        """Remove all messages of these subjects, and overwrite their bytes; how many went."""
        ...

    async def forget(self, bucket: Bucket, key: str) -> None:
        """Remove a key and its former values."""
        ...

    async def tell(self, subject: str, body: bytes) -> None:
        """Say it to whoever listens now; it may be lost."""
        ...

    def hear(self, pattern: str) -> AsyncIterator[tuple[str, bytes]]:
        """What is told from now on: subjects and bodies."""
        ...

    async def facts(self) -> Facts:
        """What the broker says of itself."""
        ...


def word(name: str) -> str:
    """An id as one word of a subject or key: dots would separate words."""
    return name.replace(".", "=")


def name_of(word: str) -> str:
    """The id again."""
    return word.replace("=", ".")


def stream_of(subject: str) -> Stream:
    """The stream in which a subject lies.

    :raises ValueError: in none
    """
    first = subject.partition(".")[0]
    for stream in STREAMS:
        if stream == first:
            return stream
    raise ValueError(f"{subject!r} lies in no stream")


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject is one of the pattern's."""
    return subject.startswith(pattern[:-1]) if pattern.endswith(">") else subject == pattern
