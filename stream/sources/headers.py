"""Width and height of picture files from their first bytes, so that nothing large is decoded by surprise."""

from __future__ import annotations

import struct
from typing import Final

HEAD_BYTES: Final = 1 << 18
"""Enough to pass the metadata that cameras put before a JPEG's size."""

_JPEG_SIZES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def picture_size(head: bytes) -> tuple[int, int] | None:
    """(width, height) of a PNG, JPEG, BMP, WebP, TIFF or PNM file, ``None`` if ``head`` is none of them.

    :param head: the first :data:`HEAD_BYTES` of the file
    """
    try:
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            return struct.unpack_from(">II", head, 16)
        if head.startswith(b"\xff\xd8"):
            return _jpeg(head)
        if head.startswith(b"BM"):
            width, height = struct.unpack_from("<ii", head, 18)
            return abs(width), abs(height)
        if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
            return _webp(head)
        if head[:4] in (b"II*\0", b"MM\0*"):
            return _tiff(head)
        if head[:1] == b"P" and head[1:2] in b"123456":
            return _pnm(head)
    except (struct.error, IndexError, ValueError):
        pass
    return None


def jpeg_end(data: bytes) -> int | None:
    """Bytes of a JPEG up to and with its end marker, ``None`` where there is none; a thumbnail's does not count."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # filling
            at += 1
            continue
        at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
        if marker == 0xDA:  # behind it, pixels: an end marker cannot stand in them by chance
            end = data.find(b"\xff\xd9", at)
            return None if end < 0 else end + 2
    return None


def significant_bits(head: bytes) -> int | None:
    """Bits of a 16-bit PNG's samples that the camera filled, from its ``sBIT`` chunk; ``None`` where it has none."""
    at = 8
    while head.startswith(b"\x89PNG") and at + 9 <= len(head):
        (length,) = struct.unpack_from(">I", head, at)
        kind = head[at + 4 : at + 8]
        if kind == b"sBIT" and length:
            return int(head[at + 8])
        if kind == b"IDAT":
            break
        at += 12 + int(length)
    return None


def _jpeg(head: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(head):
        if head[at] != 0xFF:
            return None
        marker = head[at + 1]
        if marker == 0xFF:  # filling
            at += 1
        elif marker in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return width, height
        else:
            at += 2 + int(struct.unpack_from(">H", head, at + 2)[0])
    return None


def _webp(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _tiff(head: bytes) -> tuple[int, int] | None:
    order = "<" if head[:2] == b"II" else ">"
    (at,) = struct.unpack_from(order + "I", head, 4)
    (count,) = struct.unpack_from(order + "H", head, at)
    found: dict[int, int] = {}
    for entry in range(min(count, 512)):
        tag, kind = struct.unpack_from(order + "HH", head, at + 2 + 12 * entry)
        if tag in (256, 257):
            form = {3: "H", 4: "I"}.get(kind)
            if form is None:
                return None
            (found[tag],) = struct.unpack_from(order + form, head, at + 10 + 12 * entry)
    return (found[256], found[257]) if len(found) == 2 else None


def _pnm(head: bytes) -> tuple[int, int] | None:
    words: list[bytes] = []
    for line in head[2:4096].splitlines():
        words += line.partition(b"#")[0].split()
        if len(words) >= 2:
            return int(words[0]), int(words[1])
    return None
