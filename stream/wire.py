"""The words of ``mellm.v1``: JSON in and out.

Server to client, one envelope for events and control messages:
``{"type", "id", "seq", "epoch", "source", "time", "data"}``; readers ignore what they do not know.

Client to server, flat and strict: ``{"type": "subscribe", "sources": […]}``. An unknown field is refused by
name, because a misspelt filter that is silently ignored looks like a server that loses events.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeGuard

from stream.errors import ProtocolError
from stream.events import EVENT_TYPES, Event, Filter, Position, from_rfc3339, rfc3339
from stream.strict_json import MAX_BYTES, parse_object

PROTOCOL: Final = "mellm.v1"

HELLO: Final = "hello"
SESSION_CREATED: Final = "session.created"
SUBSCRIBED: Final = "subscribed"
UNSUBSCRIBED: Final = "unsubscribed"
REPLAY_DONE: Final = "replay.done"
REPLAY_TRUNCATED: Final = "replay.truncated"
STREAM_SKIPPED: Final = "stream.skipped"
ERROR: Final = "error"
SESSION_CLOSED: Final = "session.closed"

CONTROL: Final = frozenset(
    {
        HELLO,
        SESSION_CREATED,
        SUBSCRIBED,
        UNSUBSCRIBED,
        REPLAY_DONE,
        REPLAY_TRUNCATED,
        STREAM_SKIPPED,
        ERROR,
        SESSION_CLOSED,
    }
)

BAD_MESSAGE: Final = 4400
UNAUTHORISED: Final = 4401
FORBIDDEN: Final = 4403
AUTH_TIMEOUT: Final = 4408
SLOW_CONSUMER: Final = 4409
TOO_MANY_MESSAGES: Final = 4429
OVERLOADED: Final = 4503
GOING_AWAY: Final = 1001

MAX_CLIENT_BYTES: Final = 64 * 1024
MAX_EVENT_BYTES: Final = MAX_BYTES
MAX_NAMES: Final = 256
MAX_NAME_CHARS: Final = 128
MAX_LABEL_CHARS: Final = 200
MAX_TOKEN_CHARS: Final = 4096
MAX_NS: Final = 2**63 - 1


class Refused(ProtocolError):
    """A well-formed message whose content cannot be obeyed; the session goes on.

    :param code: stable code for the client; :param ref: the ``id`` of the message, where it had one
    """

    def __init__(self, code: str, message: str, *, ref: str | None = None) -> None:
        super().__init__(message, close_code=BAD_MESSAGE)
        self.reason = code
        self.ref = ref


@dataclass(frozen=True, slots=True)
class Auth:
    """``session.auth``: a token from a client that cannot set headers."""

    token: str = field(repr=False)
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Subscribe:
    """``subscribe``: which events, and from where. A second one replaces the first."""

    filter: Filter = field(default_factory=Filter)
    after: Position | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """``unsubscribe``: no more events."""

    id: str | None = None


@dataclass(frozen=True, slots=True)
class MarkerAdd:
    """``marker.add``: an outside event, at a media time or (``time_ns`` is ``None``) now."""

    label: str
    source: str = ""
    time_ns: int | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Close:
    """``session.close``: the client is done."""

    id: str | None = None


ClientMessage: TypeAlias = Auth | Subscribe | Unsubscribe | MarkerAdd | Close


# -- server to client ---------------------------------------------------------------------------------


def encode(event: Event) -> bytes:
    """One envelope as UTF-8 JSON.

    :raises ValueError: for NaN and infinities, which JSON does not have, and for events over
        :data:`MAX_EVENT_BYTES`
    :raises TypeError: for values that JSON does not have, such as arrays
    """
    payload = json.dumps(
        {
            "type": event.type,
            "id": event.id,
            "seq": event.seq,
            "epoch": event.epoch,
            "source": event.source,
            "time": rfc3339(event.time),
            "data": event.data,
        },
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
    ).encode(errors="replace")  # half a surrogate pair, as a language model may write
    if len(payload) > MAX_EVENT_BYTES:
        raise ValueError(f"{event.type} of {len(payload)} bytes is over the bound of {MAX_EVENT_BYTES}")
    return payload


def decode(payload: str | bytes) -> Event:
    """Read one envelope, as a client does: unknown fields and types pass.

    :raises ProtocolError: if it is not an envelope
    """
    message = parse_object(payload)
    try:
        seq = message.get("seq")
        data = message.get("data", {})
        if not (seq is None or _is_int(seq)) or not isinstance(data, dict):
            raise TypeError("seq or data has the wrong type")
        return Event(
            type=_text(message["type"]),
            id=_text(message.get("id", "")),
            seq=seq,
            epoch=_text(message.get("epoch", "")),
            source=_text(message.get("source", "")),
            time=from_rfc3339(message["time"]),
            data=data,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"not an envelope of {PROTOCOL}: {error!r}") from error


# -- client to server ---------------------------------------------------------------------------------


def encode_client(message: ClientMessage) -> str:
    """A client's message as JSON; fields at their default are left out."""
    out: dict[str, Any] = {}
    match message:
        case Auth(token=token):
            out = {"type": "session.auth", "token": token}
        case Subscribe(filter=wanted, after=after):
            out = {"type": "subscribe"}
            if wanted.sources is not None:
                out["sources"] = sorted(wanted.sources)
            if wanted.types is not None:
                out["types"] = sorted(wanted.types)
            if wanted.min_score:
                out["min_score"] = wanted.min_score
            if after is not None:
                out["after"] = {"epoch": after.epoch, "seq": after.seq}
        case Unsubscribe():
            out = {"type": "unsubscribe"}
        case MarkerAdd(label=label, source=source, time_ns=time_ns):
            out = {"type": "marker.add", "label": label}
            if source:
                out["source"] = source
            if time_ns is not None:
                out["time_ns"] = str(time_ns)
        case Close():
            out = {"type": "session.close"}
    if message.id is not None:
        out["id"] = message.id
    return json.dumps(out, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def decode_client(payload: str | bytes) -> ClientMessage:
    """Read a client's message, strictly.

    :raises Refused: well-formed JSON that asks for something unknown; names the field
    :raises ProtocolError: anything else, with the close code
    """
    message = parse_object(payload)
    ref = message.get("id")
    if ref is not None and not _is_name(ref):
        raise Refused("bad_value", f"id must be a string of 1 to {MAX_NAME_CHARS} characters")
    try:
        return _read_client(message, ref)
    except Refused as error:
        error.ref = ref
        raise


def expand_types(names: list[str]) -> frozenset[str]:
    """Event types for exact names and families such as ``expression.*``.

    :raises Refused: naming what was not understood and what there is
    """
    chosen: set[str] = set()
    for name in names:
        if name.endswith(".*"):
            found = {known for known in EVENT_TYPES if known.startswith(name[:-1])}
        else:
            found = {name} & EVENT_TYPES
        if not found and name not in CONTROL:  # control messages come anyway; naming them is no mistake
            raise Refused(
                "unknown_type",
                f"unknown event type {name!r}{_hint(name, EVENT_TYPES)}; known: {', '.join(sorted(EVENT_TYPES))}",
            )
        chosen |= found
    return frozenset(chosen)


def _read_client(message: dict[str, Any], ref: str | None) -> ClientMessage:
    kind = message.get("type")
    if not isinstance(kind, str):
        raise Refused("bad_value", "type is missing or is no string")
    readers = _FIELDS.get(kind)
    if readers is None:
        raise Refused(
            "unknown_message",
            f"unknown message type {kind!r}{_hint(kind, _FIELDS)}; expected one of: {', '.join(_FIELDS)}",
        )
    expected = ["type", "id", *readers]
    for name in message:
        if name not in expected:
            raise Refused(
                "unknown_field",
                f"unknown field {name!r} in {kind}{_hint(name, expected)}; expected: {', '.join(expected)}",
            )
    values = {name: read(message[name]) for name, read in readers.items() if name in message}
    match kind:
        case "session.auth":
            return Auth(_need(values, "token", kind), ref)
        case "subscribe":
            wanted = Filter(values.get("sources"), values.get("types"), values.get("min_score", 0.0))
            return Subscribe(wanted, values.get("after"), ref)
        case "marker.add":
            return MarkerAdd(
                _need(values, "label", kind), values.get("source", ""), values.get("time_ns"), ref
            )
        case "unsubscribe":
            return Unsubscribe(ref)
        case _:
            return Close(ref)


def _need(values: Mapping[str, Any], name: str, kind: str) -> Any:
    if name not in values:
        raise Refused("missing_field", f"{kind} needs the field {name!r}")
    return values[name]


def _hint(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name[:MAX_NAME_CHARS], list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


# -- fields -------------------------------------------------------------------------------------------


def _read_token(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TOKEN_CHARS:
        raise Refused("bad_value", f"token must be a string of 1 to {MAX_TOKEN_CHARS} characters")
    return value


def _read_names(name: str) -> Callable[[Any], list[str]]:
    def read(value: Any) -> list[str]:
        if not isinstance(value, list) or not 0 < len(value) <= MAX_NAMES or not all(map(_is_name, value)):
            raise Refused(
                "bad_value",
                f"{name} must be a list of 1 to {MAX_NAMES} strings of 1 to {MAX_NAME_CHARS} characters; "
                "leave it out for all",
            )
        return value

    return read


def _read_score(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
        raise Refused("bad_value", "min_score must be a number from 0 to 1")
    return float(value)


def _read_after(value: Any) -> Position:
    if not isinstance(value, dict):
        raise Refused("bad_value", "after must be an object with epoch and seq")
    for name in value:
        if name not in ("epoch", "seq"):
            raise Refused(
                "unknown_field",
                f"unknown field {name!r} in after{_hint(name, ('epoch', 'seq'))}; expected: epoch, seq",
            )
    epoch, seq = value.get("epoch"), value.get("seq")
    if not _is_name(epoch) or not _is_int(seq) or not 0 <= seq <= MAX_NS:
        raise Refused("bad_value", "after needs epoch (a string) and seq (an integer from 0)")
    return Position(epoch, seq)


def _read_label(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_LABEL_CHARS or not value.isprintable():
        raise Refused("bad_value", f"label must be 1 to {MAX_LABEL_CHARS} printable characters")
    return value


def _read_source(value: Any) -> str:
    if not _is_name(value):
        raise Refused("bad_value", f"source must be a string of 1 to {MAX_NAME_CHARS} characters")
    return value


def _read_ns(value: Any) -> int:
    # at most 19 digits before int(): nobody's million digits are parsed here
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 19:
        ns = int(value)
        if ns <= MAX_NS:
            return ns
    raise Refused("bad_value", "time_ns must be integer nanoseconds as a string of digits")


_read_types = _read_names("types")
_FIELDS: Final[dict[str, dict[str, Callable[[Any], Any]]]] = {
    "session.auth": {"token": _read_token},
    "subscribe": {
        "sources": lambda value: frozenset(_read_names("sources")(value)),
        "types": lambda value: expand_types(_read_types(value)),
        "min_score": _read_score,
        "after": _read_after,
    },
    "unsubscribe": {},
    "marker.add": {"label": _read_label, "source": _read_source, "time_ns": _read_ns},
    "session.close": {},
}


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_name(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARS and value.isprintable()


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a string, got {type(value).__name__}")
    return value
