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


def shipped(tmp_path, **change):
    """A run of the shipped spotter."""
    folder = run_folder(tmp_path / "run")
    state = json.loads((folder / "run.json").read_text())
    card = json.loads((REPO / "detectors" / "models" / "spotter.json").read_text())
    state["facts"]["models"] = [{"name": "spotter", "sha256": card["sha256"], "file": "spotter.onnx"}]
    state["settings"]["spotting"] |= change
    (folder / "run.json").write_text(json.dumps(state))
    return folder, card["false_alarms"]


def test_false_alarms_are_expected_in_judged_time_and_in_no_other(tmp_path):
    folder, card = shipped(tmp_path)
    found = statistics.base_rate(read_run(folder))
    assert found.rate.seconds == 22.0
    assert found.rate.unit == "judged minute"
    assert found.expected[0] == pytest.approx(22 / 60 * card["judged"]["per_minute"])
    assert found.expected[1] <= found.expected[0] <= found.expected[2]
    assert found.people == card["people"]


def test_what_another_spotter_or_threshold_would_raise_is_not_known(tmp_path):
    assert statistics.base_rate(read_run(run_folder(tmp_path / "other"))) is None
    folder, _ = shipped(tmp_path, threshold=0.3)
    assert statistics.base_rate(read_run(folder)) is None


def test_expressions_at_hidden_moments_are_counted_apart(tmp_path):
    hidden = {"upper": 5.0, "lower": 10.0}
    records = (
        record("a", (1, 2, 3)),
        record("b", (50, 52, 54), sensitivity=hidden),
        record("c", (90, 92, 95), sensitivity=None),
    )
    rate = statistics.judged_rate(read_run(run_folder(tmp_path / "run", records)))
    assert (rate.found, rate.elsewhere, rate.seconds) == (2, 1, 22.0)
    assert rate.per_minute == pytest.approx(60 * 2 / 22)


def test_a_run_of_an_older_version_counts_time_with_a_face(tmp_path):
    folder = run_folder(tmp_path / "run")
    state = json.loads((folder / "run.json").read_text())
    del state["sources"]["talk"]["judged"]
    (folder / "run.json").write_text(json.dumps(state))
    rate = statistics.judged_rate(read_run(folder))
    assert not rate.known
    assert rate.unit == "minute with a face"
    assert rate.seconds == 30 + 7  # face 1 to the end, face 2 for seven seconds
    assert rate.found == len(RECORDS)


def test_no_rate_is_made_of_less_than_a_second(tmp_path):
    folder = run_folder(tmp_path / "run")
    state = json.loads((folder / "run.json").read_text())
    state["sources"]["talk"]["judged"]["either"]["judged_s"] = {"2": 0.0, "3": 0.5}
    (folder / "run.json").write_text(json.dumps(state))
    assert statistics.judged_rate(read_run(folder)).per_minute is None


@pytest.mark.parametrize("count", [0, 1, 5, 43, 400])
def test_the_interval_of_a_count_is_that_of_scipy(count):
    chi2 = pytest.importorskip("scipy.stats").chi2
    low, high = statistics.poisson_interval(count)
    assert low == pytest.approx(chi2.ppf(0.025, 2 * count) / 2 if count else 0.0, rel=1e-6)
    assert high == pytest.approx(chi2.ppf(0.975, 2 * count + 2) / 2, rel=1e-6)
