"""The words of the instruction data, English and Chinese.

Variety is small on purpose: a few ways to say one thing, so that a small model spends itself on the picture and not on
style, and so that every sentence can be checked against the annotation it came from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias, get_args

from mellm.engine.facs import action_units as facs
from mellm.engine.types import Coarse, Side

Language: TypeAlias = Literal["en", "zh"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)

_WIDE = {", ": "\uff0c", ": ": "\uff1a", "; ": "\uff1b", "(": "\uff08", ")": "\uff09", "? ": "\uff1f"}


def wide(text: str) -> str:
    """Chinese punctuation for Chinese text that was typed with narrow signs."""
    for narrow, sign in _WIDE.items():
        text = text.replace(narrow, sign)
    return text


Quiet: TypeAlias = Literal["still", "head", "blink", "gaze", "speech", "faint", "other"]
"""Why there is nothing to describe. ``faint``: an expression is there, and its motion is too small to be read.
``other``: something moves, and the motion does not tell what it is."""

CLAUSES: Final[Mapping[Language, Mapping[int, Sequence[str]]]] = {
    "en": {
        1: ("the inner brow rises", "the inner end of the brow is raised"),
        2: ("the outer brow rises", "the outer end of the brow is raised"),
        4: ("the brow is drawn down and together", "the brow is lowered"),
        5: ("the upper lid rises", "the eye is opened wider"),
        6: ("the cheek rises", "the cheek is raised"),
        7: ("the lids tighten", "the lower lid is tensed"),
        9: ("the nose wrinkles", "the skin beside the nose is pulled up"),
        10: ("the upper lip rises", "the upper lip is raised"),
        12: ("the lip corner is pulled up and out", "the lip corner is raised"),
        14: ("the lip corner tightens", "the lip corner is pulled inwards"),
        15: ("the lip corner sinks", "the lip corner is pulled down"),
        17: ("the chin is pushed up", "the chin boss rises"),
        20: ("the lips stretch sideways", "the mouth is stretched sideways"),
        24: ("the lips press together", "the lips are pressed"),
        26: ("the jaw drops", "the jaw sinks"),
    },
    "zh": {
        1: ("眉毛内侧上抬", "眉头上扬"),
        2: ("眉毛外侧上抬", "眉尾上扬"),
        4: ("眉毛下压并向中间靠拢", "眉毛压低"),
        5: ("上眼睑上抬", "眼睛睁大"),
        6: ("脸颊上抬", "面颊抬起"),
        7: ("眼睑收紧", "下眼睑绷紧"),
        9: ("鼻子皱起", "鼻翼旁的皮肤上拉"),
        10: ("上唇上抬", "上嘴唇提起"),
        12: ("嘴角向外上方拉", "嘴角上扬"),
        14: ("嘴角收紧", "嘴角向内收"),
        15: ("嘴角下沉", "嘴角下拉"),
        17: ("下巴上推", "下巴隆起"),
        20: ("嘴唇向两侧拉伸", "嘴向两侧拉开"),
        24: ("双唇紧压", "嘴唇抿紧"),
        26: ("下颌下落", "下巴张开"),
    },
}
"""What is seen when a unit acts: clauses without a side."""

CLASSES: Final[Mapping[Language, Mapping[Coarse, str]]] = {
    "en": {"negative": "a negative expression", "positive": "a positive expression", "surprise": "surprise"},
    "zh": {"negative": "消极表情", "positive": "积极表情", "surprise": "惊讶表情"},
}

SURE, LEANING = 0.75, 0.5
"""From these probabilities on a class is suggested, and leaned towards."""

CONCLUSIONS: Final[Mapping[Language, Mapping[str, Sequence[str]]]] = {
    "en": {
        "sure": ("This suggests {name} (probability {p}).",),
        "leaning": ("This leans towards {name} (probability {p}).",),
        "open": ("This leaves the class open; {name} is likeliest (probability {p}).",),
    },
    "zh": {
        "sure": (wide("这提示{name}(概率{p})。"),),
        "leaning": (wide("这倾向于{name}(概率{p})。"),),
        "open": (wide("类别难以确定; {name}的可能性最大(概率{p})。"),),
    },
}

ABSTENTIONS: Final[Mapping[Language, Mapping[Quiet, Sequence[str]]]] = {
    "en": {
        "still": ("No expression: the face is still.", "No expression: nothing on the face moves."),
        "head": (
            "No expression: the head moves, the face does not.",
            "No expression: only the head moves.",
        ),
        "blink": ("No expression: the eyes blink.", "No expression: this is a blink."),
        "gaze": ("No expression: the eyes look elsewhere.", "No expression: only the gaze moves."),
        "speech": (
            "No expression: the mouth moves as in speech.",
            "No expression: this is the motion of talking.",
        ),
        "faint": (
            "No expression can be read: the motion is too faint.",
            "No expression can be read: too little moves.",
        ),
        "other": (
            "No expression: the motion fits no action unit.",
            "No expression: what moves is no action unit.",
        ),
    },
    "zh": {
        "still": (wide("没有表情: 面部静止。"), wide("没有表情: 面部没有任何运动。")),
        "head": (wide("没有表情: 头部在动, 面部没有动。"), wide("没有表情: 只有头部在动。")),
        "blink": (wide("没有表情: 眼睛在眨。"), wide("没有表情: 这是眨眼。")),
        "gaze": (wide("没有表情: 目光转向别处。"), wide("没有表情: 只有视线在移动。")),
        "speech": (wide("没有表情: 嘴部像说话一样在动。"), wide("没有表情: 这是说话的动作。")),
        "faint": (wide("读不出表情: 运动太微弱。"), wide("读不出表情: 运动幅度太小。")),
        "other": (wide("没有表情: 运动不符合任何动作单元。"), wide("没有表情: 运动并非动作单元。")),
    },
}

SIDE_AFTER: Final[Mapping[Side, str]] = {"left": " on the left", "right": " on the right", "both": ""}
SIDE_BEFORE: Final[Mapping[Side, str]] = {"left": "左侧", "right": "右侧", "both": ""}
"""The subject's own side; where both sides act, none is named."""


def clause(au: int, side: Side, language: Language, variant: int) -> str:
    """What one unit does, with its side and number: ``the lip corner rises on the left (AU12)``."""
    said = CLAUSES[language][au]
    words = said[variant % len(said)]
    if language == "zh":
        return wide(f"{SIDE_BEFORE[side]}{words}(AU{au})")
    return f"{words}{SIDE_AFTER[side]} (AU{au})"


def sentence(clauses: Sequence[str], language: Language) -> str:
    """Clauses as one sentence."""
    if language == "zh":
        return wide(", ").join(clauses) + "。"
    joined = clauses[0] if len(clauses) == 1 else f"{', '.join(clauses[:-1])} and {clauses[-1]}"
    return f"{joined[0].upper()}{joined[1:]}."


def sureness(probability: float) -> str:
    """Which of the conclusions a probability gets."""
    return "sure" if probability >= SURE else "leaning" if probability >= LEANING else "open"


def sides_of(au: int) -> tuple[Side, ...]:
    """Sides that a unit of :data:`mellm.engine.facs.action_units.UNITS` can have."""
    return ("both", "left", "right") if facs.UNITS[au].sided else ("both",)
