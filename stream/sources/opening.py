"""One door for all sources."""

from __future__ import annotations

from pathlib import Path

from mellm.stream.clock import Clock, MonotonicClock
from mellm.stream.errors import UsageError
from mellm.stream.sources.addresses import scheme_of
from mellm.stream.sources.base import MAX_FPS, Source, SourceOptions
from mellm.stream.sources.media import find


def open_source(
    uri: str,
    *,
    id: str,
    live: bool | None = None,
    fps: float | None = None,
    options: SourceOptions | None = None,
    first_segment: int = 0,
    clock: Clock | None = None,
) -> Source:
    """Open a file, a folder of pictures, a camera, a stream or the synthetic source.

    :param uri: a path, ``0``, ``/dev/video0``, ``rtsp(s)://``, ``http(s)://`` or ``synthetic:?…``
    :param id: name of the source in frames and events
    :param live: whether the source goes on without us; by default cameras and streams do
    :param fps: rate of a folder of pictures or of a stream without time stamps, or the rate to ask a camera for
    :param first_segment: number of its first segment, larger than all before when a source is reopened
    :raises UsageError: the call cannot be obeyed
    :raises SourceError: the source cannot be used; one sentence and a remedy
    """
    chosen = options or SourceOptions()
    watch = clock or MonotonicClock()
    if fps is not None and not 0 < fps <= MAX_FPS:
        raise UsageError(f"{fps} frames a second", remedy=f"give a rate above 0 and up to {MAX_FPS:g}")
    scheme = scheme_of(uri, recording=live is False)
    if scheme == "camera":
        from mellm.stream.sources.camera import open_camera

        return open_camera(uri, id=id, fps=fps, options=chosen, clock=watch, first_segment=first_segment)
    if scheme == "synthetic":
        from mellm.stream.sources.synthetic import SyntheticSource

        return SyntheticSource(
            uri, id=id, live=bool(live), options=chosen, clock=watch, first_segment=first_segment
        )
    if scheme != "path":
        from mellm.stream.sources.network import open_network

        return open_network(uri, id=id, live=live, options=chosen, clock=watch, first_segment=first_segment)
    where = _found(uri)
    if _is_folder(where):
        from mellm.stream.sources.images import ImageFolder

        return ImageFolder(
            where,
            id=id,
            fps=fps,
            live=bool(live),
            options=chosen,
            clock=watch,
            first_segment=first_segment,
        )
    from mellm.stream.sources.file import open_file

    return open_file(
        where,
        id=id,
        live=bool(live),
        options=chosen,
        clock=watch,
        first_segment=first_segment,
        fps=fps,
    )


def _found(path: str) -> str:
    try:
        return str(find(path))
    except (OSError, ValueError):
        return path


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False
