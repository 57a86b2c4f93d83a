"""One thread changes the log: batches, order, what fails in it, an older format, and erasures that are cut short."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from mellm.engine.analysis.watchdog import Watchdog
from mellm.stream.errors import JournalError
from mellm.stream.log import erasure
from mellm.stream.log.erasure import Selection
from mellm.stream.log.journal import Journal, Record
from mellm.stream.log.writer import LogWriter
from mellm.stream.protocol import wire
from mellm.stream.protocol.events import EVENTS_ERASED, EXPRESSION_SPOTTED, MARKER, Event


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def spot(journal: Journal, source: str, number: int, **more: object) -> None:
    journal.post(EXPRESSION_SPOTTED, source, {"score": 0.5, **more}, time=number, id=f"e{number}")


def test_what_is_posted_while_the_disk_is_slow_is_written_in_few_batches_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    write, go = LogWriter._write, threading.Event()

    def slow(writer: LogWriter, batch: list[Any]) -> Any:
        go.wait(30)
        batches.append(len(batch))
        return write(writer, batch)

    monkeypatch.setattr(LogWriter, "_write", slow)
    told: list[Record] = []
    with Journal(tmp_path / "log.db") as journal:
        for n in range(300):
            journal.post(MARKER, "a", {"n": n}, time=n, then=told.append)
        assert journal.last_seq == 0
        go.set()
        journal.flush()
        assert [r.seq for r in told] == list(range(1, 301))
        assert [r.event.data["n"] for r in journal.replay()] == list(range(300))
    assert len(batches) <= 5


def test_nobody_hears_of_an_event_before_another_process_could_read_it(tmp_path: Path) -> None:
    seen: list[int] = []
    with Journal(tmp_path / "log.db") as journal:
        other = sqlite3.connect(tmp_path / "log.db", check_same_thread=False)

        def look(record: Record) -> None:
            seen.append(other.execute("SELECT max(seq) FROM events").fetchone()[0] - (record.seq or 0))

        for n in range(50):
            journal.post(MARKER, "a", {"n": n}, time=n, then=look)
        journal.flush()
        other.close()
    assert len(seen) == 50
    assert min(seen) >= 0


@pytest.mark.parametrize("error", [ValueError("odd"), cv2.error("odd"), MemoryError()])
def test_a_fault_in_the_writer_is_told_and_no_event_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    insert, calls = LogWriter._insert, []

    def fails_once(writer: LogWriter, record: Record, post: Any) -> None:
        calls.append(record.seq)
        if calls == [1, 2, 3]:
            raise error
        insert(writer, record, post)

    monkeypatch.setattr(LogWriter, "_insert", fails_once)
    told: list[tuple[str, str]] = []
    ill: list[str | None] = []
    with Watchdog(tick_s=0.05) as watchdog, Journal(tmp_path / "log.db", vitals=watchdog) as journal:

        def hear(name: str, state: str, error: object) -> None:
            ill.append(watchdog.unhealthy)
            told.append((name, state))

        watchdog.on_change = hear
        for n in range(10):
            spot(journal, "a", n)
        journal.flush()
        assert [r.event.time for r in journal.replay()] == [n // 1000 * 1000 for n in range(10)]
        assert [r.seq for r in journal.replay()] == list(range(1, 11))
        until(lambda: len(told) == 2)
        assert watchdog.unhealthy is None
    assert told == [("journal", "failed"), ("journal", "recovered")]
    assert ill[0]
    assert "journal" in ill[0]


def test_an_event_that_fails_twice_is_given_up_and_the_next_ones_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = LogWriter._insert

    def fails(writer: LogWriter, record: Record, post: Any) -> None:
        if post.source == "bad":
            raise MemoryError
        insert(writer, record, post)

    monkeypatch.setattr(LogWriter, "_insert", fails)
    with Journal(tmp_path / "log.db") as journal:
        with pytest.raises(JournalError, match="journal failed"):
            journal.append(MARKER, "bad", {}, time=0)
        assert journal.append(MARKER, "good", {}, time=0).seq == 1


def test_a_writer_that_hangs_is_seen_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mellm.stream.log.writer.LIMIT_S", 0.2)
    go, write = threading.Event(), LogWriter._write
    monkeypatch.setattr(LogWriter, "_write", lambda writer, batch: (go.wait(60), write(writer, batch))[1])
    with Watchdog(tick_s=0.05) as watchdog, Journal(tmp_path / "log.db", vitals=watchdog) as journal:
        for n in range(10):
            spot(journal, "a", n)
        until(lambda: watchdog.unhealthy)
        assert "journal has stood still" in str(watchdog.unhealthy)
        go.set()
        until(lambda: watchdog.unhealthy is None)
        journal.flush()
        assert journal.last_seq == 10


def old_log(path: Path, count: int) -> None:
    """A log as version 0.1 left it."""
    db = sqlite3.connect(path)
    db.executescript(
        """
        CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
        CREATE TABLE events (seq INTEGER PRIMARY KEY, type TEXT NOT NULL, source TEXT NOT NULL,
            id TEXT NOT NULL, time INTEGER NOT NULL, score REAL, payload BLOB NOT NULL);
        CREATE INDEX events_by_id ON events (id);
        INSERT INTO meta VALUES ('schema', '1'), ('epoch', 'old'), ('forgotten', '0'), ('note:withdrawn:a:r', 'x open');
        """
    )
    for n in range(1, count + 1):
        data = {"id": f"e{n}"} | ({"consent": "ref-ü"} if n % 2 else {})
        event = Event("face.lost", f"e{n}", n, "old", "a", 0, data)
        payload = wire.encode(event)
        db.execute("INSERT INTO events VALUES (?, 'face.lost', 'a', ?, 0, NULL, ?)", (n, f"e{n}", payload))
    db.commit()
    db.close()


def test_an_older_log_is_brought_up_to_date_with_its_consents(tmp_path: Path) -> None:
    old_log(tmp_path / "log.db", 10)
    with Journal(tmp_path / "log.db") as journal:
        assert (journal.epoch, journal.last_seq) == ("old", 10)
        assert journal.notes("withdrawn:") == {"withdrawn:a:r": "x open"}
        assert journal.erase(Selection(consent="ref-ü"), reason="purge").events == 5
        assert journal.append(MARKER, "a", {"consent": "later"}, time=0).seq == 11
        assert journal.erase(Selection(consent="later"), reason="purge").events == 1
    with Journal(tmp_path / "log.db") as journal:
        assert [r.seq for r in journal.replay() if r.type != EVENTS_ERASED] == [2, 4, 6, 8, 10]


def test_an_update_that_is_cut_short_leaves_the_older_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_log(tmp_path / "log.db", 10)
    with monkeypatch.context() as patched:
        patched.setattr("mellm.stream.log.tables._INDEXES", ("CREATE INDEX nonsense ON nowhere (x)",))
        with pytest.raises(JournalError, match="cannot open"):
            Journal(tmp_path / "log.db")
    with Journal(tmp_path / "log.db") as journal:
        assert len(list(journal.replay())) == 10


def test_pieces_share_a_tombstone_where_they_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(tmp_path / "log.db") as journal:
        for n in range(1300):
            spot(journal, "a", n)
        spot(journal, "b", 1300)
        assert journal.erase(Selection(source="a"), reason="purge").events == 1300
        (stone, other) = journal.replay()
        assert stone.event.data == {"reason": "purge", "events": 1300, "from_seq": 1, "to_seq": 1300}
        assert other.id == "e1300"


def test_others_are_written_between_the_pieces_of_an_erasure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sources, while one is erased: nothing of the other is lost, waits for the end, or is erased."""
    bury, pieces, waited = erasure.bury, [], []
    with Journal(tmp_path / "log.db") as journal:
        for n in range(5000):
            spot(journal, "ab"[n % 2], n)

        def watched(*args: Any) -> Any:
            pieces.append(journal.last_seq)
            spot(journal, "b", 10_000 + len(pieces))
            spot(journal, "a", 20_000 + len(pieces))  # said after the erasure was asked for: it stays
            return bury(*args)

        monkeypatch.setattr("mellm.stream.log.erasure.bury", watched)
        assert journal.erase(Selection(source="a"), reason="withdrawal").events == 2500
        waited = [second - first for first, second in itertools.pairwise(pieces)]
        assert waited == [2] * (len(pieces) - 1)  # both were written before the next piece
        left = [r for r in journal.replay() if r.type != EVENTS_ERASED]
        assert [r.id for r in left if r.source == "b"][:2500] == [f"e{n}" for n in range(1, 5000, 2)]
        assert sum(r.source == "a" for r in left) == len(pieces) > 1


def test_the_write_ahead_log_stays_small_while_much_is_erased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury, sizes = erasure.bury, []
    monkeypatch.setattr(erasure, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(erasure, "piece", lambda most, took_s: 100)
    with Journal(tmp_path / "log.db") as journal:
        for n in range(6000):
            spot(journal, "ab"[n % 2], n, text="x" * 800)
        journal.flush()

        def watched(*args: Any) -> Any:
            sizes.append((tmp_path / "log.db-wal").stat().st_size)
            spot(journal, "b", 10_000 + len(sizes))
            return bury(*args)

        monkeypatch.setattr("mellm.stream.log.erasure.bury", watched)
        assert journal.erase(Selection(source="a"), reason="purge").events == 3000
    assert len(sizes) > 20
    assert max(sizes) < 8e6


CUT = """
import os, signal, sys
from mellm.stream.log import erasure
from mellm.stream.log.erasure import Selection
from mellm.stream.log.journal import Journal
journal = Journal(sys.argv[1])
where, calls = sys.argv[2], 0
def cut(name):
    true = getattr(erasure, name)
    def instead(*args):
        global calls
        calls += 1
        if calls == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        return true(*args)
    setattr(erasure, name, instead)
cut(where)
journal.erase(Selection(source="a", consent=None), reason="withdrawal")
"""


@pytest.mark.parametrize(
    ("where", "call", "gone"),
    [("intend", 1, False), ("bury", 1, True), ("bury", 3, True), ("done", 1, True)],
    ids=["before it was promised", "before the first piece", "in the middle", "before the last step"],
)
def test_a_kill_in_the_middle_of_an_erasure_leaves_all_or_nothing(
    tmp_path: Path, where: str, call: int, gone: bool
) -> None:
    path = tmp_path / "log.db"
    secret = "smile-of-someone"
    with Journal(path) as journal:
        for n in range(3000):
            spot(journal, "aab"[n % 3], n, text=secret if n % 3 < 2 else "kept")
    ended = subprocess.run(
        [sys.executable, "-c", CUT, str(path), where, str(call)], timeout=120, check=False, env=os.environ
    )
    assert ended.returncode == -signal.SIGKILL
    with Journal(path) as journal:
        left = [r for r in journal.replay() if r.type != EVENTS_ERASED]
        assert sum(r.source == "b" for r in left) == 1000
        assert sum(r.source == "a" for r in left) == (0 if gone else 2000)
        stones = [r.event.data for r in journal.replay() if r.type == EVENTS_ERASED]
        assert sum(d["events"] for d in stones) == (2000 if gone else 0)
        files = b"".join(each.read_bytes() for each in tmp_path.iterdir())
        assert (secret.encode() in files) is not gone
        assert journal.append(MARKER, "", {}, time=0).seq == 3001


def test_an_erasure_that_fails_on_the_way_says_so_and_is_finished_at_the_next_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury, calls = erasure.bury, []

    def full(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise sqlite3.OperationalError("database or disk is full")
        return bury(*args)

    with Journal(tmp_path / "log.db") as journal:
        for n in range(1500):
            spot(journal, "a", n)
        with monkeypatch.context() as patched:
            patched.setattr("mellm.stream.log.erasure.bury", full)
            with pytest.raises(JournalError, match="full"):
                journal.erase(Selection(source="a"), reason="purge")
        assert 0 < sum(r.type != EVENTS_ERASED for r in journal.replay()) < 1500
    with Journal(tmp_path / "log.db") as journal:
        assert [r.type for r in journal.replay()] == [EVENTS_ERASED, EVENTS_ERASED]


def test_a_log_that_nobody_closes_leaves_no_thread_behind() -> None:
    journal = Journal()
    journal.append(MARKER, "", {}, time=0)
    thread = next(t for t in threading.enumerate() if t.name == "mellm-journal")
    before = threading.active_count()
    del journal
    thread.join(30)
    assert threading.active_count() < before
