"""What a record says, in words and in notation: shared by captions, ELAN, table and report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mellm.engine.facs.action_units import notation

STATES = {
    "described": "described",
    "abstained": "not described",
    "dropped": "dropped",
}

REASONS = {
    "motion_floor": "the motion is too small to tell from noise",
    "no_face": "the face could not be placed in both pictures",
    "unparsable": "the describer's answer could not be read",
    "deadline": "no description came in time",
    "describer_unavailable": "the describer could not be reached",
    "describer_paused": "the describer could not be reached",
    "describer_timeout": "the describer took too long",
    "fps_warn": "fewer frames a second than recommended",
    "dark": "dark picture",
    "frozen": "frozen picture",
    "overflow": "frames dropped under load",
    "decode": "frames that could not be decoded",
    "pts": "a jump in the time stamps",
    "reconnect": "the source was away",
}
"""Reason codes that readers of a report meet most; others are shown as they are, without underscores."""


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


def reason(code: str | None) -> str:
    """A reason code in words."""
    return "" if code is None else REASONS.get(code, code.replace("_", " "))


def headline(record: Mapping[str, Any]) -> str:
    """``AU 1+2 · surprise 0.95``, or why there is no description."""
    if record.get("state") != "described":
        why = reason(record.get("reason"))
        return STATES.get(str(record.get("state")), "spotted") + (f": {why}" if why else "")
    named, share = coarse(record), probability(record)
    parts = [f"AU {facs(record)}" if facs(record) else "no action unit named"]
    if named is not None and share is not None:
        parts.append(f"{named} {share:.2f}")
    return " · ".join(parts)
