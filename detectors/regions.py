"""The 31 facial regions whose motion is measured, and the removal of head motion from it.

Regions are disks of radius ``RADIUS`` round landmark-anchored centres. Landmarks are the 68 points of
the iBUG mark-up, 0-based. R and L are the subject's own right and left; on an unmirrored picture the
subject's right is at the picture's left. Offsets run along the eye line (x to the picture's right, y down).

Head motion is a six-parameter model fitted by weighted least squares on regions that expressions hardly
move (nose, temples, forehead): translation, scale, roll, and yaw and pitch acting through each region's
canonical depth. An affine or homography fit absorbs the expression itself; a mean of the nose leaves the
parallax of a turning head. Depths were read off the mean of the ICT-FaceKit face model (MIT).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mellm.detectors.types import F32

RADIUS = 0.09
"""Radius of a region's disk, in inter-ocular distances."""

RIDGE = 1e-3
"""Tikhonov weight of the rigid fit, relative to the summed region weights."""


@dataclass(frozen=True, slots=True)
class Region:
    """One facial region.

    :param anchors: landmark indices whose mean is the centre (an index may repeat as a weight)
    :param offset: added to that mean, inter-ocular distances, x to the picture's right, y down
    :param depth: towards the camera, inter-ocular distances, relative to the mean of landmarks 27–30
    :param rigid: weight in the head-motion fit, 0 for regions that expressions move
    """

    name: str
    anchors: tuple[int, ...]
    offset: tuple[float, float]
    depth: float
    rigid: float = 0.0


REGIONS: tuple[Region, ...] = (
    Region("brow_outer_R", (17, 18), (0, -0.05), -0.50),
    Region("brow_mid_R", (19,), (0, -0.03), -0.30),
    Region("brow_inner_R", (20, 21), (0, -0.03), -0.19),
    Region("brow_inner_L", (22, 23), (0, -0.03), -0.19),
    Region("brow_mid_L", (24,), (0, -0.03), -0.30),
    Region("brow_outer_L", (25, 26), (0, -0.05), -0.50),
    Region("glabella", (21, 22), (0, 0.05), -0.18),
    Region("upper_lid_R", (37, 38), (0, -0.02), -0.34),
    Region("upper_lid_L", (43, 44), (0, -0.02), -0.34),
    Region("lower_lid_R", (40, 41), (0, 0.1), -0.37),
    Region("lower_lid_L", (46, 47), (0, 0.1), -0.37),
    Region("cheek_R", (40, 41, 48), (-0.05, 0), -0.33),
    Region("cheek_L", (46, 47, 54), (0.05, 0), -0.33),
    Region("nasolabial_R", (31, 48), (-0.06, 0), -0.15),
    Region("nasolabial_L", (35, 54), (0.06, 0), -0.15),
    Region("nose_wing_R", (31,), (-0.04, -0.02), -0.12),
    Region("nose_wing_L", (35,), (0.04, -0.02), -0.12),
    Region("nose_bridge", (27, 28), (0, 0), -0.12, 2),
    Region("nose_tip", (30,), (0, 0), 0.15, 2),
    Region("upper_lip_R", (50,), (0, -0.03), -0.03),
    Region("upper_lip_L", (52,), (0, -0.03), -0.03),
    Region("lip_corner_R", (48,), (-0.03, 0), -0.26),
    Region("lip_corner_L", (54,), (0.03, 0), -0.26),
    Region("lower_lip", (57,), (0, 0.02), -0.06),
    Region("chin", (57, 8, 8), (0, -0.05), -0.13),
    Region("forehead_R", (19, 20), (0, -0.3), -0.35, 0.4),
    Region("forehead_L", (23, 24), (0, -0.3), -0.35, 0.4),
    Region("temple_R", (0, 36, 36), (-0.12, -0.1), -0.66, 0.7),
    Region("temple_L", (16, 45, 45), (0.12, -0.1), -0.66, 0.7),
    Region("nose_side_R", (28, 39), (0, 0.08), -0.10, 1.5),
    Region("nose_side_L", (28, 42), (0, 0.08), -0.10, 1.5),
)

NAMES: tuple[str, ...] = tuple(region.name for region in REGIONS)
COUNT = len(REGIONS)
INDEX: dict[str, int] = {name: i for i, name in enumerate(NAMES)}

_ANCHORS = np.zeros((COUNT, 68), np.float64)
for _i, _region in enumerate(REGIONS):
    for _a in _region.anchors:
        _ANCHORS[_i, _a] += 1.0 / len(_region.anchors)
_OFFSETS = np.array([r.offset for r in REGIONS], np.float64)
_DEPTH = np.array([r.depth for r in REGIONS], np.float64)
_WEIGHT = np.array([r.rigid for r in REGIONS], np.float64)
_RIGID = np.flatnonzero(_WEIGHT)


class EyeFrame(NamedTuple):
    """The face's own frame: centre between the eyes, unit vector along the eye line, eye distance (px)."""

    centre: tuple[float, float]
    axis: tuple[float, float]
    iod: float


def eye_frame(landmarks: F32) -> EyeFrame:
    """Frame of a face from its 68 landmarks (68×2, pixels); eye centres are means of six points each."""
    right, left = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
    across = left - right
    iod = float(np.hypot(*across))
    if not iod > 0:
        raise ValueError("landmarks with both eyes at one point")
    centre = (right + left) / 2
    return EyeFrame(
        (float(centre[0]), float(centre[1])), (float(across[0] / iod), float(across[1] / iod)), iod
    )


def centres(landmarks: F32) -> F32:
    """Region centres, ``COUNT``×2 float32 pixels, from 68×2 landmarks in pixels."""
    (ax, ay), iod = eye_frame(landmarks).axis, eye_frame(landmarks).iod
    turn = np.array([[ax, ay], [-ay, ax]])  # rows: eye line, and down from it
    result: F32 = (_ANCHORS @ landmarks + iod * (_OFFSETS @ turn)).astype(np.float32)
    return result


def rigid_basis(points: F32, landmarks: F32) -> F32:
    """Design matrix of the head-motion model, ``COUNT``×2×6, for ``points`` (region centres, pixels).

    Columns: shift x, shift y, scale, roll, yaw, pitch. Positions are relative to the mean of landmarks
    27–30, in inter-ocular distances, so all six parameters have the unit of the flow they are fitted to.
    """
    xy = (points - landmarks[27:31].mean(0)) / eye_frame(landmarks).iod
    basis = np.zeros((COUNT, 2, 6), np.float32)
    basis[:, 0, 0] = 1
    basis[:, 1, 1] = 1
    basis[:, :, 2] = xy
    basis[:, 0, 3], basis[:, 1, 3] = -xy[:, 1], xy[:, 0]
    basis[:, 0, 4] = _DEPTH
    basis[:, 1, 5] = _DEPTH
    return basis


def rigid_solver(basis: F32) -> F32:
    """The 6×(2·``COUNT``) matrix from stacked region flow to rigid parameters (ridge least squares)."""
    rows = basis[_RIGID].reshape(-1, 6).astype(np.float64)
    weight = np.repeat(_WEIGHT[_RIGID], 2)[:, None]
    ridge = RIDGE * _WEIGHT.sum() * np.eye(6)
    small = np.linalg.solve(rows.T @ (weight * rows) + ridge, (weight * rows).T)
    solver = np.zeros((6, COUNT, 2))
    solver[:, _RIGID] = small.reshape(6, len(_RIGID), 2)
    result: F32 = solver.reshape(6, 2 * COUNT).astype(np.float32)
    return result


def compensate(flow: F32, basis: F32, solver: F32) -> tuple[F32, F32]:
    """Split region flow into head motion and what is left.

    :param flow: …×``COUNT``×2, any unit
    :returns: residual (same shape) and rigid parameters (…×6), in the unit of ``flow``
    """
    params: F32 = flow.reshape(*flow.shape[:-2], 2 * COUNT) @ solver.T
    residual: F32 = flow - np.einsum("rck,...k->...rc", basis, params)
    return residual, params
