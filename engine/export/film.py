"""A video file while it is written: our pictures, and the packets of a recording's sound."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av

from mellm.detectors.types import U8
from mellm.engine.results.video import ENCODERS, add_stream, encode
from mellm.stream.sources.media import open_container

logger = logging.getLogger(__name__)


class Film:
    """Use as a context manager; one thread at a time.

    :param recording: whose sound is copied; ``None`` for a silent film
    :param origin_ns: what its clock shows at media time 0
    """

    def __init__(self, path: Path, recording: Path | None = None, origin_ns: int = 0) -> None:
        self._out = open_container(path, "w")
        self._video: Any = None
        self._pads = (0, 0)
        self._sound = _Sound(recording, self._out, origin_ns)

    def __enter__(self) -> Film:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        try:
            if kind is None and self._video is not None:
                self._out.mux(self._video.encode())
                self._sound.until(None)
        finally:
            self._sound.close()
            self._out.close()

    def add(self, picture: U8, pts_ns: int) -> None:
        """One frame; its size is that of the first one."""
        if self._video is None:
            self._video = add_stream(self._out, ENCODERS, *picture.shape[:2])
        self._out.mux(encode(self._video, picture, pts_ns))
        self._sound.until(pts_ns)


class _Sound:
    """Sound, copied packet by packet; a recording without any, or with one that the copy cannot hold, stays silent."""

    def __init__(self, recording: Path | None, out: Any, origin_ns: int) -> None:
        self._origin_ns = origin_ns
        self._out, self._in, self._copy, self._waiting = out, None, None, None
        self._packets: Iterator[Any] = iter(())
        if recording is None or not recording.is_file():
            return
        self._in = open_container(recording)
        if not self._in.streams.audio:
            return
        stream = self._in.streams.audio[0]
        try:
            self._copy = out.add_stream_from_template(stream)
        except (ValueError, av.FFmpegError) as error:
            logger.warning("%s: the sound is left out, the copy cannot hold it (%s)", recording, error)
            return
        self._packets = (p for p in self._in.demux(stream) if p.dts is not None)

    def until(self, pts_ns: int | None) -> None:
        """Copy what is heard up to that time; all of the rest for ``None``."""
        while True:
            packet = self._waiting or next(self._packets, None)
            if packet is None:
                self._waiting = None
                return
            if self._waiting is None:  # fresh: from the clock of the recording to that of the copy
                shift = round(self._origin_ns / (packet.time_base * 1_000_000_000))
                packet.dts -= shift
                packet.pts = packet.dts if packet.pts is None else packet.pts - shift
            self._waiting = None
            if pts_ns is not None and packet.dts * packet.time_base * 1_000_000_000 > pts_ns:
                self._waiting = packet
                return
            packet.stream = self._copy
            self._out.mux(packet)

    def close(self) -> None:
        """Release the original."""
        if self._in is not None:
            self._in.close()
