"""How each facial region moved from onset to apex, once head motion is removed.

The head's six parameters are fitted on the regions of :mod:`mellm.detectors.regions` that expressions hardly move,
and then taken off every pixel: the depth that yaw and pitch act through is a thin-plate spline through the
canonical depths of the 31 regions.

Strong expressions of brows and lids move nose, temples and forehead too, and the fit then takes them for a turn of
the head: a chin that is still seems to move. :func:`steadied` mends that for pictures. Tables keep the plain fit,
which is linear, the spotter network's own, and the one that the rules' templates went through.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from mellm.detectors import regions
from mellm.detectors.signals import Geometry
from mellm.detectors.types import F32
from mellm.engine.types import RegionMotion

PARAMETERS = ("shift_x", "shift_y", "scale", "roll", "yaw", "pitch")
"""Names of the head-motion parameters, in the order of :func:`mellm.detectors.regions.rigid_basis`."""

STILL_PX = 1e-4
"""Mean magnitude under which a region is called motionless, pixels (as in the published v3 table)."""

SCATTERED = 0.15
"""Concentration |Σv| / Σ|v| under which a region has no direction (as in the published v3 table)."""

NO_MOTION = "no significant motion"
NO_DIRECTION = "no clear dominant direction"

OCTANTS = ("right", "up-right", "up", "up-left", "left", "down-left", "down", "down-right")

EXPRESSIVE = np.array([region.rigid == 0 for region in regions.REGIONS])
"""Which regions say something about the face; the others place the head-motion fit."""

STEADY = 0.5
"""Weight of each region of the lower face in the fit of :func:`steadied`, beside the weights of the plain one."""

STEADY_SPREAD = 0.1
"""Least residual that counts as ordinary there, 1/100 inter-ocular distance: the flow's own noise."""

_STEADY_ROUNDS = 15
_LOWER = ("cheek", "nasolabial", "upper_lip", "lip_corner", "lower_lip", "chin")
_STEADY = np.array([STEADY if r.name.startswith(_LOWER) else r.rigid for r in regions.REGIONS])

_STEP = 4
"""Pitch of the grid on which depth is computed, pixels; between its nodes it is interpolated."""


@dataclass(frozen=True, slots=True, eq=False)
class HeadFree:
    """A flow field without the motion of the head.

    :param residual: H×W×2 float32, pixels
    :param region: ``COUNT``×2, mean residual of each region, 1/100 inter-ocular distance
    :param head: the six removed parameters, same unit, named in :data:`PARAMETERS`
    :param noise: root mean square of the residual on the regions of the fit, same unit: what the fit could
        not explain where nothing should move
    """

    residual: F32
    region: F32
    head: F32
    noise: float


def remove_head(flow: F32, landmarks: F32) -> HeadFree:
    """Split an H×W×2 flow (pixels) by 68×2 landmarks (pixels of the first picture)."""
    geometry = Geometry(landmarks, (flow.shape[0], flow.shape[1]))
    signals = geometry.signals(flow)
    region, head = signals[: 2 * regions.COUNT].reshape(-1, 2), signals[2 * regions.COUNT :]
    field = head_field(landmarks, (flow.shape[0], flow.shape[1]), head * np.float32(geometry.iod / 100))
    weight = np.array([r.rigid for r in regions.REGIONS])
    noise = float(np.sqrt((weight * (region.astype(np.float64) ** 2).sum(1)).sum() / weight.sum()))
    return HeadFree(flow - field, region, head, noise)


def steadied(free: HeadFree, landmarks: F32) -> F32:
    """The residual field (H×W×2, pixels) once more without head motion, fitted on the lower face as well.

    Least squares, reweighted by 1/(1 + (r/s)²) with s the weighted median residual (Cauchy's weights): the regions that
    do not agree with the others lose their say, be they of the upper face or the lower one.
    """
    basis = regions.rigid_basis(regions.centres(landmarks), landmarks).astype(np.float64)
    used = np.flatnonzero(_STEADY)
    base, rows, moved = _STEADY[used], basis[used], free.region[used].astype(np.float64)
    ridge = regions.RIDGE * base.sum() * np.eye(len(PARAMETERS))
    weight, head = base, np.zeros(len(PARAMETERS))
    for _ in range(_STEADY_ROUNDS):
        pull = np.einsum("r,rck,rc->k", weight, rows, moved)
        head = np.linalg.solve(np.einsum("r,rck,rcl->kl", weight, rows, rows) + ridge, pull)
        off = np.hypot(*(moved - rows @ head).T)
        order = np.argsort(off, kind="stable")
        middle = np.searchsorted(np.cumsum(base[order]), base.sum() / 2)
        weight = base / (1 + (off / max(STEADY_SPREAD, float(off[order][middle]))) ** 2)
    pixels = (head * regions.eye_frame(landmarks).iod / 100).astype(np.float32)
    height, width = free.residual.shape[:2]
    return free.residual - head_field(landmarks, (height, width), pixels)


def head_field(landmarks: F32, shape: tuple[int, int], head: F32) -> F32:
    """Motion (H×W×2, pixels) of every pixel by head parameters (6, pixels)."""
    height, width = shape
    centre = landmarks[27:31].mean(0)
    iod = regions.eye_frame(landmarks).iod
    x = (np.arange(width, dtype=np.float32) - centre[0]) / iod
    y = ((np.arange(height, dtype=np.float32) - centre[1]) / iod)[:, None]
    depth = _depth(landmarks, shape)
    shift_x, shift_y, scale, roll, yaw, pitch = (np.float32(p) for p in head)
    field = np.empty((height, width, 2), np.float32)
    field[..., 0] = shift_x + scale * x - roll * y + yaw * depth
    field[..., 1] = shift_y + scale * y + roll * x + pitch * depth
    return field


def _depth(landmarks: F32, shape: tuple[int, int]) -> F32:
    """Depth of every pixel, inter-ocular distances, interpolated between the regions' canonical depths."""
    return _depth_of(np.ascontiguousarray(landmarks, np.float32).tobytes(), shape)


@lru_cache(maxsize=8)
def _depth_of(points: bytes, shape: tuple[int, int]) -> F32:
    """Kept for a while: one moment is measured twice, and read several times, with the same landmarks."""
    landmarks: F32 = np.frombuffer(points, np.float32).reshape(68, 2)
    height, width = shape
    iod = regions.eye_frame(landmarks).iod
    centre = landmarks[27:31].mean(0)
    knots = ((regions.centres(landmarks) - centre) / iod).astype(np.float64)
    values = np.array([r.depth for r in regions.REGIONS])
    rows, columns = -(-height // _STEP) + 1, -(-width // _STEP) + 1
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2) * _STEP
    spline = _thin_plate(knots, values, (grid - centre) / iod)
    # beyond the outermost regions the spline runs on in a straight line: hold it to depths a head has
    coarse = np.clip(spline, values.min() - 0.2, values.max()).reshape(rows, columns).astype(np.float32)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    depth = cv2.remap(coarse, x / _STEP, y / _STEP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(depth, np.float32)


def _thin_plate(
    knots: NDArray[np.float64], values: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Thin-plate spline through ``values`` (n) at ``knots`` (n×2), evaluated at m×2 points."""

    def kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        r2 = ((a[:, None] - b[None]) ** 2).sum(-1)
        out: NDArray[np.float64] = r2 * np.log(r2 + 1e-12)
        return out

    n = len(knots)
    plane = np.column_stack([np.ones(n), knots])
    system = np.zeros((n + 3, n + 3))
    system[:n, :n] = kernel(knots, knots) + 1e-6 * np.eye(n)
    system[:n, n:], system[n:, :n] = plane, plane.T
    weights = np.linalg.solve(system, np.concatenate([values, np.zeros(3)]))
    out: NDArray[np.float64] = kernel(at, knots) @ weights[:n] + weights[n] + at @ weights[n + 1 :]
    return out


def direction(vectors: F32) -> str:
    """Main direction of N×2 vectors (pixels, y down): octant and angle, counter-clockwise from right, up = 90°.

    Or one of the two sentences :data:`NO_MOTION` and :data:`NO_DIRECTION`.
    """
    v = vectors.reshape(-1, 2).astype(np.float64)
    magnitude = np.hypot(v[:, 0], v[:, 1])
    if v.size == 0 or magnitude.mean() < STILL_PX:
        return NO_MOTION
    across, down = v.sum(0)
    if np.hypot(across, down) < SCATTERED * magnitude.sum():
        return NO_DIRECTION
    angle = float(np.degrees(np.arctan2(-down, across))) % 360
    return f"{OCTANTS[round(angle / 45) % 8]} ({round(angle) % 360}°)"


def table(free: HeadFree, landmarks: F32) -> tuple[RegionMotion, ...]:
    """Motion of the 31 regions."""
    radius = regions.RADIUS * regions.eye_frame(landmarks).iod
    rows = []
    for region, centre, (dx, dy) in zip(
        regions.REGIONS, regions.centres(landmarks), free.region.tolist(), strict=True
    ):
        vectors = disk(free.residual, centre, radius)
        magnitude = np.hypot(vectors[:, 0], vectors[:, 1])
        rows.append(
            RegionMotion(
                region.name,
                dx=dx,
                dy=dy,
                mean_px=float(magnitude.mean()) if magnitude.size else 0.0,
                max_px=float(magnitude.max()) if magnitude.size else 0.0,
                direction=direction(vectors),
            )
        )
    return tuple(rows)


def disk(field: F32, centre: F32, radius: float) -> F32:
    """Vectors (N×2) of an H×W×2 field inside a disk; those outside the picture are left out."""
    height, width = field.shape[:2]
    x0, x1 = (int(np.clip(np.floor(centre[0] + s * radius) + (s > 0), 0, width)) for s in (-1, 1))
    y0, y1 = (int(np.clip(np.floor(centre[1] + s * radius) + (s > 0), 0, height)) for s in (-1, 1))
    y, x = np.mgrid[y0:y1, x0:x1]
    inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2
    vectors: F32 = field[y0:y1, x0:x1][inside]
    return vectors
