"""How the regions that moved most moved around an expression, for looking at: a small file beside its motion map.

``evidence/ID.curves.json`` in a run folder: ``t_ns`` of the first value, ``step_ns``, and for each region the length
of its motion over the last 100 ms, hundredths of the inter-ocular distance, head motion removed; ``null`` where nothing
was measured.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from mellm.detectors.regions import COUNT, NAMES
from mellm.detectors.signals import SignalStep
from mellm.detectors.windows import STEP_NS
from mellm.engine.results.run_folder import curves_name

MOST: Final = 4
"""Regions that are kept."""

ROOM_NS: Final = 500_000_000
"""Before the onset and after the offset."""

KEPT: Final = round((2 * ROOM_NS + 1_500_000_000) / STEP_NS)
"""Steps to hold on to: an expression of the longest kind, the spotter's delay, and the room round them."""


@dataclass(frozen=True, slots=True)
class RegionCurves:
    """The curves of one expression.

    :param t_ns: media time of the first value
    :param regions: name → length of its motion over the last 100 ms, hundredths of the inter-ocular distance
    """

    t_ns: int
    step_ns: int
    regions: Mapping[str, tuple[float | None, ...]]

    @classmethod
    def of(cls, steps: Iterable[SignalStep], onset_ns: int, offset_ns: int) -> Self | None:
        """Of the steps around an expression; ``None`` where nothing was measured in it.

        :param steps: in order of time, as :class:`mellm.detectors.signals.TrackSignals` gave them
        """
        near = [s for s in steps if onset_ns - ROOM_NS <= s.t_ns <= offset_ns + ROOM_NS]
        lengths = np.full((len(near), COUNT), np.nan)
        for row, step in zip(lengths, near, strict=True):
            if step.features is not None:
                row[:] = np.linalg.norm(step.features[: 2 * COUNT].reshape(COUNT, 2), axis=1)
        inside = [onset_ns <= s.t_ns <= offset_ns for s in near]
        if not np.isfinite(lengths[inside]).any():
            return None
        strongest = np.argsort(-np.nanmax(np.nan_to_num(lengths[inside]), axis=0), kind="stable")[:MOST]
        return cls(
            near[0].t_ns,
            STEP_NS,
            {
                NAMES[k]: tuple(None if np.isnan(v) else round(float(v), 2) for v in lengths[:, k])
                for k in strongest
            },
        )

    def moved(self, by_ns: int) -> RegionCurves:
        """The same, counted from another zero."""
        return replace(self, t_ns=self.t_ns - by_ns)

    def to_json(self) -> dict[str, Any]:
        """As in the file."""
        regions = {name: list(values) for name, values in self.regions.items()}
        return {"t_ns": str(self.t_ns), "step_ns": self.step_ns, "regions": regions}


def recent() -> deque[SignalStep]:
    """Holds the steps of a track that an expression may need."""
    return deque(maxlen=KEPT)


def read_curves(run: Path, expression: str) -> RegionCurves | None:
    """The curves of an expression; ``None`` where the run has none that can be read: nothing rests on them."""
    path = run / curves_name(expression)
    try:
        if not path.resolve().is_relative_to(run.resolve()):
            return None
        found = json.loads(path.read_bytes())
        regions = {
            str(name): tuple(None if v is None else float(v) for v in values)
            for name, values in found["regions"].items()
        }
        return RegionCurves(int(found["t_ns"]), int(found["step_ns"]), regions)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
