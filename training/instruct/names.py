"""Names of units, emotions, regions and directions in the two languages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mellm.engine.facs import action_units as facs
from mellm.engine.facs.names import UNITS
from mellm.engine.types import Coarse
from mellm.training.instruct.phrases import Language

"""FACS numbers → English, Chinese name: the units of ``action_units.UNITS``, and others that coders write down."""

EMOTIONS: Final[Mapping[str, str]] = {
    "anger": "愤怒",
    "contempt": "轻蔑",
    "disgust": "厌恶",
    "fear": "恐惧",
    "happiness": "高兴",
    "sadness": "悲伤",
    "surprise": "惊讶",
    "repression": "压抑",
    "others": "其他",
}
"""Fine emotions → Chinese. Others stay as they were annotated."""

CLASSES: Final[Mapping[Coarse, str]] = {"negative": "消极", "positive": "积极", "surprise": "惊讶"}

REGIONS: Final[Mapping[str, tuple[str, str]]] = {
    "brow_outer": ("outer brow", "眉毛外侧"),
    "brow_mid": ("middle of the brow", "眉毛中部"),
    "brow_inner": ("inner brow", "眉毛内侧"),
    "glabella": ("space between the brows", "眉间"),
    "upper_lid": ("upper lid", "上眼睑"),
    "lower_lid": ("lower lid", "下眼睑"),
    "cheek": ("cheek", "脸颊"),
    "nasolabial": ("nasolabial fold", "鼻唇沟"),
    "nose_wing": ("nose wing", "鼻翼"),
    "upper_lip": ("upper lip", "上唇"),
    "lip_corner": ("lip corner", "嘴角"),
    "lower_lip": ("lower lip", "下唇"),
    "chin": ("chin", "下巴"),
}
"""Regions that expressions move, without sides."""

PUBLISHED: Final[Mapping[str, tuple[str, ...]]] = {
    "brow_outer": ("{} Outer Eyebrow",),
    "brow_mid": ("{} Outer Eyebrow",),
    "brow_inner": ("{} Inner Eyebrow",),
    "upper_lid": tuple(f"{{}} Upper Eyelid ({part})" for part in ("Center", "Left Side", "Right Side")),
    "lower_lid": tuple(f"{{}} Lower Eyelid ({part})" for part in ("Center", "Left Side", "Right Side")),
    "cheek": ("{} Cheek",),
    "nose_wing": ("{} Nostril Wing",),
    "upper_lip": ("Upper Lip ({} Side)", "Upper Lip (Center)"),
    "lip_corner": ("{} Mouth Corner",),
    "lower_lip": tuple(f"Lower Lip ({part})" for part in ("Center", "Left Side", "Right Side")),
    "chin": ("Chin",),
}
"""The regions of the ``mellm-v3`` table that lie nearest; there left is the *picture's* left."""

CONFUSED: Final[Mapping[int, tuple[int, ...]]] = {
    1: (2, 4, 5),
    2: (1, 5, 4),
    4: (1, 7, 9),
    5: (2, 7, 1),
    6: (7, 12, 10),
    7: (6, 4, 5),
    9: (10, 4, 7),
    10: (9, 12, 6),
    12: (6, 14, 20),
    14: (12, 24, 15),
    15: (17, 14, 20),
    17: (15, 24, 26),
    20: (12, 15, 24),
    24: (17, 14, 26),
    26: (17, 20, 15),
}
"""Units that are taken for one another: neighbours on the face, and those that come with each other."""

_DIRECTIONS: Final[Mapping[Language, tuple[str, ...]]] = {
    "en": (
        "to the left",
        "up and to the left",
        "up",
        "up and to the right",
        "to the right",
        "down and to the right",
        "down",
        "down and to the left",
    ),
    "zh": ("向左", "向左上", "向上", "向右上", "向右", "向右下", "向下", "向左下"),
}

_OUTWARDS: Final[Mapping[Language, tuple[str, ...]]] = {
    "en": (
        "outwards",
        "up and outwards",
        "up",
        "up and inwards",
        "inwards",
        "down and inwards",
        "down",
        "down and outwards",
    ),
    "zh": ("向外", "向外上", "向上", "向内上", "向内", "向内下", "向下", "向外下"),
}
"""Of the subject's left side, octants counter-clockwise from the picture's right."""

_COLOURS: Final[Mapping[Language, tuple[str, ...]]] = {
    "en": ("red", "magenta", "purple", "blue", "cyan", "green", "yellow-green", "orange"),
    "zh": ("红色", "品红色", "紫色", "蓝色", "青色", "绿色", "黄绿色", "橙黄色"),
}
"""Of the ``mellm-v1`` map, octants counter-clockwise from the picture's right."""


def unit(au: int, language: Language) -> str:
    """The name of a unit; ``AU 77`` for one without a name here."""
    found = UNITS.get(au)
    return f"AU {au}" if found is None else found[language == "zh"]


def emotion(name: str, language: Language) -> str:
    """A fine emotion."""
    return EMOTIONS.get(name, name) if language == "zh" else name


def coarse(name: Coarse, language: Language) -> str:
    """One of the three classes."""
    return CLASSES[name] if language == "zh" else name


def parts(region: str) -> tuple[str, str]:
    """Name without a side, and ``L``, ``R`` or an empty string."""
    return (region[:-2], region[-1]) if region[-2:] in ("_L", "_R") else (region, "")


def region(name: str, language: Language) -> str:
    """One of the 31 regions in words, with the subject's own side; rows of other tables by their own name."""
    word, side = parts(name)
    if word not in REGIONS:
        return name
    if language == "zh":
        return {"L": "左侧", "R": "右侧", "": ""}[side] + REGIONS[word][1]
    return {"L": "left ", "R": "right ", "": ""}[side] + REGIONS[word][0]


def published(name: str) -> tuple[str, ...]:
    """Rows of the ``mellm-v3`` table for one of the 31 regions, the nearest first; empty where it has none."""
    word, side = parts(name)
    return tuple(row.format({"L": "Right", "R": "Left", "": ""}[side]) for row in PUBLISHED.get(word, ()))


def direction(octant: int, language: Language) -> str:
    """Octant counter-clockwise from the picture's right, in words of the subject's own sides."""
    return _DIRECTIONS[language][octant % 8]


def outwards(octant: int, language: Language) -> str:
    """Octant of a region on the subject's left, as it moves with its like on the right."""
    return _OUTWARDS[language][octant % 8]


def colour(octant: int, language: Language) -> str:
    """What the ``mellm-v1`` map shows for it."""
    return _COLOURS[language][octant % 8]


assert set(CONFUSED) == set(facs.UNITS) <= set(UNITS)
