"""Face patches: the part of a grey frame from which crops of any pair can be cut later.

Motion between two frames is only true if both are cropped by one and the same transform; a crop placed by
each frame's own landmarks moves with their jitter, which is as large as a micro-expression. So what is
kept of a frame is not a crop but the picture round the face, with the map from the frame to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import atan2, ceil, floor, hypot, remainder, tau
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from mellm.detectors.regions import EyeFrame, eye_frame
from mellm.detectors.types import F32, U8
from mellm.stream.frames import Picture

Matrix: TypeAlias = NDArray[np.float64]
"""2×3 affine map of pixel coordinates; pixel centres lie at integers."""

CROP_W, CROP_H = 160, 184
"""Size of the normalised face crop, pixels."""

CROP_IOD = 57.0
"""Inter-ocular distance in the crop, pixels."""

CROP_EYES = (80.0, 64.0)
"""Midpoint between the eyes in the crop, pixels; the eye line is level."""

PATCH_MAX = 384
"""Widest patch, pixels; a wider face is halved until it fits, so its eye distance stays above ``CROP_IOD``."""

HOLD_SHIFT, HOLD_SCALE, HOLD_ROLL = 0.06, 0.08, 0.06
"""How far eyes may move (in eye distances), the face may grow (ratio) and roll (radians) in a held crop."""

_LEFT, _RIGHT, _UP, _DOWN = 1.65, 1.65, 1.37, 2.35  # the crop and a margin for motion, eye distances
_SMALLEST = 16


def crop_matrix(eyes: EyeFrame, width: int = CROP_W) -> Matrix:
    """Similarity from frame pixels to a crop ``width`` px wide, laid out as the standard crop."""
    zoom = width / CROP_W
    scale = CROP_IOD * zoom / eyes.iod
    cos, sin = scale * eyes.axis[0], scale * eyes.axis[1]
    (cx, cy), (ex, ey) = eyes.centre, CROP_EYES
    # the crop's pixel centres are spread over the same area at any width
    ex, ey = (ex + 0.5) * zoom - 0.5, (ey + 0.5) * zoom - 0.5
    return np.array([[cos, sin, ex - cos * cx - sin * cy], [-sin, cos, ey + sin * cx - cos * cy]])


def apply(matrix: Matrix, points: F32) -> F32:
    """Map N×2 points."""
    mapped: F32 = (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return mapped


@dataclass(frozen=True, slots=True, eq=False)
class Anchor:
    """Where the crop is held: the eyes it was placed by, its transform, and the rectangle kept of frames.

    :param matrix: frame → crop
    :param rect: x0, y0, x1, y1 in frame pixels, inside the frame
    :param halvings: how often the rectangle is halved to make a patch
    """

    eyes: EyeFrame
    matrix: Matrix
    rect: tuple[int, int, int, int]
    halvings: int

    def holds(self, eyes: EyeFrame) -> bool:
        """Whether a face at ``eyes`` is still well inside the held crop."""
        dx, dy = eyes.centre[0] - self.eyes.centre[0], eyes.centre[1] - self.eyes.centre[1]
        turn = atan2(eyes.axis[1], eyes.axis[0]) - atan2(self.eyes.axis[1], self.eyes.axis[0])
        return (
            hypot(dx, dy) <= HOLD_SHIFT * self.eyes.iod
            and abs(eyes.iod / self.eyes.iod - 1) <= HOLD_SCALE
            and abs(remainder(turn, tau)) <= HOLD_ROLL
        )


def anchor(landmarks: F32, frame_shape: tuple[int, int]) -> Anchor | None:
    """Place the crop by 68×2 landmarks (pixels) in a frame of H×W; ``None`` if the face is outside of it."""
    eyes = eye_frame(landmarks)
    (ax, ay), iod = eyes.axis, eyes.iod
    xs, ys = [], []
    for right, down in ((-_LEFT, -_UP), (_RIGHT, -_UP), (-_LEFT, _DOWN), (_RIGHT, _DOWN)):
        xs.append(eyes.centre[0] + iod * (right * ax - down * ay))
        ys.append(eyes.centre[1] + iod * (right * ay + down * ax))
    halvings = 0
    while (_LEFT + _RIGHT) * iod > PATCH_MAX << halvings:
        halvings += 1
    height, width = frame_shape
    unit = 1 << halvings
    x0, y0 = max(0, floor(min(xs))), max(0, floor(min(ys)))
    # whole blocks of 2^n pixels, so that halving averages equal areas
    across = (min(width, ceil(max(xs)) + 1) - x0) // unit * unit
    along = (min(height, ceil(max(ys)) + 1) - y0) // unit * unit
    if across < _SMALLEST * unit or along < _SMALLEST * unit:
        return None
    return Anchor(eyes, crop_matrix(eyes), (x0, y0, x0 + across, y0 + along), halvings)


@dataclass(slots=True, eq=False)
class Patch:
    """The picture round a face in one frame.

    :param image: grey uint8
    :param matrix: frame → patch pixels
    """

    image: U8
    matrix: Matrix
    _crop: U8 | None = field(default=None, repr=False)
    _crop_of: Anchor | None = field(default=None, repr=False)
    _half: U8 | None = field(default=None, repr=False)
    _half_of: Anchor | None = field(default=None, repr=False)

    def crop(self, held: Anchor) -> U8:
        """The standard crop under a held transform, ``CROP_H``×``CROP_W``; kept until another is asked for."""
        if self._crop is None or self._crop_of is not held:
            self._crop, self._crop_of = self.warp(held.matrix, CROP_W, CROP_H), held
        return self._crop

    def half(self, held: Anchor) -> U8:
        """The standard crop at half its size, by averages of 2×2; kept until another is asked for."""
        if self._half is None or self._half_of is not held:
            crop = self.warp(held.matrix, CROP_W, CROP_H)
            small = cv2.resize(crop, (CROP_W // 2, CROP_H // 2), interpolation=cv2.INTER_AREA)
            self._half, self._half_of = np.asarray(small, np.uint8), held
        return self._half

    def warp(self, matrix: Matrix, width: int, height: int) -> U8:
        """Cut the picture that ``matrix`` (frame → picture) defines; its outside repeats the border."""
        back = _compose(self.matrix, np.asarray(cv2.invertAffineTransform(matrix), np.float64))
        shrink = hypot(back[0, 0], back[1, 0])
        if shrink <= 1.33:
            return _warp(self.image, back, width, height)
        # bilinear sampling would alias skin texture: sample twice as densely, then average 2×2
        fine = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25]])
        dense = _warp(self.image, _compose(back, fine), 2 * width, 2 * height)
        return np.asarray(cv2.resize(dense, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def part_of(frame: U8 | Picture, rows: slice, columns: slice) -> U8:
    """A rectangle of a frame's grey, H×W uint8.

    :param frame: a picture, or its grey
    """
    return frame.part(rows, columns) if isinstance(frame, Picture) else frame[rows, columns]


def cut(frame: U8 | Picture, held: Anchor) -> Patch:
    """Keep the anchor's rectangle of a frame; the patch owns its pixels.

    :param frame: a picture, or its grey, H×W uint8
    """
    x0, y0, x1, y1 = held.rect
    image = part_of(frame, slice(y0, y1), slice(x0, x1))
    for _ in range(held.halvings):
        half = (image.shape[1] // 2, image.shape[0] // 2)
        image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), np.uint8)
    scale = 0.5**held.halvings
    shift = 0.5 * scale - 0.5
    matrix = np.array([[scale, 0, shift - scale * x0], [0, scale, shift - scale * y0]])
    return Patch(image.copy() if held.halvings == 0 else image, matrix)


def _compose(outer: Matrix, inner: Matrix) -> Matrix:
    """The affine map that applies ``inner`` first."""
    result: Matrix = outer[:, :2] @ inner
    result[:, 2] += outer[:, 2]
    return result


def _warp(image: U8, back: Matrix, width: int, height: int) -> U8:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(image, back, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8)
