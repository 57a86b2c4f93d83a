"""Whether a recording is as long as its own container says, from a few bytes of it.

FFmpeg reads a file that was cut off to where it stops, and calls that the end. Containers say how large
they are meant to be: MP4 and MOV in each top-level box, AVI in the RIFF header, Matroska and WebM in the
segment (unless it was written live), GIF by its last byte.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO, Final

_MAX_BOXES: Final = 4096
_EBML: Final = b"\x1aE\xdf\xa3"
_SEGMENT: Final = b"\x18S\x80g"
_GIF_TRAILER: Final = b";"


def cut_off(path: str | Path) -> bool:
    """Whether bytes are missing at the end; ``False`` too where the container does not say.

    :raises OSError: the file cannot be read
    """
    return complete(path) is False


def complete(path: str | Path) -> bool | None:
    """Whether no byte is missing at the end; ``None`` where the container does not say.

    :raises OSError: the file cannot be read
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(64)
        try:
            if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
                return _boxes_end(file, size)
            if head.startswith(b"RIFF"):
                return _riff_end(file, size) <= size
            if head.startswith(_EBML):
                end = _segment_end(head)
                return None if not end else end <= size
            if head.startswith(b"GIF8"):
                file.seek(max(0, size - 64))
                return file.read().rstrip(b"\0").endswith(_GIF_TRAILER)
        except (struct.error, IndexError):
            return False  # it stops inside a header
    return None


def _boxes_end(file: BinaryIO, size: int) -> bool | None:
    """Whether the last top-level box of an MP4 ends inside the file (ISO 14496-12 §4.2).

    A file in fragments may end behind any of them, and does not say how many there are.
    """
    at = 0
    fragments = False
    for _ in range(_MAX_BOXES):
        if at >= size:
            break
        file.seek(at)
        length: int
        (length,) = struct.unpack(">I", file.read(4))
        fragments = file.read(4) == b"moof" or fragments
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
        if length == 0:  # up to the end of the file, wherever that is
            return None
        if length < 8:  # not a box: zeros or rubbish behind the last one
            break
        at += length
    if at > size:
        return False
    return None if fragments else True


def _riff_end(file: BinaryIO, size: int) -> int:
    """Where the last RIFF chunk of an AVI ends; files over 1 GB have several."""
    at = 0
    for _ in range(_MAX_BOXES):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or head[:4] != b"RIFF":
            break
        (length,) = struct.unpack("<I", head[4:])
        if length == 0:  # the writer never came back to fill it in
            return size + 1
        at += 8 + length
    return at


def _segment_end(head: bytes) -> int:
    """Where the Matroska segment ends; 0 if its size is unknown (RFC 8794 §6)."""
    at = 4
    length, width = _vint(head, at)
    at += width + length
    if head[at : at + 4] != _SEGMENT:
        return 0
    length, width = _vint(head, at + 4)
    unknown = (1 << (7 * width)) - 1
    return 0 if length == unknown else at + 4 + width + length


def _vint(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer: (value, bytes)."""
    width = 9 - data[at].bit_length()
    if width > 8 or at + width > len(data):
        raise IndexError
    value = int.from_bytes(data[at : at + width], "big") & ((1 << (7 * width)) - 1)
    return value, width
