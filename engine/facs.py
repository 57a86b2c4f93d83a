"""Action units and what they say about emotion: names, plain words, conditional tables with their source.

Action units alone do not settle a fine emotion (with perfect units, seven classes are told apart in about half of
the cases), so only the coarse class is derived here, with its probability.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import exp, log
from typing import Final

from engine.types import Coarse, Emotion

NAMES: Final[Mapping[int, str]] = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    12: "lip corner puller",
    14: "dimpler",
    15: "lip corner depressor",
    17: "chin raiser",
    20: "lip stretcher",
    24: "lip pressor",
    26: "jaw drop",
}
"""FACS names of the units that this project reads."""

ACTIONS: Final[Mapping[int, str]] = {
    1: "the inner brow rises",
    2: "the outer brow rises",
    4: "the brow is drawn down",
    5: "the upper lid rises",
    6: "the cheek rises",
    7: "the lids tighten",
    9: "the nose wrinkles",
    10: "the upper lip rises",
    12: "the lip corner is pulled up",
    14: "the lip corner tightens",
    15: "the lip corner sinks",
    17: "the chin is pushed up",
    20: "the lips stretch sideways",
    24: "the lips press together",
    26: "the jaw drops",
}
"""What each unit looks like, as a clause."""


@dataclass(frozen=True, slots=True)
class Clips:
    """How often units occur in clips of one emotion.

    :param count: clips; :param shares: action unit → share of them that show it (the table lists the frequent ones)
    """

    count: int
    coarse: Coarse
    shares: Mapping[int, float]


DFME: Final[Mapping[str, Clips]] = {
    "disgust": Clips(548, "negative", {4: 0.77, 7: 0.43, 10: 0.15, 9: 0.10}),
    "anger": Clips(161, "negative", {4: 0.70, 7: 0.25}),
    "fear": Clips(265, "negative", {4: 0.51, 7: 0.29, 5: 0.19}),
    "sadness": Clips(278, "negative", {4: 0.42, 14: 0.19, 24: 0.17, 17: 0.12, 15: 0.08}),
    "contempt": Clips(100, "negative", {12: 0.68, 14: 0.15}),
    "happiness": Clips(206, "positive", {12: 0.80, 6: 0.50, 14: 0.12}),
    "surprise": Clips(298, "surprise", {2: 0.76, 1: 0.73, 5: 0.63, 26: 0.08}),
}
"""Units by emotion in the DFME training set (1,856 clips; aggregates of its annotation). Shares above .15 are read
off; the smaller ones are set from CASME II and SAMM, where the same units mark the same emotions."""

UNLISTED: Final = 0.04
"""Share of clips in which a unit occurs that the table does not list for an emotion."""


def coarse_emotion(units: Iterable[tuple[int, float]]) -> Emotion | None:
    """Coarse class from action units and how sure each is, by naive Bayes over :data:`DFME`.

    Units are taken as independent given the emotion, which they are not; absent units say nothing here, because a
    unit that was not seen may have been missed. So the probabilities are a guide, not a calibrated measurement.

    :returns: ``None`` where no unit is known
    """
    seen = [(au, sure) for au, sure in units if au in NAMES and sure > 0]
    if not seen:
        return None
    total = sum(clips.count for clips in DFME.values())
    overall = {au: sum(c.count * c.shares.get(au, UNLISTED) for c in DFME.values()) / total for au, _ in seen}
    by_class: dict[Coarse, float] = {"negative": 0.0, "positive": 0.0, "surprise": 0.0}
    for clips in DFME.values():
        score = log(clips.count / total)
        for au, sure in seen:
            score += sure * log(clips.shares.get(au, UNLISTED) / overall[au])
        by_class[clips.coarse] += exp(score)
    whole = sum(by_class.values())
    scores: dict[str, float] = {name: round(value / whole, 4) for name, value in by_class.items()}
    return Emotion(max(by_class, key=lambda name: by_class[name]), scores)
