"""What a source yields: pictures, gaps, and what is known about where they come from.

Only time stamps in media time (integer nanoseconds) leave this module as results; wall time is
kept beside them for latency alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
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


SMALL = 4
"""By how much :attr:`Picture.small` is smaller, along either side."""


class Picture(ABC):
    """One picture in the forms that somebody asks for; each is made once, when it is first asked for.

    Motion is measured on grey pictures alone, so of most frames no colours are ever made. Several threads may ask; two
    that ask at once for what is not there yet may both make it.

    :param shape: H, W, 3
    """

    __slots__ = ("_bgr", "_gray", "_small", "shape")

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self._bgr: NDArray[np.uint8] | None = None
        self._gray: NDArray[np.uint8] | None = None
        self._small: NDArray[np.uint8] | None = None

    @property
    def bgr(self) -> NDArray[np.uint8]:
        """H×W×3 uint8; not to be written to."""
        if self._bgr is None:
            self._bgr = self._make_bgr()
        return self._bgr

    @property
    def gray(self) -> NDArray[np.uint8]:
        """H×W uint8, black 0 and white 255; not to be written to."""
        if self._gray is None:
            self._gray = self._make_gray()
        return self._gray

    @property
    def small(self) -> NDArray[np.uint8]:
        """:attr:`gray` at a quarter of its height and width, by averages: motion is left, coding noise is not."""
        if self._small is None:
            self._small = self._make_small()
        return self._small

    def part(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """A rectangle of :attr:`gray`; not to be written to."""
        return self.gray[rows, columns]

    @property
    def nbytes(self) -> int:
        """Bytes that it holds while nobody has asked for anything."""
        return 3 * self.shape[0] * self.shape[1]

    def mirrored(self) -> Picture:
        """Left and right changed places."""
        return _Mirrored(self)

    def _shrunk(self, gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
        import cv2

        size = max(1, self.shape[1] // SMALL), max(1, self.shape[0] // SMALL)
        # every second row does: a mean of eight pixels is as good as one of sixteen
        rows = gray[::2] if len(gray) >= 2 * SMALL else gray
        return cv2.resize(rows, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]

    @abstractmethod
    def _make_bgr(self) -> NDArray[np.uint8]: ...

    def _make_small(self) -> NDArray[np.uint8]:
        return self._shrunk(self.gray)

    def _make_gray(self) -> NDArray[np.uint8]:
        import cv2

        return cv2.cvtColor(self.bgr, cv2.COLOR_BGR2GRAY)  # type: ignore[return-value]


class Pixels(Picture):
    """A picture that is there as H×W×3 uint8 BGR.

    :raises ValueError: it is something else
    """

    __slots__ = ()

    def __init__(self, image: NDArray[np.uint8]) -> None:
        shape = getattr(image, "shape", None)
        if shape is None or len(shape) != 3 or shape[2] != 3 or str(image.dtype) != "uint8":
            raise ValueError(f"a frame's image is H×W×3 uint8, got {shape} {getattr(image, 'dtype', '')}")
        super().__init__(shape)
        self._bgr = image

    def _make_bgr(self) -> NDArray[np.uint8]:
        raise AssertionError("it is there")  # pragma: no cover


class _Mirrored(Picture):
    __slots__ = ("_other",)

    def __init__(self, other: Picture) -> None:
        super().__init__(other.shape)
        self._other = other

    def _make_bgr(self) -> NDArray[np.uint8]:
        return self._other.bgr[:, ::-1].copy()

    def _make_gray(self) -> NDArray[np.uint8]:
        return self._other.gray[:, ::-1].copy()


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Frame:
    """One picture with its media time.

    :param segment: rises at every reconnect or change of format; no window crosses it
    :param index: position in the segment, from 0
    :param pts_ns: presentation time stamp, nanoseconds of media time
    :param wall_ns: monotonic wall clock at arrival, for latency only
    :param picture: a :class:`Picture`, or H×W×3 uint8 BGR to make one of
    :param repaired: the time stamp was missing, repeated or ran backwards, and was mended
    :param repeated: the picture is the one before once more
    """

    source: str
    segment: int
    index: int
    pts_ns: int
    wall_ns: int
    picture: Picture
    repaired: bool = False
    repeated: bool = False

    def __init__(
        self,
        source: str,
        segment: int,
        index: int,
        pts_ns: int,
        wall_ns: int,
        picture: Picture | NDArray[np.uint8],
        repaired: bool = False,
        repeated: bool = False,
    ) -> None:
        if segment < 0 or index < 0:
            raise ValueError(f"negative segment or index: {segment}, {index}")
        whole = picture if isinstance(picture, Picture) else Pixels(picture)
        values = (source, segment, index, pts_ns, wall_ns, whole, repaired, repeated)
        for name, value in zip(self.__slots__, values, strict=True):
            object.__setattr__(self, name, value)

    @property
    def image(self) -> NDArray[np.uint8]:
        """:attr:`Picture.bgr`."""
        return self.picture.bgr

    @property
    def ref(self) -> FrameRef:
        """The frame's position without its pixels."""
        return FrameRef(self.index, self.pts_ns)

    def __repr__(self) -> str:
        h, w = self.picture.shape[:2]
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
