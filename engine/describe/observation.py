"""What is known about one moment, as numbers: the input of :mod:`mellm.engine.describe.ensemble`.

Every reading of the moment gives a row: log-odds of each unit from the region motion, log-odds from the embedded model,
its probabilities of the classes and of abstaining. Beside them stand the spotter's opinion and what the face did before
and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mellm.detectors import regions
from mellm.engine.describe.agreement import OTHER
from mellm.engine.describe.au_templates import Match, Templates, explain, log_odds, motion_vector
from mellm.engine.describe.base import DescribeContext
from mellm.engine.describe.local import Reading
from mellm.engine.facs import action_units as facs
from mellm.engine.types import Evidence, Side

F64 = NDArray[np.float64]

UNITS: Final = tuple(facs.UNITS)
CLASSES: Final = facs.COARSE

REACH: Final = 6.0
"""Log-odds are cut here: beyond it nobody is surer."""

UNNAMED: Final = 0.02
"""What the embedded model thinks of a unit that it does not name."""

_BROWS_AND_LIDS: Final = ("brow", "glabella", "forehead", "upper_lid", "lower_lid")
UPPER: Final = np.array([n.startswith(_BROWS_AND_LIDS) for n in regions.NAMES])
LOWER: Final = np.array(
    [
        n.startswith(("cheek", "nasolabial", "upper_lip", "lip_corner", "lower_lip", "chin"))
        for n in regions.NAMES
    ]
)

BEFORE, DURING, AFTER = slice(0, 20), slice(20, 41), slice(45, 61)
"""Rows of :attr:`mellm.engine.types.Evidence.course`: 0.6 to 0.2 s before the apex, round it, and 0.3 s after it."""

FACTS: Final = (
    "score", "silent", "silence", "log_peak", "log_noise", "misfit", "duration",
    "before_upper", "before_lower", "during_upper", "during_lower", "after_upper", "after_lower",
)  # fmt: skip
"""What the probability of an expression rests on besides the units."""


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """K readings of a moment, U units.

    :param rules, nano: K×U log-odds; :param classes: K×3 probabilities, NaN where the model abstained
    :param opinion: U log-odds by the spotter, NaN where it was not asked
    :param sides: U×2, motion on the subject's left and right that the unit explains, 1/100 inter-ocular distance
    :param facts: see :data:`FACTS`; NaN where one is not known
    """

    rules: F64
    nano: F64
    classes: F64
    opinion: F64
    sides: F64
    facts: F64

    def only(self, reading: int) -> Observation:
        """One of the readings by itself."""
        k = slice(reading, reading + 1)
        return Observation(self.rules[k], self.nano[k], self.classes[k], self.opinion, self.sides, self.facts)


def observe(
    shown: Sequence[Evidence], read: Sequence[Reading], context: DescribeContext, known: Templates
) -> Observation:
    """Numbers of a moment. ``shown``: the plain evidence first; ``read``: what the embedded model says of each."""
    plain = shown[0]
    rules = np.full((len(shown), len(UNITS)), -REACH)
    sides = np.zeros((len(UNITS), 2))
    misfit = np.nan
    for k, evidence in enumerate(shown):
        motion = motion_vector(evidence.regions)
        if motion is None:
            continue
        matches = {m.au: m for m in explain(motion, known)}
        for i, au in enumerate(UNITS):
            rules[k, i] = np.clip(log_odds(matches[au], known), -REACH, REACH)
            sides[i] += _amounts(matches[au], evidence.mirrored)
        if k == 0:
            energy = float(((motion / known.spread) ** 2).sum())
            misfit = next(iter(matches.values())).misfit / max(energy, 1.0)
    nano = np.full((len(shown), len(UNITS)), _logit(UNNAMED))
    classes = np.full((len(shown), len(CLASSES)), np.nan)
    for k, reading in enumerate(read):
        said = reading.description
        for unit in said.action_units:
            if said.abstained is None and unit.au in UNITS:
                nano[k, UNITS.index(unit.au)] = _logit(unit.score)
        if said.emotion is not None and said.abstained is None:
            classes[k] = [said.emotion.scores.get(c, 0.0) for c in CLASSES]
    asked = dict(context.unit_scores)
    opinion = np.array([_logit(asked[au]) if au in asked else np.nan for au in UNITS])
    return Observation(rules, nano, classes, opinion, sides, _facts(plain, read, context, misfit))


def _amounts(match: Match, mirrored: bool) -> F64:
    """Left and right amount; a unit without sides counts on both."""
    whole = match.amounts.get("both")
    if whole is not None:
        return np.array([whole, whole])
    names: tuple[Side, Side] = ("left", "right")
    return np.array([match.amounts.get(OTHER[n] if mirrored else n, 0.0) for n in names])


def _facts(plain: Evidence, read: Sequence[Reading], context: DescribeContext, misfit: float) -> F64:
    abstains = [r.abstains for r in read if r.abstains is not None]
    stats = plain.flow_stats
    course = _course(plain.course)
    return np.array(
        [
            _logit(context.score) if context.score > 0 else np.nan,
            float(np.mean([r.description.abstained is not None for r in read])) if read else np.nan,
            float(np.mean([_logit(a) for a in abstains])) if abstains else np.nan,
            np.log(max(stats.get("peak_iod", np.nan), 1e-3)),
            np.log(max(stats.get("noise_iod", np.nan), 1e-3)),
            misfit,
            context.duration_ms / 1e3 if context.duration_ms > 0 else np.nan,
            *course,
        ]
    )


def _course(course: NDArray[np.float32] | None) -> list[float]:
    """Log motion over 0.1 s of the upper and the lower face before, round and after the apex."""
    out = []
    for rows in (BEFORE, DURING, AFTER):
        for half in (UPPER, LOWER):
            value = np.nan
            if course is not None:
                moved = np.hypot(
                    course[rows, 0 : 2 * regions.COUNT : 2], course[rows, 1 : 2 * regions.COUNT : 2]
                )
                largest = moved[:, half].max(1)
                largest = largest[np.isfinite(largest)]
                if largest.size:
                    value = float(np.log(np.percentile(largest, 75) + 0.05))
            out.append(value)
    return out


def _logit(p: float) -> float:
    p = min(max(p, 1e-6), 1 - 1e-6)
    return float(np.clip(np.log(p / (1 - p)), -REACH, REACH))
