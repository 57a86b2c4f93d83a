"""The files of a report: complete, readable again, and unharmed by what is in them."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace

import pytest

from mellm.evaluation.compare import report
from mellm.evaluation.compare.samples import gather
from mellm.evaluation.compare.types import Row, Table, TaskResult
from mellm.stream.errors import RunError
from tests.evaluation.compare.made import NAMES, Suite, finished


@pytest.fixture(scope="module")
def results():
    return finished()


@pytest.fixture(scope="module")
def folder(results, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "new"
    files = report.write(results, path)
    assert all(file.is_file() for file in files)
    assert files[0].name == "report.html"
    assert sorted(p for p in path.rglob("*") if p.is_file()) == sorted(files)
    return path


def test_a_table_for_every_part_of_the_report(folder):
    assert {p.name for p in (folder / "tables").iterdir()} == {
        *("systems.csv", "suite-points.csv", "suite-systems.csv", "suite-refusals.csv"),
        *("mme-mme.csv", "mme-systems.csv", "mme-refusals.csv", "changes.csv"),
    }


def test_csv_has_all_digits_and_the_published_totals(folder):
    with (folder / "tables" / "mme-mme.csv").open(newline="") as file:
        rows = {row[""]: row for row in csv.DictReader(file)}
    assert rows["Gemini Pro"]["total"] == "1933.36"
    assert rows["GPT-4V"]["celebrity"] == "0.0"
    assert [float(rows[name]["existence"]) for name in NAMES] == [100, 107, 114, 121]
    with (folder / "tables" / "systems.csv").open(newline="") as file:
        people = {row[""]: row for row in csv.DictReader(file)}
    assert people["mellm-nano"]["cost, USD"] == ""
    assert float(people["qwen"]["cost, USD"]) == pytest.approx((166 * 300 * 0.5 + 166 * 40 * 2.0) / 1e6)


def test_json_is_the_results(folder, results):
    data = json.loads((folder / "report.json").read_text())
    assert data["previous"] == "2026-11-22T09:00:00Z"
    table = data["tasks"]["mme"]["mme"]
    assert table["published"] == ["Gemini Pro", "GPT-4V", "Sphinx"]
    assert table["remarks"]["GPT-4V"].startswith("published, not run: ")
    assert dict(zip(table["columns"], table["rows"]["Sphinx"], strict=True))["perception"] == 1560.15
    assert [c["name"] for c in data["systems"]] == list(NAMES)
    assert data["systems"][1]["measures"]["states"]["refused"] == 33


def test_markdown_marks_what_was_not_run(folder):
    text = (folder / "report.md").read_text()
    assert "| Gemini Pro † | GPT-4V † | Sphinx † |" in text
    assert "| **1933.36** | 1926.57 | 1870.15 |" in text
    assert "† published, not run here." in text
    assert "it refuses to say who a person is" in text
    assert "2 scores changed since the run of 2026-11-22T09:00:00Z." in text
    assert "**stopped: unauthorized**" in text


def test_markdown_holds_no_markup_of_others(folder):
    text = (folder / "report.md").read_text()
    assert "\\<script\\>" in text
    for line in text.splitlines():
        bare = line.replace("\\<", "").replace("\\[", "").replace("\\|", "")
        assert "<" not in bare
        assert "](" not in bare.replace("\\](", "")
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in tables} == {5, 6, 7, 9}


def test_no_number_is_null_not_a_word(results):
    table = Table("t", "T", ("x", "y"), (Row("a", (math.nan, math.inf)),))
    (suite, _) = results.tasks
    changed = replace(results, tasks=(TaskResult(suite.task, suite.answers, (table,)),))
    data = json.loads(json.dumps(report.plain(changed), allow_nan=False))
    assert data["tasks"]["suite"]["t"]["rows"]["a"] == [None, None]
    assert "| a | – | – |" in report.markdown(changed, [gather(changed.tasks[0])])


def test_a_first_run_and_an_incomplete_one_say_so():
    first = replace(finished(tasks=[Suite()]), previous=None, changes=())
    text = report.markdown(first, [gather(t) for t in first.tasks])
    assert "No earlier complete run in this folder asked the same questions." in text
    assert "†" not in text
    cut = finished(tasks=[Suite()], interrupted=True)
    assert "**Not complete**" in report.markdown(cut, [gather(t) for t in cut.tasks])


def test_a_folder_that_cannot_be_written_is_a_typed_error(results, tmp_path):
    (tmp_path / "tables").write_text("a file")
    with pytest.raises(RunError, match="cannot be written"):
        report.write(results, tmp_path)
