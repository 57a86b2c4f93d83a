"""Asking again about the expressions of a run."""

import json

import cv2
import numpy as np
import pytest

from mellm.detectors.types import Expression, Quality
from mellm.engine.analysis.redescribe import EARLIER, redescribe
from mellm.engine.analysis.wire_events import end_of
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.run_folder import RunFolder
from mellm.engine.results.run_reader import read_run
from mellm.engine.types import ActionUnit, Description, Emotion, Outcome, RegionMotion
from mellm.stream.errors import DescriberTimeout, RunError, UsageError
from mellm.stream.frames import FrameRef
from tests.engine.export.made import run_folder

OLD = Description(
    "Old words.", (ActionUnit(4, "both", 0.9),), Emotion("negative", {"negative": 1.0}), "old", "old/1", ""
)
NEW = Description(
    "New words.", (ActionUnit(12, "left", 0.7),), Emotion("positive", {"positive": 1.0}), "new", "new/1", ""
)
ENDS = (
    Outcome("described", None, OLD),
    Outcome("dropped", "deadline", None),
    Outcome("abstained", "model_abstained", None),
    Outcome("abstained", "motion_large", None),
)


class Answers:
    """Says the same of everything, and keeps what it was shown."""

    name, profile, recipe = "new", "new/1", "live"

    def __init__(self, answer=NEW):
        self.answer, self.shown = answer, []

    def describe(self, evidence, context):
        self.shown.append((context.expression, evidence))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def close(self):
        pass


def record(k):
    refs = [FrameRef(30 * k + at, (30 * k + at) * 20_000_000) for at in (5, 10, 15)]
    quality = Quality(50.0, 180.0, 90.0, 0.0, 0.0, 0.0, 2.0, "ok", ())
    expression = Expression(f"{k:016x}", "talk", 0, 1, *refs, 0.9, quality)
    return ExpressionRecord.of(expression, [RegionMotion("chin", 0.5, -1.5, 1.0, 2.0, "up (90°)")])


@pytest.fixture
def run(tmp_path):
    folder = RunFolder.create(tmp_path / "run", {"profile": "old/1"}, {})
    picture = cv2.imencode(".png", np.full((40, 32, 3), 90, np.uint8))[1].tobytes()
    for k, outcome in enumerate(ENDS):
        ended = record(k).ended(outcome, folder.evidence(f"{k:016x}", picture))
        folder.event("expression.spotted", "talk", record(k).apex_ns, record(k).event_data())
        end = end_of(ended)
        folder.event(end.type, "talk", end.t_ns, end.data)
        folder.expression(ended)
    folder.finish_source("talk", {"state": "done", "path": "talk.mp4", "counts": {"spotted": 4}})
    folder.close()
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("which", "asked"), [("failed", [1]), ("abstained", [2]), ("undescribed", [1, 2]), ("all", [0, 1, 2])]
)
def test_whom_it_asks_about(run, which, asked):
    describer, on_record = Answers(), []
    result = redescribe(run, describer, which, on_record=on_record.append)
    assert [int(id, 16) for id, _ in describer.shown] == asked
    assert (result.asked, dict(result.ends)) == (len(asked), {"described": len(asked)})
    found = read_run(run).expressions
    assert [r.text for r in found if r.reason is None] == ["New words." if k in asked else "Old words."
                                                          for k in range(4) if k in asked or k == 0]  # fmt: skip
    assert [r.id for r in on_record] == [f"{k:016x}" for k in asked]
    assert found[3].reason == "motion_large"


def test_the_describer_is_shown_what_the_run_kept(run):
    describer = Answers()
    redescribe(run, describer, "failed")
    ((_, evidence),) = describer.shown
    assert evidence.motion_map.shape == (40, 32, 3)
    (region,) = evidence.regions
    assert (region.region, region.dx, region.dy) == ("chin", 0.5, -1.5)
    assert region.direction.startswith("up")


def test_what_was_said_before_stays_in_order(run):
    redescribe(run, Answers(), "all")
    redescribe(run, Answers(OLD), "all")
    first, second, *_ = read_run(run).expressions
    assert [e["description"]["text"] for e in first.extra[EARLIER]] == ["Old words.", "New words."]
    assert [(e["state"], e["reason"]) for e in second.extra[EARLIER]] == [
        ("dropped", "deadline"),
        ("described", None),
    ]
    assert second.text == "Old words."


def test_events_and_counts_say_the_same_as_the_records(run):
    redescribe(run, Answers())
    found = read_run(run)
    ends = {e.data["id"]: e for e in found.events if e.type != "expression.spotted"}
    for record in found.expressions:
        assert ends[record.id].type == f"expression.{record.state}"
    assert [e.seq for e in found.events] == list(range(1, 9))
    counts = found.state["sources"]["talk"]["counts"]
    assert (counts["spotted"], counts["described"], counts["abstained"], counts["dropped"]) == (4, 3, 1, {})
    resumed = RunFolder.create(run, {"profile": "old/1"}, {})
    resumed.close()
    assert resumed.summary("talk") is not None


def test_an_error_leaves_everything_as_it_was(run):
    before = {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()}
    result = redescribe(run, Answers(DescriberTimeout("slow")), deadline_s=0.01)
    assert dict(result.failed) == {"describer_timeout": 2}
    assert {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()} == before


def test_what_cannot_be_asked_about_is_counted_or_refused(run, tmp_path):
    (run / "evidence" / f"{1:016x}.png").unlink()
    assert redescribe(run, Answers()).without_evidence == 1
    other = Answers()
    other.recipe = "mellm-v1"
    with pytest.raises(UsageError, match="reads mellm-v1 motion maps"):
        redescribe(run, other)
    with pytest.raises(RunError, match="format 1"):
        redescribe(run_folder(tmp_path / "old"), Answers())


def test_a_path_that_leads_out_of_the_run_is_not_followed(run):
    lines = (run / "expressions.jsonl").read_text().splitlines()
    secret = run.parent / "secret.png"
    cv2.imwrite(str(secret), np.zeros((8, 8, 3), np.uint8))
    changed = [json.dumps({**json.loads(line), "evidence": "../secret.png"}) for line in lines]
    (run / "expressions.jsonl").write_text("\n".join(changed) + "\n")
    describer = Answers()
    assert redescribe(run, describer).without_evidence == 2
    assert describer.shown == []
