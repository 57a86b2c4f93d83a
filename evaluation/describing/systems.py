"""Describers as systems of pairs: the same pairs, the same form of answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mellm.detectors.types import U8
from mellm.engine.describe.base import DescribeContext, Describer
from mellm.engine.describe.rules import RulesDescriber
from mellm.engine.facs import action_units as facs
from mellm.engine.types import Coarse, Description, Side
from mellm.evaluation.describing.cases import Example
from mellm.evaluation.describing.measures import Reading, named_units
from mellm.training.synth.script import AU_SETS

System: TypeAlias = Callable[[Sequence[Example]], list[Reading]]

UNREADABLE = frozenset({"unparsable", "cut_answer", "empty_answer"})

SURE = 0.5
"""The spotter's opinion names units that are at least so sure."""


def reading(told: Description, *, own_text: bool) -> Reading:
    """A description as it is scored. ``own_text``: its text is the model's, not put together by rules."""
    units: dict[int, Side] = {u.au: u.side for u in told.action_units}
    return Reading(
        abstained=told.abstained is not None,
        units=units,
        coarse=None if told.emotion is None else told.emotion.coarse,
        parsed=told.abstained not in UNREADABLE,
        named=named_units(told.text) if own_text else None,
    )


def of_describer(describer: Describer) -> System:
    """Any describer, pair by pair, without the spotter's opinion."""

    def read(examples: Sequence[Example]) -> list[Reading]:
        context = DescribeContext(deadline_s=60)
        own = not isinstance(describer, RulesDescriber)
        return [reading(describer.describe(e.evidence, context), own_text=own) for e in examples]

    return read


def nano(folder: Path | None = None, *, constrained: bool = True) -> System:
    """The embedded model, several pairs at once. ``folder``: another than the shipped one.

    :param constrained: whether it may write canonical answers only
    :raises ModelMissing: the folder is incomplete or damaged
    :raises ModelCorrupt: the folder is incomplete or damaged
    """
    from mellm.engine.describe.local import NanoDescriber

    model = NanoDescriber(folder, constrained=constrained)

    def read(examples: Sequence[Example]) -> list[Reading]:
        told = model.describe_many([e.evidence for e in examples])
        return [reading(one, own_text=True) for one in told]

    return read


def rules_with_opinion(examples: Sequence[Example]) -> list[Reading]:
    """``rules`` as it runs in the product, told what the spotter thinks of units."""
    rules = RulesDescriber()
    return [
        reading(
            rules.describe(e.evidence, DescribeContext(unit_scores=tuple((e.opinion or {}).items()))),
            own_text=False,
        )
        for e in examples
    ]


def spotter(examples: Sequence[Example]) -> list[Reading]:
    """The spotter's own read-out: units without sides; it abstains where it is sure of none."""
    out = []
    for example in examples:
        units: dict[int, Side] = {
            au: "both" for au, share in (example.opinion or {}).items() if share >= SURE
        }
        emotion = facs.coarse_emotion((au, 1.0) for au in units)
        out.append(Reading(not units, units, None if emotion is None else emotion.coarse))
    return out


def prior_answer() -> tuple[int, Coarse | None]:
    """The commonest unit of what training pairs were drawn from, and the class it suggests."""
    counted: defaultdict[int, float] = defaultdict(float)
    for units, weight in AU_SETS:
        for au in units:
            counted[au] += weight
    commonest = max(counted, key=counted.__getitem__)
    emotion = facs.coarse_emotion([(commonest, 1.0)])
    return commonest, None if emotion is None else emotion.coarse


def prior_only(examples: Sequence[Example]) -> list[Reading]:
    """Never looks: :func:`prior_answer` every time."""
    commonest, coarse = prior_answer()
    return [Reading(False, {commonest: "both"}, coarse)] * len(examples)


def blank(system: System) -> System:
    """The same system, shown a dark map of a face on which nothing moves in place of every pair."""

    def read(examples: Sequence[Example]) -> list[Reading]:
        return system(
            [_shown(e, np.zeros_like(e.pair.picture), np.zeros_like(e.pair.motion)) for e in examples]
        )

    return read


def shuffled(system: System, seed: int = 0) -> System:
    """The same system, shown the map and the motion of another pair of the set."""

    def read(examples: Sequence[Example]) -> list[Reading]:
        order = np.random.default_rng(seed).permutation(len(examples))
        # a cycle through all of them: nobody is shown the own pair
        other = {int(a): int(b) for a, b in zip(order, np.roll(order, 1), strict=True)}
        pairs = [examples[other[k]].pair for k in range(len(examples))]
        return system([_shown(e, p.picture, p.motion) for e, p in zip(examples, pairs, strict=True)])

    return read


def _shown(example: Example, picture: U8, motion: NDArray[np.float32]) -> Example:
    return replace(example, pair=replace(example.pair, picture=picture, motion=motion), opinion=None)
