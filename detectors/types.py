"""Types that flow out of the detectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mellm.detectors.expressions import Expression, Quality, Sensitivity, Verdict

__all__ = ["F32", "U8", "Expression", "Face", "Quality", "Sensitivity", "Verdict"]

F32: TypeAlias = NDArray[np.float32]
U8: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One face in one frame.

    :param track: id of the track, never reused within a source
    :param box: x, y, width, height in pixels of the frame
    :param landmarks: 68×2 float32, pixels, iBUG order (see :mod:`mellm.detectors.landmarks`)
    :param mesh: the network's own points, 478×2 or 468×2, pixels
    :param score: presence probability of the landmark network
    """

    track: int
    box: tuple[float, float, float, float]
    landmarks: F32
    score: float
    mesh: F32 | None = None

    def __repr__(self) -> str:
        x, y, w, h = self.box
        return f"<Face {self.track} {w:.0f}×{h:.0f} at {x:.0f},{y:.0f} score {self.score:.2f}>"
