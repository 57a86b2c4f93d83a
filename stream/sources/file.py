"""Recordings on disk."""

from __future__ import annotations

from mellm.stream.clock import Clock
from mellm.stream.errors import SourceEmpty, SourceNotFound, SourceUnauthorized
from mellm.stream.sources.base import SourceOptions
from mellm.stream.sources.decoder import AvSource, Target
from mellm.stream.sources.facts import SENTINEL_RATE
from mellm.stream.sources.failures import file_failure
from mellm.stream.sources.formats import WHITE_LIST
from mellm.stream.sources.integrity import complete
from mellm.stream.sources.media import address, find


def open_file(
    path: str,
    *,
    id: str,
    live: bool,
    options: SourceOptions,
    clock: Clock,
    first_segment: int,
    fps: float | None = None,
) -> AvSource:
    """Open a recording.

    Only the file itself is read: containers that refer to other files or to the network (playlists,
    ``concat``, ``subfile``) are not on the list of formats.

    :param fps: rate of a stream without time stamps
    :raises SourceError: see :class:`AvSource`
    """
    try:
        file = find(path)
        if not file.exists():
            raise SourceNotFound(f"{path}: there is no such file", remedy="check the path")
        if not file.is_file():
            raise SourceNotFound(f"{path}: neither a file nor a folder", remedy="check the path")
        with file.open("rb") as stream:
            head = stream.read(16)
        whole = complete(file)
    except PermissionError:
        raise SourceUnauthorized(f"{path}: may not be read", remedy="check its permissions") from None
    except (OSError, ValueError) as error:  # names that are too long or hold a zero byte
        raise SourceNotFound(f"{path[:200]!r}: {error}", remedy="check the path") from None
    if not head:
        raise SourceEmpty(f"{path}: the file is empty", remedy="record or copy it again")
    target = Target(
        url=address(file),
        shown=path,
        kind="file",
        live=live,
        # the rate is FFmpeg's for streams that declare none; with ours, they are told apart
        options={"protocol_whitelist": "file", "format_whitelist": WHITE_LIST, "framerate": SENTINEL_RATE},
        trouble="the file was cut off" if whole is False else "",
        whole=bool(whole),
        failure=lambda error, opening: file_failure(error, path, head),
        fps=fps,
    )
    return AvSource(target, id=id, options=options, clock=clock, first_segment=first_segment)
