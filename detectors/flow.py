"""Dense optical flow behind one protocol.

A micro-expression moves skin by less than a pixel, and the stock presets of OpenCV's DIS flow stop at a
quarter of the resolution, where a third to a half of such a motion is lost. So the presets here name
every parameter; ``docs/optical-flow.md`` keeps the table of measured end-point errors and gains.

Estimators hold scratch buffers: use one per thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import cv2
import numpy as np

from mellm.detectors.types import F32, U8

Preset: TypeAlias = Literal["live", "quality", "stock", "tvl1", "farneback"]


class FlowEstimator(Protocol):
    """Flow from picture ``a`` to picture ``b``.

    Both are H×W uint8 of equal size. The answer is H×W×2 float32, pixels: what is at ``(x, y)`` in ``a``
    is found at ``(x, y) + flow[y, x]`` in ``b``.
    """

    def __call__(self, a: U8, b: U8, /) -> F32: ...


@dataclass(frozen=True, slots=True)
class DisOptions:
    """Parameters of dense inverse search (Kroeger et al., ECCV 2016), in OpenCV's names.

    :param finest_scale: pyramid level at which the flow stops, 0 is the full resolution; worth more than
        all other parameters together
    :param patch_size: pixels at each level
    :param patch_stride: as ``patch_size``
    :param gradient_iterations: of the inverse search of each patch
    :param variational_iterations: fixed-point iterations of the refinement, 0 turns it off
    :param variational_alpha: weight of smoothness in the refinement; ``None`` keeps OpenCV's 20
    """

    finest_scale: int
    patch_size: int = 8
    patch_stride: int = 4
    gradient_iterations: int = 12
    variational_iterations: int = 5
    variational_alpha: float | None = None


LIVE = DisOptions(finest_scale=1, variational_iterations=5, variational_alpha=10.0)
"""Every grid step of a live source: about 3 ms for a 160×184 crop on one core."""

QUALITY = DisOptions(finest_scale=0, variational_iterations=3)
"""Onset→apex pairs that are shown to a describer: about 10 ms for a 160×184 crop on one core."""

STOCK = DisOptions(finest_scale=2, variational_iterations=0)
"""OpenCV's ultrafast preset, to show what it loses. Never use it."""


class Dis:
    """Dense inverse search flow."""

    def __init__(self, options: DisOptions = LIVE) -> None:
        single_thread()
        self.options = options
        # OpenCV's stubs know neither a missing start flow nor the contrib modules
        dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        dis.setFinestScale(options.finest_scale)
        dis.setPatchSize(options.patch_size)
        dis.setPatchStride(options.patch_stride)
        dis.setGradientDescentIterations(options.gradient_iterations)
        dis.setVariationalRefinementIterations(options.variational_iterations)
        if options.variational_alpha is not None:
            dis.setVariationalRefinementAlpha(options.variational_alpha)
        self._dis = dis

    def __call__(self, a: U8, b: U8, /) -> F32:
        _check(a, b)
        return _flow(self._dis.calc(a, b, None))


class TVL1:
    """Dual TV-L1 flow with OpenCV's defaults: the estimator of the published motion-map recipe. Slow."""

    def __init__(self) -> None:
        single_thread()
        optflow: Any = cv2.optflow
        self._tvl1 = optflow.DualTVL1OpticalFlow_create()

    def __call__(self, a: U8, b: U8, /) -> F32:
        _check(a, b)
        return _flow(self._tvl1.calc(a, b, None))


class Farneback:
    """Polynomial-expansion flow (Farnebäck 2003): pyramid .5, 3 levels, window 15, 3 iterations, n 5, σ 1.2."""

    def __init__(self) -> None:
        single_thread()

    def __call__(self, a: U8, b: U8, /) -> F32:
        _check(a, b)
        start = np.zeros((*a.shape, 2), np.float32)
        return _flow(cv2.calcOpticalFlowFarneback(a, b, start, 0.5, 3, 15, 3, 5, 1.2, 0))


def create(preset: Preset = "live") -> FlowEstimator:
    """A new estimator: ``live`` and ``quality`` are for use, the others for comparison and recipes."""
    if preset == "tvl1":
        return TVL1()
    if preset == "farneback":
        return Farneback()
    return Dis({"live": LIVE, "quality": QUALITY, "stock": STOCK}[preset])


def single_thread() -> None:
    """Keep OpenCV on the calling thread. This is the one place where the project decides it.

    Pictures of a face crop are too small to share out, each source has a thread of its own already, and
    results must not depend on the number of cores.
    """
    if cv2.getNumThreads() != 1:
        cv2.setNumThreads(1)
    cv2.ocl.setUseOpenCL(False)


def _check(a: U8, b: U8) -> None:
    if a.ndim != 2 or a.shape != b.shape or a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(
            f"flow takes two H×W uint8 pictures of one size, got {a.shape} {a.dtype}, {b.shape} {b.dtype}"
        )


def _flow(raw: object) -> F32:
    return np.asarray(raw, np.float32)
