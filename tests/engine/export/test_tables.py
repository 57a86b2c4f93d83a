"""The table, read back by pandas."""

import io

import pytest

from mellm.engine.export.tables import COLUMNS, UNIT_COLUMNS, to_csv, to_jsonl
from tests.engine.export.made import hold_golden


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
