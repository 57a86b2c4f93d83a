import json

import pytest

from mellm.engine.export import citing
from mellm.engine.results import corrections
from mellm.engine.results.about import About
from mellm.engine.results.corrections import Correction, Corrections
from mellm.engine.results.run_reader import read_run
from tests.engine.export.made import facts_of_now, run_folder

ABOUT = About("p-014", "2", "stress", "left-handed", "research", {"age": "31"})


@pytest.fixture
def folder(tmp_path):
    """A run as this version leaves it."""
    return facts_of_now(run_folder(tmp_path / "run"), ABOUT)


def test_everything_one_cites_has_a_row(folder):
    rows = dict(citing.rows(read_run(folder)))
    assert rows["Subject"] == "p-014"
    assert rows["age"] == "31"
    assert rows["Purpose, as stated"] == "research"
    assert rows["Consent reference"] == "study-7/p-014"
    assert rows["Analysed: talk"] == "2026-11-29 10:00:00 UTC"
    assert rows["File: talk.mp4"].endswith("12,345 bytes, last changed 2026-11-01, SHA-256 " + "f" * 64)
    assert (
        "0.53 false alarms per minute with a visible face (95 % interval 0.23 to 1.04"
        in rows["Measured error rates"]
    )


def test_a_purpose_that_nobody_stated_is_not_shown_as_stated(folder):
    state = json.loads((folder / "run.json").read_text())
    state["about"]["purpose"] = None
    (folder / "run.json").write_text(json.dumps(state))
    assert citing.purpose(read_run(folder)) == "none stated"
    del state["about"]
    (folder / "run.json").write_text(json.dumps(state))
    assert citing.purpose(read_run(folder)) == ""


def test_the_methods_paragraph_holds_the_numbers_of_the_run(folder):
    said = citing.methods(read_run(folder))
    for part in (
        "1 recording (0.5 minutes at 30 frames per second) was analysed on 2026-11-29 with mellm-live 0.1.0.",
        "version 0.3.0, SHA-256 000000000000…",
        "a score of 0.55 or more and a length of 40 to 500 ms",
        "motion above 7.5 % of the eye distance was not counted",
        "the describer scripted-1",
        "0.53 false alarms per minute",
        "it found 26 %",
        "No person has checked the results.",
    ):
        assert part in said


def test_error_rates_of_another_network_or_threshold_are_not_claimed(folder):
    state = json.loads((folder / "run.json").read_text())
    state["facts"]["measured"] = None
    (folder / "run.json").write_text(json.dumps(state))
    assert "were not measured" in citing.methods(read_run(folder))


def test_a_run_of_an_older_version_says_what_it_does_not_know(tmp_path):
    said = citing.methods(read_run(run_folder(tmp_path / "run")))
    assert "on [date unknown]" in said
    assert "were not measured" in said


def test_runs_made_alike_are_one_paragraph_and_others_their_own(folder, tmp_path):
    when = "2026-11-29T10:00:00Z"
    corrections.write(
        folder / corrections.FILE, Corrections((Correction("reject", "coder-a", when, "c" * 16),))
    )
    alike = facts_of_now(run_folder(tmp_path / "two"), ABOUT)
    other = run_folder(tmp_path / "three")
    both, alone = citing.together([read_run(path) for path in (folder, alike, other)])
    assert both.startswith("2 recordings (1.0 minutes")
    assert (
        "A coder (coder-a) checked the expressions: accepted 0, corrected 0, rejected 1 and added 0." in both
    )
    assert alone.startswith("1 recording")
