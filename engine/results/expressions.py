"""Expressions as plain JSON: the lines of ``expressions.jsonl`` and the data of ``expression.*`` events."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from mellm.detectors.types import Expression, Quality
from mellm.engine.types import Description, Outcome, RegionMotion
from mellm.stream.frames import FrameRef
from mellm.stream.protocol.events import expression_data

# stands in every result: lines are copied out of their file, and events out of their stream
DISCLAIMER = (
    "A measurement of facial motion, with errors. Not a lie detector. Do not use it to decide about people."
)


def expression_id(source: str, segment: int, track: int, onset: FrameRef, apex: FrameRef) -> str:
    """Sixteen hexadecimal digits, the same for the same expression in every run."""
    key = f"{source}\n{segment}\n{track}\n{onset.pts_ns}\n{apex.pts_ns}"
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def spotted_record(expression: Expression, regions: Iterable[RegionMotion] = ()) -> dict[str, Any]:
    """What is known before anybody describes it.

    :param regions: motion from onset to apex; the record has x (to the picture's right) and y (down) of each,
        hundredths of the inter-ocular distance
    """
    return {
        "id": expression.id,
        "source": expression.source,
        "segment": expression.segment,
        "track": expression.track,
        "onset_ms": _ms(expression.onset),
        "apex_ms": _ms(expression.apex),
        "offset_ms": _ms(expression.offset),
        "onset_frame": expression.onset.index,
        "apex_frame": expression.apex.index,
        "offset_frame": expression.offset.index,
        "score": round(expression.score, 4),
        "quality": quality_record(expression.quality),
        "regions": {each.region: [round(each.dx, 2), round(each.dy, 2)] for each in regions},
        "notice": DISCLAIMER,
    }


def final_record(
    expression: Expression, outcome: Outcome, evidence: str | None, regions: Iterable[RegionMotion] = ()
) -> dict[str, Any]:
    """One line of ``expressions.jsonl``.

    :param evidence: path of the motion map relative to the run folder, ``None`` when it is not kept
    """
    description = outcome.description
    return {
        **spotted_record(expression, regions),
        "state": outcome.state,
        "reason": outcome.reason,
        "description": None if description is None else description_record(description),
        "evidence": evidence,
    }


def event_data(expression: Expression, record: dict[str, Any]) -> dict[str, Any]:
    """A record as the data of an ``expression.*`` event: with exact media times beside the milliseconds."""
    return expression_data(
        record,
        onset_ns=expression.onset.pts_ns,
        apex_ns=expression.apex.pts_ns,
        offset_ns=expression.offset.pts_ns,
    )


def description_record(description: Description) -> dict[str, Any]:
    """A describer's answer as JSON. ``latency_ms`` is the only field that differs between two equal runs.

    ``readings`` (how often the moment was read; beside each unit, how many of them name it) and ``agreement`` are there
    only where it was read several times, ``fallback`` only when a stand-in answered: the model that was to answer and
    why it did not.
    """
    emotion, fallback = description.emotion, description.fallback
    return {
        "text": description.text,
        "action_units": [
            {"au": u.au, "side": u.side, "score": round(u.score, 4)}
            | ({} if u.readings is None else {"readings": u.readings})
            for u in description.action_units
        ],
        "emotion": None
        if emotion is None
        else {"coarse": emotion.coarse, "scores": {k: round(v, 4) for k, v in emotion.scores.items()}},
        "model": description.model,
        "profile": description.profile,
        "latency_ms": round(description.latency_ms, 1),
        **(
            {}
            if description.agreement is None
            else {"readings": description.readings, "agreement": round(description.agreement, 4)}
        ),
        **({} if fallback is None else {"fallback": {"model": fallback.model, "reason": fallback.reason}}),
    }


def quality_record(quality: Quality) -> dict[str, Any]:
    """The quality record as JSON, rounded to what it is worth."""
    return {
        "verdict": quality.verdict,
        "reasons": list(quality.reasons),
        "fps": round(quality.fps, 2),
        "face_width": round(quality.face_width, 1),
        "blur": round(quality.blur, 1),
        "yaw": round(quality.yaw, 1),
        "pitch": round(quality.pitch, 1),
        "occlusion": round(quality.occlusion, 3),
        "motion": round(quality.motion, 2),
    }


def _ms(ref: FrameRef) -> float:
    return round(ref.pts_ns / 1e6, 3)
