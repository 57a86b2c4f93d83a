"""The 29 regions of the ``mellm-v3`` recipe, placed by 68 landmarks.

The published table is cut round points of a 98-point mark-up (WFLW) in a 400×480 picture of the face. Nose,
lips and chin have the same points in the 68-point mark-up; points of the lids are interpolated along the
lid, and brows use the one line the 68-point mark-up has of them. Names and sizes are those the published
model was tuned on: in them, unlike anywhere else here, left is the *picture's* left.

Boxes are in pixels of the standard picture made by :func:`frame`.
"""

from __future__ import annotations

import numpy as np

from mellm.detectors import regions
from mellm.detectors.patches import Matrix
from mellm.detectors.types import F32
from mellm.engine.evidence.region_motion import direction
from mellm.engine.types import RegionMotion

WIDTH, HEIGHT = 400, 480
"""Size of the picture the published boxes were laid out in, pixels."""

IOD = 141.0
"""Inter-ocular distance in it. The published face box, widened 1.25 times, fills the picture: a face 320 px
wide is 2.26 inter-ocular distances wide."""

EYES = (200.0, 182.0)
"""Midpoint between the eyes in it, pixels."""

Box = tuple[int, int, int, int]


def frame(landmarks: F32) -> Matrix:
    """2×3 similarity from picture pixels to the standard picture."""
    eyes = regions.eye_frame(landmarks)
    scale = IOD / eyes.iod
    cos, sin = scale * eyes.axis[0], scale * eyes.axis[1]
    (cx, cy), (ex, ey) = eyes.centre, EYES
    return np.array([[cos, sin, ex - cos * cx - sin * cy], [-sin, cos, ey + sin * cx - cos * cy]])


def boxes(landmarks: F32) -> dict[str, Box]:
    """Region → x0, y0, x1, y1 (the ends outside), from 68×2 landmarks in the standard picture."""
    p = landmarks.astype(np.float64)
    out: dict[str, Box] = {}
    for side, (a, b, c, d, e, f) in (("Left", range(36, 42)), ("Right", range(42, 48))):
        # the lid from corner a over b and c to corner d, and back over e and f; the inner corner is d or a
        upper = (0.25 * p[a] + 0.75 * p[b], (p[b] + p[c]) / 2, 0.75 * p[c] + 0.25 * p[d])
        lower = (0.25 * p[a] + 0.75 * p[f], (p[f] + p[e]) / 2, 0.75 * p[e] + 0.25 * p[d])
        for lid, points, down in (("Lower", lower, 5), ("Upper", upper, -5)):
            for where, point, across in zip(
                ("Left Side", "Center", "Right Side"), points, (-5, 0, 5), strict=True
            ):
                out[f"{side} {lid} Eyelid ({where})"] = _box(point + np.array([across, down]), 10)
    for name, indices in (
        ("Left Outer", (17, 18, 18)),
        ("Left Inner", (20, 20, 21, 21)),
        ("Right Outer", (25, 25, 26)),
        ("Right Inner", (22, 22, 23, 23)),
    ):
        out[f"{name} Eyebrow"] = _box(p[list(indices)].mean(0), 15)
    out["Left Nostril Wing"] = _box(p[31] + (-7, -7), 20)
    out["Right Nostril Wing"] = _box(p[35] + (7, -7), 20)
    out["Left Mouth Corner"] = _box(p[48] + (-7, 0), 15)
    out["Right Mouth Corner"] = _box(p[54] + (7, 0), 15)
    for where, up, low in (
        ("Left Side", (49,), (58, 59)),
        ("Center", (51,), (57,)),
        ("Right Side", (53,), (55, 56)),
    ):
        out[f"Upper Lip ({where})"] = _box(p[list(up)].mean(0), 15)
        out[f"Lower Lip ({where})"] = _box(p[list(low)].mean(0), 15)
    chin = p[8] if HEIGHT - p[8, 1] >= 12.5 else np.array([p[8, 0], (p[8, 1] + p[57, 1]) / 2])
    out["Chin"] = _box(chin, 25)
    tall = float(np.ptp(p[:, 1]))
    size, shift = max(4, round(0.12 * tall)), 0.05 * tall
    out["Left Cheek"] = _box((p[36] + p[48]) / 2 - shift, size)
    out["Right Cheek"] = _box((p[45] + p[54]) / 2 + (shift, -shift), size)
    return out


def _box(centre: np.ndarray[tuple[int, ...], np.dtype[np.float64]], size: int) -> Box:
    x0, y0 = round(float(centre[0])) - size // 2, round(float(centre[1])) - size // 2
    x1, y1 = x0 + size, y0 + size
    return max(0, x0), max(0, y0), min(WIDTH, x1), min(HEIGHT, y1)


def table(flow: F32, landmarks: F32) -> tuple[RegionMotion, ...]:
    """Motion of the 29 regions in an ``HEIGHT``×``WIDTH``×2 flow (pixels of the standard picture)."""
    rows = []
    for name, (x0, y0, x1, y1) in boxes(landmarks).items():
        vectors: F32 = flow[y0:y1, x0:x1].reshape(-1, 2)
        magnitude = np.hypot(vectors[:, 0], vectors[:, 1]) if len(vectors) else np.zeros(1, np.float32)
        dx, dy = vectors.mean(0) * (100 / IOD) if len(vectors) else (0.0, 0.0)
        rows.append(
            RegionMotion(
                name,
                dx=float(dx),
                dy=float(dy),
                mean_px=float(magnitude.mean()),
                max_px=float(magnitude.max()),
                direction=direction(vectors),
            )
        )
    return tuple(rows)
