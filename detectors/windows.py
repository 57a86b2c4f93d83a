"""From frames at any rate to a fixed grid of steps, by media time alone.

Every decision here is a pure function of the time stamps seen so far: no wall clock, no frame counting,
no declared frame rate. So the same recording gives the same steps live and offline.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import numpy as np

from mellm.detectors.types import F32

STEP_NS = 20_000_000
"""The grid: 50 steps a second of media time."""

SNAP_NS = 2_500_000
"""A frame this near to a grid time stands for it as it is; above 200 frames a second that is every step."""

HOLE_NS = 120_000_000
"""No frame for longer than this is a hole, at any frame rate."""

HOLE_RATIO = 2.5
"""No frame for more than this many median intervals is a hole as well …"""

HOLE_FLOOR_NS = 60_000_000
"""… unless it is shorter than this: two lost frames at 200 frames a second harm nothing."""

COLLAPSE_NS = 2_000_000_000
"""A hole longer than this is told by one void step instead of one for each grid time."""

_INTERVALS = 32
_INTERVALS_NEEDED = 5


class Admission(NamedTuple):
    """What becomes of a frame. ``hole``: frames are missing before it, so nothing may reach back across."""

    taken: bool
    hole: bool


class FrameGate:
    """Thins frames to at most one for each grid step, and notices holes.

    A frame belongs to the grid time nearest to it. It is taken unless that grid time has its frame
    already, or the next frame – expected after the median interval – will be nearer. Up to 50 frames a
    second this takes every frame; above, the ones nearest to the grid.
    """

    def __init__(self, origin_ns: int | None = None) -> None:
        self._origin = origin_ns
        self._last: int | None = None
        self._cell: int | None = None
        self._intervals: deque[int] = deque(maxlen=_INTERVALS)

    @property
    def interval_ns(self) -> int | None:
        """Median time between the latest frames, ``None`` before there are two."""
        return int(median(self._intervals)) if self._intervals else None

    def push(self, pts_ns: int) -> Admission:
        """Admit the frame at ``pts_ns``.

        :raises ValueError: if time does not advance; a new segment needs a new gate
        """
        if self._origin is None:
            self._origin = pts_ns
        hole = False
        if self._last is not None:
            interval = pts_ns - self._last
            if interval <= 0:
                raise ValueError(f"frames of one segment come in rising time: {self._last}, then {pts_ns} ns")
            hole = interval > self._hole_after()
            if hole:
                self._intervals.clear()
            else:
                self._intervals.append(interval)
        self._last = pts_ns
        cell = (pts_ns - self._origin + STEP_NS // 2) // STEP_NS
        if cell == self._cell:
            return Admission(False, hole)
        early = self._origin + cell * STEP_NS - pts_ns
        expected = self.interval_ns
        if expected is not None and expected < 2 * early:
            return Admission(False, hole)
        self._cell = cell
        return Admission(True, hole)

    def _hole_after(self) -> float:
        if len(self._intervals) < _INTERVALS_NEEDED:
            return HOLE_NS
        return min(HOLE_NS, max(HOLE_FLOOR_NS, HOLE_RATIO * median(self._intervals)))


@dataclass(frozen=True, slots=True, eq=False)
class GridValue:
    """One grid step: its media time and its values, ``None`` where there are none to be had (void)."""

    t_ns: int
    values: F32 | None


class Grid:
    """Resamples values at frame times to the grid: causal, linear, never across a hole or a void.

    Each grid time from the first frame on comes out once, in order. It comes out as soon as a frame lies
    at it or behind it, so its delay is at most one frame interval.
    """

    def __init__(self, origin_ns: int | None = None) -> None:
        self._origin = origin_ns
        self._next = 0
        self._t: int | None = None
        self._values: F32 | None = None

    def push(self, t_ns: int, values: F32 | None) -> list[GridValue]:
        """Values at a frame time; returns the grid steps that are settled by it."""
        if self._origin is None:
            self._origin = t_ns
        if self._t is None:
            self._next = -((self._origin + SNAP_NS - t_ns) // STEP_NS)
        elif t_ns <= self._t:
            raise ValueError(f"grid values come in rising time: {self._t}, then {t_ns} ns")
        steps = []
        while (at := self._origin + self._next * STEP_NS) <= t_ns + SNAP_NS:
            if t_ns - at > COLLAPSE_NS:
                steps.append(GridValue(at, None))
                self._next += (t_ns - at - STEP_NS) // STEP_NS
            else:
                steps.append(GridValue(at, self._at(at, t_ns, values)))
            self._next += 1
        self._t, self._values = t_ns, values
        return steps

    def _at(self, at: int, t_ns: int, values: F32 | None) -> F32 | None:
        if values is None or abs(at - t_ns) <= SNAP_NS:
            return values
        if self._t is None or self._values is None or t_ns - self._t > HOLE_NS:
            return None
        weight = np.float32((at - self._t) / (t_ns - self._t))
        mixed: F32 = self._values + weight * (values - self._values)
        return mixed
