"""Reading run folders: whole ones, cut ones, damaged ones."""

import json

import jsonschema
import pytest

from mellm.engine.results import run_reader as runs
from mellm.engine.results.expressions import DISCLAIMER
from mellm.engine.results.run_reader import Marker, Span, read_run
from mellm.stream.errors import RunError, UsageError
from mellm.stream.protocol import wire
from mellm.stream.protocol.events import Event, media_time
from mellm.stream.protocol.schema import document
from tests import REPO
from tests.engine.export.made import RECORDS, run_folder

FORMAT_1 = REPO / "tests" / "golden" / "run-format-1"
"""The sample, analysed by the last version that wrote format 1, without motion maps."""


def test_a_run_is_read_with_its_spans(made):
    assert made.sources == ("talk",)
    assert [r.id[0] for r in made.expressions] == list("abcde")
    assert made.markers == (Marker(3000.0, "question 1 <b>", "talk"),)
    assert runs.faces(made) == {1: [Span(0, 30_000, "face")], 2: [Span(2000, 9000, "face")]}
    assert runs.gaps(made) == [Span(15_000, 16_200, "decode")]
    assert runs.still_pictures(made) == [Span(17_000, 18_500, "frozen")]
    assert runs.duration_ms(made, "talk") == 30_000


def test_a_half_written_last_line_is_passed_over(tmp_path):
    folder = run_folder(tmp_path / "run")
    lines = folder / "expressions.jsonl"
    lines.write_bytes(lines.read_bytes() + b'{"id":"cut')
    assert len(read_run(folder).expressions) == len(RECORDS)


def test_a_face_or_picture_that_never_came_back_lasts_to_the_end(tmp_path):
    folder = run_folder(tmp_path / "run")
    events = folder / "events.jsonl"
    kept = [
        line
        for line in events.read_text().splitlines(keepends=True)
        if "lost" not in line and "live" not in line
    ]
    events.write_text("".join(kept))
    run = read_run(folder)
    assert runs.faces(run)[2] == [Span(2000, 30_000, "face")]
    assert runs.still_pictures(run) == [Span(17_000, 30_000, "frozen")]


def test_where_the_machine_was_too_slow_is_read_until_all_came_back(tmp_path):
    def told(seq, at, fps, degraded):
        data = {"to": {"fps": fps, "faces": None, "gaps": False}, "degraded": degraded}
        return Event(
            "source.degraded", f"d{seq}", seq, "run", "talk", 0, data | media_time("t", round(at * 1e9))
        )

    folder = run_folder(tmp_path / "run")
    steps = [(2, 100.0, True), (4, 50.0, True), (9, 100.0, True), (12, 200.0, False), (20, 0.0, True)]
    lines = [wire.encode(told(900 + i, *step)) + b"\n" for i, step in enumerate(steps)]
    events = folder / "events.jsonl"
    events.write_bytes(events.read_bytes() + b"".join(lines))
    run = read_run(folder)
    assert runs.lowered(run) == [
        Span(2_000, 4_000, "100 frames a second"),
        Span(4_000, 9_000, "50 frames a second"),
        Span(9_000, 12_000, "100 frames a second"),
        Span(20_000, 30_000, "set aside"),
    ]
    events.write_bytes(events.read_bytes() + wire.encode(told(999, 1, "x", True)) + b"\n")
    with pytest.raises(RunError, match="not an event of a run"):
        read_run(folder)


def test_recordings_are_told_apart(tmp_path):
    run = read_run(run_folder(tmp_path / "run", sources=("left", "right")))
    parts = dict(run.each())
    assert {r.source for r in parts["left"].expressions} == {"left"}
    assert len(run.expressions) == 2 * len(parts["left"].expressions)
    with pytest.raises(UsageError, match=r"no source 'centre'.*left, right"):
        run.only("centre")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("run.json", "{", "cannot be read"),
        ("run.json", "[]", "of format 'list'"),
        ("run.json", json.dumps({"format": 99}), "format 99"),
        ("expressions.jsonl", "nonsense\n", "line 1: no JSON"),
        ("expressions.jsonl", '{"id": "x"}\n', "line 1: has no source"),
        ("events.jsonl", "5\n", "line 1"),
    ],
)
def test_damage_is_named(tmp_path, name, content, said):
    folder = run_folder(tmp_path / "run")
    (folder / name).write_text(content)
    with pytest.raises(RunError, match=said):
        read_run(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("onset_ms", "soon"),
        ("offset_ms", float("nan")),
        ("score", None),
        ("track", "left"),
        ("source", "elsewhere"),
        ("description", "smiles"),
    ],
)
def test_an_expression_that_cannot_be_reckoned_with_is_named(tmp_path, field, value):
    folder = run_folder(tmp_path / "run")
    (folder / "expressions.jsonl").write_text(json.dumps({**RECORDS[0], field: value}) + "\n")
    with pytest.raises(RunError, match=f"'aaaaaaaaaaaaaaaa' has no usable {field}"):
        read_run(folder)


def test_no_run_is_told(tmp_path):
    with pytest.raises(RunError, match="holds no run"):
        read_run(tmp_path)


def test_the_recording_is_found_beside_the_run_when_it_moved_with_it(folder, made):
    assert runs.recording(made, "talk").as_posix() == "recordings/talk.mp4"
    beside = folder / "talk.mp4"
    beside.touch()
    assert runs.recording(made, "talk") == beside
    beside.unlink()


def test_a_run_of_format_1_is_read_as_if_this_version_had_written_it():
    run = read_run(FORMAT_1)
    lines = [json.loads(line) for line in (FORMAT_1 / "expressions.jsonl").read_text().splitlines()]
    # the notice is worded anew from time to time
    assert [r.to_json() for r in run.expressions] == [
        {**line, "notice": DISCLAIMER, "sensitivity": None} for line in lines
    ]
    assert len(run.events) == 2 + 2 * len(lines) + len(runs.faces(run))
    server = {**document(strict=True), "anyOf": [{"$ref": "#/$defs/server"}]}
    for event in run.events:
        jsonschema.validate(json.loads(wire.encode(event)), server)
    ended = [e for e in run.events if e.type == "expression.described"]
    assert [e.data["description"]["text"] for e in ended] == [r.text for r in run.expressions]
    assert runs.media_ns(ended[0]) == 2_580_000_000


@pytest.mark.parametrize("name", [None, "", "no.png", "../secret.png", "/etc/hostname"])
def test_no_picture_from_outside_of_the_run(tmp_path, name):
    folder = run_folder(tmp_path / "run")
    (tmp_path / "secret.png").write_bytes(b"of somebody else")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "kept.png").write_bytes(b"kept")
    run = read_run(folder)
    assert run.picture("kept.png") == b"kept"
    assert run.picture("link.png") is None
    assert run.picture(name) is None
