"""The words of ``mellm.v1`` from server to client. What clients say is in :mod:`mellm.stream.protocol.client_messages`.

One envelope for events and control messages, a text message of JSON:
``{"type", "id", "seq", "epoch", "source", "time", "data"}``; readers ignore what they do not know.

A picture that a client asked for comes as one binary message: four bytes, big-endian, that hold the length of the
envelope; the envelope; the picture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, TypeGuard

from mellm.stream.errors import ProtocolError
from mellm.stream.protocol.events import Event, from_rfc3339, rfc3339
from mellm.stream.protocol.strict_json import MAX_BYTES, parse_object

PROTOCOL: Final = "mellm.v1"

HELLO: Final = "hello"
SESSION_CREATED: Final = "session.created"
SUBSCRIBED: Final = "subscribed"
UNSUBSCRIBED: Final = "unsubscribed"
REPLAY_DONE: Final = "replay.done"
REPLAY_TRUNCATED: Final = "replay.truncated"
STREAM_SKIPPED: Final = "stream.skipped"
EVIDENCE: Final = "evidence"
PUSH_ACCEPTED: Final = "push.accepted"
PUSH_ENDED: Final = "push.ended"
CONSENT_WITHDRAWN: Final = "consent.withdrawn"
CONSENT_GIVEN: Final = "consent.given"
RUN_CHANGED: Final = "run.changed"
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
        EVIDENCE,
        PUSH_ACCEPTED,
        PUSH_ENDED,
        CONSENT_WITHDRAWN,
        CONSENT_GIVEN,
        RUN_CHANGED,
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
MAX_PICTURE_BYTES: Final = 1024 * 1024


# -- server to client ---------------------------------------------------------------------------------


def encode(event: Event) -> bytes:
    """One envelope as UTF-8 JSON, without the picture.

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


def encode_picture(event: Event) -> bytes:
    """The binary message of an event with a picture.

    :raises ValueError: for a picture over :data:`MAX_PICTURE_BYTES`
    """
    if len(event.picture) > MAX_PICTURE_BYTES:
        raise ValueError(f"a picture of {len(event.picture)} bytes is over the bound of {MAX_PICTURE_BYTES}")
    envelope = encode(event)
    return len(envelope).to_bytes(4, "big") + envelope + event.picture


def decode_picture(payload: bytes) -> Event:
    """Read a binary message, as a client does.

    :raises ProtocolError: if it is not one
    """
    length = int.from_bytes(payload[:4], "big")
    if len(payload) < 4 + length:
        raise ProtocolError(f"a binary message of {len(payload)} bytes holds no envelope of {PROTOCOL}")
    return replace(decode(payload[4 : 4 + length]), picture=payload[4 + length :])


def decode(payload: str | bytes) -> Event:
    """Read one envelope, as a client does: unknown fields and types pass.

    :raises ProtocolError: if it is not an envelope
    """
    return from_json(parse_object(payload))


def from_json(message: Mapping[str, Any]) -> Event:
    """An event from its envelope.

    :raises ProtocolError: if it is not an envelope
    """
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


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a string, got {type(value).__name__}")
    return value
