"""Action units by emotion in three annotated data sets: aggregates, no sample of them.

Counted from the label files of CASME II, SAMM and the training part of DFME (third-party copies in the
public repository QqXuyujie/Micro-Expression-Datasets). A row gives clips, and for the frequent units the
share of clips that show them; units it does not list are rare in that emotion, not absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mellm.engine.types import Coarse


@dataclass(frozen=True, slots=True)
class Row:
    """One emotion of one data set. ``coarse`` is ``None`` for "others", which belongs to no class."""

    clips: int
    coarse: Coarse | None
    shares: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class DataSet:
    """:param overall: action unit → share of all clips

    :param emotions: name → row"""

    overall: Mapping[int, float]
    emotions: Mapping[str, Row]


CASME2: Final = DataSet(
    {4: 0.516, 7: 0.152, 12: 0.136, 14: 0.108, 1: 0.104, 17: 0.10, 2: 0.084, 10: 0.068, 15: 0.064, 9: 0.052}
    | {6: 0.052},
    {
        "disgust": Row(63, "negative", {4: 0.94, 7: 0.48, 10: 0.27, 9: 0.21}),
        "repression": Row(27, "negative", {17: 0.70, 15: 0.41, 14: 0.15}),
        "sadness": Row(7, "negative", {1: 1.0}),
        "happiness": Row(32, "positive", {12: 0.84, 6: 0.25, 14: 0.16}),
        "surprise": Row(25, "surprise", {2: 0.80, 1: 0.72}),
        "others": Row(99, None, {4: 0.68, 14: 0.16}),
    },
)
"""255 clips at 200 frames a second. Its two clips of fear have no row."""

SAMM: Final = DataSet(
    {7: 0.289, 12: 0.189, 4: 0.145, 2: 0.113, 14: 0.082, 5: 0.063, 24: 0.063, 17: 0.044, 20: 0.044},
    {
        "anger": Row(57, "negative", {7: 0.74, 4: 0.37}),
        "contempt": Row(12, "negative", {14: 1.0}),
        "disgust": Row(9, "negative", {10: 0.56, 9: 0.44}),
        "fear": Row(8, "negative", {20: 0.88}),
        "sadness": Row(6, "negative", {17: 0.50}),
        "happiness": Row(26, "positive", {12: 1.0}),
        "surprise": Row(15, "surprise", {5: 0.60}),
    },
)
"""159 clips at 200 frames a second."""

DFME: Final = DataSet(
    {4: 0.44, 7: 0.226, 1: 0.161, 5: 0.159, 12: 0.142, 2: 0.141, 24: 0.088, 6: 0.088, 10: 0.065, 14: 0.057}
    | {17: 0.052},
    {
        "disgust": Row(548, "negative", {4: 0.77, 7: 0.43}),
        "anger": Row(161, "negative", {4: 0.70, 7: 0.25}),
        "fear": Row(265, "negative", {4: 0.51, 7: 0.29, 5: 0.19}),
        "sadness": Row(278, "negative", {4: 0.42, 14: 0.19, 24: 0.17}),
        "contempt": Row(100, "negative", {12: 0.68}),
        "happiness": Row(206, "positive", {12: 0.80, 6: 0.50}),
        "surprise": Row(298, "surprise", {2: 0.76, 1: 0.73, 5: 0.63}),
    },
)
"""1,856 clips at 200 to 500 frames a second."""

DATA_SETS: Final[Mapping[str, DataSet]] = {"CASME II": CASME2, "SAMM": SAMM, "DFME": DFME}
