"""Cameras at this machine: V4L2 on Linux, AVFoundation on macOS."""

from __future__ import annotations

import sys
from pathlib import Path

from mellm.stream.clock import Clock
from mellm.stream.errors import SourceNotFound
from mellm.stream.sources.base import SourceOptions
from mellm.stream.sources.decoder import AvSource, Target
from mellm.stream.sources.failures import camera_failure


def open_camera(
    uri: str, *, id: str, fps: float | None, options: SourceOptions, clock: Clock, first_segment: int
) -> AvSource:
    """Open a camera by number (``0``) or device (``/dev/video0``).

    What is asked for (size, rate, format) is a wish: the camera answers with the nearest it can do, and
    :class:`~mellm.stream.frames.SourceInfo` says what that is.

    :raises SourceError: see :class:`AvSource`
    """
    wishes: dict[str, str] = {}
    if options.camera_size:
        wishes["video_size"] = options.camera_size
    if fps is not None:
        wishes["framerate"] = f"{fps:g}"
    if sys.platform == "darwin":
        url, driver = uri, "avfoundation"
        if options.camera_format:
            wishes["pixel_format"] = options.camera_format
    else:
        url, driver = (f"/dev/video{uri}" if uri.isdigit() else uri), "v4l2"
        if options.camera_format:
            wishes["input_format"] = options.camera_format
        if not Path(url).exists():
            raise SourceNotFound(f"{url}: no such camera", remedy="list cameras with `ls /dev/video*`")
    target = Target(
        url=url,
        shown=url,
        kind="camera",
        live=True,
        options=wishes,
        failure=lambda error, opening: camera_failure(error, url),
        format=driver,
    )
    return AvSource(target, id=id, options=options, clock=clock, first_segment=first_segment)
