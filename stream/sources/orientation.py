"""The display matrix: how a stored picture is turned and flipped before anybody looks at it.

ISO 14496-12 §8.3.2: a stored point (p, q) is shown at (a·p + c·q + x, b·p + d·q + y). Cameras write the eight matrices
that turn by quarters and flip; a negative determinant is a flip.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Orientation:
    """One of the eight: rows and columns change places first, then columns and rows are reversed."""

    transposed: bool = False
    columns_reversed: bool = False
    rows_reversed: bool = False

    @property
    def flipped(self) -> bool:
        """Whether left and right change places, after all turning is undone."""
        return (self.transposed + self.columns_reversed + self.rows_reversed) % 2 == 1

    @property
    def rotation(self) -> int:
        """Degrees counter-clockwise (0, 90, 180, 270), after columns were reversed if :attr:`flipped`."""
        if not self.transposed:
            return 180 if self.rows_reversed else 0
        return 90 if self.rows_reversed != self.flipped else 270

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """H×W×3 or H×W as stored → as shown, contiguous."""
        if self == UPRIGHT:
            return image
        if self.transposed:
            image = image.swapaxes(0, 1)
        if self.columns_reversed:
            image = image[:, ::-1]
        if self.rows_reversed:
            image = image[::-1]
        return np.ascontiguousarray(image)


UPRIGHT: Final = Orientation()


def from_matrix(data: bytes) -> Orientation:
    """The nearest of the eight to a matrix of nine 32-bit integers in this machine's order, as FFmpeg hands it out."""
    if len(data) < 36:
        return UPRIGHT
    a, b, _, c, d, *_ = struct.unpack("=9i", data[:36])
    if not (a or b or c or d):
        return UPRIGHT
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)
