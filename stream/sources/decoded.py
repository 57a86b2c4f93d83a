"""Decoded pictures whose grey is the decoder's own luma: colours are made only where somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from mellm.stream.frames import Picture
from mellm.stream.sources.orientation import Orientation

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

PLANAR: Final = {
    **dict.fromkeys(("yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "nv12", "nv21"), False),
    **dict.fromkeys(("yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p"), True),
}
"""Pixel formats whose first plane is 8-bit luma → whether their name says that it uses the full range."""


class DecodedPicture(Picture):
    """A decoder's picture of one of the formats of :data:`PLANAR`; holds on to the decoder's memory.

    :param frame: as decoded
    :param full_range: black is 0 and white 255, not 16 and 235
    :param make: makes H×W×3 uint8 BGR of it, upright; called at most once by each thread that asks
    """

    __slots__ = ("_frame", "_full", "_make", "_orientation")

    def __init__(
        self,
        frame: VideoFrame,
        orientation: Orientation,
        full_range: bool,
        make: Callable[[], NDArray[np.uint8]],
    ) -> None:
        high, wide = frame.height, frame.width
        super().__init__((wide, high, 3) if orientation.transposed else (high, wide, 3))
        self._frame, self._orientation, self._make = frame, orientation, make
        self._full = full_range or PLANAR[frame.format.name]

    @property
    def nbytes(self) -> int:
        """Bytes of the decoder's planes."""
        return sum(plane.buffer_size for plane in self._frame.planes)

    def _make_bgr(self) -> NDArray[np.uint8]:
        return self._make()

    def part(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """A rectangle of :attr:`gray`, without making all of it."""
        if self._gray is not None:
            return self._gray[rows, columns]
        return self._grey(self._luma()[rows, columns])

    def _make_gray(self) -> NDArray[np.uint8]:
        return self._grey(self._luma())

    def _make_small(self) -> NDArray[np.uint8]:
        return self._grey(self._shrunk(self._luma()))

    def _luma(self) -> NDArray[np.uint8]:
        plane = self._frame.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload]
        return self._orientation.apply(rows[: self._frame.height, : self._frame.width])

    def _grey(self, luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return luma if self._full else np.asarray(cv2.LUT(luma, _stretched()), np.uint8)


@cache
def _stretched() -> NDArray[np.uint8]:
    """Luma of 16 to 235 (ITU-R BT.601 and 709) → grey of 0 to 255."""
    return np.asarray(np.rint(np.clip((np.arange(256) - 16.0) * (255 / 219), 0, 255)), np.uint8)
