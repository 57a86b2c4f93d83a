from __future__ import annotations

import json
from pathlib import Path

import pytest

from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.run_folder import EVENTS, EXPRESSIONS, RUN, RunFolder, read_expressions
from mellm.stream.errors import RunError
from tests.engine.export import made

SETTINGS = {"threshold": 0.5, "describer": "rules"}


def found(id: str, source: str = "clip") -> ExpressionRecord:
    line = made.record(id, (10, 14, 20), source=source, description=made.described("é", [], "positive", 0.8))
    return ExpressionRecord.from_json(line)


def test_lines_and_sizes_survive(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", SETTINGS, {"version": "1"})
    run.expression(found("a"))
    run.event("face.lost", "clip", 5_000_000, {"track": 1})
    assert run.evidence("a", b"png") == "evidence/a.png"
    run.finish_source("clip", {"state": "done"})
    run.close()
    assert read_expressions(tmp_path / "run") == [found("a")]
    assert json.loads((tmp_path / "run" / RUN).read_text())["sources"]["clip"]["state"] == "done"


def test_a_killed_run_goes_on_after_the_last_finished_source(tmp_path: Path) -> None:
    first = RunFolder.create(tmp_path, SETTINGS, {})
    first.expression(found("a"))
    first.finish_source("one", {"state": "done"})
    first.expression(found("b"))
    first.close()
    with (tmp_path / EXPRESSIONS).open("ab") as stream:
        stream.write(b'{"id": "c", "cut')
    again = RunFolder.create(tmp_path, SETTINGS, {})
    assert again.summary("one") == {"state": "done"}
    assert again.summary("two") is None
    assert again.answered == {"b": found("b")}
    again.close()
    assert read_expressions(tmp_path) == [found("a")]


def test_a_source_that_failed_is_tried_again_without_its_old_lines(tmp_path: Path) -> None:
    first = RunFolder.create(tmp_path, SETTINGS, {})
    for source, state in (("one", "done"), ("two", "failed"), ("three", "done")):
        first.expression(found(source[0], source))
        first.event("face.lost", source, 0, {"track": 1})
        first.finish_source(source, {"state": state})
    first.close()
    again = RunFolder.create(tmp_path, SETTINGS, {})
    assert [again.summary(name) is None for name in ("one", "two", "three")] == [False, True, False]
    assert set(again.answered) == {"t"}
    again.expression(found("t", "two"))
    again.event("face.lost", "two", 0, {"track": 1})
    again.finish_source("two", {"state": "done"})
    again.close()
    assert [r.source for r in read_expressions(tmp_path)] == ["one", "three", "two"]
    events = [json.loads(line) for line in (tmp_path / EVENTS).read_text().splitlines()]
    assert [(e["seq"], e["source"]) for e in events] == [(1, "one"), (2, "three"), (3, "two")]


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
        run.event("face.lost", "clip", 0, {"track": 1})


def test_an_event_is_an_envelope_of_the_wire_on_the_media_clock(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, SETTINGS, {})
    run.event("source.online", "clip", 40_000_000, {"kind": "file"})
    run.event("face.lost", "clip", 1_234_567_891, {"track": 1})
    run.close()
    epoch = json.loads((tmp_path / RUN).read_text())["epoch"]
    online, lost = (json.loads(line) for line in (tmp_path / EVENTS).read_text().splitlines())
    assert online == {
        "type": "source.online",
        "id": f"{epoch}-1",
        "seq": 1,
        "epoch": epoch,
        "source": "clip",
        "time": "1970-01-01T00:00:00.040000Z",
        "data": {"kind": "file"},
    }
    assert lost["data"] == {"track": 1, "t_ns": "1234567891", "t_ms": 1234.568}


def test_a_run_of_format_1_is_not_gone_on_with(tmp_path: Path) -> None:
    path = made.run_folder(tmp_path / "old")
    with pytest.raises(RunError, match=r"format 1, this version writes 2.*can still be exported"):
        RunFolder.create(path, SETTINGS, {})
