"""Recordings on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mellm.stream.clock import Clock
from mellm.stream.errors import SourceEmpty, SourceNotFound, SourceUnauthorized
from mellm.stream.sources.base import SourceOptions
from mellm.stream.sources.decoder import AvSource, Target
from mellm.stream.sources.failures import file_failure
from mellm.stream.sources.integrity import cut_off

_FORMATS: Final = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpegts,mpeg"


def open_file(
    path: str, *, id: str, live: bool, options: SourceOptions, clock: Clock, first_segment: int
) -> AvSource:
    """Open a recording.

    Only the file itself is read: containers that refer to other files or to the network (playlists,
    ``concat``, ``subfile``) are not on the list of formats.

    :raises SourceError: see :class:`AvSource`
    """
    file = Path(path)
    try:
        if not file.exists():
            raise SourceNotFound(f"{path}: there is no such file", remedy="check the path")
        if not file.is_file():
            raise SourceNotFound(f"{path}: neither a file nor a folder", remedy="check the path")
        with file.open("rb") as stream:
            head = stream.read(16)
        short = cut_off(file)
    except PermissionError:
        raise SourceUnauthorized(f"{path}: may not be read", remedy="check its permissions") from None
    except (OSError, ValueError) as error:  # names that are too long or hold a zero byte
        raise SourceNotFound(f"{path[:200]!r}: {error}", remedy="check the path") from None
    if not head:
        raise SourceEmpty(f"{path}: the file is empty", remedy="record or copy it again")
    target = Target(
        url=f"file:{file.absolute()}",  # so that no part of a name is taken for a protocol
        shown=path,
        kind="file",
        live=live,
        options={"protocol_whitelist": "file", "format_whitelist": _FORMATS},
        trouble="the file was cut off" if short else "",
        failure=lambda error, opening: file_failure(error, path, head),
    )
    return AvSource(target, id=id, options=options, clock=clock, first_segment=first_segment)
