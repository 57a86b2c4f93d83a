from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mellm.evaluation.spotting.demo_score import render, score_run
from mellm.stream.errors import RunError
from tests.engine.export import made


def expression(
    onset: int, apex: int, offset: int, units: list[tuple[int, str]], **more: Any
) -> dict[str, Any]:
    named = {"onset": onset, "apex": apex, "offset": offset}
    return {
        **{f"{name}_frame": frame for name, frame in named.items()},
        **{f"{name}_ms": frame * 20.0 for name, frame in named.items()},
        "action_units": [{"au": au, "side": side} for au, side in units],
        **more,
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    found = [
        made.record(
            "a", (101, 110, 121), fps=50, description=made.described("", [(4, "both", 1)], "negative", 0.8)
        ),
        made.record("b", (301, 310, 320), fps=50),
    ]
    (tmp_path / "expressions.jsonl").write_text("".join(json.dumps(f) + "\n" for f in found))
    (tmp_path / "run.json").write_text("{}")
    truth = {
        "expressions": [
            expression(100, 110, 120, [(4, "both")], peak_iod=3.0),
            expression(200, 210, 220, [(12, "right")], peak_iod=2.0),
        ],
        "distractors": [{"kind": "blink", "onset_ms": 6000, "offset_ms": 6300}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    return tmp_path


def test_hits_misses_and_false_alarms_are_told_apart(run: Path) -> None:
    score = score_run(run, run / "truth.json")
    assert (len(score.hits), len(score.misses), len(score.false_alarms)) == (1, 1, 1)
    hit = score.hits[0]
    assert (hit.onset_ms, hit.apex_ms, hit.offset_ms) == (20.0, 0.0, 20.0)
    assert hit.units_found == hit.units_true == {(4, "both")}
    text = render(score)
    assert "missed" in text
    assert "false alarm during blink" in text
    assert "1 of 2 expressions found, 1 false alarms; F1 0.50" in text


def test_missing_truth_and_missing_run_are_typed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(RunError, match="truth"):
        score_run(run, run / "nope.json")
    with pytest.raises(RunError, match="holds no run"):
        score_run(tmp_path_factory.mktemp("empty"), run / "truth.json")
