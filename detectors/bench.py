"""What estimators of flow cost on this machine, and how true they are."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from time import perf_counter

import numpy as np

from mellm.detectors.flow import FlowEstimator, Preset, create
from mellm.detectors.patches import CROP_IOD, anchor, apply, cut
from mellm.detectors.regions import INDEX
from mellm.detectors.signals import Geometry
from mellm.detectors.textured_plane import BUMP, TexturedPlane
from mellm.detectors.types import F32, U8


@dataclass(frozen=True, slots=True)
class FlowBench:
    """Truth of one estimator on crops (eye distance 57 px) with a known sub-pixel motion.

    :param motion: peak displacement, 1/100 inter-ocular distance
    :param error_px: mean end-point error where the motion exceeds 30 % of its peak
    :param gain: projection of the measured on the true motion there; 1 is unbiased
    """

    preset: Preset
    motion: float
    error_px: float
    gain: float
    ms: float


def flows(
    presets: tuple[Preset, ...] = ("stock", "live", "quality", "farneback", "tvl1"),
    motions: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0),
    *,
    noise: float = 4.0,
) -> list[FlowBench]:
    """Measure estimators on a moving brow of a drawn sheet, sensor noise added to both pictures."""
    return [measure(create(preset), preset, motion, noise=noise) for preset in presets for motion in motions]


def measure(estimator: FlowEstimator, preset: Preset, motion: float, *, noise: float = 4.0) -> FlowBench:
    """One row of :func:`flows`."""
    a, b, true = moving_brow(motion, noise=noise)
    times = []
    for _ in range(5):
        start = perf_counter()
        flow = estimator(a, b)
        times.append(perf_counter() - start)
    size = np.linalg.norm(true, axis=2)
    active = size > 0.3 * size.max()
    error = np.linalg.norm(flow - true, axis=2)[active].mean()
    gain = (flow * true)[active].sum() / (true * true)[active].sum()
    return FlowBench(preset, motion, float(error), float(gain), 1000 * median(times))


def moving_brow(motion: float, *, noise: float = 4.0, region: str = "brow_inner_L") -> tuple[U8, U8, F32]:
    """Two standard crops between which one region rises, and the true flow in pixels (H×W×2).

    :param motion: 1/100 inter-ocular distance
    """
    sheet = TexturedPlane(90.0)
    landmarks = sheet.landmarks()
    held = anchor(landmarks, sheet.size)
    assert held is not None
    geometry = Geometry(apply(held.matrix, landmarks))
    cx, cy = geometry.centres[INDEX[region]]
    a = cut(sheet.draw(noise=noise, seed=1), held).crop(held)
    b = cut(sheet.draw(motions={region: (0, -motion)}, noise=noise, seed=2), held).crop(held)
    y, x = np.mgrid[: a.shape[0], : a.shape[1]]
    lift = motion * CROP_IOD / 100
    # a point at p moves to q with q = p + lift·bump(q): one fixed-point step is exact to 1e-3 px
    up = np.zeros(a.shape, np.float64)
    for _ in range(3):
        up = lift * np.exp(-((x - cx) ** 2 + (y - up - cy) ** 2) / (2 * (BUMP * CROP_IOD) ** 2))
    true = np.zeros((*a.shape, 2), np.float32)
    true[..., 1] = -up
    return a, b, true
