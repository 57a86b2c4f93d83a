"""Reading a model's answer. Answers are data: validated, length-capped, control characters removed.

An answer that cannot be read is not an error of the endpoint: it becomes a description that abstains with
reason ``unparsable`` (or ``empty_answer``, ``cut_answer``) and keeps the raw text for whoever wants to look.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from engine.types import ActionUnit, Coarse, Emotion, Side

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


def parse_json(answer: str) -> Parsed:
    """Read an answer that was asked for as one JSON object (fences and chatter round it are tolerated)."""
    if not answer.strip():
        return Parsed("", problem="empty_answer")
    data = _first_object(answer)
    if data is None:
        return Parsed(clean(answer), problem="unparsable")
    text = data.get("text")
    units = _units(data.get("action_units"))
    emotion = _emotion(data.get("emotion"))
    if data.get("abstain") is True:
        return Parsed(clean(text) if isinstance(text, str) else "", problem="model_abstained")
    if not isinstance(text, str) or not clean(text) or units is None or emotion is None:
        return Parsed(clean(answer), problem="unparsable")
    return Parsed(clean(text), units, emotion)


def _first_object(answer: str) -> dict[str, Any] | None:
    start = answer.find("{")
    if start < 0:
        return None
    try:
        # strict=False: some guided decoders let raw control characters into strings
        value, _ = json.JSONDecoder(strict=False).raw_decode(answer, start)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _units(value: object) -> tuple[ActionUnit, ...] | None:
    if not isinstance(value, list):
        return None
    best: dict[tuple[int, Side], ActionUnit] = {}
    for entry in value[:32]:
        if not isinstance(entry, dict):
            return None
        au, side, score = entry.get("au"), entry.get("side", "both"), entry.get("score", 1.0)
        if isinstance(au, str):
            found = re.fullmatch(r"\s*(?:AU)?\s*(\d{1,2})\s*", au, re.IGNORECASE)
            au = int(found[1]) if found else None
        if not isinstance(au, int) or isinstance(au, bool) or au not in KNOWN_UNITS:
            continue
        if side not in ("left", "right", "both") or not _is_share(score):
            return None
        unit = ActionUnit(au, side, round(float(score), 4))
        if (au, side) not in best or best[au, side].score < unit.score:
            best[au, side] = unit
    return tuple(sorted(best.values(), key=lambda u: (u.au, u.side)))


def _is_share(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and 0 <= value <= 1
    )


def _emotion(value: object) -> Emotion | None:
    if isinstance(value, str):
        name = value.strip().lower()
        return emotion_from_class(name) if name in COARSE else None
    if not isinstance(value, dict):
        return None
    scores = {name: value.get(name) for name in COARSE}
    if not all(_is_share(s) for s in scores.values()):
        return None
    known = {name: float(s) for name, s in scores.items() if isinstance(s, int | float)}
    total = sum(known.values())
    if total <= 0:
        return None
    shares: dict[str, float] = {name: round(s / total, 4) for name, s in known.items()}
    return Emotion(max(COARSE, key=lambda name: shares[name]), shares)


def emotion_from_class(name: str) -> Emotion:
    """An emotion from a bare class name: the model gave no probabilities, so none are invented beyond 1 and 0."""
    coarse: Coarse = next(c for c in COARSE if c == name)
    return Emotion(coarse, {c: 1.0 if c == coarse else 0.0 for c in COARSE})


_UNIT = re.compile(
    r"(?:(?P<before>\b[LR]|left|right|左侧?|右侧?)\s*)?AU\s*(?P<au>\d{1,2})(?P<after>[LR]\b|\s*[（(]\s*(?:left|right|左侧?|右侧?)\s*[)）])?",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"(?:\bno\b|\bnot\b|without|absent|没有|未|无)[^.;。；,，]{0,16}$", re.IGNORECASE)
_CLASS_WORDS: dict[Coarse, tuple[str, ...]] = {
    "negative": (
        "negative",
        "anger",
        "contempt",
        "disgust",
        "fear",
        "sadness",
        "消极",
        "负面",
        "愤怒",
        "生气",
        "轻蔑",
        "蔑视",
        "厌恶",
        "恐惧",
        "害怕",
        "悲伤",
    ),
    "positive": ("positive", "happiness", "happy", "joy", "积极", "高兴", "快乐", "开心", "正面"),
    "surprise": ("surprise", "surprised", "惊讶", "惊奇"),
}


def parse_prose(answer: str) -> Parsed:
    """Read an answer in free words, English or Chinese, as the published MELLM models write it.

    Units are the ``AU<number>`` it names and does not negate; the class is the last class word, because those
    models reason first and conclude last.
    """
    if not answer.strip():
        return Parsed("", problem="empty_answer")
    text = clean(answer)
    units: dict[tuple[int, Side], ActionUnit] = {}
    for match in _UNIT.finditer(text):
        number = int(match["au"])
        if number in KNOWN_UNITS and not _NEGATED.search(text[: match.start()]):
            side = _side((match["before"] or "") + (match["after"] or ""))
            units[number, side] = ActionUnit(number, side, 1.0)
    last = max(
        ((text.lower().rfind(word), coarse) for coarse, words in _CLASS_WORDS.items() for word in words),
    )
    if last[0] < 0:
        return Parsed(text, problem="unparsable")
    ordered = tuple(sorted(units.values(), key=lambda u: (u.au, u.side)))
    return Parsed(text, ordered, emotion_from_class(last[1]))


def _side(words: str) -> Side:
    lowered = words.lower()
    if "right" in lowered or "右" in lowered or re.search(r"\br|r$", lowered):
        return "right"
    if "left" in lowered or "左" in lowered or re.search(r"\bl|l$", lowered):
        return "left"
    return "both"
