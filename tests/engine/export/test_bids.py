"""Events in BIDS' form, read back by pandas."""

import io
import json

import pytest

from mellm.engine.export import bids
from mellm.engine.results.about import About
from mellm.engine.results.run_reader import read_run
from tests.engine.export.made import facts_of_now, run_folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = run_folder(tmp_path_factory.mktemp("bids") / "run")
    return read_run(facts_of_now(folder, About("p-014", purpose="research")))


def test_the_table_begins_with_onset_and_duration_in_seconds_and_is_in_order(run):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(io.StringIO(bids.to_events(run)), sep="\t", na_values="n/a")
    assert list(table.columns[:2]) == ["onset", "duration"]
    assert table["onset"].is_monotonic_increasing
    assert table["trial_type"].value_counts().to_dict() == {"micro_expression": 5, "marker": 1, "gap": 1}
    first = table.iloc[0]
    assert first["onset"] == pytest.approx(run.expressions[0].onset_ms / 1000, abs=1e-6)
    assert (first["action_units"], first["class"]) == ("1+2", "surprise")
    assert table[table["trial_type"] == "gap"]["duration"].tolist() == [1.2]


def test_the_sidecar_says_what_every_column_means_and_how_it_was_made(run):
    told = json.loads(bids.to_sidecar(run))
    assert set(told) == {*bids.COLUMNS, "MellmLive"}
    assert all(told[name]["Description"] for name in bids.COLUMNS if name != "trial_type")
    assert told["onset"]["Units"] == "s"
    assert told["MellmLive"]["GeneratedBy"]["Subject"] == "p-014"
