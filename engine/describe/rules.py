"""The embedded describer: region motion → action units → coarse emotion → a sentence. Rules, not a language model.

Units are read in two ways that check each other. The spotter network says which units it saw, without sides.
Non-negative least squares explains the measured motion of the 31 regions by displacement templates of the units on
a mean face (left and right apart), which gives sides and amounts. Templates come from a face model, so a real face
moves only roughly like them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from detectors import regions
from detectors.types import F32
from engine import facs
from engine.describe.base import DescribeContext, Recipe
from engine.types import ActionUnit, Description, Evidence, RegionMotion, Side
from stream.errors import ModelCorrupt

VERSION = "1"
TEMPLATES = Path(__file__).with_name("au_templates.json")

SEEN_BY_NETWORK = 0.5
"""The network's probability from which a unit counts as seen."""

MAX_UNITS = 4
"""Micro-expressions show 1.3–1.7 units on average; more than this is noise explained by units."""

MIN_GAIN = 0.12
"""Share of the motion's energy that a further unit must explain to be named."""

MIN_AMOUNT = 0.01
"""Smallest template weight that is a unit."""

BOTH_SIDES = 0.45
"""A unit whose weaker side reaches this share of the stronger one is on both sides."""

# How much of the true motion of a region the flow shows (lids hardly, brows nearly all), as measured on rendered faces
_GAIN = {"upper_lid": 0.3, "lower_lid": 0.6, "temple": 0.5, "forehead": 0.7}


@dataclass(frozen=True, slots=True, eq=False)
class Templates:
    """Displacement of the 62 region coordinates by each unit and side, 1/100 inter-ocular distance."""

    columns: F32
    units: tuple[tuple[int, Side], ...]

    def of(self, au: int) -> list[int]:
        """Columns of one unit."""
        return [i for i, (number, _) in enumerate(self.units) if number == au]


@cache
def templates() -> Templates:
    """The shipped templates.

    :raises ModelCorrupt: the file is not there or not what it should be
    """
    try:
        record = json.loads(TEMPLATES.read_text(encoding="utf-8"))
        if record["regions"] != list(regions.NAMES):
            raise ValueError("other regions")
        motion = np.array([t["motion"] for t in record["templates"]], np.float32)
        units = tuple((int(t["au"]), t["side"]) for t in record["templates"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelCorrupt(f"the templates {TEMPLATES.name} cannot be used: {error}") from error
    gains = np.array([_GAIN.get(name.rsplit("_", 1)[0], 1.0) for name in regions.NAMES], np.float32)
    return Templates((motion * gains[None, :, None]).reshape(len(units), -1).T, units)


def read_units(
    table: Sequence[RegionMotion], network: Sequence[tuple[int, float]] = ()
) -> tuple[ActionUnit, ...]:
    """Action units with sides from the region table.

    :param table: the 31 regions; other tables give no units
    :param network: unit → probability from the spotter network, may be empty
    """
    if tuple(r.region for r in table) != regions.NAMES:
        return ()
    motion = np.array([(r.dx, r.dy) for r in table], np.float32).ravel()
    seen = {au: p for au, p in network if au in facs.NAMES and p >= SEEN_BY_NETWORK}
    known = templates()
    chosen = sorted(seen, key=lambda au: -seen[au])[:MAX_UNITS] if network else _explain(motion, known)
    columns = [i for au in chosen for i in known.of(au)]
    if not columns:
        return ()
    amounts = dict(zip(columns, nnls(known.columns[:, columns], motion), strict=True))
    found = []
    for au in chosen:
        sides = {known.units[i][1]: float(amounts[i]) for i in known.of(au)}
        side = _side(sides)
        if side is None and au not in seen:
            continue
        score = seen.get(au) or min(0.95, 0.5 + _share(motion, known, au))
        found.append(ActionUnit(au, side or "both", round(score, 3)))
    return tuple(sorted(found, key=lambda unit: unit.au))


def nnls(columns: F32, target: F32, sweeps: int = 60) -> F32:
    """Non-negative least squares by cyclic coordinate descent, with a little shrinkage for near-equal columns."""
    gram = (columns.T @ columns).astype(np.float64)
    gram[np.diag_indices_from(gram)] *= 1.02
    wanted = (columns.T @ target).astype(np.float64)
    amounts = np.zeros(columns.shape[1])
    for _ in range(sweeps):
        for i in range(len(amounts)):
            if gram[i, i] > 0:
                rest = wanted[i] - gram[i] @ amounts + gram[i, i] * amounts[i]
                amounts[i] = max(0.0, rest / gram[i, i])
    return amounts.astype(np.float32)


def _explain(motion: F32, known: Templates) -> list[int]:
    """Units that explain the motion, the best first; each must explain a good share more."""
    energy = float(motion @ motion)
    if energy <= 0:
        return []
    chosen: list[int] = []
    left = energy
    while len(chosen) < MAX_UNITS:
        trials = {au: _unexplained(motion, known, [*chosen, au]) for au in facs.NAMES if au not in chosen}
        best = min(trials, key=lambda au: trials[au])
        if left - trials[best] < MIN_GAIN * energy:
            break
        chosen.append(best)
        left = trials[best]
    return chosen


def _unexplained(motion: F32, known: Templates, units: Sequence[int]) -> float:
    columns = known.columns[:, [i for au in units for i in known.of(au)]]
    rest = motion - columns @ nnls(columns, motion, sweeps=12)
    return float(rest @ rest)


def _share(motion: F32, known: Templates, au: int) -> float:
    energy = float(motion @ motion)
    return 1 - _unexplained(motion, known, [au]) / energy if energy > 0 else 0.0


def _side(amounts: dict[Side, float]) -> Side | None:
    """Which side a unit is on; ``None`` where its amount is nothing."""
    if max(amounts.values()) < MIN_AMOUNT:
        return None
    if "both" in amounts:
        return "both"
    left, right = amounts.get("left", 0.0), amounts.get("right", 0.0)
    if min(left, right) >= BOTH_SIDES * max(left, right):
        return "both"
    return "left" if left > right else "right"


class RulesDescriber:
    """See the module. Stateless, callable from several threads."""

    name = "rules"
    profile = f"rules/{VERSION}"
    recipe: Recipe = "live"

    def describe(self, evidence: Evidence, context: DescribeContext) -> Description:
        """Read units off the motion and say what they suggest; abstain where nothing can be read."""
        started = time.perf_counter()
        units = read_units(evidence.regions, context.unit_scores)
        emotion = facs.coarse_emotion((unit.au, unit.score) for unit in units)
        reason = evidence.refused
        if reason is None and (not units or emotion is None):
            reason = "no_unit"
        text = (
            "" if reason is not None or emotion is None else sentence(units, emotion.coarse, emotion.scores)
        )
        return Description(
            text=text,
            action_units=() if reason else units,
            emotion=None if reason else emotion,
            model=self.name,
            profile=self.profile,
            prompt_version=VERSION,
            abstained=reason,
            latency_ms=(time.perf_counter() - started) * 1e3,
        )

    def close(self) -> None:
        """Nothing to release."""


def sentence(units: Sequence[ActionUnit], coarse: str, scores: dict[str, float]) -> str:
    """One sentence in plain words, with how sure it is and what it is."""
    clauses = []
    for unit in units:
        where = "" if unit.side == "both" else f" on the {unit.side}"
        clauses.append(f"{facs.ACTIONS[unit.au]}{where} (AU{unit.au})")
    moved = clauses[0] if len(clauses) == 1 else ", ".join(clauses[:-1]) + " and " + clauses[-1]
    sure = scores[coarse]
    verb = "suggests" if sure >= 0.75 else "may suggest"
    return f"{moved[0].upper()}{moved[1:]}; this {verb} a {coarse} expression (p {sure:.2f}, rule-based reading)."
