"""Whether a face has moved since its landmarks were placed, by its grey picture alone.

The landmark network is the second dearest step of the chain. While a face keeps still, landmarks placed anew differ
from the last ones by the network's own jitter only.
"""

from __future__ import annotations

from math import sqrt
from typing import Final

import cv2
import numpy as np

from mellm.detectors.types import F32, U8

CELLS: Final = 6
"""The face is judged in so many times so many cells: a moving mouth is motion."""

BESIDE: Final = 3
"""So many cells may move by more: hair and what is behind the face touch its edge."""

FLAT: Final = 4.0
"""Added to the squared gradient of a cell, grey levels² a pixel²: noise on a flat cheek is no motion."""


class HeldFace:
    """A face as it was when its landmarks were placed.

    :param small: grey picture, H×W uint8
    :param box: x, y, width and height of the face there, pixels
    """

    __slots__ = ("_cells", "_gradient", "_place", "_was", "_width")

    def __init__(self, small: U8, box: tuple[float, float, float, float]) -> None:
        height, width = small.shape
        x, y, w, h = box
        left, top = min(max(0, int(x)), width - 1), min(max(0, int(y)), height - 1)
        right, bottom = min(width, max(left + 1, round(x + w))), min(height, max(top + 1, round(y + h)))
        self._place = np.s_[top:bottom, left:right]
        self._width = max(1.0, w)
        self._was = small[self._place].astype(np.float32)
        self._cells = (min(CELLS, right - left), min(CELLS, bottom - top))
        along = [cv2.Sobel(self._was, cv2.CV_32F, *way) for way in ((1, 0), (0, 1))]
        steepness = np.asarray(np.square(along).sum(0) / 64, np.float32)  # Sobel's taps sum to 8
        self._gradient = self._mean(steepness) + np.float32(FLAT)

    def moved(self, small: U8) -> float:
        """By how much the face has moved anywhere since then, in face widths.

        A small motion d changes a picture by its gradient along d: where directions are mixed, the mean square of the
        change is half of d² times that of the gradient. Motions of more than a few pixels are told as that much only.

        :param small: the picture now, of the same size
        """
        change = small[self._place] - self._was
        ranked = np.sort(self._mean(change * change) / self._gradient, axis=None)
        return sqrt(2 * float(ranked[-min(BESIDE + 1, len(ranked))])) / self._width

    def _mean(self, values: F32) -> F32:
        return np.asarray(cv2.resize(values, self._cells, interpolation=cv2.INTER_AREA), np.float32)
