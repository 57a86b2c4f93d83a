"""What a record says, in words and in notation: shared by captions, ELAN, table and report."""

from __future__ import annotations

from mellm.engine.facs.action_units import notation
from mellm.engine.results.expressions import ExpressionRecord

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
    "model_abstained": "the model was not sure",
    "no_unit": "no action unit was recognised",
    "face_small": "face too small",
    "yaw_high": "face turned away",
    "fps_low": "frame rate too low",
    "fps_warn": "frame rate below the recommended 50",
    "dark": "dark picture",
    "frozen": "frozen picture",
    "overflow": "frames dropped under load",
    "decode": "frames that could not be decoded",
    "pts": "a jump in the time stamps",
    "reconnect": "the source was away",
}
"""Reason codes that readers of a report meet most; others are shown as they are, without underscores."""


def facs(record: ExpressionRecord) -> str:
    """Units in FACS notation, such as ``1+2+R12``; empty where none is named."""
    return notation((u.au, u.side) for u in record.action_units)


def coarse(record: ExpressionRecord) -> str | None:
    """Negative, positive or surprise; ``None`` where the description gives no emotion."""
    return None if record.emotion is None else record.emotion.coarse


def probability(record: ExpressionRecord) -> float | None:
    """Probability of the coarse emotion."""
    emotion = record.emotion
    return None if emotion is None else emotion.scores[emotion.coarse]


def text(record: ExpressionRecord) -> str:
    """The describer's sentence on one line, empty without one."""
    return " ".join(record.text.split())


def reason(code: str | None) -> str:
    """A reason code in words."""
    return "" if code is None else REASONS.get(code, code.replace("_", " "))


def headline(record: ExpressionRecord) -> str:
    """``AU 1+2 · surprise 0.95``, or why there is no description."""
    if record.state != "described":
        why = reason(record.reason)
        return STATES.get(record.state or "", "spotted") + (f": {why}" if why else "")
    named, share = coarse(record), probability(record)
    parts = [f"AU {facs(record)}" if facs(record) else "no action unit named"]
    if named is not None and share is not None:
        parts.append(f"{named} {share:.2f}")
    return " · ".join(parts)
