"""What is known about one moment, as numbers: the input of :mod:`mellm.engine.describe.ensemble`.

Every reading of the moment gives a row: log-odds of each unit from the region motion and from the embedded model, and
that model's probabilities of the classes. Beside them stand the spotter's opinion, which is one for all readings, and
cues to whether there is an expression at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

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


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """K readings of a moment, U units.

    :param rules: K×U log-odds, from the region motion
    :param nano: K×U log-odds, from the embedded model
    :param classes: K×3 probabilities of the embedded model, NaN where it abstained
    :param opinion: U log-odds by the spotter, NaN where it was not asked
    :param votes: U×3, readings in which the embedded model names the unit on the left, the right, both sides
    :param sides: U×2, motion on the subject's left and right that the unit explains, 1/100 inter-ocular distance
    :param cues: :data:`CUES`, NaN where not known
    """

    rules: F64
    nano: F64
    classes: F64
    opinion: F64
    sides: F64
    votes: F64
    cues: F64


CUES: Final = ("spotted", "explained", "peak", "noise")
"""What tells an expression from speech, a blink or a slip: log-odds of the spotter's score, mean share of the motion
(in spreads, squared) that units explain, and the logarithms of the largest motion and of the noise (1/100 inter-ocular
distance)."""

SIDES: Final[tuple[Side, ...]] = ("left", "right", "both")
"""Columns of :attr:`Observation.votes`."""


def observe(
    shown: Sequence[Evidence], read: Sequence[Reading], context: DescribeContext, known: Templates
) -> Observation:
    """Numbers of a moment.

    :param shown: the plain evidence first
    :param read: what the embedded model says of each
    """
    rules = np.full((len(shown), len(UNITS)), -REACH)
    nano = np.full((len(shown), len(UNITS)), logit(UNNAMED))
    classes = np.full((len(shown), len(CLASSES)), np.nan)
    sides, votes = np.zeros((len(UNITS), 2)), np.zeros((len(UNITS), len(SIDES)))
    explained: list[float] = []
    for k, (evidence, reading) in enumerate(zip(shown, read, strict=True)):
        motion = motion_vector(evidence.regions)
        matches = () if motion is None else explain(motion, known)
        if motion is not None and matches:
            whole = float(((motion / known.spread) ** 2).sum())
            explained.append(1 - matches[0].misfit / max(whole, 1e-9))
        for match in matches:
            i = UNITS.index(match.au)
            rules[k, i] = np.clip(log_odds(match, known), -REACH, REACH)
            sides[i] += _amounts(match, evidence.mirrored)
        said = reading.description
        if said.abstained is not None:
            continue
        for unit in said.action_units:
            if unit.au in UNITS:
                nano[k, UNITS.index(unit.au)] = logit(unit.score)
                side = OTHER[unit.side] if evidence.mirrored else unit.side
                votes[UNITS.index(unit.au), SIDES.index(side)] += 1
        if said.emotion is not None:
            classes[k] = [said.emotion.scores.get(c, 0.0) for c in CLASSES]
    asked = dict(context.unit_scores)
    opinion = np.array([logit(asked[au]) if au in asked else np.nan for au in UNITS])
    stats = shown[0].flow_stats
    cues = (
        np.nan if context.score is None else logit(context.score),
        np.mean(explained) if explained else np.nan,
        *(np.log(max(stats[name], 0.01)) if name in stats else np.nan for name in ("peak_iod", "noise_iod")),
    )
    return Observation(rules, nano, classes, opinion, sides, votes, np.array(cues))


def _amounts(match: Match, mirrored: bool) -> F64:
    """Left and right amount; a unit without sides counts on both."""
    whole = match.amounts.get("both")
    if whole is not None:
        return np.array([whole, whole])
    names: tuple[Side, Side] = ("left", "right")
    return np.array([match.amounts.get(OTHER[n] if mirrored else n, 0.0) for n in names])


def logit(p: float) -> float:
    """Log-odds, cut at :data:`REACH`."""
    p = min(max(p, 1e-6), 1 - 1e-6)
    return float(np.clip(np.log(p / (1 - p)), -REACH, REACH))
