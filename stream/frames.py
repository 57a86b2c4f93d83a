"""What a source yields: pictures, gaps, and what is known about where they come from.

Only time stamps in media time (integer nanoseconds) leave this module as results; wall time is
kept beside them for latency alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:  # `import mellm.stream.frames` stays free of numpy
    import numpy as np
    from numpy.typing import NDArray

GapReason: TypeAlias = Literal["overflow", "decode", "reconnect", "pts", "takeover"]
TimeFrom: TypeAlias = Literal[
    "presentation stamps",
    "decode stamps",
    "declared rate",
    "--fps",
    "--stamps",
    "file numbers",
    "arrival",
    "guess",
]
SourceKind: TypeAlias = Literal["file", "camera", "rtsp", "http", "images", "synthetic", "push"]


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """Facts about an open source. ``declared_*`` comes from headers, ``measured_*`` from what arrived.

    :param uri_redacted: the address without credentials
    :param rotation: degrees (0, 90, 180, 270) already applied to the pictures, counter-clockwise
    :param declared_fps: frames a second from the container, ``None`` where it says nothing
    :param measured_fps: from time stamps that arrived, ``None`` until enough have
    :param declared_duration_ns: from the container, ``None`` for live sources
    :param mirrored: the picture is a mirror image; left and right are swapped downstream
    :param flipped: a flip that the recording asks for was applied, before the rotation
    :param pixel_aspect: width of a stored pixel over its height; pictures have square ones already
    :param track: which of the container's tracks is read, ``None`` where there are none
    :param origin_ns: what the source's own clock showed at media time 0
    :param time_scale: seconds that a player shows for one second of media time; 4 where 100 frames of a second are
        played as 25 (slow motion)
    :param time_from: what the times rest on
    :param effective_fps: pictures a second that are not repeats of the one before
    :param remarks: what a person should know about the recording, a sentence each
    """

    id: str
    uri_redacted: str
    kind: SourceKind
    width: int
    height: int
    rotation: int = 0
    declared_fps: float | None = None
    measured_fps: float | None = None
    live: bool = False
    codec: str = ""
    declared_duration_ns: int | None = None
    mirrored: bool = False
    flipped: bool = False
    pixel_aspect: float = 1.0
    track: int | None = None
    origin_ns: int = 0
    time_scale: float = 1.0
    time_from: TimeFrom = "presentation stamps"
    effective_fps: float | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FrameRef:
    """Points at one frame of a source: its index in the segment and its media time."""

    index: int
    pts_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture with its media time.

    :param segment: rises at every reconnect or change of format; no window crosses it
    :param index: position in the segment, from 0
    :param pts_ns: presentation time stamp, nanoseconds of media time
    :param wall_ns: monotonic wall clock at arrival, for latency only
    :param image: H×W×3 uint8, BGR
    :param repaired: the time stamp was missing, repeated or ran backwards, and was mended
    :param repeated: the picture is the one before once more
    """

    source: str
    segment: int
    index: int
    pts_ns: int
    wall_ns: int
    image: NDArray[np.uint8]
    repaired: bool = False
    repeated: bool = False

    def __post_init__(self) -> None:
        shape = getattr(self.image, "shape", None)
        if shape is None or len(shape) != 3 or shape[2] != 3 or str(self.image.dtype) != "uint8":
            raise ValueError(
                f"a frame's image is H×W×3 uint8, got {shape} {getattr(self.image, 'dtype', '')}"
            )
        if self.segment < 0 or self.index < 0:
            raise ValueError(f"negative segment or index: {self.segment}, {self.index}")

    @property
    def ref(self) -> FrameRef:
        """The frame's position without its pixels."""
        return FrameRef(self.index, self.pts_ns)

    def __repr__(self) -> str:
        h, w = self.image.shape[:2]
        flag = " repaired" if self.repaired else ""
        return (
            f"<Frame {self.source} seg {self.segment} #{self.index} {self.pts_ns / 1e6:.3f} ms {w}×{h}{flag}>"
        )


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of media time without frames. It flows like a frame; windows that hold it are void.

    :param frames: how many frames are known to be lost (0 where nobody knows)
    """

    source: str
    segment: int
    from_ns: int
    to_ns: int
    reason: GapReason
    frames: int = 0


Item: TypeAlias = Frame | Gap
