"""Finds pictures that are the one before once more: 24 in 30, a recorder faster than its camera, a held picture.

After compression a repeat is hardly ever equal to the last bit, and a still scene hardly changes: a picture counts as
repeated where it changes by less than a tenth of what pictures around it do. Measured on 24 recordings of people: 18 to
24 % of the pictures where 24 in 30 were known, at most 2 % where none were.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WIDTH: Final = 160
_WINDOW: Final = 40
_NEEDED: Final = 8
_QUANTILE: Final = 0.8
_SHARE: Final = 0.1
_LONGEST_RUN: Final = 6
"""So many small changes in a row are a scene that has come to rest; exact repeats may go on."""


class RepeatDetector:
    """State of one source. Deterministic, looks at earlier pictures only."""

    def __init__(self) -> None:
        self._last: NDArray[np.int16] | None = None
        self._changes: deque[float] = deque(maxlen=_WINDOW)
        self._run = 0

    def reset(self) -> None:
        """The next picture has no predecessor."""
        self._last = None
        self._changes.clear()
        self._run = 0

    def push(self, image: NDArray[np.uint8]) -> bool:
        """Whether the H×W×3 uint8 picture repeats the one before."""
        step = max(1, image.shape[1] // _WIDTH)
        small = image[::step, ::step, 1].astype(np.int16)
        last, self._last = self._last, small
        if last is None or last.shape != small.shape:
            return False
        change = float(np.abs(small - last).mean())
        self._changes.append(change)
        if change == 0.0:
            self._run += 1
            return True
        usual = sorted(self._changes)[int(_QUANTILE * (len(self._changes) - 1))]
        if len(self._changes) < _NEEDED or change > _SHARE * usual or self._run >= _LONGEST_RUN:
            self._run = 0
            return False
        self._run += 1
        return True
