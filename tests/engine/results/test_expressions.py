from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from mellm.detectors.expressions import Sensitivity
from mellm.detectors.types import Expression, Quality
from mellm.engine.results.expressions import ExpressionRecord, FieldInvalid, expression_id
from mellm.engine.types import ActionUnit, Description, Emotion, Fallback, Outcome, RegionMotion
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

REGIONS = (RegionMotion("chin", 0.1234, -2.0, 0.5, 0.9, "up"),)
RECORD = ExpressionRecord.of(EXPRESSION, REGIONS)
DESCRIBED = RECORD.ended(Outcome("described", None, DESCRIPTION), "evidence/x.png")


def test_the_line_has_the_documented_fields() -> None:
    line = RECORD.ended(Outcome("described", None, DESCRIPTION), "evidence/x.png").to_json()
    assert json.loads(json.dumps(line)) == line
    wanted = "id source track onset_ms apex_ms offset_ms onset_frame apex_frame offset_frame score quality state reason"
    assert set(wanted.split()) | {
        "description",
        "evidence",
        "segment",
        "notice",
        "regions",
        "sensitivity",
    } == set(line)
    assert "Not a lie detector" in line["notice"]
    assert 0 < line["score"] < 1  # with its uncertainty
    assert (line["onset_ms"], line["apex_ms"], line["offset_ms"]) == (1001.0, 1201.2, 1368.033)
    assert line["description"]["action_units"] == [{"au": 4, "side": "left", "score": 0.8123}]
    assert line["description"]["emotion"]["coarse"] == "negative"
    assert line["quality"]["reasons"] == ["fps_warn"]
    assert line["sensitivity"] is None
    known = ExpressionRecord.of(replace(EXPRESSION, sensitivity=Sensitivity(1.234, 10.0)))
    assert known.to_json()["sensitivity"] == {"upper": 1.23, "lower": 10.0}
    assert ExpressionRecord.from_json(known.event_data()) == known
    with pytest.raises(FieldInvalid, match="sensitivity"):
        ExpressionRecord.from_json({**known.to_json(), "sensitivity": {"upper": "much"}})


def test_a_dropped_expression_has_a_reason_and_no_description() -> None:
    line = RECORD.ended(Outcome("dropped", "deadline", None)).to_json()
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


def test_events_carry_exact_times_as_text_and_no_path() -> None:
    data = DESCRIBED.event_data()
    assert (data["onset_ns"], data["apex_ns"], data["offset_ns"]) == (
        "1001000000",
        "1201200000",
        "1368033333",
    )
    assert data["evidence"] is None
    assert ExpressionRecord.from_json(data).offset_ns == 1_368_033_333


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        DESCRIBED,
        RECORD.ended(Outcome("dropped", "deadline", None)),
        RECORD.ended(Outcome("abstained", "unparsable", replace(DESCRIPTION, text="?", action_units=()))),
        RECORD.ended(
            Outcome("described", None, replace(DESCRIPTION, fallback=Fallback("big", "describer_timeout")))
        ),
    ],
    ids=["spotted", "described", "dropped", "abstained", "stand-in"],
)
def test_a_line_is_read_back_as_it_was_written(record: ExpressionRecord) -> None:
    line = record.to_json()
    read = ExpressionRecord.from_json(json.loads(json.dumps(line)))
    assert json.dumps(read.to_json()) == json.dumps(line)
    assert (read.state, read.reason, read.text) == (record.state, record.reason, record.text)
    assert read.quality == record.quality
    assert read.regions == record.regions == {"chin": (0.12, -2.0)}


def test_what_this_version_does_not_know_is_kept() -> None:
    line = DESCRIBED.to_json()
    line["mood"] = {"later": 1}
    line["description"]["confidence"] = "low"
    line["quality"]["light"] = 0.5
    read = ExpressionRecord.from_json(line)
    assert read.to_json() == line
    assert dict(read.extra) == {
        "mood": {"later": 1},
        "description": {"confidence": "low"},
        "quality": {"light": 0.5},
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", None),
        ("track", True),
        ("onset_ms", "soon"),
        ("apex_ms", float("inf")),
        ("offset_frame", 1.5),
        ("score", None),
        ("state", "asleep"),
        ("quality", {"fps": 25}),
        ("regions", {"chin": [1]}),
        ("description", {"action_units": [{"au": 4, "side": "above", "score": 1}]}),
        ("description", {"emotion": {"coarse": "bored", "scores": {}}}),
    ],
)
def test_a_field_that_cannot_be_counted_with_is_named(field: str, value: Any) -> None:
    with pytest.raises(FieldInvalid, match=f"no usable {field}"):
        ExpressionRecord.from_json({**DESCRIBED.to_json(), field: value})


def test_a_line_of_an_older_version_lacks_what_came_later() -> None:
    line = DESCRIBED.to_json()
    for name in ("segment", "regions", "notice", "quality"):
        del line[name]
    read = ExpressionRecord.from_json(line)
    assert (read.segment, dict(read.regions), read.quality) == (0, {}, None)
    assert read.duration_ms == 367.033


def test_records_are_read_without_numpy() -> None:
    code = (
        "import sys, mellm.engine.results.expressions; "
        "sys.exit(bool({'numpy', 'cv2', 'pydantic', 'websockets'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_too_large_is_not_counted():
    record = ExpressionRecord.of(EXPRESSION)
    assert record.ended(Outcome("abstained", "motion_floor", None)).is_counted
    assert not record.ended(Outcome("abstained", "motion_large", None)).is_counted


def test_how_often_a_moment_was_read_survives_the_file():
    units = (ActionUnit(4, "both", 0.9, 7), ActionUnit(7, "left", 0.6, 5))
    told = replace(DESCRIPTION, action_units=units, readings=8, agreement=0.8125)
    line = ExpressionRecord.of(EXPRESSION).ended(Outcome("described", None, told)).to_json()
    assert line["description"]["action_units"][0] == {"au": 4, "side": "both", "score": 0.9, "readings": 7}
    assert (line["description"]["readings"], line["description"]["agreement"]) == (8, 0.8125)
    back = ExpressionRecord.from_json(line)
    assert back.description.action_units == units
    assert back.to_json() == line
