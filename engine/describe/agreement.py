"""Several readings of one moment, one answer: what they agree on, with the agreement told.

Each describer that is cheap enough reads a moment under small changes that must not matter
(:mod:`mellm.engine.evidence.readings`). Units that most readings name are told with their counts; readings that do not
agree end as ``unstable``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Final, Protocol, runtime_checkable

import numpy as np

from mellm.engine.describe.base import DescribeContext, Describer, Recipe
from mellm.engine.describe.sentences import agreed, sentences
from mellm.engine.facs import action_units as facs
from mellm.engine.types import ActionUnit, Description, Emotion, Evidence, Side

UNSTABLE: Final = "unstable"
"""Reason of a moment whose readings do not agree."""

MAJORITY: Final = 0.6
"""Share of the readings that must name a unit."""

LEAST: Final = 0.5
"""Mean overlap of any two readings (Jaccard) under which nothing is told."""

SHARE: Final = 0.5
"""Of the time for an answer, what making further readings may take; an idle machine needs half a second."""

OTHER: Final[dict[Side, Side]] = {"left": "right", "right": "left", "both": "both"}


@runtime_checkable
class ReadsMany(Protocol):
    """Reads several pictures at once for less than one by one."""

    def describe_many(self, evidences: Sequence[Evidence], *, deadline_s: float = ...) -> list[Description]:
        """As ``describe``, for all of them."""
        ...


def several(
    evidence: Evidence, deadline_s: float, clock: Callable[[], float] = time.monotonic
) -> tuple[Evidence, ...]:
    """The evidence, and the same moment under small changes.

    A machine on which making them takes more than :data:`SHARE` of the time for an answer makes do with fewer: an
    answer of three readings is better than none. Where there is time, the number depends on the evidence alone.
    """
    shown, until = [evidence], clock() + SHARE * deadline_s
    for other in () if evidence.again is None else evidence.again():
        shown.append(other)
        if clock() >= until:
            break
    return tuple(shown)


def overlap(readings: Sequence[frozenset[int]]) -> float:
    """Mean Jaccard overlap of any two sets; two empty sets are alike. 1 for a single one."""
    pairs = list(combinations(readings, 2))
    if not pairs:
        return 1.0
    return float(np.mean([len(a & b) / len(a | b) if a | b else 1.0 for a, b in pairs]))


def unmirrored(told: Description) -> Description:
    """The answer for the picture as it was: sides change places."""
    return replace(told, action_units=tuple(replace(u, side=OTHER[u.side]) for u in told.action_units))


def combine(told: Sequence[Description], evidence: Evidence) -> Description:
    """One answer of several, the plain reading first.

    Without a majority of readings that describe, the commonest reason; where they describe but do not agree,
    ``unstable``.
    """
    plain, count = told[0], len(told)
    sets = [frozenset(u.au for u in d.action_units) if d.abstained is None else frozenset() for d in told]
    agreement = round(overlap(sets), 4)
    spoken = [d for d in told if d.abstained is None]

    def abstained(reason: str) -> Description:
        return replace(
            plain,
            text="",
            action_units=(),
            emotion=None,
            abstained=reason,
            readings=count,
            agreement=agreement,
        )

    if 2 * len(spoken) <= count:
        reasons = Counter(d.abstained for d in told if d.abstained is not None)
        return abstained(plain.abstained or reasons.most_common(1)[0][0])
    units = _units(spoken, count)
    emotion = _emotion(spoken)
    if not units or agreement < LEAST or emotion is None:
        return abstained(UNSTABLE)
    wanted = {(u.au, u.side) for u in units}
    own = [d.text for d in spoken if {(u.au, u.side) for u in d.action_units} == wanted and d.emotion
           and d.emotion.coarse == emotion.coarse]  # fmt: skip
    # words that say the same as the readings agree on, the plain reading's if they do
    said = (
        f"{own[0]} {agreed(units, count)}"
        if own
        else sentences(units, emotion, evidence.regions, readings=count)
    )
    return replace(
        plain, text=said, action_units=units, emotion=emotion, abstained=None, readings=count, agreement=agreement
    )  # fmt: skip


def _units(spoken: Sequence[Description], count: int) -> tuple[ActionUnit, ...]:
    found: dict[int, list[ActionUnit]] = {}
    for description in spoken:
        # a describer may name a unit twice, once for each side
        for unit in {u.au: u for u in description.action_units}.values():
            found.setdefault(unit.au, []).append(unit)
    return tuple(
        ActionUnit(
            au,
            Counter(u.side for u in named).most_common(1)[0][0],
            round(sum(u.score for u in named) / count, 4),
            len(named),
        )
        for au, named in sorted(found.items())
        if len(named) >= MAJORITY * count
    )


def _emotion(spoken: Sequence[Description]) -> Emotion | None:
    scores = [d.emotion.scores for d in spoken if d.emotion is not None]
    if not scores:
        return None
    mean = {name: round(float(np.mean([s[name] for s in scores])), 4) for name in scores[0]}
    return Emotion(max(facs.COARSE, key=lambda name: mean.get(name, 0.0)), mean)


class AgreeingDescriber:
    """Reads every moment several times with another describer, and tells what the readings agree on.

    Thread-safe if the other one is. Evidence that cannot be made again is read once.
    """

    def __init__(self, one: Describer) -> None:
        self._one = one

    @property
    def name(self) -> str:
        """Of the describer that reads."""
        return self._one.name

    @property
    def profile(self) -> str:
        """Of the describer that reads."""
        return self._one.profile

    @property
    def recipe(self) -> Recipe:
        """Of the describer that reads."""
        return self._one.recipe

    def describe(self, evidence: Evidence, context: DescribeContext) -> Description:
        """The answer of all readings; evidence that was refused is not read."""
        if evidence.refused is not None or evidence.again is None:
            return self._one.describe(evidence, context)
        began = time.perf_counter()
        shown = several(evidence, context.deadline_s)
        if isinstance(self._one, ReadsMany):
            left = context.deadline_s - (time.perf_counter() - began)
            told = self._one.describe_many(shown, deadline_s=left)
        else:
            told = [self._one.describe(each, context) for each in shown]
        straight = [unmirrored(d) if e.mirrored else d for d, e in zip(told, shown, strict=True)]
        return replace(combine(straight, evidence), latency_ms=(time.perf_counter() - began) * 1e3)

    def close(self) -> None:
        """Close the describer that reads."""
        self._one.close()
