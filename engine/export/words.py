"""What a record says, in words and in notation: shared by captions, ELAN, table and report."""

from __future__ import annotations

from typing import Final

from mellm.engine.facs.action_units import notation
from mellm.engine.results.corrections import mark_of, was_added
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.reasons import reason, undescribed

__all__ = [
    "agreement",
    "coarse",
    "emotion",
    "facs",
    "headline",
    "probability",
    "reason",
    "region",
    "score",
    "text",
    "verdict",
]


def facs(record: ExpressionRecord) -> str:
    """Units in FACS notation, such as ``1+2+R12``; empty where none is named."""
    return notation((u.au, u.side) for u in record.action_units)


def coarse(record: ExpressionRecord) -> str | None:
    """Negative, positive or surprise; ``None`` where the description gives no emotion."""
    return None if record.emotion is None else record.emotion.coarse


def emotion(record: ExpressionRecord) -> str | None:
    """The class: as a coder wrote it, else :func:`coarse`."""
    mark = mark_of(record)
    return (mark.emotion if mark is not None else None) or coarse(record)


def score(record: ExpressionRecord) -> str:
    """The spotting score; of what a person added, that."""
    return "added" if was_added(record) else f"{record.score:.2f}"


def probability(record: ExpressionRecord) -> float | None:
    """Probability of the coarse emotion."""
    emotion = record.emotion
    return None if emotion is None else emotion.scores[emotion.coarse]


def text(record: ExpressionRecord) -> str:
    """The describer's sentence on one line, empty without one."""
    return " ".join(record.text.split())


def agreement(record: ExpressionRecord) -> str:
    """``agreement of 8 readings 0.94``; empty where the moment was read once."""
    said = record.description
    if said is None or said.agreement is None:
        return ""
    return f"agreement of {said.readings} readings {said.agreement:.2f}"


VERDICTS: Final = {"ok": "good", "warn": "limited", "refused": "not judged"}
"""Of the picture's quality; the live page has the same (``cards.js``)."""


def verdict(code: str | None) -> str:
    """How good the picture was, in words."""
    return "–" if code is None else VERDICTS.get(code, code)


PLACES: Final = {
    "brow_outer": "outer brow",
    "brow_mid": "middle of the brow",
    "brow_inner": "inner brow",
    "nose_bridge": "bridge of the nose",
    "nose_tip": "tip of the nose",
    "nose_side": "side of the nose",
    "nasolabial": "nasolabial fold",
}
"""Regions that two words in the wrong order would not name; the live page has the same (``cards.js``)."""


def region(name: str) -> str:
    """``left inner brow`` for ``brow_inner_L``; left and right are the person's own."""
    place, _, side = name.rpartition("_")
    if side not in ("L", "R"):
        place, side = name, ""
    return {"L": "left ", "R": "right ", "": ""}[side] + PLACES.get(place, place.replace("_", " "))


def headline(record: ExpressionRecord) -> str:
    """``AU 1+2 · surprise 0.95``, or why there is no description."""
    if record.state != "described":
        return undescribed(record.state, record.reason)
    named, share = coarse(record), probability(record)
    parts = [f"AU {facs(record)}" if facs(record) else "no action unit named"]
    if named is not None and share is not None:
        parts.append(f"{named} {share:.2f}")
    return " · ".join(parts)
