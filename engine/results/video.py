"""Pictures into a video file that players and browsers open, with the times at which they were taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np

from mellm.detectors.types import U8
from mellm.stream import private
from mellm.stream.errors import RunError
from mellm.stream.sources.media import open_container

ENCODERS: Final[Mapping[str, Mapping[str, str]]] = {
    "libx264": {"crf": "18", "preset": "fast"},
    "mpeg4": {"b": "6M"},  # a PyAV that was built without GPL parts has it
}
"""By preference, with their settings for a copy that is looked at."""

LIVE: Final[Mapping[str, Mapping[str, str]]] = {
    # a camera does not wait; a key picture every half second, so that a player steps and seeks without delay
    "libx264": {"crf": "20", "preset": "ultrafast", "g": "15", "bf": "0"},
    "mpeg4": {"b": "6M", "g": "15"},
}
"""The same for pictures that are encoded while they come."""

TIME_BASE: Final = Fraction(1, 60_000)
"""Holds milliseconds and the usual frame rates exactly; MPEG-4 has 16 bits for it."""

SEGMENT_NS: Final = 30 * 60 * 1_000_000_000
"""A file of a session lasts no longer: what breaks one leaves the others."""

FOLDER: Final = "video"
"""Of the run folder."""


def add_stream(container: Any, encoders: Mapping[str, Mapping[str, str]], height: int, width: int) -> Any:
    """A video stream for pictures of that size, by the first of the encoders that PyAV has."""
    codec = next(name for name in encoders if name in av.codecs_available)
    stream = container.add_stream(codec, rate=Fraction(50), options=dict(encoders[codec]))
    # video in this pixel format has even sides
    stream.height, stream.width = height + height % 2, width + width % 2
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = stream.time_base = TIME_BASE
    return stream


def encode(stream: Any, picture: U8, pts_ns: int) -> Any:
    """The packets of one picture, H×W×3 uint8 BGR; it is brought to the stream's size."""
    height, width = stream.height, stream.width
    if abs(picture.shape[0] - height) > 1 or abs(picture.shape[1] - width) > 1:
        picture = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    below, right = max(0, height - picture.shape[0]), max(0, width - picture.shape[1])
    if below or right:
        picture = np.asarray(cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="bgr24")
    frame.pts = round(pts_ns * TIME_BASE.denominator / 1_000_000_000)
    frame.time_base = TIME_BASE
    return stream.encode(frame)


@dataclass(slots=True)
class VideoFile:
    """One file of a session.

    :param file: path relative to the run folder
    :param from_ms: media time of its first picture, which the file shows at its time 0
    :param to_ms: media time of its last picture
    """

    file: str
    from_ms: float
    to_ms: float
    width: int
    height: int
    frames: int = 0

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``run.json``."""
        return asdict(self)


class VideoWriter:
    """Writes what a camera shows into files of a run folder; one thread.

    While a file is open it is fragmented, so that it can be played up to the last second if the process dies; when it
    is closed it is rewritten with its index in front, which browsers need for seeking. A new file begins where pictures
    change their size, and after :data:`SEGMENT_NS`.

    :param run: the run folder
    :param name: of the source; files are called after it
    :raises RunError: from every method: a file cannot be written
    """

    def __init__(self, run: Path, name: str) -> None:
        self._run = run
        self._name = name
        self._out: Any = None
        self._stream: Any = None
        self._first_ns = self._last_ns = 0
        self.files: list[VideoFile] = []

    def add(self, picture: U8, t_ns: int) -> None:
        """The next picture, H×W×3 uint8 BGR, with its media time; one whose time does not rise is left out."""
        height, width = picture.shape[:2]
        try:
            if self._out is not None:
                here = self.files[-1]
                if (here.width, here.height) != (width, height) or t_ns - self._first_ns >= SEGMENT_NS:
                    self.close()
            if self._out is None:
                self._open(height, width, t_ns)
            elif t_ns <= self._last_ns:
                return
            self._out.mux(encode(self._stream, picture, t_ns - self._first_ns))
        except (av.FFmpegError, OSError) as error:
            raise RunError(
                f"the video in {self._run} cannot be written ({error.strerror or error})"
            ) from error
        here = self.files[-1]
        here.to_ms, here.frames, self._last_ns = round(t_ns / 1e6, 3), here.frames + 1, t_ns

    def close(self) -> None:
        """Finish the file that is open; the next picture begins another. Safe to call twice."""
        out, self._out = self._out, None
        if out is None:
            return
        path = self._run / self.files[-1].file
        part = path.with_suffix(".part.mp4")
        try:
            out.mux(self._stream.encode())
            out.close()
            _indexed(path, part)
        except (av.FFmpegError, OSError) as error:
            part.unlink(missing_ok=True)
            raise RunError(f"{path} cannot be written ({error.strerror or error})") from error

    def _open(self, height: int, width: int, t_ns: int) -> None:
        private.folder(self._run / FOLDER)
        name = f"{FOLDER}/{self._name}-{len(self.files) + 1:03d}.mp4"
        _private(self._run / name)
        self._out = open_container(
            self._run / name, "w", options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}
        )
        self._stream = add_stream(self._out, LIVE, height, width)
        self._first_ns = self._last_ns = t_ns
        at = round(t_ns / 1e6, 3)
        self.files.append(VideoFile(name, at, at, width, height))


def _private(path: Path) -> None:
    """The file, empty, for its owner only: FFmpeg keeps the mode of one that is there."""
    with open(path, "wb", opener=private.opener):
        pass


def _indexed(path: Path, part: Path) -> None:
    """The same file with its index in front."""
    _private(part)
    with open_container(path) as old, open_container(part, "w", options={"movflags": "faststart"}) as new:
        template = old.streams.video[0]
        stream = new.add_stream_from_template(template)
        for packet in old.demux(template):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    part.replace(path)
