"""What a record says, in words and in notation: shared by captions, ELAN, table and report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mellm.engine.facs.action_units import notation
from mellm.engine.results.reasons import reason, undescribed

__all__ = ["agreement", "coarse", "facs", "headline", "probability", "reason", "text", "undescribed", "units"]


def units(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Action units that the description names, ``[]`` without one."""
    return list((record.get("description") or {}).get("action_units") or [])


def facs(record: Mapping[str, Any]) -> str:
    """Units in FACS notation, such as ``1+2+R12``; empty where none is named."""
    return notation((u["au"], u["side"]) for u in units(record))


def coarse(record: Mapping[str, Any]) -> str | None:
    """Negative, positive or surprise; ``None`` where the description gives no emotion."""
    emotion = (record.get("description") or {}).get("emotion")
    return None if emotion is None else str(emotion["coarse"])


def probability(record: Mapping[str, Any]) -> float | None:
    """Probability of the coarse emotion."""
    emotion = (record.get("description") or {}).get("emotion")
    return None if emotion is None else float(emotion["scores"][emotion["coarse"]])


def text(record: Mapping[str, Any]) -> str:
    """The describer's sentence on one line, empty without one."""
    return " ".join(str((record.get("description") or {}).get("text") or "").split())


def agreement(record: Mapping[str, Any]) -> str:
    """``agreement of 8 readings 0.94``; empty where the moment was read once."""
    description = record.get("description") or {}
    if description.get("agreement") is None:
        return ""
    return f"agreement of {description['readings']} readings {description['agreement']:.2f}"


def headline(record: Mapping[str, Any]) -> str:
    """``AU 1+2 · surprise 0.95``, or why there is no description."""
    if record.get("state") != "described":
        return undescribed(record)
    named, share = coarse(record), probability(record)
    parts = [f"AU {facs(record)}" if facs(record) else "no action unit named"]
    if named is not None and share is not None:
        parts.append(f"{named} {share:.2f}")
    return " · ".join(parts)
