"""The axes of damage and their levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from mellm.stream.errors import UsageError

What: TypeAlias = Literal["describe", "spot"]
BASE = "none"
"""Axis of the undamaged row that every curve begins with."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One kind of damage.

    :param levels: without 0, which is every curve's undamaged point, in the order of the curve
    :param zero: label of the undamaged point
    :param better: how many levels come before it
    """

    name: str
    title: str
    unit: str
    levels: tuple[float, ...]
    zero: str = "0"
    better: int = 0

    @property
    def points(self) -> tuple[float, ...]:
        """Levels with 0 at its place: in the middle of a signed axis, else after what is better than undamaged."""
        before = self.better or sum(v < 0 for v in self.levels)
        return (*self.levels[:before], 0.0, *self.levels[before:])

    def label(self, level: float) -> str:
        """As it stands under the curve."""
        return f"{level:g}" if level else self.zero


_OFF = (-100.0, -60.0, -40.0, -20.0, -10.0, -5.0, 5.0, 10.0, 20.0, 40.0, 60.0, 100.0)
"""1 and 2 frames at 200 a second, 1, 2, 3 and 5 at 50 (20 ms are 4 frames at 200)."""

DESCRIBE = (
    Axis("noise", "sensor noise", "σ, grey levels", (2, 5, 10, 20)),
    Axis("jpeg", "JPEG compression", "quality", (80, 50, 30, 10), "none"),
    Axis("blur", "blur", "σ, pixels", (1, 2, 4, 8)),
    Axis("shift", "head shifted at the apex", "1/100 eye distance", (2, 5, 10, 20)),
    Axis("turn", "head rolled at the apex", "degrees", (1, 2, 5)),
    Axis("zoom", "head nearer at the apex", "%", (2, 5)),
    Axis("size", "smaller picture", "share of its size", (0.75, 0.5, 0.35, 0.25), "1"),
    Axis("fps", "moments on frames only", "frames a second", (200, 100, 50, 30, 25), "exact"),
    Axis("onset", "onset off", "ms, + is late", _OFF),
    Axis("apex", "apex off", "ms, + is late", _OFF),
)
PHOTOGRAPHED = ("noise", "jpeg", "blur", "shift", "size")
"""Axes on photographs: those that need no new moments."""

MOMENTS = ("onset", "apex")
"""Axes on expressions alone: what holds none has no true moment to miss."""

SPOT = (
    Axis("noise", "sensor noise", "σ, grey levels", (5, 10, 20)),
    Axis("h264", "H.264 compression", "constant rate factor", (28, 35, 42), "as filmed"),
    Axis("blur", "blur", "σ, pixels", (1, 2, 4)),
    Axis("sway", "added head motion, slow", "σ, 1/100 eye distance", (5, 15, 40)),
    Axis("shake", "added head motion, quick", "σ, 1/100 eye distance", (1, 3, 10)),
    Axis("thin", "frame rate", "frames a second", (50, 16.7), "25", better=1),
)


def of(what: What, names: Sequence[str] = ()) -> tuple[Axis, ...]:
    """The axes of a task, or those named.

    :raises UsageError: no such axis
    """
    every = {a.name: a for a in (DESCRIBE if what == "describe" else SPOT)}
    for name in names:
        if name not in every:
            raise UsageError(f"no axis {name!r} of {what}", remedy=f"one of {', '.join(every)}")
    return tuple(a for a in every.values() if not names or a.name in names)
