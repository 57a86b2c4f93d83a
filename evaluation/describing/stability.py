"""Whether a reading holds still: the same moments under seven changes of the recording that must not matter.

The product's whole chain watches each clip seven times (:mod:`mellm.training.readings.changed`): compressed by three
amounts, a little brighter, smaller, cropped by two pixels, and as a camera streams it. Faces are found and moments
spotted anew each time, and described. Any two versions of a moment should name the same units and the same class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np

from mellm.engine.describe.ensemble import Weights
from mellm.evaluation.describing.on_spots import Told, told
from mellm.evaluation.metrics.bootstrap import intervals
from mellm.evaluation.metrics.table import format_cell, pipes
from mellm.evaluation.spotting.stats import Estimate
from mellm.training.readings.changed import CHANGES
from mellm.training.readings.observed import Observed

BEGIN: Final = "<!-- results: written by mellm eval describing --stability --page -->"
SYSTEMS: Final = ("ensemble", "rules", "nano", "rules, once", "nano, once")

SETS: Final[Mapping[str, tuple[str, ...]]] = {
    "drawn people": ("rendered",),
    "photographs": ("stills",),
    "recordings, silent or acting": ("silent", "acting"),
    "all": ("rendered", "stills", "silent", "acting"),
}

NEAR_S: Final = 0.2
"""Spots of two versions whose apexes are nearer are one moment."""

GOAL_UNITS, GOAL_FLIPS = 0.85, 0.03
DRAWS: Final = 500


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment of a clip, as it is spotted in some versions. ``right``: it is a true expression."""

    clip: str
    subject: str
    kind: str
    right: bool
    versions: Mapping[str, Observed]


@dataclass(frozen=True, slots=True)
class Steadiness:
    """Of one describer on one set.

    :param units: mean overlap (Jaccard) of the units of any two versions of which one at least is described
    :param flips: share of other classes among any two versions that are both described
    :param silenced: share of versions without words among moments that get words in some version
    :param moments: with words in at least one version, and spotted in two
    """

    units: Estimate
    flips: Estimate
    silenced: float
    moments: int


def moments(found: Sequence[Observed]) -> list[Moment]:
    """Spots of all versions of the clips, gathered."""
    clips: dict[str, list[tuple[str, float, Observed]]] = {}
    for o in found:
        name, _, at = o.id.rpartition("@")
        clip, _, change = name.partition("~")
        if o.own and change in CHANGES:
            clips.setdefault(clip, []).append((change, float(at), o))
    out = []
    for clip, spots in clips.items():
        groups: list[list[tuple[str, float, Observed]]] = []
        for change, when, o in sorted(spots, key=lambda s: s[1]):
            if groups and when - groups[-1][0][1] <= NEAR_S and change not in {c for c, _, _ in groups[-1]}:
                groups[-1].append((change, when, o))
            else:
                groups.append([(change, when, o)])
        for group in groups:
            first = group[0][2]
            right = any(o.truth is not None for _, _, o in group)
            out.append(Moment(clip, first.subject, first.kind, right, {c: o for c, _, o in group}))
    return out


def steadiness(some: Sequence[Moment], system: str, w: Weights) -> Steadiness:
    """How still a describer's readings hold."""
    said = [(m, [told(o, system, w) for o in m.versions.values()]) for m in some if len(m.versions) > 1]
    spoken = [(m, all_) for m, all_ in said if any(t.units for t in all_)]
    people: dict[str, list[list[Told]]] = {}
    for m, all_ in spoken:
        people.setdefault(m.subject, []).append(all_)

    def scores(groups: Sequence[Sequence[Told]]) -> dict[str, float]:
        pairs = [pair for all_ in groups for pair in combinations(all_, 2)]
        units = [len(a.units & b.units) / len(a.units | b.units) for a, b in pairs if a.units or b.units]
        classes = [a.coarse != b.coarse for a, b in pairs if a.units and b.units]
        return {
            "units": float(np.mean(units)) if units else float("nan"),
            "flips": float(np.mean(classes)) if classes else float("nan"),
        }

    value = scores([g for groups in people.values() for g in groups])
    range_ = intervals(people, scores, draws=DRAWS) if people else {}
    missing = float("nan"), float("nan")
    quiet = [not t.units for _, all_ in spoken for t in all_]
    return Steadiness(
        Estimate(value["units"], *range_.get("units", missing)),
        Estimate(value["flips"], *range_.get("flips", missing)),
        float(np.mean(quiet)) if quiet else 0.0,
        len(spoken),
    )


def results(found: Sequence[Observed], w: Weights) -> dict[str, dict[str, Steadiness]]:
    """Set → describer → how still it holds."""
    every = moments(found)
    return {
        name: {system: steadiness([m for m in every if m.kind in kinds], system, w) for system in SYSTEMS}
        for name, kinds in SETS.items()
        if any(m.kind in kinds for m in every)
    }


def table(scores: Mapping[str, Mapping[str, Steadiness]]) -> str:
    """Markdown: one row a set and describer."""
    heads = ("set", "describer", "overlap of units [95 %]", "class flips [95 %]", "without words", "moments")
    lines = [
        (
            name,
            system,
            f"{s.units.value:.2f} {format_cell((s.units.low, s.units.high), 2)}",
            f"{s.flips.value:.1%} {format_cell((100 * s.flips.low, 100 * s.flips.high), 1)}",
            f"{s.silenced:.0%}",
            str(s.moments),
        )
        for name, systems in scores.items()
        for system, s in systems.items()
    ]
    return pipes(heads, lines)


def plain(scores: Mapping[str, Mapping[str, Steadiness]]) -> dict[str, Any]:
    """As JSON data."""
    return {name: {r: asdict(s) for r, s in systems.items()} for name, systems in scores.items()}
