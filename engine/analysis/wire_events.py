"""What a pipeline found as events of the wire: one mapping for live sources and for recordings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mellm.engine.analysis.overload import ServiceChanged, degraded
from mellm.engine.analysis.pipeline import FaceAppeared, FaceLost, Output, PictureChanged, Scored, Spotted
from mellm.engine.results.expressions import ExpressionRecord, sensitivity_json
from mellm.stream.frames import Gap
from mellm.stream.protocol.events import (
    EXPRESSION_SPOTTED,
    FACE_APPEARED,
    FACE_LOST,
    SCORE,
    SOURCE_DEGRADED,
    SOURCE_GAP,
    SOURCE_PICTURE,
    media_time,
)


@dataclass(frozen=True, slots=True)
class WireEvent:
    """An event before it is numbered.

    :param type: one of :data:`mellm.stream.protocol.events.EVENT_TYPES`
    :param t_ns: its media time; whoever publishes it adds ``t_ns`` and ``t_ms`` to the data
    :param data: plain JSON, as the published schema has it
    """

    type: str
    t_ns: int
    data: Mapping[str, Any]


def events_of(output: Output | Gap) -> tuple[WireEvent, ...]:
    """What is told of an output of the pipeline, in the order in which it is told."""
    match output:
        case Spotted(expression=expression, evidence=evidence):
            record = ExpressionRecord.of(expression, evidence.regions)
            return (WireEvent(EXPRESSION_SPOTTED, record.offset_ns, record.event_data()),)
        case FaceAppeared(track=track, t_ns=t_ns, box=box):
            return (WireEvent(FACE_APPEARED, t_ns, {"track": track, "box": box_of(box)}),)
        case FaceLost(track=track, t_ns=t_ns):
            return (WireEvent(FACE_LOST, t_ns, {"track": track}),)
        case PictureChanged(still=still, t_ns=t_ns):
            data = {"state": still or "live", **media_time("at", t_ns)}
            return (WireEvent(SOURCE_PICTURE, t_ns, data),)
        case ServiceChanged():
            return (WireEvent(SOURCE_DEGRADED, output.t_ns, degraded(output)),)
        case Scored():
            return (WireEvent(SCORE, output.score.t_ns, _score(output)),)
        case Gap(from_ns=start, to_ns=end, reason=reason, frames=frames):
            data = {**media_time("from", start), **media_time("to", end), "reason": reason, "frames": frames}
            return (WireEvent(SOURCE_GAP, start, data),)


def end_of(record: ExpressionRecord) -> WireEvent:
    """What is told when an expression ends.

    :param record: with its state
    """
    return WireEvent(f"expression.{record.state}", record.offset_ns, record.event_data())


def _score(scored: Scored) -> dict[str, Any]:
    score = scored.score
    return {
        "track": scored.track,
        "me": round(score.me, 3),
        "apex": round(score.apex, 3),
        "macro": round(score.macro, 3),
        "sensitivity": sensitivity_json(score.sensitivity),
        "box": box_of(scored.face.box),
        "landmarks": np.rint(scored.face.landmarks).astype(int).tolist(),
    }


def box_of(box: tuple[float, float, float, float]) -> list[float]:
    """x, y, width, height as events have them: pixels to a tenth."""
    return [round(value, 1) for value in box]
