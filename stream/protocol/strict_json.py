"""JSON as the standard has it: no NaN, no infinities, no field twice, bounded in size and depth."""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

from mellm.stream.errors import ProtocolError

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 8


def parse_object(payload: str | bytes) -> dict[str, Any]:
    """Parse one JSON object, refusing what Python's parser adds to JSON or lets pass.

    :raises ProtocolError: close code 4400
    """
    if len(payload) > MAX_BYTES:
        raise ProtocolError(f"a message of {len(payload)} bytes is too large")
    try:
        text = payload if isinstance(payload, str) else payload.decode()
        if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH}")
        message = json.loads(
            text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_no_twins
        )
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not a JSON message: {error}") from None
    if not isinstance(message, dict):
        raise ProtocolError("a message must be a JSON object")
    return message


def _depth(text: str) -> int:
    deepest = depth = 0
    in_string = escaped = False
    for char in text:
        if in_string:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                in_string = False
        elif char == '"':
            in_string = True
        elif char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"number out of range: {text[:32]}")
    return value


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    message = dict(pairs)
    if len(message) != len(pairs):
        raise ValueError("a field occurs twice")
    return message
