"""Errors of onset, apex and offset, and how far predicted and true intervals overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from mellm.evaluation.metrics.counts import Plain, mean
from mellm.evaluation.metrics.errors import MetricsError
from mellm.evaluation.metrics.matching import iou

NAMES: Final = ("onset", "apex", "offset")


@dataclass(frozen=True, slots=True)
class Moments:
    """Frame numbers of one expression; ``None`` where one is unknown (truth) or was not given (prediction)."""

    onset: int | None = None
    apex: int | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class MomentError(Plain):
    """Errors of one kind of moment, predicted minus true, in frames (or in ms after :meth:`MomentErrors.scaled`).

    :param count: pairs where both are known; the rest of the fields is about these, 0 where there are none
    :param missing: pairs where the truth is known and nothing was predicted
    :param unknown: pairs where the truth is not known: not scored
    :param bias: mean with sign, positive where the prediction is late
    :param mae: mean absolute error
    :param rmse: root of the mean square
    :param p95: 95th percentile of the absolute
    """

    count: int
    missing: int
    unknown: int
    bias: float
    mae: float
    rmse: float
    median: float
    p95: float


@dataclass(frozen=True, slots=True)
class MomentErrors:
    """Errors over all pairs.

    :param unit: ``frames`` or ``ms``
    :param iou: mean intersection over union of the ``intervals`` pairs where all four ends are known
    """

    pairs: int
    moments: Mapping[str, MomentError]
    iou: float
    intervals: int
    unit: str = "frames"

    def scaled(self, fps: float) -> MomentErrors:
        """The same errors in milliseconds of a video with ``fps`` frames a second.

        :raises MetricsError: a rate that is not positive
        """
        if not 0 < fps < float("inf"):
            raise MetricsError(f"{fps} frames a second", remedy="give the rate of the videos")
        k = 1000 / fps
        moments = {
            name: MomentError(
                e.count, e.missing, e.unknown, *(k * v for v in (e.bias, e.mae, e.rmse, e.median, e.p95))
            )
            for name, e in self.moments.items()
        }
        return MomentErrors(self.pairs, moments, self.iou, self.intervals, "ms")

    def as_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "unit": self.unit,
            "pairs": self.pairs,
            **{name: error.as_dict() for name, error in self.moments.items()},
            "iou": self.iou,
            "intervals": self.intervals,
        }


def moment_errors(pairs: Sequence[tuple[Moments, Moments]]) -> MomentErrors:
    """Compare (true, predicted) moments, pair by pair. What is unknown on either side is counted, not guessed.

    :raises MetricsError: no pairs, or an interval that ends before it begins
    """
    if not pairs:
        raise MetricsError("there are no moments to compare", remedy="give at least one pair")
    overlaps = [
        iou((t.onset, t.offset), (p.onset, p.offset))
        for t, p in pairs
        if t.onset is not None and t.offset is not None and p.onset is not None and p.offset is not None
    ]
    return MomentErrors(
        len(pairs), {name: _errors(name, pairs) for name in NAMES}, mean(overlaps), len(overlaps)
    )


def _errors(name: str, pairs: Sequence[tuple[Moments, Moments]]) -> MomentError:
    known = [(getattr(t, name), getattr(p, name)) for t, p in pairs if getattr(t, name) is not None]
    found = np.array([p - t for t, p in known if p is not None], np.float64)
    missing, unknown = len(known) - len(found), len(pairs) - len(known)
    if not len(found):
        return MomentError(0, missing, unknown, 0.0, 0.0, 0.0, 0.0, 0.0)
    size = np.abs(found)
    values = (found.mean(), size.mean(), np.sqrt((found**2).mean()), np.median(size), np.percentile(size, 95))
    return MomentError(len(found), missing, unknown, *(float(v) for v in values))
