"""Runs on record: what changed, against which run, and lines that a kill has cut."""

from __future__ import annotations

import json

import pytest

from mellm.evaluation.compare import history
from mellm.evaluation.compare.types import Answer, Answers, Row, RunResult, Table, TaskResult
from mellm.stream.errors import RunError
from tests.evaluation.compare.fakes import FakeTask


def answered(count: int) -> Answers:
    return {"a": {f"q{n}": Answer("a", "t", f"q{n}", "answered", "x") for n in range(count)}}


def table(value: float | str | None, row: str = "a", published: bool = False) -> Table:
    return Table("right", "Right", ("right", "note"), (Row(row, (value, "text"), published),))


def run(started: str, value: float | str | None, count: int = 4, **changes: object) -> RunResult:
    result = TaskResult(FakeTask("t"), answered(count), (table(value),))
    return RunResult(
        **{
            "started": started,
            "file": "c.toml",
            "entries": (),
            "published": (),
            "tasks": (result,),
            **changes,
        }
    )


def changed(folder, value, count=4):
    return history.changes(history.read(folder), TaskResult(FakeTask("t"), answered(count), (table(value),)))


def test_the_first_run_has_nothing_to_compare_with(tmp_path):
    assert changed(tmp_path, 0.5) == (None, ())


def test_a_number_that_changed_is_told_with_the_run_it_changed_from(tmp_path):
    history.append(tmp_path, run("2026-01-01", 0.25))
    history.append(tmp_path, run("2026-01-02", 0.5))
    since, (change,) = changed(tmp_path, 0.75)
    assert since == "2026-01-02"
    assert (change.table, change.row, change.column, change.before, change.after) == (
        *("right", "a", "right"),
        *(0.5, 0.75),
    )
    assert changed(tmp_path, 0.5) == ("2026-01-02", ())
    assert changed(tmp_path, None) == ("2026-01-02", ())


def test_other_questions_interrupted_runs_and_published_rows_are_no_yardstick(tmp_path):
    history.append(tmp_path, run("2026-01-01", 0.25))
    history.append(tmp_path, run("2026-01-02", 0.5, count=9))
    history.append(tmp_path, run("2026-01-03", 0.6, interrupted=True))
    since, (change,) = changed(tmp_path, 0.75)
    assert (since, change.before) == ("2026-01-01", 0.25)
    assert history.scores((table(1.0, published=True), table(float("nan")), table("x"))) == {}


def test_a_system_that_is_new_has_no_before(tmp_path):
    history.append(tmp_path, run("2026-01-01", 0.25))
    both = TaskResult(FakeTask("t"), answered(4), (table(0.25), table(0.5, "b")))
    _, found = history.changes(history.read(tmp_path), both)
    assert [(c.row, c.before) for c in found] == [("b", None)]


@pytest.mark.parametrize("cut", [1, 10, 50])
def test_a_line_that_a_kill_has_cut_costs_itself_only(tmp_path, cut):
    history.append(tmp_path, run("2026-01-01", 0.25))
    path = history.append(tmp_path, run("2026-01-02", 0.5))
    path.write_bytes(path.read_bytes()[:-cut])
    history.append(tmp_path, run("2026-01-03", 0.6))
    found = [r.started for r in history.read(tmp_path)]
    assert found == (["2026-01-01", "2026-01-02", "2026-01-03"] if cut == 1 else ["2026-01-01", "2026-01-03"])


@pytest.mark.parametrize(
    "line", ["{}", "[]", "nonsense", '{"version": 2}', '{"version": 1, "interrupted": false}', "null"]
)
def test_lines_that_are_no_record_are_passed_over(tmp_path, line):
    (tmp_path / history.NAME).write_text(line + "\n\n")
    assert history.read(tmp_path) == ()


def test_what_is_written_is_json_and_brief(tmp_path):
    line = json.loads(history.append(tmp_path, run("2026-01-01", 0.25)).read_text())
    assert line["tasks"]["t"]["scores"] == [["right", "a", "right", 0.25]]


def test_folders_that_cannot_be_used(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        history.append(tmp_path / "file", run("2026-01-01", 0.25))
    (tmp_path / history.NAME).mkdir()
    with pytest.raises(RunError, match="cannot be read"):
        history.read(tmp_path)


def test_scores_of_a_system_that_failed_are_no_yardstick_either(tmp_path):
    history.append(tmp_path, run("2026-01-01", 0.25))
    missed = {"a": {**answered(4)["a"], "q3": Answer("a", "t", "q3", "failed", reason="timeout")}}
    shaky = TaskResult(FakeTask("t"), missed, (table(0.1),))
    assert history.changes(history.read(tmp_path), shaky) == ("2026-01-01", ())
    history.append(tmp_path, run("2026-01-02", 0.1, tasks=(shaky,)))
    assert history.read(tmp_path)[-1].scores == {}
