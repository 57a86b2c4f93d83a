"""A face that is only skin, in the standard crop, whose regions move by known amounts."""

from __future__ import annotations

from functools import cache

from mellm.detectors.patches import CROP_EYES, CROP_H, CROP_IOD, CROP_W
from mellm.detectors.textured_plane import TexturedPlane
from mellm.detectors.types import F32, U8


@cache
def _sheet() -> TexturedPlane:
    sheet = TexturedPlane(CROP_IOD, (CROP_H, CROP_W), seed=3)
    sheet.centre = CROP_EYES
    return sheet


LANDMARKS: F32 = _sheet().landmarks()
"""68×2 pixels."""


def skin() -> U8:
    """The face at rest, 184×160."""
    return _sheet().draw()


def moved(region: str, by: tuple[float, float], head: tuple[float, float] = (0.0, 0.0)) -> U8:
    """The face with one region displaced by ``by`` and all of it by ``head``, pixels."""
    percent = (100 / CROP_IOD * by[0], 100 / CROP_IOD * by[1])
    return _sheet().draw(head, motions={region: percent})
