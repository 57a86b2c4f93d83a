"""Scores of the spotter on clips with known truth, with the product's own decoder.

A spot is right when its interval and the true one share at least half of their union, counted in grid
steps with both ends included, and each true expression pays for one spot at most. Counts are pooled over
clips.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mellm.detectors.spotting import Decoder, Spot, SpottingOptions, StepOutput
from mellm.detectors.stepmodel import SPOT_AUS
from mellm.detectors.windows import STEP_NS
from mellm.evaluation.metrics import matching
from mellm.training.spotter.net import DELAY
from mellm.training.synth.simulator import Truth

F32 = NDArray[np.float32]

SIZES = (0.4, 1.0, 2.0, 4.0)
"""Borders of peak motion (hundredths of IOD) between which recall is told."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A true or spotted micro-expression (s)."""

    onset_s: float
    apex_s: float
    offset_s: float
    aus: tuple[int, ...] = ()
    peak: float = 0.0
    score: float = 1.0

    def iou(self, other: Interval) -> float:
        """Intersection over union in grid steps, both ends included."""
        return matching.iou(self._steps(), other._steps())

    def _steps(self) -> tuple[int, int]:
        return round(self.onset_s * 1e9 / STEP_NS), round(self.offset_s * 1e9 / STEP_NS)

    @classmethod
    def of_truth(cls, truth: Truth) -> Interval:
        return cls(truth.onset_s, truth.apex_s, truth.offset_s, truth.aus, truth.peak)

    @classmethod
    def of_spot(cls, spot: Spot, au_threshold: float = 0.5) -> Interval:
        aus = tuple(unit for unit, p in spot.aus if p >= au_threshold)
        return cls(spot.onset_ns / 1e9, spot.apex_ns / 1e9, spot.offset_ns / 1e9, aus, score=spot.score)


@dataclass(frozen=True, slots=True)
class Scores:
    """Pooled results over clips. Times in ms, rates per minute of media time.

    :param recall_by_size: recall of expressions with a peak in each bin of ``SIZES``
    :param au_f1: micro-averaged over units and spots that are right
    """

    truths: int
    spots: int
    hits: int
    minutes: float
    apex_mae_ms: float
    onset_mae_ms: float
    offset_mae_ms: float
    au_f1: float
    recall_by_size: tuple[float, ...]

    @property
    def precision(self) -> float:
        return self.hits / self.spots if self.spots else 0.0

    @property
    def recall(self) -> float:
        return self.hits / self.truths if self.truths else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.hits / (self.spots + self.truths) if self.spots + self.truths else 0.0

    @property
    def false_per_minute(self) -> float:
        return (self.spots - self.hits) / self.minutes if self.minutes else 0.0

    def flat(self) -> dict[str, float | None]:
        """All numbers by name, for records; ``None`` where there was nothing to measure."""
        bins = dict(zip(size_names(), self.recall_by_size, strict=True))
        numbers = {
            "f1": self.f1,
            "precision": self.precision,
            "recall": self.recall,
            "apex_mae_ms": self.apex_mae_ms,
            "onset_mae_ms": self.onset_mae_ms,
            "offset_mae_ms": self.offset_mae_ms,
            "false_per_minute": self.false_per_minute,
            "au_f1": self.au_f1,
            "truths": float(self.truths),
            "minutes": self.minutes,
            **{f"recall_peak_{name}": value for name, value in bins.items()},
        }
        return {name: round(value, 4) if np.isfinite(value) else None for name, value in numbers.items()}


def size_names() -> list[str]:
    """Names of the size bins, hundredths of IOD."""
    edges = [0.0, *SIZES]
    return [f"{low:g}-{high:g}" for low, high in zip(edges, SIZES, strict=False)] + [f">{SIZES[-1]:g}"]


def match(truths: Sequence[Interval], spots: Sequence[Interval], least: float = 0.5) -> list[tuple[int, int]]:
    """One-to-one pairs (truth, spot) of sufficient overlap: as many as there can be."""
    found = matching.match([s._steps() for s in spots], [t._steps() for t in truths], least)
    return [(truth, spot) for spot, truth in found]


def score(clips: Iterable[tuple[Sequence[Interval], Sequence[Interval]]], minutes: float) -> Scores:
    """Pool (truths, spots) of clips that last ``minutes`` together."""
    truths = spots = hits = 0
    errors: list[tuple[float, float, float]] = []
    units = np.zeros(3)  # right, said, true
    seen, found = np.zeros(len(SIZES) + 1), np.zeros(len(SIZES) + 1)
    for wanted, got in clips:
        truths, spots = truths + len(wanted), spots + len(got)
        pairs = match(wanted, got)
        hits += len(pairs)
        for t in wanted:
            seen[np.searchsorted(SIZES, t.peak)] += 1
        for i, j in pairs:
            t, s = wanted[i], got[j]
            found[np.searchsorted(SIZES, t.peak)] += 1
            errors.append((s.apex_s - t.apex_s, s.onset_s - t.onset_s, s.offset_s - t.offset_s))
            known = set(t.aus) & set(SPOT_AUS)
            units += (len(known & set(s.aus)), len(s.aus), len(known))
    mae = np.abs(errors).mean(0) * 1000 if errors else np.full(3, np.nan)
    recall = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
    return Scores(
        truths,
        spots,
        hits,
        minutes,
        float(mae[0]),
        float(mae[1]),
        float(mae[2]),
        float(2 * units[0] / max(1.0, units[1] + units[2])),
        tuple(float(r) for r in recall),
    )


def steps(rows: F32, grid: NDArray[np.float64]) -> list[StepOutput]:
    """One clip's outputs (T×22) as the decoder reads them; the first ``DELAY`` speak of before the clip."""
    return [StepOutput.of(round(grid[k - DELAY] * 1e9), rows[k]) for k in range(DELAY, len(rows))]


def decode(clip: Sequence[StepOutput], options: SpottingOptions) -> list[Spot]:
    """Spots of one clip."""
    decoder = Decoder(options)
    spots: list[Spot] = []
    for step in clip:
        spots += decoder.push(step)
    return spots + decoder.flush(clip[-1].t_ns)
