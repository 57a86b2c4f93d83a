"""The embedded describer: region motion → action units → coarse emotion → sentences.

Rules and a calibrated match, not a language model, and it says so in every description. What it knows of
faces comes from a face model and rendered people; see docs/motion-evidence.md for how often it is right.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from math import isfinite, log

import numpy as np

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
from mellm.engine.facs import action_units as facs
from mellm.engine.types import ActionUnit, Coarse, Description, Emotion, Evidence, RegionMotion, Side

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
            text=sentences(units, emotion, evidence.regions) if emotion else "",
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


def sentences(units: Sequence[ActionUnit], emotion: Emotion, table: Sequence[RegionMotion]) -> str:
    """The description in controlled English: what moved, how far, what it suggests, how sure, and by what means."""
    clauses = [_clause(unit) for unit in units]
    moved = clauses[0] if len(clauses) == 1 else f"{', '.join(clauses[:-1])} and {clauses[-1]}"
    return " ".join((f"{moved[0].upper()}{moved[1:]}.", _largest(table), _suggestion(emotion), RULE_NOTE))


def _clause(unit: ActionUnit) -> str:
    where = f" on the {unit.side}" if unit.side != "both" else ""
    doubt = "" if unit.score >= 0.6 else "perhaps "
    return f"{doubt}{facs.UNITS[unit.au].action}{where} (AU{unit.au})"


def _largest(table: Sequence[RegionMotion]) -> str:
    top = max(table, key=lambda region: float(np.hypot(region.dx, region.dy)))
    word, _, side = top.region.rpartition("_") if top.region[-2:] in ("_L", "_R") else (top.region, "", "")
    place = {"L": "left ", "R": "right "}.get(side, "") + word.replace("_", " ")
    across, up = top.dx, -top.dy
    steep = abs(up) > 2.4 * abs(across)
    flat = abs(across) > 2.4 * abs(up)
    # the subject's left is at the picture's right
    vertical = "" if flat else ("up" if up > 0 else "down")
    level = "" if steep else ("to the left" if across > 0 else "to the right")
    way = " and ".join(w for w in (vertical, level) if w)
    return f"Largest motion: {place}, {way}, {np.hypot(top.dx, top.dy):.1f}% of the eye distance."


def _suggestion(emotion: Emotion) -> str:
    words: dict[Coarse, str] = {
        "negative": "a negative expression",
        "positive": "a positive expression",
        "surprise": "surprise",
    }
    sure = emotion.scores[emotion.coarse]
    others = sorted(
        ((s, name) for name, s in emotion.scores.items() if name != emotion.coarse), key=lambda pair: -pair[0]
    )
    if sure >= 0.75:
        return f"This suggests {words[emotion.coarse]} (probability {sure:.2f})."
    second = f"{others[0][1]} {others[0][0]:.2f}"
    return f"This leaves it open; {words[emotion.coarse]} is likeliest (probability {sure:.2f}, {second})."
