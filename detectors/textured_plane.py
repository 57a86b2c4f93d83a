"""A textured sheet with the landmarks of a mean face: pictures whose motion is known exactly.

Benches and tests measure on it. It looks like no face, so no face detector is served by it.
"""

from __future__ import annotations

from math import cos, sin

import cv2
import numpy as np

from mellm.detectors import regions
from mellm.detectors.types import F32, U8

# fmt: off
TEMPLATE: F32 = np.array([
    (-113, -4), (-112, 30), (-107, 60), (-101, 89), (-88, 122), (-66, 148), (-47, 159), (-24, 164), (0, 169),
    (24, 164), (47, 159), (66, 148), (88, 122), (101, 89), (107, 60), (112, 30), (113, -4),
    (-89, -27), (-76, -39), (-58, -43), (-37, -42), (-18, -38), (18, -38), (37, -42), (58, -43), (76, -39), (89, -27),
    (0, -5), (0, 12), (0, 28), (0, 47), (-19, 70), (-9, 70), (0, 71), (9, 70), (19, 70),
    (-68, 0), (-59, -7), (-43, -8), (-28, 3), (-42, 5), (-59, 6),
    (28, 3), (43, -8), (59, -7), (68, 0), (59, 6), (42, 5),
    (-39, 107), (-26, 95), (-11, 90), (0, 91), (11, 90), (26, 95), (39, 107), (28, 115), (16, 119), (0, 120),
    (-16, 119), (-28, 115), (-34, 106), (-15, 103), (0, 104), (15, 103), (34, 106), (16, 105), (0, 105), (-16, 105),
], np.float32) / np.float32(100)
# fmt: on
"""68×2 landmarks of a frontal mean face, inter-ocular distances round the middle of the eyes (ICT-FaceKit, MIT)."""

BUMP = 0.3
"""Width (sigma) of a regional motion, inter-ocular distances."""


def texture(height: int, width: int, seed: int = 0) -> F32:
    """Skin-like grain on two scales, H×W float32 grey levels."""
    noise = np.random.default_rng(seed).normal(size=(2, height, width)).astype(np.float32)
    fine, coarse = cv2.GaussianBlur(noise[0], (0, 0), 1.5), cv2.GaussianBlur(noise[1], (0, 0), 5.0)
    grain = fine / fine.std() + coarse / coarse.std()
    sheet: F32 = np.clip(128 + 25 * grain, 0, 255).astype(np.float32)
    return sheet


class TexturedPlane:
    """One sheet, drawn at will.

    :param iod: inter-ocular distance, pixels
    :param size: height and width of the picture
    """

    def __init__(self, iod: float = 80.0, size: tuple[int, int] = (480, 640), seed: int = 0) -> None:
        self.iod, self.size = iod, size
        self.centre = (size[1] / 2, size[0] / 2 - 0.3 * iod)
        self._texture = texture(*size, seed)
        self._y, self._x = np.mgrid[: size[0], : size[1]].astype(np.float32)

    def landmarks(self, shift: tuple[float, float] = (0, 0), *, scale: float = 1.0, roll: float = 0.0) -> F32:
        """68×2 landmarks in pixels; ``roll`` (radians) turns from x towards y."""
        turn = np.array([[cos(roll), sin(roll)], [-sin(roll), cos(roll)]])
        centre = np.add(self.centre, shift)
        result: F32 = (scale * self.iod * TEMPLATE @ turn + centre).astype(np.float32)
        return result

    def draw(
        self,
        shift: tuple[float, float] = (0, 0),
        *,
        motions: dict[str, tuple[float, float]] | None = None,
        scale: float = 1.0,
        roll: float = 0.0,
        noise: float = 0.0,
        seed: int = 0,
    ) -> U8:
        """Draw the sheet moved as a whole (shift in pixels, scale, roll) and at regions.

        :param motions: region name → displacement in 1/100 inter-ocular distance, along the sheet's axes
        :param noise: sigma of the sensor noise in grey levels, drawn with ``seed``
        """
        cx, cy = self.centre
        x, y = self._x - (cx + shift[0]), self._y - (cy + shift[1])
        c, s = cos(roll) / scale, sin(roll) / scale
        x, y = c * x + s * y + cx, c * y - s * x + cy
        dx, dy = np.zeros_like(x), np.zeros_like(y)
        for name, (right, down) in (motions or {}).items():
            px, py = regions.centres(self.landmarks())[regions.INDEX[name]]
            bump = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (BUMP * self.iod) ** 2))
            dx += bump * (right * self.iod / 100)
            dy += bump * (down * self.iod / 100)
        picture = cv2.remap(
            self._texture,
            (x - dx).astype(np.float32),
            (y - dy).astype(np.float32),
            cv2.INTER_LANCZOS4,
            borderMode=cv2.BORDER_REFLECT,
        )
        if noise:
            picture = picture + np.random.default_rng(seed).normal(0, noise, picture.shape)
        drawn: U8 = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
        return drawn
