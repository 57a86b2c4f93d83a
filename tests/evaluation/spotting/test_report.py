"""The report: comparison at equal false alarms, JSON without NaN, files and plots."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="extra `train` is not installed")
pytest.importorskip("scipy", reason="extra `eval` is not installed")
pytest.importorskip("matplotlib", reason="extra `eval` is not installed")

from mellm.evaluation.spotting import page as as_page
from mellm.evaluation.spotting import plots, report
from mellm.evaluation.spotting.measures import Point, result
from mellm.evaluation.spotting.stats import poisson_rate
from mellm.stream.errors import MissingExtra, UsageError
from mellm.training.spotter.evaluate import Interval
from mellm.training.spotter.records import Event
from tests.evaluation.spotting.made import Scripted, published, record, truth


def made() -> report.Report:
    clips = [
        record([truth(2.0)], name="a", subject="a", events=[Event("blink", 3.0, 3.3)], groups=("silent",)),
        record([truth(4.0, 1.0)], name="b", subject="b", fps=30.0, groups=("talking",)),
    ]
    free = [record(name="f", subject="f", fold="A")]
    right, wrong = published(truth(2.0)), published(Interval(5.0, 5.1, 5.3))
    ours = Scripted({"a": [right], "b": [published(truth(4.0))]}, name="ours")
    poor = Scripted({"a": [right, wrong], "b": [wrong], "f": [wrong]}, name="poor")
    poor.kind = "training-free"
    return report.evaluate({"small": clips, "free": free}, [ours, poor], wanted={"small": 3})


def test_sets_are_told_as_they_are() -> None:
    small, free = made().sets
    assert (small.facts.clips, small.facts.wanted, small.facts.subjects, small.facts.truths) == (2, 3, 2, 2)
    assert small.facts.seen_s == pytest.approx(15.4)
    assert free.equal == ()  # nothing to find there
    assert free.results[1].parts["person"][0].label == "f"


def test_comparison_at_equal_false_alarms() -> None:
    (equal,) = made().sets[0].equal
    assert (equal.ours, equal.baseline) == ("ours", "poor")
    assert equal.at_ours == (0, 1.0, 0.0)  # the baseline says nothing at all where it makes no false alarm
    assert equal.at_baseline[1:] == (1.0, pytest.approx(2 * 1 / (2 + 2 + 1)))
    assert equal.ratios == (None, pytest.approx(2.5))
    assert equal.holds


def test_less_than_twice_does_not_hold() -> None:
    clips = [record([truth(2.0)], name="a")]
    ours = result(Scripted({"a": [published(truth(2.0))]}), clips)
    same = report.equal(ours, ours)
    assert same.ratios == (1, 1)
    assert not same.holds
    silent = replace(ours, curve=(Point(0.9, 0, 0, 0, 0),), false_per_minute=poisson_rate(0, 1))
    assert not report.equal(silent, silent).holds


def test_json_has_no_nan() -> None:
    plain = made().to_json()
    assert plain["format"] == report.FORMAT
    text = json.dumps(plain, allow_nan=False)
    assert json.loads(text)["sets"][0]["results"][0]["score"] == {"tp": 2, "fp": 0, "fn": 0}
    assert plain["sets"][0]["equal"][0]["holds"] is True
    assert plain["sets"][1]["results"][0]["latency"]["p50"] is None


def test_a_folder_of_report_and_plots(tmp_path: Path) -> None:
    written = as_page.write(made(), tmp_path / "new" / "out")
    names = {p.name for p in written}
    assert {
        "report.json",
        "report.md",
        "precision-recall.png",
        "f1-at-false-alarms.png",
        "false-alarms.png",
    } <= names
    assert {p.name for p in (tmp_path / "new" / "out").iterdir()} == names
    assert all(p.stat().st_size > 1000 for p in written)


def test_a_page_gets_its_results_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "spotting.md"
    with pytest.raises(UsageError, match="no place for results"):
        as_page.publish(made(), page)
    page.write_text(f"# Before\n\n{as_page.BEGIN}\nstale\n{as_page.END}\n\nAfter\n")
    for _ in range(2):  # again and again
        as_page.publish(made(), page)
    text = page.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith(f"{as_page.END}\n\nAfter\n")
    assert "stale" not in text
    assert text.count("### Scores") == 1
    assert "(img/spotting/precision-recall.png)" in text
    assert (tmp_path / "img" / "spotting" / "precision-recall.png").exists()


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match="matplotlib"):
        plots.draw(made(), tmp_path)
