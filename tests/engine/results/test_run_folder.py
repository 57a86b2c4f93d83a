from __future__ import annotations

import json
from pathlib import Path

import pytest

from mellm.engine.results.run_folder import EXPRESSIONS, RUN, RunFolder, read_expressions
from mellm.stream.errors import RunError

SETTINGS = {"threshold": 0.5, "describer": "rules"}


def test_lines_and_sizes_survive(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", SETTINGS, {"version": "1"})
    run.expression({"id": "a", "text": "é"})
    run.event({"type": "x"})
    assert run.evidence("a", b"png") == "evidence/a.png"
    run.finish_source("clip", {"state": "done"})
    run.close()
    assert read_expressions(tmp_path / "run") == [{"id": "a", "text": "é"}]
    assert json.loads((tmp_path / "run" / RUN).read_text())["sources"]["clip"]["state"] == "done"


def test_a_killed_run_goes_on_after_the_last_finished_source(tmp_path: Path) -> None:
    first = RunFolder.create(tmp_path, SETTINGS, {})
    first.expression({"id": "a"})
    first.finish_source("one", {"state": "done"})
    first.expression({"id": "b", "state": "described"})
    first.close()
    with (tmp_path / EXPRESSIONS).open("ab") as stream:
        stream.write(b'{"id": "c", "cut')
    again = RunFolder.create(tmp_path, SETTINGS, {})
    assert again.is_done("one")
    assert not again.is_done("two")
    assert again.answered == {"b": {"id": "b", "state": "described"}}
    again.close()
    assert read_expressions(tmp_path) == [{"id": "a"}]


def test_a_source_that_failed_is_tried_again_without_its_old_lines(tmp_path: Path) -> None:
    first = RunFolder.create(tmp_path, SETTINGS, {})
    for source, state in (("one", "done"), ("two", "failed"), ("three", "done")):
        first.expression({"id": source[0], "source": source})
        first.event({"type": "x", "source": source})
        first.finish_source(source, {"state": state})
    first.close()
    again = RunFolder.create(tmp_path, SETTINGS, {})
    assert [again.is_done(name) for name in ("one", "two", "three")] == [True, False, True]
    assert set(again.answered) == {"t"}
    again.expression({"id": "t", "source": "two"})
    again.finish_source("two", {"state": "done"})
    again.close()
    assert [r["source"] for r in read_expressions(tmp_path)] == ["one", "three", "two"]


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, SETTINGS, {}).close()
    with pytest.raises(RunError, match="threshold"):
        RunFolder.create(tmp_path, SETTINGS | {"threshold": 0.6}, {})


def test_foreign_folders_and_damaged_runs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no run"):
        RunFolder.create(tmp_path, SETTINGS, {})
    with pytest.raises(RunError, match="holds no run"):
        read_expressions(tmp_path)
    (tmp_path / RUN).write_text("{")
    with pytest.raises(RunError, match="damaged"):
        RunFolder.create(tmp_path, SETTINGS, {})
    with pytest.raises(RunError, match="cannot be written"):
        RunFolder.create(tmp_path / "notes.txt", SETTINGS, {})


def test_nothing_is_written_after_close(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, SETTINGS, {})
    run.close()
    with pytest.raises(RunError, match="closed"):
        run.event({})
