"""What JSON and prose answers have in common: sides, class words, thoughts, refusals, clean text."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from mellm.engine.types import ActionUnit, Coarse, Emotion, Side

MAX_TEXT = 2000
"""Longest description text that is kept, characters."""

KNOWN_UNITS = frozenset((*range(1, 8), *range(9, 21), *range(22, 47), *range(51, 59), *range(61, 65)))
"""Numbers that FACS defines; anything else an answer names is left out."""

COARSE: tuple[Coarse, ...] = ("negative", "positive", "surprise")


@dataclass(frozen=True, slots=True)
class Parsed:
    """What was read from an answer. ``problem`` is a reason code when nothing could be."""

    text: str
    action_units: tuple[ActionUnit, ...] = ()
    emotion: Emotion | None = None
    problem: str | None = None


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Drop control and invisible format characters, fold white space, cap the length."""
    kept = (c if c.isspace() or unicodedata.category(c)[0] != "C" else "" for c in text[: 8 * limit])
    return " ".join("".join(kept).split())[:limit]


_THOUGHT = re.compile(r"<(think|thinking|thought|reasoning)>.*?(?:</\1>|\Z)", re.IGNORECASE | re.DOTALL)
_REFUSAL = re.compile(
    r"\b(?:sorry|apologi[sz]e|can(?:no|['\u2019])t|am (?:not able|unable)|not able to|unable to|won['\u2019]t)\b"
    r"|抱歉|对不起|无法|不能",
    re.IGNORECASE | re.ASCII,
)
OPENING = 100
"""A refusal says so within so many characters; later on, "cannot" is part of an argument."""


def without_thoughts(answer: str) -> str:
    """The answer without what a reasoning model thought aloud; a thought that was cut short is all of the rest."""
    kept = _THOUGHT.sub(" ", answer)
    # some servers' templates open the thought in the prompt: the answer then only closes it
    return re.split(r"</think(?:ing)?>", kept, flags=re.IGNORECASE)[-1]


def refuses(answer: str) -> bool:
    """Whether the model opens by saying that it will not or cannot answer."""
    return _REFUSAL.search(clean(answer, OPENING)) is not None


_SIDES: dict[str, Side] = {
    **dict.fromkeys(("left", "l", "左", "左侧", "左边"), "left"),
    **dict.fromkeys(("right", "r", "右", "右侧", "右边"), "right"),
    **dict.fromkeys(("both", "bilateral", "b", "双侧", "两侧", "both sides"), "both"),
}


def side_of(value: object) -> Side | None:
    """The side a word names, ``None`` where it names none."""
    return _SIDES.get(value.strip().lower()) if isinstance(value, str) else None


CLASS_WORDS: dict[Coarse, tuple[str, ...]] = {
    "negative": (
        *("negative", "anger", "angry", "contempt", "contemptuous", "disgust", "disgusted", "fear"),
        *("fearful", "afraid", "sadness", "sad", "repression", "unhappy", "unhappiness"),
        *("消极", "负面", "负性", "愤怒", "生气", "恼怒", "轻蔑", "蔑视", "鄙视", "不屑", "厌恶", "反感"),
        *("恐惧", "害怕", "惊恐", "恐慌", "悲伤", "伤心", "难过", "压抑", "不高兴", "不开心"),
    ),
    "positive": (
        *("positive", "happiness", "happy", "joy", "joyful", "amusement"),
        *("积极", "正面", "正性", "高兴", "快乐", "开心", "喜悦", "愉快"),
    ),
    "surprise": ("surprise", "surprised", "惊讶", "惊奇", "吃惊", "诧异", "惊愕"),
}
"""Words for the coarse classes, fine emotions among them (negative = disgust, sadness, fear, anger, contempt)."""

_CLASS_OF = {word: coarse for coarse, words in CLASS_WORDS.items() for word in words}
# the longest first, so that 不高兴 is not read as 高兴; word borders for Latin letters only
CLASS_WORD = re.compile(
    "|".join(
        rf"\b{word}\b" if word.isascii() else word for word in sorted(_CLASS_OF, key=lambda word: -len(word))
    ),
    re.IGNORECASE | re.ASCII,
)


def class_of(text: str) -> Coarse | None:
    """The class of the first class word of a text."""
    found = CLASS_WORD.search(text)
    return _CLASS_OF[found[0].lower()] if found else None


def emotion_from_class(name: str) -> Emotion:
    """An emotion from a bare class name: the model gave no probabilities, so none are invented beyond 1 and 0."""
    coarse: Coarse = next(c for c in COARSE if c == name)
    return Emotion(coarse, {c: 1.0 if c == coarse else 0.0 for c in COARSE})
