"""What happened, as values: event types, the envelope, positions in the log, filters.

Standard library only, so that a remote client can import it alone.

Two classes of events. *Reliable* ones are journalled, carry a gapless ``seq`` and are never lost
silently. *Lossy* ones (``score``, ``stats``, ``preview``) carry none; under pressure only the latest of
each kind and source survives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

SOURCE_ONLINE: Final = "source.online"
SOURCE_OFFLINE: Final = "source.offline"
SOURCE_RECONNECTING: Final = "source.reconnecting"
SOURCE_GAP: Final = "source.gap"
SOURCE_DEGRADED: Final = "source.degraded"
SOURCE_ENDED: Final = "source.ended"
SOURCE_PICTURE: Final = "source.picture"
SOURCE_SESSION: Final = "source.session"
FACE_APPEARED: Final = "face.appeared"
FACE_LOST: Final = "face.lost"
EXPRESSION_SPOTTED: Final = "expression.spotted"
EXPRESSION_DESCRIBED: Final = "expression.described"
EXPRESSION_ABSTAINED: Final = "expression.abstained"
EXPRESSION_DROPPED: Final = "expression.dropped"
MARKER: Final = "marker"
SERVER_WORKER: Final = "server.worker"
EVENTS_ERASED: Final = "events.erased"
SCORE: Final = "score"
STATS: Final = "stats"
PREVIEW: Final = "preview"

RELIABLE: Final = frozenset(
    {
        SOURCE_ONLINE,
        SOURCE_OFFLINE,
        SOURCE_RECONNECTING,
        SOURCE_GAP,
        SOURCE_DEGRADED,
        SOURCE_ENDED,
        SOURCE_PICTURE,
        SOURCE_SESSION,
        FACE_APPEARED,
        FACE_LOST,
        EXPRESSION_SPOTTED,
        EXPRESSION_DESCRIBED,
        EXPRESSION_ABSTAINED,
        EXPRESSION_DROPPED,
        MARKER,
        SERVER_WORKER,
        EVENTS_ERASED,
    }
)
LOSSY: Final = frozenset({SCORE, STATS, PREVIEW})
EVENT_TYPES: Final = RELIABLE | LOSSY

EXPRESSION_ENDS: Final = frozenset({EXPRESSION_DESCRIBED, EXPRESSION_ABSTAINED, EXPRESSION_DROPPED})
"""Every spotted expression ends in exactly one of these."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the log: everything up to and including ``seq`` of that ``epoch`` has been seen."""

    epoch: str
    seq: int

    def __post_init__(self) -> None:
        if not self.epoch:
            raise ValueError("a position needs an epoch")
        if self.seq < 0:
            raise ValueError(f"negative seq: {self.seq}")


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, in the envelope of the wire (CloudEvents attribute names).

    :param type: one of :data:`EVENT_TYPES`; a client may meet newer ones and should pass over them
    :param id: what it is about; the stages of one expression share one id
    :param seq: place in the journal's epoch, from 1; ``None`` for lossy events and control messages
    :param epoch: names the journal
    :param source: id of the source, empty when the event is about the whole server
    :param time: wall clock, nanoseconds since 1970 in whole microseconds; never a result, only for latency
    :param data: plain JSON values; media times as ``…_ns`` strings of an integer beside ``…_ms`` numbers
    :param picture: of ``preview`` and ``evidence``: an encoded picture, beside the envelope
    """

    type: str
    id: str
    seq: int | None
    epoch: str
    source: str
    time: int
    data: Mapping[str, Any]
    picture: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if not self.type:
            raise ValueError("an event needs a type")
        if self.seq is not None and self.seq < 1:
            raise ValueError(f"seq counts from 1, got {self.seq}")

    @property
    def position(self) -> Position | None:
        """Where to resume after this event; ``None`` for lossy events."""
        return None if self.seq is None else Position(self.epoch, self.seq)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events a subscriber wants. ``None`` means all; previews, which cost much, must be named.

    :param types: ``events.erased`` passes any choice: whoever counts events must hear that some are gone
    :param min_score: expressions below it are passed over, in all their stages
    :param whole_server: whether events about the whole server (empty source) pass
    """

    sources: frozenset[str] | None = None
    types: frozenset[str] | None = None
    min_score: float = 0.0
    whole_server: bool = True

    def matches(self, type: str, source: str, score: float | None) -> bool:
        """Whether an event passes. Events about the whole server (empty source) pass every choice of sources."""
        chosen = type != PREVIEW if self.types is None else type in self.types or type == EVENTS_ERASED
        if not chosen:
            return False
        if self.sources is not None and source and source not in self.sources:
            return False
        if not source and not self.whole_server:
            return False
        return score is None or score >= self.min_score


def score_of(type: str, data: Mapping[str, Any]) -> float | None:
    """The score that :attr:`Filter.min_score` looks at; only expressions have one."""
    score = data.get("score") if type.startswith("expression.") else None
    return float(score) if isinstance(score, (int, float)) and not isinstance(score, bool) else None


def media_time(name: str, ns: int) -> dict[str, Any]:
    """A media time as it stands in ``data``: ``{name}_ns`` exact, as a string (JavaScript numbers end at 2⁵³),
    and ``{name}_ms`` to the microsecond for people and plots."""
    return {f"{name}_ns": str(ns), f"{name}_ms": round(ns / 1e6, 3)}


def expression_data(
    line: Mapping[str, Any], *, onset_ns: int, apex_ns: int, offset_ns: int
) -> dict[str, Any]:
    """The ``data`` of an ``expression.*`` event.

    :param line: the fields of a line of ``expressions.jsonl`` (``id``, ``source``, ``track``, ``onset_ms`` …)
    """
    return {**line, "onset_ns": str(onset_ns), "apex_ns": str(apex_ns), "offset_ns": str(offset_ns)}


def rfc3339(ns: int) -> str:
    """Nanoseconds since 1970 as RFC 3339 in UTC, cut to microseconds."""
    seconds, rest = divmod(ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def from_rfc3339(text: str) -> int:
    """The inverse of :func:`rfc3339`.

    :raises ValueError: if it is no time, or one without a zone
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a time without a zone: {text}")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1000
