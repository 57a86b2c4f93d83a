"""Where the parts of a face are: FaceMesh-V2 with 478 points, or the older mesh with 468, and their 68 iBUG points.

Landmarks place the crop and the regions. They are never a measure of expression: networks of this kind damp
sub-pixel skin motion by 30–90 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, cos, hypot, pi, sin

import cv2
import numpy as np

from detectors.faces import Detection
from detectors.onnx import Session
from detectors.types import F32, U8

# Indices of the face mesh for the 68 points of the iBUG mark-up, in its order; the first 468 points are the same
# in both meshes. Chosen by anatomical place; docs/landmarks.md measures how far each group lies from points
# placed by hand.
IBUG68 = (
    *(
        127,
        234,
        93,
        132,
        58,
        136,
        150,
        176,
        152,
        400,
        379,
        365,
        288,
        361,
        323,
        454,
        356,
    ),  # jaw, right to left
    *(70, 63, 105, 66, 107),  # right brow, outer to inner
    *(336, 296, 334, 293, 300),  # left brow, inner to outer
    *(168, 197, 5, 4),  # nose bridge to tip
    *(75, 97, 2, 326, 305),  # under the nose
    *(33, 160, 158, 133, 153, 144),  # right eye
    *(362, 385, 387, 263, 373, 380),  # left eye
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),  # outer lips
    *(78, 82, 13, 312, 308, 317, 14, 87),  # inner lips
)

ROI_SCALE = 1.5
MIN_PRESENCE = 0.5

# Hysteresis: a region of interest that follows every frame carries the network's jitter into the crop
HOLD_CENTRE, HOLD_SIZE, HOLD_ROLL = 0.05, 0.08, 0.06


@dataclass(frozen=True, slots=True)
class Roi:
    """A turned square of the picture: centre and side in pixels, roll in radians."""

    x: float
    y: float
    side: float
    roll: float

    def moved(self, other: Roi) -> bool:
        """Whether ``other`` lies outside the hysteresis round this one."""
        turn = abs((other.roll - self.roll + pi) % (2 * pi) - pi)
        return (
            hypot(other.x - self.x, other.y - self.y) > HOLD_CENTRE * self.side
            or abs(other.side / self.side - 1) > HOLD_SIZE
            or turn > HOLD_ROLL
        )


def roi_of_detection(found: Detection) -> Roi:
    """The square round a detected face, turned so that the eyes are level."""
    x, y, w, h = found.box
    (rx, ry), (lx, ly) = found.points[0], found.points[1]
    return Roi(x + w / 2, y + h / 2, ROI_SCALE * max(w, h), atan2(float(ly - ry), float(lx - rx)))


def roi_of_mesh(mesh: F32) -> Roi:
    """The square round a mesh, turned so that the outer eye corners are level."""
    (rx, ry), (lx, ly) = mesh[33], mesh[263]
    roll = atan2(float(ly - ry), float(lx - rx))
    turn = np.array([[cos(roll), -sin(roll)], [sin(roll), cos(roll)]])
    level = mesh @ turn
    low, high = level.min(axis=0), level.max(axis=0)
    x, y = turn @ ((low + high) / 2)
    return Roi(float(x), float(y), ROI_SCALE * float((high - low).max()), roll)


class Landmarker:
    """Places a face mesh in a region of interest. Callable from several threads."""

    def __init__(self, session: Session) -> None:
        self._session = session
        shapes = session.shapes()
        self._size = shapes["input0"][1]
        self.points = shapes["output0"][-1] // 3

    def __call__(self, image: U8, roi: Roi) -> tuple[F32, float]:
        """Mesh (``points``×2 pixels of the picture) and presence (0 … 1).

        :raises ModelOutputInvalid: the network answered with NaN
        """
        size, scale = self._size, roi.side / self._size
        c, s = cos(roi.roll) * scale, sin(roi.roll) * scale
        half = size / 2
        back = np.array([[c, -s, roi.x - c * half + s * half], [s, c, roi.y - s * half - c * half]])
        crop = cv2.warpAffine(
            image,
            back,
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        pixels = np.divide(crop[None, :, :, ::-1], 255, dtype=np.float32)
        outputs = self._session.run({"input0": pixels})
        raw = outputs[0].reshape(-1, 3)[:, :2]
        mesh: F32 = (raw @ back[:, :2].T + back[:, 2]).astype(np.float32)
        return mesh, float(1 / (1 + np.exp(-np.clip(outputs[1].ravel()[0], -50, 50))))


def ibug68(mesh: F32) -> F32:
    """68×2 iBUG points of a 478- or 468-point mesh."""
    return np.ascontiguousarray(mesh[list(IBUG68)], np.float32)
