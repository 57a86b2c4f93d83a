"""Mean flow of the 31 regions, at what it costs and no more.

DIS with ``finest_scale=1`` halves both pictures itself and doubles the answer. So crops are halved here, once a frame
instead of once a pair, the flow is left at half size (its numbers are the same bit for bit), and the mean over a
region is taken with the weights that the doubling would have given it. One saving changes numbers: two variational
iterations stand for the five of :data:`mellm.detectors.flow.LIVE`. That moves the signals by less than half a grey
level of sensor noise does (``docs/performance.md``; ``tests/detectors/test_region_flow.py`` holds it).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mellm.detectors.flow import LIVE, Dis
from mellm.detectors.types import F32, U8

THRIFTY: Final = replace(LIVE, finest_scale=0, variational_iterations=2)
"""On crops of half size: stands for :data:`mellm.detectors.flow.LIVE` on whole ones."""
SCALE: Final = 0.5
"""Size of the pictures that flow is measured between, against the crop."""


class RegionReader:
    """Where a set of regions lies in the flow between two crops of half size.

    :param centres: N×2, pixels of the whole crop
    :param radius: of a region's disk, pixels of the whole crop
    :param shape: height and width of the whole crop, both even
    """

    def __init__(self, centres: F32, radius: float, shape: tuple[int, int]) -> None:
        height, width = self._shape = shape[0] // 2, shape[1] // 2
        xy = np.rint(centres).astype(np.intp)
        half, odd = xy >> 1, xy & 1
        dx, dy, weights = _footprints(int(radius * radius))
        self._pixels = np.clip(half[:, 1:] + dy, 0, height - 1) * width + np.clip(
            half[:, :1] + dx, 0, width - 1
        )
        self._weights = weights[odd[:, 0] + 2 * odd[:, 1]]

    def __call__(self, flow: F32) -> F32:
        """Mean flow of each region.

        :param flow: of the half-size crop, its pixels
        :returns: N×2, pixels of the whole crop
        :raises ValueError: on another shape
        """
        if flow.shape != (*self._shape, 2):
            raise ValueError(f"flow is {(*self._shape, 2)}, got {flow.shape}")
        there = flow.reshape(-1, 2).take(self._pixels, axis=0)
        mean: F32 = np.matmul(self._weights[:, None], there)[:, 0]
        return mean


class RegionFlow:
    """Measures the mean flow of regions from one half-size crop to another. Holds buffers: one for each thread."""

    def __init__(self) -> None:
        self._dis = Dis(THRIFTY)

    def __call__(self, before: U8, now: U8, reader: RegionReader) -> F32:
        """N×2 pixels of the whole crop; ``before`` and ``now`` are half-size crops of one transform."""
        return reader(self._dis(before, now))


@lru_cache(maxsize=64)
def _footprints(radius2: int) -> tuple[NDArray[np.intp], NDArray[np.intp], F32]:
    """How a disk of the whole crop reads the half-size flow that bilinear interpolation doubles.

    :param radius2: the disk's radius squared, whole pixels
    :returns: offsets (M) along x and y from half the centre, and 4×M weights for the parity x + 2·y of the centre;
        the 2 of the doubling is in them
    """
    reach = int(radius2**0.5) + 1
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    inside = dx * dx + dy * dy <= radius2
    dx, dy = dx[inside], dy[inside]
    wide = reach // 2 + 2
    size = 2 * wide + 1
    weights = np.zeros((4, size, size), np.float64)
    for parity in range(4):
        # pixel p of the whole picture lies at (p - 1/2) / 2 of the half-size one
        x, y = (dx + parity % 2 - 0.5) / 2, (dy + parity // 2 - 0.5) / 2
        left, top = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
        right, bottom = x - left, y - top
        for across, along, share in (
            (0, 0, (1 - right) * (1 - bottom)),
            (1, 0, right * (1 - bottom)),
            (0, 1, (1 - right) * bottom),
            (1, 1, right * bottom),
        ):
            np.add.at(weights[parity], (top + wide + along, left + wide + across), 2 * share / len(dx))
    used = weights.any(axis=0)
    below, beside = np.nonzero(used)
    return beside - wide, below - wide, weights[:, used].astype(np.float32)
