"""Moves a real picture of a face by a known amount: action units, a turn of the head, closing lids.

The face model is laid over the picture by its 68 landmarks (thin-plate spline), so each of its motions becomes a
dense field of displacements in pixels. A field says where every point goes; the picture is then sampled backwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator, RBFInterpolator

from mellm.detectors import regions
from mellm.training.synth.rig import FACE, Rig, Side, vertex_normals

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

ITERATIONS = 4
"""Fixed-point steps that turn a forward field into the backward one; enough for motions up to the size of an eye."""


@dataclass(frozen=True, eq=False)
class Portrait:
    """A picture with a face, and the face model laid over it.

    :param image: H×W×3 uint8
    :param landmarks: 68×2 pixels
    """

    image: U8
    landmarks: F32
    rig: Rig

    @property
    def iod(self) -> float:
        """Inter-ocular distance, pixels."""
        return regions.eye_frame(self.landmarks).iod

    @cached_property
    def _skin(self) -> NDArray[np.intp]:
        """Vertices of the face that look at the camera."""
        facing = vertex_normals(self.rig.mean, self.rig.tri)[:, 2] > 0.05
        return np.flatnonzero((self.rig.kind == FACE) & facing)

    @cached_property
    def _spline(self) -> RBFInterpolator:
        flat = self.rig.mean[self.rig.lm68, :2] * [1, -1]
        return RBFInterpolator(
            flat, self.landmarks.astype(np.float64), kernel="thin_plate_spline", smoothing=0.02
        )

    @cached_property
    def _placed(self) -> NDArray[np.float64]:
        """Where the vertices lie on the picture, N×2 pixels."""
        return np.asarray(self._spline(self.rig.mean[self._skin, :2] * [1, -1]))

    @cached_property
    def _mask(self) -> F32:
        """1 on the face, falling softly to 0 beyond it, so that fields end without a seam."""
        hull = cv2.convexHull(self._placed.astype(np.float32)).astype(np.int32)
        mask = np.zeros(self.image.shape[:2], np.uint8)
        cv2.fillConvexPoly(mask, hull, 255)
        reach = round(0.16 * self.iod)
        inner = cv2.erode(mask, np.ones((reach, reach), np.uint8))
        return np.asarray(cv2.GaussianBlur(inner, (0, 0), 0.09 * self.iod), np.float32) / np.float32(255)

    def _spread(self, values: NDArray[np.float64]) -> F32:
        """Values at the vertices (N×k) → H×W×k at the pixels, linear between vertices, 0 off the face."""
        height, width = self.image.shape[:2]
        y, x = np.mgrid[:height, :width]
        dense = LinearNDInterpolator(self._placed, values, fill_value=0.0)(x, y).astype(np.float32)
        dense = dense.reshape(height, width, -1)
        return np.asarray(cv2.GaussianBlur(dense, (0, 0), 0.02 * self.iod), np.float32).reshape(dense.shape)

    def unit_field(self, aus: Sequence[tuple[int, Side]]) -> F32:
        """Displacement of every pixel (H×W×2, pixels) by action units at full intensity."""
        delta = sum(self.rig.au_delta(au, side) for au, side in aus)
        flat = self.rig.mean[self._skin, :2] * [1, -1]
        moved = (self.rig.mean + delta)[self._skin, :2] * [1, -1]
        shift = np.asarray(self._spline(moved)) - np.asarray(self._spline(flat))
        return self._spread(shift) * self._mask[..., None]

    def turn_field(self) -> F32:
        """Displacement of every pixel by a small turn of the head to the subject's left, pixels a radian."""
        depth = self.rig.mean[self._skin, 2:3].astype(np.float64)
        ears = float(self.rig.mean[self.rig.lm68[[0, 16]], 2].mean())
        pixels = self.iod / self.rig.iod(self.rig.mean)
        field = np.zeros((*self.image.shape[:2], 2), np.float32)
        ahead = self._spread((depth - ears) * pixels)[..., 0]
        field[..., 0] = cv2.GaussianBlur(ahead * self._mask, (0, 0), 0.12 * self.iod)
        return field

    def peak(self, field: F32) -> float:
        """Largest regional displacement of a field, hundredths of the inter-ocular distance, head motion removed as
        the engine removes it."""
        centres = regions.centres(self.landmarks)
        basis = regions.rigid_basis(centres, self.landmarks)
        yy, xx = np.mgrid[: field.shape[0], : field.shape[1]]
        radius = regions.RADIUS * self.iod
        flow = np.stack([field[(xx - x) ** 2 + (yy - y) ** 2 <= radius**2].mean(axis=0) for x, y in centres])
        residual, _ = regions.compensate(flow.astype(np.float32), basis, regions.rigid_solver(basis))
        return float(np.hypot(*residual.T).max()) * 100 / self.iod


def move(
    image: U8, field: F32, pose: NDArray[np.float64] | None = None, *, iterations: int = ITERATIONS
) -> U8:
    """The picture after every point has gone where the field says, and then the whole by a 2×3 affine ``pose``."""
    height, width = field.shape[:2]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    target = grid
    if pose is not None:
        back = cv2.invertAffineTransform(pose).astype(np.float32)
        target = grid @ back[:, :2].T + back[:, 2]
    source = target.copy()
    for _ in range(iterations):  # the point that lands here came from here minus its own displacement
        there = cv2.remap(
            field, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
        )
        source = target - there
    return np.asarray(
        cv2.remap(image, source[..., 0], source[..., 1], cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT),
        np.uint8,
    )
