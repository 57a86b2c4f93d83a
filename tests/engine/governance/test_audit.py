"""The audit log shows every edit, removal, move and cut, and names the line."""

import json
import logging
import multiprocessing
import os
import resource
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.engine.governance.audit import AuditLog, head_path, verify
from mellm.stream.errors import AuditError


def written(path: Path, lines: int = 6) -> list[bytes]:
    with AuditLog(path, clock_ns=lambda: 1_764_000_000_000_000_000) as audit:
        for number in range(lines):
            audit("session.admitted", {"session": f"s{number}", "principal": "desk"})
    return path.read_bytes().splitlines(keepends=True)


def test_lines_tell_who_did_what_and_hold_together(tmp_path: Path) -> None:
    path = tmp_path / "state" / "audit.jsonl"
    lines = written(path, 3)
    assert [json.loads(line)["facts"]["session"] for line in lines] == ["s0", "s1", "s2"]
    assert json.loads(lines[0])["time"] == "2025-11-24T16:00:00.000000Z"
    assert verify(path).intact
    assert verify(path).lines == 3
    assert path.stat().st_mode & 0o777 == head_path(path).stat().st_mode & 0o777 == 0o600
    with AuditLog(path) as audit:  # a restart goes on in the chain
        audit("server.started", {"sources": frozenset({"b", "a"}), "rate": float("nan"), "at": path})
    assert verify(path).lines == 4
    assert json.loads(path.read_bytes().splitlines()[3])["facts"]["sources"] == ["a", "b"]


def test_an_empty_log_is_intact(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    written(path, 0)
    assert verify(path).intact


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    """A log of six lines, for tests that put other lines into its place."""
    path = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    return path, written(path)


@given(data=st.data())
def test_any_changed_byte_is_found_at_its_line_or_the_next(
    six: tuple[Path, list[bytes]], data: st.DataObject
) -> None:
    path, lines = six
    raw = bytearray(b"".join(lines))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw)
    found = verify(path)
    assert not found.intact
    edited = b"".join(lines)[:at].count(b"\n") + 1
    assert found.line in (edited, edited + 1), (found, edited)
    assert found.reason


@given(data=st.data())
def test_removed_and_moved_lines_are_named(six: tuple[Path, list[bytes]], data: st.DataObject) -> None:
    path, lines = six
    gone = data.draw(st.integers(0, len(lines) - 1))
    path.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
    assert verify(path).line == gone + 1
    first = data.draw(st.integers(0, len(lines) - 2))
    second = data.draw(st.integers(first + 1, len(lines) - 1))
    swapped = list(lines)
    swapped[first], swapped[second] = swapped[second], swapped[first]
    path.write_bytes(b"".join(swapped))
    assert verify(path).line == first + 1
    path.write_bytes(b"".join(lines))
    assert verify(path).intact


def test_a_cut_at_the_end_is_found_with_the_head_and_not_built_upon(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    lines = written(path)
    path.write_bytes(b"".join(lines[:4]))
    found = verify(path)
    assert found.line == 5
    assert "5 to 6" in found.reason
    with pytest.raises(AuditError, match="should have 6 lines") as caught:
        AuditLog(path)
    assert "audit verify" in str(caught.value)
    head_path(path).unlink()
    assert verify(path).line == 5
    assert "head file is gone" in verify(path).reason
    with pytest.raises(AuditError, match="head file is gone"):
        AuditLog(path)


def test_a_copy_of_the_head_finds_a_history_that_was_made_up_anew(tmp_path: Path) -> None:
    path, copy = tmp_path / "audit.jsonl", tmp_path / "copy"
    written(path)
    copy.write_bytes(head_path(path).read_bytes())
    path.unlink()
    head_path(path).unlink()
    with AuditLog(path) as audit:
        for _ in range(9):
            audit("session.admitted", {"principal": "somebody else"})
    assert verify(path).intact
    assert verify(path, copy).line == 6
    with pytest.raises(AuditError, match="no head file"):
        verify(path, tmp_path / "none")


def test_the_last_line_cannot_be_edited_either(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    lines = written(path)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1].replace(b"desk", b"door"))
    assert verify(path).line == 6


def test_half_a_line_after_a_crash_is_cut_off_and_told(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    written(path, 2)
    with path.open("ab") as file:
        file.write(b'{"n":3,"ti')
    assert verify(path).line == 3
    with AuditLog(path):
        pass
    assert verify(path).intact
    last = json.loads(path.read_bytes().splitlines()[-1])
    assert (last["action"], last["facts"]) == ("audit.mended", {"bytes_cut": 10})


def _write_many(path: Path, name: str) -> None:
    with AuditLog(path) as audit:
        for number in range(40):
            audit("test", {"by": name, "number": number})


def test_threads_and_processes_share_one_log(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_write_many, args=(path, f"p{n}")) for n in range(2)]
    for other in others:
        other.start()
    with AuditLog(path) as audit:
        threads = [
            threading.Thread(target=lambda: [audit("test", {"by": "thread"}) for _ in range(40)])
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for other in others:
            other.join()
            assert other.exitcode == 0
    assert verify(path).intact
    assert verify(path).lines == 200
    assert json.loads(head_path(path).read_bytes())["lines"] == 200


def _die_writing(path: Path) -> None:
    audit = AuditLog(path)
    for number in range(20):
        audit("test", {"number": number})
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_was_written_survives_a_killed_process(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    process = multiprocessing.get_context("spawn").Process(target=_die_writing, args=(path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert verify(path).intact
    assert verify(path).lines == 20
    with AuditLog(path) as audit:
        audit("server.started", {})
    assert verify(path).lines == 21
    assert not list(tmp_path.glob("*.part*"))


def _fill_the_disk(path: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    logging.disable()
    with AuditLog(path) as audit:
        audit("before", {})
        size = os.path.getsize(path)
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, hard))  # room for half a line
        audit("lost", {})
        audit("lost too", {})
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        audit("after", {})


def test_a_full_disk_stops_nothing_and_the_gap_is_told(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    process = multiprocessing.get_context("spawn").Process(target=_fill_the_disk, args=(path,))
    process.start()
    process.join()
    assert process.exitcode == 0
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["action"] for line in lines] == ["before", "after"]
    assert lines[1]["facts"] == {"lines_missed_before": 2}
    assert verify(path).intact


def test_passwords_in_addresses_are_taken_out_and_huge_facts_left_out(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with AuditLog(path) as audit:
        audit("source.started", {"uri": "rtsp://admin:hunter2@cam/1", "list": ["rtsp://a:hunter2@b/"]})
        audit("odd", {"text": "x" * 70_000})
        audit("odd", {"text": "line\nfeed \ud800"})
    assert b"hunter2" not in path.read_bytes()
    assert verify(path).intact
    assert verify(path).lines == 3


@pytest.mark.parametrize("text", ["[1]\n", '{"n":1}\n', "hello\n", "hello", '{"lines": 1}\n'])
def test_a_file_that_is_no_audit_log_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(AuditError, match=r"notes\.txt"):
        AuditLog(path)
    assert path.read_text() == text
    assert verify(path).line == 1
    with pytest.raises(AuditError):
        AuditLog(tmp_path)
    with pytest.raises(AuditError):
        verify(tmp_path / "missing")
