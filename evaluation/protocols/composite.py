"""The composite of three classes, "MEGC2019 Recognition Challenge": SMIC-HS, CASME II and SAMM in one.

Negative is disgust and repression of CASME II, and anger, contempt, disgust, fear and sadness of SAMM; SMIC is
labelled so. The challenge's own list has 442 clips of 68 people. It names a few clips fewer than the releases have,
so the counts are told beside those of the list and never made to fit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mellm.evaluation.datasets.clips import Clip

CLASSES: Final = ("negative", "positive", "surprise")
_OWN: Final = {name: name for name in CLASSES}
MAPS: Final[Mapping[str, Mapping[str, str]]] = {
    "casme2": {
        "disgust": "negative",
        "repression": "negative",
        "happiness": "positive",
        "surprise": "surprise",
    },
    "samm": {
        **dict.fromkeys(("anger", "contempt", "disgust", "fear", "sadness"), "negative"),
        "happiness": "positive",
        "surprise": "surprise",
    },
    "smic-hs": _OWN,
}
"""Data set → emotion → class, as the challenge has it."""

LISTED: Final[Mapping[str, Mapping[str, int]]] = {
    "smic-hs": {"negative": 70, "positive": 51, "surprise": 43},
    "casme2": {"negative": 88, "positive": 32, "surprise": 25},
    "samm": {"negative": 92, "positive": 26, "surprise": 15},
}
"""Clips in the list of the challenge."""


@dataclass(frozen=True, slots=True)
class Composite:
    """Clips with their classes, and those that have none.

    :param classes: class of each clip, ``None`` where it is left out, in the order of the clips
    :param left_out: data set → emotion as it is labelled (``unknown`` for none) → clips
    """

    classes: tuple[str | None, ...]
    counts: Mapping[str, Mapping[str, int]]
    left_out: Mapping[str, Mapping[str, int]]

    def differences(self) -> tuple[str, ...]:
        """Where the counts are not those of the challenge's list, in words."""
        return tuple(
            f"{name} has {self.counts[name].get(kind, 0)} {kind} clips, the list of MEGC 2019 has {listed}"
            for name in self.counts
            for kind, listed in LISTED.get(name, {}).items()
            if self.counts[name].get(kind, 0) != listed
        )


def composite_class(clip: Clip) -> str | None:
    """The class of a clip; outside the three data sets of the challenge its coarse class."""
    table = MAPS.get(clip.dataset)
    return clip.coarse if table is None else table.get(clip.emotion or "")


def composite(clips: Sequence[Clip]) -> Composite:
    """Put clips of any number of data sets into the three classes. Macro-expressions are left out."""
    classes = tuple(composite_class(clip) if clip.kind == "micro" else None for clip in clips)
    counts: dict[str, Counter[str]] = {clip.dataset: Counter() for clip in clips}
    left: dict[str, Counter[str]] = {}
    for clip, name in zip(clips, classes, strict=True):
        if name is None:
            left.setdefault(clip.dataset, Counter())[clip.emotion or "unknown"] += 1
        else:
            counts[clip.dataset][name] += 1
    return Composite(
        classes,
        {name: dict(sorted(c.items())) for name, c in counts.items()},
        {name: dict(sorted(c.items())) for name, c in left.items()},
    )
