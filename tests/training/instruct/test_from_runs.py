"""Corrected runs as training material."""

import csv
import json

import cv2
import pytest

from mellm.clients.cli import run as command
from mellm.engine.results import corrections
from mellm.engine.results.about import About
from mellm.engine.results.corrections import Correction, Corrections
from mellm.stream.errors import RunError, SourceEmpty, SourceNotFound
from mellm.training.instruct import manifest
from mellm.training.instruct.from_runs import extract
from mellm.training.instruct.lint import lint
from tests.engine.export.made import described, facts_of_now, record, run_folder
from tests.stream.videos import make_video
from tests.training.instruct import made_up

WHEN = "2026-11-29T10:00:00Z"


def of(name, **over):
    return record(name * 16, (4, 8, 12), fps=25, **over)


RECORDS = (
    of("a", description=described("The brows rise.", [(1, "both", 0.9)], "surprise", 0.9)),
    of("b", description=described("A smile.", [(12, "left", 0.9)], "positive", 0.9)),
    of("c", state="abstained", reason="no_unit"),
    of("d", description=described("A frown.", [(4, "both", 0.9)], "negative", 0.9)),
    of("e", description=described("A frown.", [(4, "both", 0.9)], "negative", 0.9)),
)
DECIDED = Corrections(
    (
        Correction("accept", "ann", WHEN, "a" * 16),
        Correction("reject", "ann", WHEN, "b" * 16, comment="Speech"),
        Correction("accept", "ann", WHEN, "c" * 16),
        Correction("correct", "ann", WHEN, "d" * 16, units=frozenset({(9, "both")}), emotion="disgust"),
    )
)


@pytest.fixture
def folder(tmp_path):
    video = make_video(tmp_path / "talk.mp4", frames=20, fps=25)
    path = facts_of_now(run_folder(tmp_path / "run", RECORDS), About("p-1"))
    state = json.loads((path / "run.json").read_text())
    state["sources"]["talk"]["path"] = str(video)
    (path / "run.json").write_text(json.dumps(state))
    corrections.write(path / corrections.FILE, DECIDED)
    return path


def test_what_people_decided_becomes_pairs_and_the_rest_is_left_out(folder, tmp_path):
    found = extract([folder], tmp_path / "pairs")
    assert found.kinds == {"expression": 2, "speech": 1}
    assert found.left_out == {"nobody looked at it": 1, "no action unit": 1}
    with (tmp_path / "pairs" / manifest.NAME).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["subject"], r["au"], r["emotion"], r["kind"]) for r in rows] == [
        ("p-1", "1", "surprise", "expression"),
        ("p-1", "9", "disgust", "expression"),
        ("p-1", "", "", "speech"),
    ]
    onset, apex = (cv2.imread(str(tmp_path / "pairs" / rows[0][name])) for name in ("onset", "apex"))
    assert onset.shape == apex.shape
    assert (onset != apex).any()


def test_a_data_set_is_built_of_them(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(manifest, "find_face", lambda picture, name: made_up.landmarks())
    out = tmp_path / "data"
    call = ["dataset", "build", "--from-runs", str(folder), "--out", str(out), "--language", "en"]
    assert command(call) == 0
    assert (
        "2 expression, 1 speech; left out 1: no action unit, 1: nobody looked at it"
        in capsys.readouterr().err
    )
    assert list(lint(out)) == []
    assert command(call) == 0
    assert "holds the pairs already" in capsys.readouterr().err


def test_without_decisions_or_recording_there_is_nothing_to_learn_from(folder, tmp_path):
    (tmp_path / "talk.mp4").unlink()
    with pytest.raises(SourceNotFound, match="not there any more"):
        extract([folder], tmp_path / "one")
    (folder / corrections.FILE).unlink()
    with pytest.raises(SourceEmpty, match="mellm correct"):
        extract([folder], tmp_path / "two")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(RunError, match="not empty"):
        extract([folder], tmp_path / "full")
