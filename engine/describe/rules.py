"""The embedded describer: region motion → action units → coarse emotion → sentences.

Rules and a calibrated match, not a language model, and it says so in every description. What it knows of
faces comes from a face model and rendered people; see docs/motion-evidence.md for how often it is right.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from math import isfinite, log

from mellm.engine.describe.au_templates import (
    Match,
    Templates,
    explain,
    log_odds,
    motion_vector,
    probability,
    templates,
)
from mellm.engine.describe.base import DescribeContext, Recipe
from mellm.engine.describe.sentences import sentences
from mellm.engine.facs import action_units as facs
from mellm.engine.types import ActionUnit, Description, Evidence, RegionMotion, Side

VERSION = "2"

MAX_UNITS = 4
"""Micro-expressions show 1.3 to 1.7 units on average; more are not named."""

BOTH_SIDES = 0.35
"""A unit whose weaker side moves by this share of the stronger one is on both sides."""

NETWORK_WEIGHT = 0.5
"""How much the log-odds of the spotter network count beside those of the motion. Less than 1: both saw the
same pixels."""

NETWORK_BASE = 0.1
"""A network probability that says nothing for or against a unit: the share of clips that show a unit."""

NETWORK_REACH = 3.0
"""Most the network can add to or take from the log-odds before weighting."""

RULE_NOTE = "Rule-based reading of region motion, not a language model."


def read_units(
    table: Sequence[RegionMotion],
    prior: Iterable[tuple[int, float]] = (),
    *,
    known: Templates | None = None,
) -> tuple[ActionUnit, ...]:
    """Action units with sides and probabilities from the region table.

    :param table: the 31 regions of the ``live`` recipe; other tables give no units
    :param prior: unit → probability as the spotter network saw it, without sides; may be empty
    :param known: other templates than the shipped ones
    """
    motion = motion_vector(table)
    if motion is None:
        return ()
    known = known or templates()
    seen = dict(prior)
    found = []
    for match in explain(motion, known):
        logit = log_odds(match, known) + _network(seen.get(match.au))
        score = probability(logit)
        if score >= known.threshold:
            found.append(ActionUnit(match.au, side_of(match), round(score, 4)))
    best = sorted(found, key=lambda unit: -unit.score)[:MAX_UNITS]
    return tuple(sorted(best, key=lambda unit: unit.au))


def _network(p: float | None) -> float:
    """What the network's probability adds to the log-odds."""
    if p is None or not isfinite(p):
        return 0.0
    p = min(max(p, 1e-6), 1 - 1e-6)
    told = log(p / (1 - p)) - log(NETWORK_BASE / (1 - NETWORK_BASE))
    return NETWORK_WEIGHT * min(max(told, -NETWORK_REACH), NETWORK_REACH)


def side_of(match: Match) -> Side:
    """On which side the unit moves the face; both where neither moves."""
    left, right = match.amounts.get("left", 0.0), match.amounts.get("right", 0.0)
    if min(left, right) >= BOTH_SIDES * max(left, right):
        return "both"
    return "left" if left > right else "right"


class RulesDescriber:
    """See the module. Stateless; may be called from several threads at once."""

    name = "rules"
    profile = f"rules/{VERSION}"
    recipe: Recipe = "live"

    def describe(self, evidence: Evidence, context: DescribeContext) -> Description:
        """Read units off the motion and say what they suggest.

        Abstains with the evidence's own reason where it was refused, else with ``no_unit`` where no unit
        explains the motion.
        """
        started = time.perf_counter()
        units: tuple[ActionUnit, ...] = ()
        reason = evidence.refused
        if reason is None:
            units = read_units(evidence.regions, context.unit_scores)
            reason = None if units else "no_unit"
        emotion = facs.coarse_emotion((unit.au, unit.score) for unit in units)
        return Description(
            text=sentences(units, emotion, evidence.regions, notes=(RULE_NOTE,)) if emotion else "",
            action_units=units,
            emotion=emotion,
            model=self.name,
            profile=self.profile,
            prompt_version=VERSION,
            abstained=reason,
            latency_ms=(time.perf_counter() - started) * 1e3,
        )

    def close(self) -> None:
        """Nothing to release."""
