"""A stretch of a server's log as a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from mellm.engine.export import formats
from mellm.engine.results.journal_run import is_journal, moment_ns, read_journal
from mellm.stream.errors import JournalError, UsageError
from mellm.stream.log.journal import Journal
from mellm.stream.protocol.events import media_time
from tests.stream.spoken import ended, spotted

START = moment_ns("2026-11-29T10:00:00Z")


def times(at_ms: int) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, shift in (("onset", 0), ("apex", 80), ("offset", 200), ("t", 200)):
        found |= media_time(name, (at_ms + shift) * 1_000_000)
    return found


def fill(journal: Journal, source: str, offsets_s: tuple[int, ...]) -> None:
    def put(type: str, at_s: float, data: dict[str, object]) -> None:
        id = data.get("id")
        journal.append(type, source, data, time=START + round(at_s * 1e9), id=None if id is None else str(id))

    put("source.online", 0, {"uri": "cam", "width": 640, "height": 480, "kind": "camera"})
    put("face.appeared", 0.1, {"track": 1, "box": [0, 0, 1, 1], **media_time("t", 100_000_000)})
    for at in offsets_s:
        id = f"{source}{at}"
        told = {"source": source, "quality": None, **times(1000 * at)}
        put("expression.spotted", at + 1, spotted(id, source) | told)
        put("expression.described", at + 2, ended(id, "described", None) | told)
    gap = (
        media_time("from", 90_000_000_000)
        | media_time("to", 91_000_000_000)
        | media_time("t", 90_000_000_000)
    )
    put("source.gap", 91, {**gap, "reason": "reconnect", "frames": 3})
    put("marker", 92, {"label": "end", "by": "", "ref": None, **media_time("t", 92_000_000_000)})


@pytest.fixture
def log(tmp_path: Path) -> Path:
    with Journal(tmp_path / "j.db") as journal:
        fill(journal, "cam", (10, 50))
    return tmp_path / "j.db"


def test_the_whole_of_it(log: Path) -> None:
    run = read_journal(log)
    assert [r.id for r in run.expressions] == ["cam10", "cam50"]
    assert [r.onset_ms for r in run.expressions] == [9900.0, 49900.0]  # from the first thing that was seen
    assert [(m.label, m.t_ms) for m in run.markers] == [("end", 91900.0)]
    assert run.state["sources"]["cam"]["media_s"] == 91.9
    for name in ("csv", "recordings", "jsonl", "eaf", "vtt", "srt"):
        assert formats.render(run, name)


def test_a_stretch_of_it_counts_from_its_own_beginning(log: Path) -> None:
    run = read_journal(log, since_ns=START + 40_000_000_000, until_ns=START + 60_000_000_000)
    assert [(r.id, r.onset_ms) for r in run.expressions] == [("cam50", 0.0)]
    assert run.markers == ()
    with pytest.raises(UsageError, match="nothing of 'cam' lies in that time"):
        read_journal(log, until_ns=START - 1)


def test_it_is_read_while_a_server_writes_it(log: Path) -> None:
    with Journal(log) as journal:
        fill(journal, "desk", (5,))
        with pytest.raises(UsageError, match="there are: cam, desk"):
            read_journal(log)
        assert [r.id for r in read_journal(log, "desk").expressions] == ["desk5"]
        assert journal.last_seq == 14


def test_a_source_that_was_started_anew_is_not_one_run(log: Path) -> None:
    with Journal(log) as journal:
        fill(journal, "cam", (20,))
    with pytest.raises(UsageError, match="was started anew"):
        read_journal(log)


def test_motion_maps_are_found_where_they_were_kept(log: Path, tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "cam10.png").write_bytes(b"png")
    run = read_journal(log, evidence=tmp_path / "maps")
    assert [r.evidence for r in run.expressions] == ["cam10.png", None]
    assert run.path == tmp_path / "maps"


def test_what_is_no_log(tmp_path: Path) -> None:
    assert not is_journal(tmp_path)
    (tmp_path / "x").write_bytes(b"SQLite format 3\0 and then nothing of it")
    assert is_journal(tmp_path / "x")
    with pytest.raises(JournalError, match="cannot be read"):
        read_journal(tmp_path / "x")


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", ""])
def test_moments_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="not a valid time"):
        moment_ns(text)
