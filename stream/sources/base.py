"""What every source is: the protocol, its options, and what it tells at its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol, Self

from mellm.stream.frames import Item, SourceInfo

MAX_PIXELS: Final = 4096 * 2304
MAX_DURATION_S: Final = 4 * 3600.0
MAX_STREAMS: Final = 8
MAX_FPS: Final = 1000.0


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How sources are opened, and what is refused.

    :param open_timeout_s: longest wait for a network source to answer and to show its format
    :param read_timeout_s: longest wait of one read; stalls are noticed by the supervisor, not by this
    :param rtsp_transport: UDP loses packets, and each loss is a damaged picture
    :param hosts: ``any`` for addresses that the operator names; ``public`` refuses loopback, private,
        link-local and reserved ones, for addresses that come from elsewhere
    :param max_pixels: pictures larger than this are refused from the header
    :param max_duration_s: recordings that claim to be longer are refused
    :param threads: decoder threads, 0 for as many as there are cores (live sources use one)
    :param mirrored: the picture is a mirror image
    :param track: the video track to read, as the container numbers it; ``None`` for its default one
    :param stamps: a table with ``frame`` and ``time_ms``: when the pictures of a folder or raw stream were taken
    :param accept_guessed_time: read recordings of whose time stamps more than a tenth had to be guessed
    :param camera_size: ``"1280x720"`` to ask a camera for this size
    :param camera_format: ``"mjpeg"`` or a pixel format to ask a camera for
    """

    open_timeout_s: float = 4.0
    read_timeout_s: float = 2.0
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    hosts: Literal["any", "public"] = "any"
    max_pixels: int = MAX_PIXELS
    max_duration_s: float = MAX_DURATION_S
    max_streams: int = MAX_STREAMS
    threads: int = 0
    mirrored: bool = False
    track: int | None = None
    stamps: str = ""
    accept_guessed_time: bool = False
    camera_size: str = ""
    camera_format: str = ""

    def __post_init__(self) -> None:
        for name in ("open_timeout_s", "read_timeout_s", "max_pixels", "max_duration_s", "max_streams"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.threads < 0:
            raise ValueError(f"threads must be 0 or more, got {self.threads}")


@dataclass(frozen=True, slots=True)
class EndReport:
    """How a source ended.

    :param early: it ended before the end that its header declares, or could not be read to it
    :param message: one sentence, empty where all is well
    :param declared_duration_ns: from the header, ``None`` where it says nothing
    :param seen_ns: media time from the first frame to the end of the last
    :param frames: frames delivered
    :param lost: frames that could not be decoded
    :param repaired: stamps that were mended
    :param guessed: those of them that nothing confirms
    :param repeated: pictures that are the one before once more
    """

    early: bool
    message: str
    declared_duration_ns: int | None
    seen_ns: int
    frames: int
    lost: int
    repaired: int
    guessed: int = 0
    repeated: int = 0


class Source(Protocol):
    """Pictures in rising media time, with gaps between them where some are missing."""

    @property
    def info(self) -> SourceInfo:
        """Facts; size and measured rate follow what arrives."""
        ...

    @property
    def end(self) -> EndReport | None:
        """How it ended, once :meth:`read` has returned ``None``."""
        ...

    @property
    def pixel_format(self) -> str:
        """Layout of the pictures before they became BGR, as FFmpeg names it."""
        ...

    def read(self) -> Item | None:
        """The next frame or gap, ``None`` at the end.

        :raises SourceError: it broke
        """
        ...

    def close(self) -> None:
        """Let go of file, device or connection; harmless when done twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...
