"""True positives, false positives, false negatives, and the ratios made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Counts:
    """One thing against the rest. Ratios are 0 where they are undefined, never NaN."""

    tp: int
    fp: int
    fn: int

    @property
    def precision(self) -> float:
        """Share of what was answered that is right."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else 0.0

    @property
    def recall(self) -> float:
        """Share of what is true that was answered."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else 0.0

    @property
    def f1(self) -> float:
        """2·TP / (2·TP + FP + FN)."""
        whole = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / whole if whole else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Counts and ratios as JSON data."""
        return {
            "tp": self.tp,
            "fp": self.fp,
            "fn": self.fn,
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
        }


def mean(values: Sequence[float]) -> float:
    """Unweighted mean; 0 of nothing."""
    return sum(values) / len(values) if values else 0.0


def harmonic(a: float, b: float) -> float:
    """Harmonic mean; 0 where both are 0."""
    return 2 * a * b / (a + b) if a + b else 0.0
