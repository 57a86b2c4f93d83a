"""One spelling for each emotion, and the three coarse classes."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# spellings that occur → the word used here
_SPELLINGS: Final = {
    "happy": "happiness",
    "happyiness": "happiness",
    "happines": "happiness",
    "sad": "sadness",
    "angry": "anger",
    "surprised": "surprise",
    "disgusted": "disgust",
    "fearful": "fear",
    "other": "others",
    "repressed": "repression",
    "tension": "tense",
    "ne": "negative",
    "neg": "negative",
    "po": "positive",
    "pos": "positive",
    "sur": "surprise",
}
COARSE: Final = {
    "happiness": "positive",
    "positive": "positive",
    "surprise": "surprise",
    **dict.fromkeys(
        ("anger", "contempt", "disgust", "fear", "sadness", "repression", "negative"), "negative"
    ),
}
"""Classes of the composite protocol. Repression counts as negative, as in most papers; some put it with others."""
KNOWN: Final = frozenset({*COARSE, "others", "tense", "helpless", "confused", "pain", "sympathy"})


def canonical(text: str) -> str | None:
    """The words of a cell in one spelling, joined by ``+`` where there are several; ``None`` for an empty cell."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = [word.strip() for word in re.split(r"[+,/;&、]|\band\b", folded) if word.strip()]
    return "+".join(dict.fromkeys(_SPELLINGS.get(word, word) for word in words)) or None


def coarse(emotion: str | None) -> str | None:
    """The class of a canonical emotion; ``None`` for others, for the unknown and for words of several classes."""
    classes = {COARSE.get(word) for word in (emotion or "").split("+")}
    return classes.pop() if len(classes) == 1 else None


def strange(emotion: str | None) -> tuple[str, ...]:
    """Words that no data set is known to use."""
    return tuple(word for word in (emotion or "").split("+") if word and word not in KNOWN)
