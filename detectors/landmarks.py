"""Where the parts of a face are: FaceMesh-V2 with 478 points, or the older mesh with 468, and their 68 iBUG points.

Landmarks place the crop and the regions. They are never a measure of expression: networks of this kind damp
sub-pixel skin motion by 30–90 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, cos, hypot, pi, sin

import cv2
import numpy as np

from mellm.detectors.faces import Detection
from mellm.detectors.onnx import Session
from mellm.detectors.types import F32, U8
from mellm.stream.errors import ModelCorrupt

IBUG68: tuple[tuple[int, ...], ...] = (
    # jaw, from the subject's right ear to the left
    *((127, 162), (234,), (93,), (132,), (58,), (136,), (150,), (176,), (152,)),
    *((400,), (379,), (365,), (288,), (361,), (323,), (454,), (356, 389)),
    *((70, 156), (63,), (105,), (66,), (107, 55)),  # right brow, outer to inner
    *((336, 285), (296,), (334,), (293,), (300, 383)),  # left brow, inner to outer
    *((168,), (197,), (195,), (4,)),  # nose, from the bridge to the tip
    *((240,), (97, 242), (2,), (326, 462), (460,)),  # under the nose, right to left
    *((33,), (160,), (158,), (133,), (153,), (144,)),  # right eye
    *((362,), (385,), (387,), (263,), (373,), (380,)),  # left eye
    *((61,), (39,), (37,), (0,), (267,), (269,), (291,)),  # upper lip, outer edge, right to left
    *((321,), (314, 405), (17,), (84, 181), (91,)),  # lower lip, outer edge, left to right
    *((78,), (81, 82), (13,), (311, 312), (308,)),  # upper lip, inner edge, right to left
    *((317, 402), (14,), (87, 178)),  # lower lip, inner edge, left to right
)
"""Points of the face mesh whose mean is each of the 68 iBUG points, in their order; the first 468 points are the
same in both meshes. Chosen by anatomical place and held against points placed by hand on 86 people
(docs/landmarks.md). Mean error in per cent of the inter-ocular distance: eye corners 1.7, lids 0.8, brows 4.7, nose
ridge 1.0, under the nose 3.6, outer lips 2.3, inner lips 1.8, jaw line 1.6, chin 3.1."""

_FIRST = [points[0] for points in IBUG68]
_LAST = [points[-1] for points in IBUG68]

INPUT_SIZES = {478: 256, 468: 192}
"""Points of the mesh → side of the picture its network takes."""

ROI_SCALE = 1.5
"""Side of the region of interest, in sizes of the face; the networks were trained with it."""

MIN_PRESENCE = 0.5
"""Below it the network says that there is no face where it looks."""

HOLD_CENTRE, HOLD_SIZE, HOLD_ROLL = 0.05, 0.08, 0.06
"""Hysteresis of the region of interest, in sides, ratio and radians: one that follows every frame feeds the
network's own jitter back to it."""


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
    """Places a face mesh in a region of interest. Callable from several threads.

    :raises ModelCorrupt: the network is not a face mesh
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.points = session.shapes().get("output0", [0])[-1] // 3
        if self.points not in INPUT_SIZES:
            raise ModelCorrupt(
                f"{session.name} is not a face mesh of 478 or 468 points", remedy="run `mellm models verify`"
            )
        self._size = INPUT_SIZES[self.points]
        session.expect({"input0": (1, self._size, self._size, 3), "output1": (1, 1, 1, 1)})

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
    points: F32 = (0.5 * (mesh[_FIRST] + mesh[_LAST])).astype(np.float32)
    return points
