from __future__ import annotations

import json

from mellm.detectors.types import Expression, Quality
from mellm.engine.results.expressions import event_data, expression_id, final_record, spotted_record
from mellm.engine.types import ActionUnit, Description, Emotion, Outcome
from mellm.stream.frames import FrameRef

ONSET, APEX, OFFSET = FrameRef(30, 1_001_000_000), FrameRef(36, 1_201_200_000), FrameRef(41, 1_368_033_333)
EXPRESSION = Expression(
    expression_id("desk", 2, 1, ONSET, APEX),
    "desk",
    2,
    1,
    ONSET,
    APEX,
    OFFSET,
    0.91239,
    Quality(29.97, 180.04, 90.0, 3.21, -4.0, 0.02, 2.345, "warn", ("fps_warn",)),
)
DESCRIPTION = Description(
    "The brow is drawn down.",
    (ActionUnit(4, "left", 0.81234),),
    Emotion("negative", {"negative": 0.9, "positive": 0.04, "surprise": 0.06}),
    "rules",
    "rules/1",
    "1",
    latency_ms=3.14159,
)


def test_the_line_has_the_documented_fields() -> None:
    line = final_record(EXPRESSION, Outcome("described", None, DESCRIPTION), "evidence/x.png")
    assert json.loads(json.dumps(line)) == line
    wanted = "id source track onset_ms apex_ms offset_ms onset_frame apex_frame offset_frame score quality state reason"
    assert set(wanted.split()) | {"description", "evidence", "segment", "notice", "regions"} == set(line)
    assert "Not a lie detector" in line["notice"]
    assert 0 < line["score"] < 1  # with its uncertainty
    assert (line["onset_ms"], line["apex_ms"], line["offset_ms"]) == (1001.0, 1201.2, 1368.033)
    assert line["description"]["action_units"] == [{"au": 4, "side": "left", "score": 0.8123}]
    assert line["description"]["emotion"]["coarse"] == "negative"
    assert line["quality"]["reasons"] == ["fps_warn"]


def test_a_dropped_expression_has_a_reason_and_no_description() -> None:
    line = final_record(EXPRESSION, Outcome("dropped", "deadline", None), None)
    assert (line["state"], line["reason"], line["description"], line["evidence"]) == (
        "dropped",
        "deadline",
        None,
        None,
    )


def test_ids_depend_on_what_was_found_and_on_nothing_else() -> None:
    same = expression_id("desk", 2, 1, ONSET, APEX)
    assert same == EXPRESSION.id
    others = {
        expression_id("door", 2, 1, ONSET, APEX),
        expression_id("desk", 3, 1, ONSET, APEX),
        expression_id("desk", 2, 2, ONSET, APEX),
        expression_id("desk", 2, 1, APEX, APEX),
        expression_id("desk", 2, 1, ONSET, OFFSET),
    }
    assert len(others | {same}) == 6


def test_events_carry_exact_times_as_text() -> None:
    data = event_data(EXPRESSION, spotted_record(EXPRESSION))
    assert (data["onset_ns"], data["apex_ns"], data["offset_ns"]) == (
        "1001000000",
        "1201200000",
        "1368033333",
    )
