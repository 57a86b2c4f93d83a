"""Reading a model's answer. Answers are data: validated, length-capped, control characters removed.

An answer that cannot be read is not an error of the endpoint: it becomes a description that abstains with
reason ``unparsable`` (or ``empty_answer``, ``cut_answer``, ``model_refused``) and keeps the raw text for whoever wants
to look. JSON is read here, prose in :mod:`mellm.engine.describe.prose`.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from typing import Any

from mellm.engine.describe.prose import parse_prose
from mellm.engine.describe.words import (
    COARSE,
    KNOWN_UNITS,
    MAX_TEXT,
    Parsed,
    class_of,
    clean,
    emotion_from_class,
    refuses,
    side_of,
    without_thoughts,
)
from mellm.engine.types import ActionUnit, Emotion, Side

__all__ = [
    "COARSE",
    "KNOWN_UNITS",
    "MAX_TEXT",
    "Parsed",
    "clean",
    "emotion_from_class",
    "parse_json",
    "parse_prose",
]

_ASCII = str.maketrans("\uff5b\uff5d\uff3b\uff3d\uff1a\uff0c\u201c\u201d", '{}[]:,""')
_KEYS = {"text", "action_units", "emotion", "abstain"}
TRIES = 32
"""At most so many opening braces are tried."""


def parse_json(answer: str) -> Parsed:
    """Read an answer that was asked for as one JSON object (fences, chatter and thoughts round it are tolerated)."""
    said = without_thoughts(answer)
    if not said.strip():
        return Parsed("", problem="cut_answer" if answer.strip() else "empty_answer")
    data = _object(said)
    if data is None:
        return Parsed(clean(said), problem="model_refused" if refuses(said) else "unparsable")
    text = data.get("text")
    units = _units(data.get("action_units"))
    emotion = _emotion(data.get("emotion"))
    if data.get("abstain") is True:
        return Parsed(clean(text) if isinstance(text, str) else "", problem="model_abstained")
    if not isinstance(text, str) or not clean(text) or units is None or emotion is None:
        return Parsed(clean(said), problem="unparsable")
    return Parsed(clean(text), units, emotion)


def _object(answer: str) -> dict[str, Any] | None:
    """The first JSON object with a key that was asked for; Chinese models may punctuate it in full width."""
    for text in (answer, answer.translate(_ASCII)):
        start = -1
        for _ in range(TRIES):
            start = text.find("{", start + 1)
            if start < 0:
                break
            try:
                # strict=False: some guided decoders let raw control characters into strings
                value, _ = json.JSONDecoder(strict=False).raw_decode(text, start)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict) and not _KEYS.isdisjoint(value):
                return value
    return None


def _units(value: object) -> tuple[ActionUnit, ...] | None:
    if not isinstance(value, list):
        return None
    best: dict[tuple[int, Side], ActionUnit] = {}
    for entry in value[:32]:
        fields = entry if isinstance(entry, dict) else {"au": entry}
        au, side = _unit_of(fields.get("au"))
        if au is None:
            continue
        side = side_of(fields["side"]) if fields.get("side") is not None else side
        score = fields.get("score", 1.0)
        if side is None or not _is_share(score):
            return None
        unit = ActionUnit(au, side, round(float(score), 4))
        if (au, side) not in best or best[au, side].score < unit.score:
            best[au, side] = unit
    return tuple(sorted(best.values(), key=lambda u: (u.au, u.side)))


_CODED = re.compile(
    r"\s*([LR])?\s*(?:AU)?\s*[-_]?(\d{1,2})([LR])?[A-E]?\s*(?:\((.*)\)|[\s:,-].*)?", re.IGNORECASE
)


def _unit_of(value: object) -> tuple[int | None, Side | None]:
    """Number and side of ``4``, ``"AU4"``, ``"L12"``, ``"AU12 (left)"`` or ``"AU4: brow lowerer"``."""
    side: Side | None = "both"
    if isinstance(value, str):
        found = _CODED.fullmatch(unicodedata.normalize("NFKC", value))
        if found is None:
            return None, None
        value = int(found[2])
        side = side_of(found[1] or found[3] or found[4] or "both") or "both"
    if not isinstance(value, int) or isinstance(value, bool) or value not in KNOWN_UNITS:
        return None, None
    return value, side


def _is_share(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and 0 <= value <= 1
    )


def _emotion(value: object) -> Emotion | None:
    if isinstance(value, list) and value:
        value = value[0]  # a model that lists classes names the likeliest first
    if isinstance(value, str):
        name = class_of(value)
        return emotion_from_class(name) if name else None
    if not isinstance(value, dict):
        return None
    scores = {name: value.get(name) for name in COARSE}
    if not all(_is_share(s) for s in scores.values()):
        named = next((value[key] for key in ("coarse", "class", "label", "name") if key in value), None)
        return _emotion(named) if isinstance(named, str) else None
    known = {name: float(s) for name, s in scores.items() if isinstance(s, int | float)}
    total = sum(known.values())
    if total <= 0:
        return None
    shares: dict[str, float] = {name: round(s / total, 4) for name, s in known.items()}
    return Emotion(max(COARSE, key=lambda name: shares[name]), shares)
