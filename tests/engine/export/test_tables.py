"""The table, read back by pandas."""

import io

import pytest

from mellm.engine.export.tables import (
    COLUMNS,
    RECORDING_COLUMNS,
    UNIT_COLUMNS,
    to_csv,
    to_jsonl,
    to_recordings,
)
from mellm.engine.results.run_reader import read_run
from tests.engine.export.made import hold_golden, run_folder


def test_the_table_is_the_golden_one(made):
    hold_golden("expressions.csv", to_csv(made))


def test_pandas_reads_numbers_as_numbers(made):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(io.StringIO(to_csv(made)))
    assert tuple(table.columns) == COLUMNS
    assert UNIT_COLUMNS[0] == "AU01"
    assert (table["duration_ms"] == (table["offset_ms"] - table["onset_ms"]).round(3)).all()
    assert table["AU12"].dtype == float
    # not named is zero, not described is unknown
    assert table["AU12"].tolist()[:2] == [0.0, 0.93]
    assert table["AU12"].isna().tolist() == [False, False, True, True, False]
    assert table["action_units"].tolist()[1] == "R12"
    assert table.loc[0, ["negative", "positive", "surprise"]].sum() == pytest.approx(1)


def test_a_spreadsheet_runs_nothing(made):
    last = to_csv(made).splitlines()[-1]
    assert ",'=1+1," in last


def test_lines_are_those_of_the_run(made, folder):
    import json

    written = [json.loads(line) for line in to_jsonl(made).splitlines()]
    before = [json.loads(line) for line in (folder / "expressions.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in w.items() if k in b} for w, b in zip(written, before, strict=True)] == before
    # what an older version had not written yet is there, too
    assert {frozenset(w) - frozenset(b) for w, b in zip(written, before, strict=True)} == {
        frozenset({"regions", "notice"})
    }


def test_each_recording_has_a_row_with_what_could_be_judged(made, tmp_path):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(io.StringIO(to_recordings(made)))
    assert tuple(table.columns) == RECORDING_COLUMNS
    (row,) = table.to_dict("records")
    assert (row["source"], row["face_s"], row["sensitivity_upper_median"]) == ("talk", 33.5, 2.4)
    assert (row["judged_upper_2_s"], row["judged_lower_3_s"], row["judged_either_3_s"]) == (12.0, 3.0, 22.0)
    # all five were found where the upper face could be judged
    assert row["expressions_per_judged_minute"] == pytest.approx(60 * 5 / 22, abs=0.001)
    empty = read_run(run_folder(tmp_path / "run", (), sources=("one", "two")))
    rows = pandas.read_csv(io.StringIO(to_recordings(empty)))
    assert rows["source"].tolist() == ["one", "two"], "recordings without finds stay"
    assert rows["expressions"].tolist() == [0, 0]
    assert rows["expressions_per_judged_minute"].tolist() == [0, 0]


def test_an_expression_tells_how_small_a_motion_would_have_been_found(made):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(io.StringIO(to_csv(made)))
    assert set(table["sensitivity_upper"]) == {1.8}
    assert set(table["sensitivity_lower"]) == {6.4}
