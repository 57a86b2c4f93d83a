"""Judged time as a band below the timeline: for each face two strips, the upper and the lower half."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mellm.detectors.sensitivity import BARS
from mellm.engine.results.score_series import read_series

BINS = 600
"""Steps of the band over a recording, at the most: the page of an hour is no larger than that of a minute."""

SHORTEST_MS = 200.0
"""A step of the band is never shorter."""

LEVELS = ("good", "fair", "hidden")
"""A motion of the smaller bar would be found · of the larger · not even that."""


def bands(run: Path, source: str, length_ms: float) -> dict[int, list[dict[str, str]]]:
    """Track → one path of an SVG picture of ``BINS`` × 2 for each level that occurs.

    A step of the band shows what held for most of the time in it. Memory does not grow with the recording.
    """
    count = max(1, min(BINS, round(length_ms / SHORTEST_MS)))
    found: dict[int, NDArray[np.int64]] = {}
    for stretch in read_series(run, source):
        counts = found.setdefault(stretch.track, np.zeros((2, len(LEVELS), count), np.int64))
        at = np.clip((np.array(stretch.times_ms()) / length_ms * count).astype(int), 0, count - 1)
        for half, name in enumerate(("upper", "lower")):
            values = np.array([np.nan if v is None else v for v in stretch.curves[name]], np.float64)
            known = ~np.isnan(values)
            level = np.searchsorted(BARS, values[known], side="left")
            np.add.at(counts[half], (level, at[known]), 1)
    return {track: _paths(counts) for track, counts in found.items() if counts.any()}


def _paths(counts: NDArray[np.int64]) -> list[dict[str, str]]:
    seen, most = counts.sum(1) > 0, counts.argmax(1)
    out = []
    for number, name in enumerate(LEVELS):
        parts = []
        for half in range(2):
            here = np.concatenate([[False], seen[half] & (most[half] == number), [False]])
            edges = np.flatnonzero(here[1:] != here[:-1])
            for start, end in edges.reshape(-1, 2):
                parts.append(f"M{start} {half}h{end - start}v1h-{end - start}z")
        if parts:
            out.append({"level": name, "path": "".join(parts), "width": str(counts.shape[2])})
    return out
