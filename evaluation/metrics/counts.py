"""True positives, false positives, false negatives, and the ratios made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar


class Plain:
    """Dataclasses that become JSON data: what :attr:`TOLD` names, every field where it names nothing."""

    __slots__ = ()
    TOLD: ClassVar[tuple[str, ...]] = ()

    def as_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {name: plain(getattr(self, name)) for name in self.TOLD or [f.name for f in fields(self)]}  # type: ignore[arg-type]


def plain(value: Any) -> Any:
    """As JSON data: what has ``as_dict`` by that, mappings with texts as names, other sequences as lists."""
    if hasattr(value, "as_dict"):
        return value.as_dict()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple | list) else value


@dataclass(frozen=True, slots=True)
class Counts(Plain):
    """One thing against the rest. Ratios are 0 where they are undefined, never NaN."""

    TOLD: ClassVar = ("tp", "fp", "fn", "precision", "recall", "f1")
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


def mean(values: Sequence[float]) -> float:
    """Unweighted mean; 0 of nothing."""
    return sum(values) / len(values) if values else 0.0


def harmonic(a: float, b: float) -> float:
    """Harmonic mean; 0 where both are 0."""
    return 2 * a * b / (a + b) if a + b else 0.0
