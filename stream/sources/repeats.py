"""Finds pictures that are the one before once more: 24 in 30, a recorder faster than its camera, a held picture.

After compression a repeat is hardly ever equal to the last bit, and a face at rest hardly changes. So a picture counts
as repeated where it changes by less than a tenth of what the last pictures that were none did, and a few such in a row
are a movement that has ended.

Share of repeats found (counted by hand) on the first 250 frames of five recordings of people, 2026-11-29: .192 (.203),
.088 (.182), .008 (.024), .000 (.000), .004 (.000).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mellm.stream.frames import Picture

_WIDTH: Final = 160
_KEPT: Final = 7
_SHARE: Final = 0.1
_RUN: Final = 3
_TINY_SHARE: Final = 0.02
_TINY_RUN: Final = 6
"""Changes up to a share of the usual one are repeats, up to that many in a row."""

_LEAST: Final = 0.03
_NOISY: Final = 0.3
"""Grey values by which pictures of a noisy camera change; two equal ones of it are one, however many follow."""


class RepeatDetector:
    """State of one source. Deterministic, looks at earlier pictures only."""

    def __init__(self) -> None:
        self._last: NDArray[np.int16] | None = None
        self._changes: deque[float] = deque(maxlen=_KEPT)
        self._run = 0

    def reset(self) -> None:
        """The next picture has no predecessor."""
        self._last = None
        self._changes.clear()
        self._run = 0

    def push(self, picture: Picture) -> bool:
        """Whether the picture repeats the one before."""
        step = max(1, picture.shape[1] // _WIDTH)
        every = slice(None, None, step)
        small = picture.part(every, every).astype(np.int16)
        last, self._last = self._last, small
        if last is None or last.shape != small.shape:
            return False
        change = float(np.abs(small - last).mean())
        repeated = self._judge(change)
        if repeated:
            self._run += 1
            return True
        if self._run >= _RUN:
            self._changes.clear()  # a movement has ended: what was usual is not any more
        self._run = 0
        self._changes.append(change)
        return False

    def _judge(self, change: float) -> bool:
        if len(self._changes) < _KEPT:
            return False
        usual = sorted(self._changes)[-2]  # the largest may be a blink or a cut
        if usual < _LEAST:
            return False
        if change == 0.0 and min(self._changes) >= _NOISY:
            return True
        share = change / usual
        return (share <= _SHARE and self._run < _RUN) or (share <= _TINY_SHARE and self._run < _TINY_RUN)
