"""The events of a run, once more."""

import json

import jsonschema
import pytest

from mellm.clients.cli import run as command
from mellm.engine.export.replay import events, paced
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.run_reader import media_ns, read_run
from mellm.stream.protocol.events import EXPRESSION_ENDS
from mellm.stream.protocol.schema import document
from tests.engine.export.made import EVENTS, RECORDS, run_folder

SCHEMA = {**document(strict=True), "anyOf": [{"$ref": "#/$defs/server"}]}


@pytest.fixture
def folder(tmp_path):
    """A run whose events end its expressions too, out of order, as a describer leaves them."""
    folder = run_folder(tmp_path / "run")
    with (folder / "events.jsonl").open("a") as lines:
        for record in reversed(RECORDS):
            at = str(round(record["apex_ms"] * 1e6))
            spotted = {
                k: v for k, v in record.items() if k not in ("state", "reason", "description", "evidence")
            }
            for kind, data in (
                ("spotted", spotted),
                (record["state"], {"id": record["id"], "reason": record["reason"]}),
            ):
                line = {"type": f"expression.{kind}", "source": "talk", "media_ns": at, "data": data}
                lines.write(json.dumps(line) + "\n")
    return folder


def test_events_come_by_time_and_whole(folder):
    found = list(events(read_run(folder)))
    assert len(found) == len(EVENTS) + 2 * len(RECORDS)
    times = [media_ns(e) for e in found]
    assert times == sorted(times)
    ended = [ExpressionRecord.from_json(e.data) for e in found if e.type in EXPRESSION_ENDS]
    assert ended == [ExpressionRecord.from_json(r) for r in sorted(RECORDS, key=lambda r: r["apex_ms"])]
    kinds = [e.type for e in found if e.id == "a" * 16]
    assert kinds == ["expression.spotted", "expression.described"]


@pytest.mark.parametrize(("speed", "whole"), [(1.0, 30.0), (10.0, 3.0), (0.0, 0.0)])
def test_waiting_adds_up_to_the_recording(folder, speed, whole):
    waits = []
    assert len(list(paced(events(read_run(folder)), speed, waits.append))) == len(EVENTS) + 2 * len(RECORDS)
    assert sum(waits) == pytest.approx(whole)
    assert all(wait >= 0 for wait in waits)


def test_nobody_waits_between_recordings(tmp_path):
    run = read_run(run_folder(tmp_path / "run", sources=("left", "right")))
    waits = []
    list(paced(events(run), 1.0, waits.append))
    assert sum(waits) == pytest.approx(60)


def test_lines_for_people_and_for_programs(folder, capsys):
    assert command(["replay", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "face.appeared  track 1 at 00:00.000"
    assert any(line.startswith("described  00:02.536  367 ms  AU1+2 both  surprise 0.95") for line in lines)
    assert any("00:15.000 to 00:16.200 (1.2 s): decode" in line for line in lines)
    assert command(["replay", str(folder), "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(told) == len(lines)
    for each in told:
        jsonschema.validate(each, SCHEMA)
    assert command(["replay", str(folder), "--source", "nobody"]) == 2
