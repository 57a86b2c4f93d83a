"""Messages held against the schema, and events as the engine makes them."""

from __future__ import annotations

import json
from functools import cache, lru_cache
from typing import Any

from jsonschema import Draft202012Validator

from mellm.stream.protocol import wire
from mellm.stream.protocol.events import media_time
from mellm.stream.protocol.schema import document


@cache
def validator(name: str) -> Draft202012Validator:
    """For one definition of the strict schema, which lets no unknown field pass."""
    schema = document(strict=True)
    return Draft202012Validator({"$defs": schema["$defs"], "$ref": f"#/$defs/{name}"})


@lru_cache(maxsize=4096)  # one message goes to many clients
def problems(payload: str | bytes, *, text: bool = True) -> tuple[str, ...]:
    """What the schema holds against a message of the server; its type must be a known one."""
    if not text:
        assert isinstance(payload, bytes)
        payload = payload[4 : 4 + int.from_bytes(payload[:4], "big")]
        picture = wire.decode(payload).type in (wire.EVIDENCE, "preview")
        if not picture:
            return ("a binary message that is not a picture",)
    message = json.loads(payload)
    if message["type"] not in document()["$defs"]:
        return (f"unknown type {message['type']}",)
    found = validator(message["type"]).iter_errors(message)
    return tuple(f"{message['type']}{each.json_path[1:]}: {each.message[:200]}" for each in found)


def spotted(id: str = "e1", source: str = "cam", score: float = 0.5, **changes: Any) -> dict[str, Any]:
    """Data of an ``expression.spotted`` as the engine makes it."""
    quality = {"verdict": "good", "reasons": [], "fps": 30.0, "face_width": 200.0, "blur": 9.0}
    return {
        "id": id,
        "source": source,
        "segment": 0,
        "track": 1,
        **media_time("onset", 1_000_000_000),
        **media_time("apex", 1_100_000_000),
        **media_time("offset", 1_300_000_000),
        **media_time("t", 1_300_000_000),
        "onset_frame": 30,
        "apex_frame": 33,
        "offset_frame": 39,
        "score": score,
        "notice": "Not a lie detector.",
        "quality": {**quality, "yaw": 1.0, "pitch": 2.0, "occlusion": 0.0, "motion": 1.5},
        **changes,
    }


def ended(
    id: str = "e1", state: str = "dropped", reason: str | None = "deadline", **changes: Any
) -> dict[str, Any]:
    """Data of the event that ends an expression without a description."""
    end = {"state": state, "reason": reason, "description": None, "evidence": None}
    return {**spotted(id), **end, **changes}


def marker(label: str = "question 3") -> dict[str, Any]:
    """Data of a marker."""
    return {"label": label, "by": "local", "ref": None}


def scored(me: float = 0.25) -> dict[str, Any]:
    """Data of a score."""
    return {"track": 1, "me": me, "apex": 0.5, "macro": 0.0, **media_time("t", 1_000_000_000)}
