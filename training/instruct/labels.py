"""Emotions for synthetic pairs: drawn from what annotated data say, given the action units.

A face model knows units and no feelings. So that synthetic pairs carry an emotion as annotated ones do, one is drawn
from P(emotion | units) of :data:`mellm.engine.facs.tables.DFME`. Units do not settle an emotion; how well anybody
can do who knows the units perfectly is :func:`ceiling`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from functools import cache
from math import exp, log

import numpy as np

from mellm.engine.facs import action_units as facs
from mellm.engine.facs.tables import DFME
from mellm.engine.types import Coarse


@cache
def posterior(units: frozenset[int]) -> dict[str, float]:
    """Probability of each of the seven emotions of DFME, units taken as independent given the emotion."""
    shares = facs.unit_shares(DFME)
    logs = {
        name: log(row.clips)
        + sum(log(shares[name][au] if au in units else 1 - shares[name][au]) for au in facs.UNITS)
        for name, row in DFME.emotions.items()
    }
    top = max(logs.values())
    mass = {name: exp(value - top) for name, value in logs.items()}
    whole = sum(mass.values())
    return {name: value / whole for name, value in mass.items()}


def coarse(emotion: str) -> Coarse:
    """Class of an emotion of DFME."""
    found = DFME.emotions[emotion].coarse
    if found is None:
        raise ValueError(f"{emotion} has no class")
    return found


def coarse_posterior(units: Iterable[int]) -> dict[Coarse, float]:
    """Probability of the three classes."""
    out: dict[Coarse, float] = dict.fromkeys(facs.COARSE, 0.0)
    for name, share in posterior(frozenset(units)).items():
        out[coarse(name)] += share
    return out


def draw(units: Iterable[int], rng: np.random.Generator) -> str:
    """One emotion for a set of units."""
    shares = posterior(frozenset(units))
    return str(rng.choice(list(shares), p=np.array(list(shares.values()))))


def best(units: Iterable[int]) -> Coarse:
    """The likeliest class."""
    shares = coarse_posterior(units)
    return max(facs.COARSE, key=lambda name: shares[name])


def uf1(truth: Sequence[Coarse], told: Sequence[Coarse | None]) -> float:
    """Unweighted mean of the classes' F1 (classes that occur in ``truth``); ``None`` is wrong."""
    scores = []
    for name in set(truth):
        right = sum(t == name == s for t, s in zip(truth, told, strict=True))
        said, true = sum(s == name for s in told), sum(t == name for t in truth)
        scores.append(2 * right / (said + true))
    return float(np.mean(scores)) if scores else 0.0


def ceiling(cases: Sequence[tuple[Set[int], Coarse]]) -> float:
    """UF1 of the best guess from perfectly known units against the labels that were drawn: the Bayes ceiling."""
    return uf1([label for _, label in cases], [best(units) for units, _ in cases])
