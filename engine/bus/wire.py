"""How a message looks: one line of JSON and, after it, a picture or nothing. Never pickled, always bounded.

``{"v": 1, "kind": …}`` comes first. A reader passes over fields that it does not know, and refuses a higher version:
whoever is older must not guess.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from mellm.engine.bus.base import MAX_BYTES
from mellm.stream.errors import MessageInvalid, ProtocolError
from mellm.stream.protocol import strict_json

VERSION: Final = 1
MAX_HEAD: Final = strict_json.MAX_BYTES


def pack(kind: str, head: Mapping[str, Any], blob: bytes = b"") -> bytes:
    """A message.

    :param blob: bytes that are no JSON, such as an encoded picture
    :raises MessageInvalid: too large, or ``head`` is not JSON
    """
    try:
        line = json.dumps(
            {**head, "v": VERSION, "kind": kind}, allow_nan=False, ensure_ascii=False, separators=(",", ":")
        ).encode()
    except (TypeError, ValueError) as error:
        raise MessageInvalid(f"a message of kind {kind!r} is not JSON: {error}") from error
    if len(line) > MAX_HEAD or len(line) + 1 + len(blob) > MAX_BYTES:
        raise MessageInvalid(
            f"a message of kind {kind!r} has {len(line)} + {len(blob)} bytes; {MAX_BYTES} may be sent"
        )
    return line + b"\n" + blob


def unpack(body: bytes, kind: str) -> tuple[dict[str, Any], bytes]:
    """Head and blob of a message.

    :param kind: that is expected
    :raises MessageInvalid: not ours, of another kind, of a higher version, or too large
    """
    if len(body) > MAX_BYTES:
        raise MessageInvalid(f"a message of {len(body)} bytes; {MAX_BYTES} may be sent")
    line, newline, blob = body.partition(b"\n")
    if not newline:
        raise MessageInvalid("a message without an end of its first line")
    try:
        head = strict_json.parse_object(line)
    except ProtocolError as error:
        raise MessageInvalid(error.message) from error
    version = head.pop("v", None)
    if type(version) is not int or not 1 <= version <= VERSION:
        raise MessageInvalid(
            f"a message of version {version!r}; this program reads up to {VERSION}",
            remedy="bring all machines to the same version of mellm-live",
        )
    if (found := head.pop("kind", None)) != kind:
        raise MessageInvalid(f"a message of kind {found!r} where {kind!r} belongs")
    return head, blob
