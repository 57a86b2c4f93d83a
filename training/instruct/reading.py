"""Annotation against measurement: which units the motion bears out, and which motion no unit explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from mellm.detectors import regions
from mellm.engine.describe.au_templates import templates
from mellm.engine.evidence.region_motion import EXPRESSIVE
from mellm.engine.map_recipe import QUIET, QUIET_NOISE
from mellm.engine.types import Evidence, Side
from mellm.training.instruct import names

State: TypeAlias = Literal["seen", "unmoved", "contrary", "untold"]

OWN_SHARE = 0.5
"""A unit is looked for in regions that it moves by this share of its largest displacement."""

OWN_REGIONS = 4
"""At most in so many: others move along with other units too."""

ALONG = 0.5
"""Cosine between a region's motion and the unit's from which they are the same motion."""

LEFT_OVER = 0.5
"""Share of a region's motion that the units may leave unexplained."""


@dataclass(frozen=True, slots=True)
class Moved:
    """One region of the pair's table.

    :param name: as the table has it
    :param size: mean magnitude, pixels, rounded as the table is
    :param octant: counter-clockwise from the picture's right
    :param vector: mean displacement, 1/100 inter-ocular distance, x to the picture's right, y down
    """

    name: str
    size: float
    octant: int
    vector: tuple[float, float]

    @property
    def length(self) -> float:
        """Of the vector."""
        return float(np.hypot(*self.vector))


@dataclass(frozen=True, slots=True)
class UnitReading:
    """What the motion says about an annotated unit.

    :param state: ``seen`` where a region moves as the unit moves it, ``unmoved`` where its regions stay dark in the
        map, ``contrary`` where they move, but otherwise; ``untold`` for units that have no template
    :param region: the one that says so most, ``None`` when untold
    """

    au: int
    side: Side
    state: State
    region: Moved | None


@dataclass(frozen=True, slots=True)
class Reading:
    """A whole pair.

    :param moved: expressive regions that the map shows, strongest first
    :param largest_rest: of the others
    :param units: annotated units, ascending
    :param unexplained: regions above the motion floor, strongest first,
        whose motion the annotated units do not explain
    """

    moved: tuple[Moved, ...]
    largest_rest: Moved | None
    units: tuple[UnitReading, ...]
    unexplained: tuple[Moved, ...]

    @property
    def marks(self) -> list[str]:
        """Every disagreement, for filtering: ``unmoved:AU5``, ``contrary:AU12``, ``unexplained:lip_corner_L``."""
        units = [f"{u.state}:AU{u.au}" for u in self.units if u.state in ("unmoved", "contrary")]
        return units + [f"unexplained:{m.name}" for m in self.unexplained]


def read(evidence: Evidence, units: Sequence[tuple[int, Side]]) -> Reading:
    """Compare annotated units with the measured table of any recipe."""
    noise, floor = evidence.flow_stats.get("noise_iod", 0.0), evidence.flow_stats.get("floor_iod", 0.0)
    dark = max(QUIET, QUIET_NOISE * noise)
    published = evidence.recipe == "mellm-v3"
    rows = {
        r.region: Moved(r.region, round(r.mean_px, 3), _octant(r.dx, r.dy), (r.dx, r.dy))
        for r in evidence.regions
        if published or EXPRESSIVE[regions.INDEX[r.region]]
    }
    order = sorted(rows.values(), key=lambda m: (-m.length, m.name))
    told = tuple(_unit(au, side, rows, dark, published) for au, side in units)
    # what a unit without a template moves is not known, so nothing can be called unexplained beside it
    every = bool(told) and all(u.state != "untold" for u in told)
    left = _left_over(order, units, published) if every else {}
    return Reading(
        moved=tuple(m for m in order if m.length >= dark),
        largest_rest=next((m for m in order if m.length < dark), None),
        units=told,
        unexplained=tuple(
            m for m in order if left.get(m.name, 0.0) >= max(floor, dark, LEFT_OVER * m.length)
        ),
    )


def _left_over(rows: Sequence[Moved], units: Sequence[tuple[int, Side]], published: bool) -> dict[str, float]:
    """Row → length of what is left of its motion when the units have explained all they can (non-negative least
    squares on their templates)."""
    motion = np.array([m.vector for m in rows]).ravel()
    columns = [
        _column(c, tuple(m.name for m in rows), published) for au, side in units for c in _sides(au, side)
    ]
    amounts, _ = nnls(np.stack(columns, 1), motion)
    rest = (motion - np.stack(columns, 1) @ amounts).reshape(-1, 2)
    return {m.name: float(np.hypot(*v)) for m, v in zip(rows, rest, strict=True)}


def _sides(au: int, side: Side) -> list[int]:
    """Columns of the templates for a unit on one side or both."""
    known = templates()
    return [i for i in known.columns(au) if side == "both" or known.units[i][1] in (side, "both")]


@cache
def _column(column: int, rows: tuple[str, ...], published: bool) -> NDArray[np.float64]:
    """A template as motion of a table's rows."""
    motion = templates().motion[:, column].reshape(-1, 2)
    found: dict[str, NDArray[np.float64]] = {}
    for name, vector in zip(regions.NAMES, motion, strict=True):
        for row in names.published(name) if published else (name,):
            found.setdefault(row, vector)
    return np.array([found.get(row, np.zeros(2)) for row in rows]).ravel()


def _octant(dx: float, dy: float) -> int:
    return round(float(np.degrees(np.arctan2(-dy, dx))) / 45) % 8


def _unit(au: int, side: Side, rows: dict[str, Moved], dark: float, published: bool) -> UnitReading:
    own = [(row, way) for row, way in _regions(au, side, published).items() if row in rows]
    own = own[:OWN_REGIONS]
    if not own:
        return UnitReading(au, side, "untold", None)
    along = {row: float(np.dot(rows[row].vector, way)) for row, way in own}
    seen = [row for row in along if rows[row].length >= dark and along[row] >= ALONG * rows[row].length]
    if seen:
        return UnitReading(au, side, "seen", rows[max(seen, key=lambda row: along[row])])
    largest = max((rows[row] for row, _ in own), key=lambda m: m.length)
    state: State = "unmoved" if largest.length < dark else "contrary"
    return UnitReading(au, side, state, largest)


@cache
def _regions(au: int, side: Side, published: bool) -> dict[str, NDArray[np.float64]]:
    """Rows that a unit moves, with the unit vector along which it moves them, the most moved first."""
    known, columns = templates(), _sides(au, side)
    if not columns:
        return {}
    motion = known.motion[:, columns].sum(1).reshape(-1, 2)
    found: dict[str, NDArray[np.float64]] = {}
    for name in known.regions(au, side, OWN_SHARE):
        way = motion[regions.INDEX[name]]
        if EXPRESSIVE[regions.INDEX[name]]:
            for row in names.published(name) if published else (name,):
                found.setdefault(row, way / np.hypot(*way))
    return found
