"""Sums over a run, and the page that their base rate comes from."""

import json

import pytest

from mellm.engine.export import statistics
from mellm.engine.results.run_reader import read_run
from tests import REPO
from tests.engine.export.made import RECORDS, record, run_folder, typed


def test_units_are_counted_by_side():
    rows = {row.au: row for row in statistics.unit_rows(typed(*RECORDS))}
    assert sorted(rows) == [1, 2, 4, 7, 12]
    assert (rows[12].right, rows[12].left, rows[12].both) == (1, 0, 0)
    assert rows[12].share == pytest.approx(1 / 3)
    assert rows[12].name == "lip corner puller"
    assert statistics.unit_rows(typed(record("x", (1, 2, 3)))) == []


def test_a_unit_we_do_not_read_is_named_as_such():
    units = [{"au": 43, "side": "both", "score": 1.0}]
    (row,) = statistics.unit_rows(typed(record("x", (1, 2, 3), description={"action_units": units})))
    assert row.name == "not read by this project's own models"


def test_counts_add_up():
    assert sum(statistics.states(typed(*RECORDS)).values()) == len(RECORDS)
    assert statistics.emotions(typed(*RECORDS)) == {"surprise": 1, "positive": 1, "negative": 1}
    assert sum(statistics.why_undescribed(typed(*RECORDS)).values()) == 2


def test_false_alarms_grow_with_length_and_are_known_for_the_shipped_spotter_only(tmp_path):
    folder = run_folder(tmp_path / "run")
    rate = statistics.base_rate(read_run(folder))
    assert rate.minutes == 0.5
    assert rate.expected == pytest.approx(0.5 * statistics.FALSE_PER_MINUTE[0])
    assert not rate.known
    state = json.loads((folder / "run.json").read_text())
    card = json.loads((REPO / "detectors" / "models" / "spotter.json").read_text())
    state["facts"]["models"] = [{"name": "spotter", "sha256": card["sha256"], "file": "spotter.onnx"}]
    (folder / "run.json").write_text(json.dumps(state))
    assert statistics.base_rate(read_run(folder)).known
    state["settings"]["spotting"]["threshold"] = 0.3
    (folder / "run.json").write_text(json.dumps(state))
    assert not statistics.base_rate(read_run(folder)).known


def test_the_rate_is_the_one_that_was_published():
    rate, low, high = statistics.FALSE_PER_MINUTE
    assert (
        f"| {rate} [{low}, {high}] (6 in 122 s) |" in (REPO / "docs" / "results" / "spotting.md").read_text()
    )
