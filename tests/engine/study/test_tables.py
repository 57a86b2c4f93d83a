import io

import pytest

from mellm.engine.results import corrections
from mellm.engine.results.corrections import Correction, Corrections
from mellm.engine.study import tables
from mellm.engine.study.work import run_of
from tests.engine.study.made import study

LINES = [("a.mp4", "p-1", "calm", 5), ("b.mp4", "p-2", "stress", 0), ("c.mp4", "p-3", "calm", 2)]


@pytest.fixture
def made(tmp_path):
    plan = study(tmp_path, LINES)
    out = tmp_path / "study"
    (run_of(out, plan.entries[2]) / "run.json").unlink()
    return plan, tables.load(plan, out, {"c.mp4": "no such codec"}), out


def frame(made, rows):
    pandas = pytest.importorskip("pandas")
    plan, loaded, _ = made
    return pandas.read_csv(io.StringIO(tables.to_csv(*rows(plan, loaded))))


def test_every_line_of_the_study_has_a_row_in_recordings(made):
    table = frame(made, tables.recording_rows)
    assert table["recording"].tolist() == ["a.mp4", "b.mp4", "c.mp4"]
    assert table["state"].tolist() == ["done", "done", "not analysed"]
    assert table["error"].tolist()[2] == "no such codec"
    assert table["age"].tolist() == [31, 31, 31]
    first = table.iloc[0]
    assert (first["judged_upper_3_s"], first["judged_lower_3_s"], first["face_s"]) == (21.0, 3.0, 33.5)
    assert (first["judged_upper_min"], first["judged_lower_min"]) == (0.35, 0.05)
    assert (first["refused_yaw_high"], first["refused_face_small"]) == (12, 0)
    assert (first["gaps"], first["gaps_s"], first["effective_fps"]) == (1, 1.2, 29.97)
    assert first["rate_low"] < first["expressions_per_judged_minute"] < first["rate_high"]
    assert table["expressions"].tolist()[:2] == [5, 0]


def test_a_recording_without_finds_stays_in_expressions(made):
    table = frame(made, tables.expression_rows)
    assert table["recording"].tolist() == ["a.mp4"] * 5 + ["b.mp4"]
    assert table["id"].isna().tolist() == [False] * 5 + [True]
    assert table.groupby("subject")["id"].count().to_dict() == {"p-1": 5, "p-2": 0}


def test_corrections_of_a_run_count(made):
    plan, _, out = made
    decided = Correction("reject", "coder-a", "2026-11-29T10:00:00Z", "a" * 16)
    corrections.write(run_of(out, plan.entries[0]) / corrections.FILE, Corrections((decided,)))
    loaded = tables.load(plan, out)
    _, rows = tables.recording_rows(plan, loaded)
    assert (rows[0]["expressions"], rows[0]["rejected"]) == (4, 1)


def test_a_column_of_the_table_does_not_hide_ours(tmp_path):
    plan = study(tmp_path, LINES[:1])
    (tmp_path / "study.csv").write_text("recording,subject,score\na.mp4,p-1,7\n")
    again = type(plan)(plan.folder, plan.entries, ("score",), ())
    assert tables.further(again) == {"score": "study_score"}
