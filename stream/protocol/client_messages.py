"""What a client may say: flat JSON, read strictly.

``{"type": "subscribe", "sources": […]}``; after ``push.start`` also binary messages with pictures. An unknown field is
refused by name, because a misspelt filter that is silently ignored looks like a server that loses events.
:data:`MESSAGES` holds each field once, with its reader and its JSON Schema (:mod:`mellm.stream.protocol.schema`).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, TypeGuard, get_args

from mellm.stream.errors import ProtocolError
from mellm.stream.protocol.events import EVENT_TYPES, Filter, Position
from mellm.stream.protocol.strict_json import parse_object
from mellm.stream.protocol.wire import BAD_MESSAGE, CONTROL

MAX_NAMES: Final = 256
MAX_NAME_CHARS: Final = 128
MAX_LABEL_CHARS: Final = 200
MAX_TOKEN_CHARS: Final = 4096
MAX_NS: Final = 2**63 - 1
MAX_PUSH_HEAD: Final = 64
"""Bytes before a pushed picture."""

EvidenceKind: TypeAlias = Literal["motion", "faces"]
"""``motion``: the motion map. ``faces``: the onset beside the apex, grey, together twice as wide as high."""

SHOWN: Final[tuple[EvidenceKind, ...]] = get_args(EvidenceKind)

SHA256: Final = r"[0-9a-f]{64}"
EXPRESSION_ID: Final = r"[A-Za-z0-9._-]{1,128}"


class Refused(ProtocolError):
    """A well-formed message whose content cannot be obeyed; the session goes on.

    :param code: stable code for the client
    :param ref: the ``id`` of the message, where it had one
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
class EvidenceGet:
    """``evidence.get``: a picture of an expression, as one binary message.

    :param shown: ``motion`` for the motion map, ``faces`` for onset beside apex
    """

    expression: str
    id: str | None = None
    shown: EvidenceKind = "motion"


@dataclass(frozen=True, slots=True)
class PushStart:
    """``push.start``: binary messages with pictures of this source follow."""

    source: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class PushStop:
    """``push.stop``: no more pictures."""

    id: str | None = None


@dataclass(frozen=True, slots=True)
class ConsentWithdraw:
    """``consent.withdraw``: whoever is before this source does not agree any more. Stop it, erase what it showed."""

    source: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class ConsentGive:
    """``consent.give``: whoever is before this source has read the consent text and answered yes.

    :param sha256: of the text that was shown
    """

    source: str
    sha256: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class RunBegin:
    """``run.begin``: a session of this source begins now; one that is open is saved before."""

    source: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class RunSave:
    """``run.save``: the session of this source ends and is saved."""

    source: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Close:
    """``session.close``: the client is done."""

    id: str | None = None


ClientMessage: TypeAlias = (
    Auth
    | Subscribe
    | Unsubscribe
    | MarkerAdd
    | EvidenceGet
    | PushStart
    | PushStop
    | ConsentWithdraw
    | ConsentGive
    | RunBegin
    | RunSave
    | Close
)


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
        case EvidenceGet(expression=expression, shown=shown):
            out = {"type": "evidence.get", "expression": expression}
            if shown != "motion":
                out["shown"] = shown
        case PushStart(source=source):
            out = {"type": "push.start", "source": source}
        case PushStop():
            out = {"type": "push.stop"}
        case ConsentWithdraw(source=source):
            out = {"type": "consent.withdraw", "source": source}
        case ConsentGive(source=source, sha256=sha256):
            out = {"type": "consent.give", "source": source, "sha256": sha256}
        case RunBegin(source=source):
            out = {"type": "run.begin", "source": source}
        case RunSave(source=source):
            out = {"type": "run.save", "source": source}
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
    if "id" in message and not _is_name(ref):
        raise Refused("bad_value", f"id must be a string of 1 to {MAX_NAME_CHARS} characters")
    try:
        return _read_client(message, ref)
    except Refused as error:
        error.ref = ref
        raise


def encode_push(jpeg: bytes, time_ns: int) -> bytes:
    """The binary message of a pushed picture.

    :param time_ns: the sender's clock at capture
    """
    head = json.dumps({"time_ns": str(time_ns)}, separators=(",", ":")).encode()
    return len(head).to_bytes(4, "big") + head + jpeg


def decode_push(payload: bytes) -> tuple[bytes, int]:
    """Read the binary message of a pushed picture: the picture, unchecked, and its time in nanoseconds.

    :raises ProtocolError: if it is none
    """
    length = int.from_bytes(payload[:4], "big")
    head = payload[4 : 4 + length]
    if not 0 < length <= MAX_PUSH_HEAD or len(head) != length:
        raise ProtocolError(
            "a binary message is four bytes with the length of its head, the head, the picture"
        )
    message = parse_object(head)
    if message.keys() != {"time_ns"}:
        raise ProtocolError("the head of a pushed picture has one field, time_ns")
    return payload[4 + length :], _read_ns(message["time_ns"])


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
        raise Refused("bad_value", "type is missing or is not a string")
    fields = MESSAGES.get(kind)
    if fields is None:
        raise Refused(
            "unknown_message",
            f"unknown message type {kind!r}{_hint(kind, MESSAGES)}; expected one of: {', '.join(MESSAGES)}",
        )
    expected = ["type", "id", *fields]
    for name in message:
        if name not in expected:
            raise Refused(
                "unknown_field",
                f"unknown field {name!r} in {kind}{_hint(name, expected)}; expected: {', '.join(expected)}",
            )
    for name, each in fields.items():
        if each.required and name not in message:
            raise Refused("missing_field", f"{kind} needs the field {name!r}")
    values = {name: each.read(message[name]) for name, each in fields.items() if name in message}
    match kind:
        case "session.auth":
            return Auth(values["token"], ref)
        case "subscribe":
            wanted = Filter(values.get("sources"), values.get("types"), values.get("min_score", 0.0))
            return Subscribe(wanted, values.get("after"), ref)
        case "marker.add":
            return MarkerAdd(values["label"], values.get("source", ""), values.get("time_ns"), ref)
        case "evidence.get":
            return EvidenceGet(values["expression"], ref, values.get("shown", "motion"))
        case "unsubscribe":
            return Unsubscribe(ref)
        case "push.start":
            return PushStart(values["source"], ref)
        case "push.stop":
            return PushStop(ref)
        case "consent.withdraw":
            return ConsentWithdraw(values["source"], ref)
        case "consent.give":
            return ConsentGive(values["source"], values["sha256"], ref)
        case "run.begin":
            return RunBegin(values["source"], ref)
        case "run.save":
            return RunSave(values["source"], ref)
        case _:
            return Close(ref)


def _hint(name: str, known: Iterable[str]) -> str:
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


def _read_sha256(value: Any) -> str:
    if not isinstance(value, str) or re.fullmatch(SHA256, value) is None:
        raise Refused("bad_value", "sha256 must be 64 hexadecimal digits")
    return value


def _read_expression(value: Any) -> str:
    if not isinstance(value, str) or re.fullmatch(EXPRESSION_ID, value) is None:
        raise Refused("bad_value", "expression must be the id of an expression")
    return value


def _read_shown(value: Any) -> EvidenceKind:
    if value not in SHOWN:
        raise Refused("bad_value", f"shown must be one of {', '.join(SHOWN)}")
    chosen: EvidenceKind = value
    return chosen


def _read_ns(value: Any) -> int:
    # at most 19 digits before int(): nobody's million digits are parsed here
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 19:
        ns = int(value)
        if ns <= MAX_NS:
            return ns
    raise Refused("bad_value", "time_ns must be integer nanoseconds as a string of digits")


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_name(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARS and value.isprintable()


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a client's message.

    :param read: JSON value → value of the message; raises :class:`Refused`
    :param schema: the same as JSON Schema, as far as that can say it
    """

    read: Callable[[Any], Any]
    schema: Mapping[str, Any]
    required: bool = False


def _string(longest: int, description: str) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": longest, "description": description}


def _names(items: Mapping[str, Any], description: str) -> dict[str, Any]:
    return {
        "type": "array",
        "items": items,
        "minItems": 1,
        "maxItems": MAX_NAMES,
        "description": description,
    }


_FAMILIES = {f"{name.partition('.')[0]}.*" for name in EVENT_TYPES if "." in name}
_CHOICES = {"enum": sorted(EVENT_TYPES | _FAMILIES | CONTROL)}
_PLACE = {
    "type": "object",
    "properties": {
        "epoch": _string(MAX_NAME_CHARS, "names the log"),
        "seq": {"type": "integer", "minimum": 0, "maximum": MAX_NS, "description": "the last number seen"},
    },
    "required": ["epoch", "seq"],
    "additionalProperties": False,
    "description": "a place in the log; what came after it follows",
}

REF: Final[Mapping[str, Any]] = _string(MAX_NAME_CHARS, "printable characters; comes back as ref")

MESSAGES: Final[Mapping[str, Mapping[str, Field]]] = {
    "session.auth": {
        "token": Field(_read_token, _string(MAX_TOKEN_CHARS, "for clients that cannot set headers"), True)
    },
    "subscribe": {
        "sources": Field(
            lambda value: frozenset(_read_names("sources")(value)),
            _names(_string(MAX_NAME_CHARS, "id of a source"), "which sources; left out: all"),
        ),
        "types": Field(
            lambda value: expand_types(_read_names("types")(value)),
            _names(_CHOICES, "which types of events; left out: all but preview"),
        ),
        "min_score": Field(
            _read_score,
            {"type": "number", "minimum": 0, "maximum": 1, "description": "passes over expressions below it"},
        ),
        "after": Field(_read_after, _PLACE),
    },
    "unsubscribe": {},
    "marker.add": {
        "label": Field(_read_label, _string(MAX_LABEL_CHARS, "printable characters"), True),
        "source": Field(_read_source, _string(MAX_NAME_CHARS, "id of a source")),
        "time_ns": Field(
            _read_ns,
            {
                "type": "string",
                "pattern": "^[0-9]{1,19}$",
                "description": "media time, integer nanoseconds; left out: now",
            },
        ),
    },
    "evidence.get": {
        "expression": Field(
            _read_expression,
            {"type": "string", "pattern": f"^{EXPRESSION_ID}$", "description": "id of an expression"},
            True,
        ),
        "shown": Field(
            _read_shown,
            {
                "enum": list(SHOWN),
                "description": "the motion map (if left out), or onset beside apex where evidence is kept on disk",
            },
        ),
    },
    "push.start": {
        "source": Field(_read_source, _string(MAX_NAME_CHARS, "id of a source whose address is push:"), True)
    },
    "push.stop": {},
    "consent.withdraw": {
        "source": Field(
            _read_source, _string(MAX_NAME_CHARS, "id of a source: it stops, its data is erased"), True
        )
    },
    "consent.give": {
        "source": Field(
            _read_source, _string(MAX_NAME_CHARS, "id of the source that the person is before"), True
        ),
        "sha256": Field(
            _read_sha256,
            {"type": "string", "pattern": f"^{SHA256}$", "description": "of the consent text that was shown"},
            True,
        ),
    },
    "run.begin": {
        "source": Field(_read_source, _string(MAX_NAME_CHARS, "id of a source: its session begins now"), True)
    },
    "run.save": {
        "source": Field(
            _read_source, _string(MAX_NAME_CHARS, "id of a source: its session ends, and is kept"), True
        )
    },
    "session.close": {},
}
"""The fields of each message, ``type`` and ``id`` apart."""
