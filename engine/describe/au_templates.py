"""Explaining the motion of the 31 regions by action units.

``au_templates.json`` holds the displacement of the regions by each unit and side at full intensity, as a
face model moves (:mod:`mellm.training.rules.templates`), head motion removed as it is from the measured motion; the
spread of the measurement round it; and a logistic curve that turns how well a unit explains the motion
into a probability. Curve and spread were fitted on rendered people (:mod:`mellm.training.rules.fit`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import exp, log1p
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mellm.detectors import regions
from mellm.engine.types import RegionMotion, Side
from mellm.stream.errors import ModelCorrupt

F64 = NDArray[np.float64]

FILE = Path(__file__).with_name("au_templates.json")

PENALTY = 1.0
"""Weight of the peak displacement of a unit (1/100 inter-ocular distance) against the squared, whitened misfit:
of two explanations nearly as good, the one with less motion of fewer units is taken."""

SWEEPS = 60
SETTLED = 1e-4
"""The fit stops after so many rounds, or when no amount changes by more than this share of full intensity."""

FEATURES = ("amount", "gain", "relative_gain", "share")
"""What the probability of a unit rests on, see :meth:`Match.features`."""


@dataclass(frozen=True, slots=True, eq=False)
class Templates:
    """The shipped file. K columns, one for each unit and side.

    :param motion: 62×K, 1/100 inter-ocular distance at full intensity, region-major as in the signals
    :param units: of each column
    :param spread: 62, standard deviation of the measurement, same unit
    :param weights: of :data:`FEATURES`
    :param bias: action unit → constant of its logistic curve
    :param threshold: probability from which a unit is named
    """

    motion: F64
    units: tuple[tuple[int, Side], ...]
    spread: F64
    weights: Mapping[str, float]
    bias: Mapping[int, float]
    threshold: float

    @property
    def peaks(self) -> F64:
        """Largest displacement of any region by each column, 1/100 inter-ocular distance."""
        per_region = np.hypot(self.motion[0::2], self.motion[1::2])
        out: F64 = per_region.max(0)
        return out

    def columns(self, au: int) -> list[int]:
        """Columns of one unit: its two sides, or the one it has."""
        return [i for i, (number, _) in enumerate(self.units) if number == au]

    def regions(self, au: int, side: Side = "both", share: float = 0.5) -> tuple[str, ...]:
        """Regions that a unit moves by at least ``share`` of its largest displacement, the most moved first."""
        chosen = [
            i for i in self.columns(au) if side in ("both", self.units[i][1]) or self.units[i][1] == "both"
        ]
        total = self.motion[:, chosen].sum(1)
        size = np.hypot(total[0::2], total[1::2])
        order = [int(r) for r in np.argsort(-size, kind="stable")]
        return tuple(regions.NAMES[r] for r in order if size[r] >= share * size.max())


@dataclass(frozen=True, slots=True)
class Match:
    """How one unit takes part in the explanation of a motion.

    :param amounts: side → largest displacement by that side, 1/100 inter-ocular distance
    :param gain: squared misfit, in spreads, that the other units cannot explain without it
    :param misfit: what all units together leave unexplained
    :param strongest: largest amount of any unit
    """

    au: int
    amounts: Mapping[Side, float]
    gain: float
    misfit: float
    strongest: float

    def features(self) -> tuple[float, ...]:
        """Values of :data:`FEATURES`; all 0 where the unit takes no part."""
        amount = max(self.amounts.values())
        if amount <= 0:
            return (0.0,) * len(FEATURES)
        relative = self.gain / max(self.misfit, 1.0)
        return log1p(5 * amount), log1p(self.gain), log1p(20 * relative), amount / self.strongest


@cache
def templates() -> Templates:
    """The shipped templates.

    :raises ModelCorrupt: the file is not there or not what it should be
    """
    return load(FILE)


def load(path: Path) -> Templates:
    """Templates from a file.

    :raises ModelCorrupt: it is not there, or not what it should be
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["regions"] != list(regions.NAMES):
            raise ValueError("they are of other regions")
        motion = np.array([t["motion"] for t in record["templates"]], np.float64)
        units = tuple((int(t["au"]), _SIDES[t["side"]]) for t in record["templates"])
        spread = np.array(record["spread"], np.float64)
        if motion.shape != (len(units), regions.COUNT, 2) or spread.shape != (regions.COUNT, 2):
            raise ValueError(f"shapes {motion.shape}, {spread.shape}")
        if not (np.isfinite(motion).all() and (spread > 0).all()):
            raise ValueError("values that are not finite, or no spread")
        fitted = record["calibration"]
        weights = {name: float(fitted["weights"][name]) for name in FEATURES}
        bias = {au: float(fitted["bias"][str(au)]) for au in {au for au, _ in units}}
        threshold = float(fitted["threshold"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelCorrupt(
            f"the action-unit templates {path.name} cannot be used: {error}",
            remedy="install the package again",
        ) from error
    return Templates(motion.reshape(len(units), -1).T, units, spread.ravel(), weights, bias, threshold)


_SIDES: Mapping[str, Side] = {"left": "left", "right": "right", "both": "both"}


def motion_vector(table: Sequence[RegionMotion]) -> F64 | None:
    """62 numbers of a table of the 31 regions, ``None`` for any other table."""
    if tuple(r.region for r in table) != regions.NAMES:
        return None
    return np.array([(r.dx, r.dy) for r in table], np.float64).ravel()


def explain(motion: F64, known: Templates) -> tuple[Match, ...]:
    """Non-negative least squares of the motion (62) on all templates at once; one entry for each unit.

    A unit's gain is the misfit that comes back when it is left out and the others do their best without it.
    """
    scaled = known.motion / known.spread[:, None]
    wanted = motion / known.spread
    gram, pull, cost = scaled.T @ scaled, scaled.T @ wanted, PENALTY * known.peaks
    amounts = _fit(gram, pull - cost, np.zeros(len(known.units)), ())
    energy = float(wanted @ wanted)

    def misfit(a: F64) -> float:
        return max(0.0, energy - 2 * float(a @ pull) + float(a @ gram @ a))

    left = misfit(amounts)
    moved = amounts * known.peaks
    found = []
    for au in sorted({au for au, _ in known.units}):
        columns = known.columns(au)
        gain = 0.0
        if moved[columns].max() > 0:
            gain = max(0.0, misfit(_fit(gram, pull - cost, amounts, columns)) - left)
        sides = {known.units[i][1]: float(moved[i]) for i in columns}
        found.append(Match(au, sides, gain, left, float(moved.max())))
    return tuple(found)


def _fit(gram: F64, pull: F64, start: F64, without: Sequence[int]) -> F64:
    """Minimise ½ aᵀ·gram·a - pullᵀ·a over a ≥ 0 by cyclic coordinate descent, some amounts held at 0."""
    a = start.copy()
    a[list(without)] = 0
    free = [i for i in range(len(a)) if i not in without and gram[i, i] > 0]
    for _ in range(SWEEPS):
        change = 0.0
        for i in free:
            value = max(0.0, a[i] + (pull[i] - float(gram[i] @ a)) / gram[i, i])
            change = max(change, abs(value - a[i]))
            a[i] = value
        if change < SETTLED:
            break
    return a


def log_odds(match: Match, known: Templates) -> float:
    """Logit of the probability that the unit is there, from the motion alone."""
    values = zip(FEATURES, match.features(), strict=True)
    return known.bias[match.au] + sum(known.weights[name] * value for name, value in values)


def probability(logit: float) -> float:
    """Logistic function, safe for any input."""
    return 1 / (1 + exp(-max(-60.0, min(60.0, logit))))
