"""The one place that names a file to FFmpeg, whatever its name looks like."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer


def find(path: str | Path) -> Path:
    """The file or folder of that name, however its accents are encoded.

    macOS hands names out with separate accents (NFD), most keyboards type them composed (NFC); they look alike, and
    Linux takes them for two names. The path as given goes before both; a path that is not there is returned as it is.

    :raises OSError: the name is too long
    :raises ValueError: it holds a zero byte
    """
    given = Path(path)
    if given.exists() or str(given).isascii():
        return given
    found = Path(given.anchor)
    for part in given.parts[1:] if given.anchor else given.parts:
        following = found / part
        if not following.exists():
            wanted = unicodedata.normalize("NFC", part)
            try:
                entries = list(found.iterdir())
            except OSError:
                return given
            same = [e for e in entries if unicodedata.normalize("NFC", e.name) == wanted]
            if not same:
                return given
            following = same[0]
        found = following
    return found


def address(path: str | Path) -> str:
    """For FFmpeg: no part of the name is taken for a protocol, an option or a pattern."""
    return f"file:{Path(path).absolute()}"


@overload
def open_container(
    path: str | Path, mode: Literal["r"] = "r", *, format: str | None = None
) -> InputContainer: ...


@overload
def open_container(
    path: str | Path,
    mode: Literal["w"],
    *,
    format: str | None = None,
    options: Mapping[str, str] | None = None,
) -> OutputContainer: ...


def open_container(
    path: str | Path,
    mode: Literal["r", "w"] = "r",
    *,
    format: str | None = None,
    options: Mapping[str, str] | None = None,
) -> InputContainer | OutputContainer:
    """Open a media file with FFmpeg, for packets; pictures come from :func:`mellm.stream.sources.open_source`.

    :param options: of the format that is written
    :raises av.FFmpegError: FFmpeg cannot
    :raises OSError: the file cannot be opened
    """
    import av

    if mode == "w":
        return av.open(address(path), "w", format=format, options=dict(options or {}))
    return av.open(address(find(path)), "r", format=format, options={"protocol_whitelist": "file"})
