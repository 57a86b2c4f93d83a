"""The log: no holes, one epoch over restarts, nothing kept twice, errors that say what to do."""

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.stream.errors import JournalError
from mellm.stream.log.journal import Journal, Retention
from mellm.stream.protocol.events import EXPRESSION_SPOTTED, MARKER, Filter


def fill(journal: Journal, count: int, *, source: str = "cam", start: int = 0) -> None:
    for i in range(start, start + count):
        journal.append(EXPRESSION_SPOTTED, source, {"id": f"e{i}", "score": i % 10 / 10}, time=i * 10**9)


def test_numbers_have_no_holes_however_many_threads_write(tmp_path: Path) -> None:
    with Journal(tmp_path / "log.db") as journal:
        threads = [
            threading.Thread(target=fill, args=(journal, 100), kwargs={"source": f"cam{n}"}) for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [record.seq for record in journal.replay()] == list(range(1, 401))
        assert [record.event.seq for record in journal.replay(398)] == [399, 400]


def test_a_restart_goes_on_in_the_same_epoch(tmp_path: Path) -> None:
    with Journal(tmp_path / "log.db") as journal:
        fill(journal, 3)
        epoch, before = journal.epoch, list(journal.replay())
    with Journal(tmp_path / "log.db") as journal:
        assert journal.epoch == epoch
        assert list(journal.replay()) == before
        assert journal.append(MARKER, "", {}, time=0).seq == 4


def test_two_journals_have_two_epochs() -> None:
    assert Journal().epoch != Journal().epoch


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path / "log.db"), pytest.raises(JournalError, match="in use"):
        Journal(tmp_path / "log.db")
    Journal(tmp_path / "log.db").close()


@pytest.mark.parametrize("content", [b"this is no database, but it is long enough to look" * 20, b"x"])
def test_a_file_that_is_no_journal_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.db"
    path.write_bytes(content)
    with pytest.raises(JournalError, match="cannot open"):
        Journal(path)
    assert path.read_bytes() == content


def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file" / "log.db", tmp_path):
        with pytest.raises(JournalError, match="writable"):
            Journal(path)


def test_another_format_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path / "log.db").close()
    with sqlite3.connect(tmp_path / "log.db") as db:
        db.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    db.close()
    with pytest.raises(JournalError, match="format 99"):
        Journal(tmp_path / "log.db")


def test_a_failed_write_spends_no_number(tmp_path: Path) -> None:
    with Journal(tmp_path / "log.db") as journal:
        fill(journal, 1)
        db = journal._writer.db
        db.execute("PRAGMA query_only = 1")
        with pytest.raises(JournalError, match="free space"):
            fill(journal, 1)
        with pytest.raises(ValueError, match="JSON"):
            journal.append(MARKER, "", {"x": float("nan")}, time=0)
        db.execute("PRAGMA query_only = 0")
        assert journal.append(MARKER, "", {}, time=0).seq == 2
        assert [record.seq for record in journal.replay()] == [1, 2]


def test_a_full_disk_is_an_error_until_there_is_room(tmp_path: Path) -> None:
    with Journal(tmp_path / "log.db") as journal:
        db = journal._writer.db
        db.execute("PRAGMA max_page_count = 40")
        with pytest.raises(JournalError, match="full"):
            fill(journal, 10_000)
        full = journal.last_seq
        assert 0 < full < 10_000
        assert [record.seq for record in journal.replay()] == list(range(1, full + 1))
        db.execute("PRAGMA max_page_count = 10000")
        fill(journal, 1)
        assert journal.last_seq == full + 1


def test_what_was_written_survives_a_killed_process(tmp_path: Path) -> None:
    code = (
        "import sys; from mellm.stream.log.journal import Journal; journal = Journal(sys.argv[1])\n"
        "while True: print(journal.append('marker', '', {}, time=0).seq, flush=True)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "log.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        while int(writer.stdout.readline()) < 200:
            pass
        writer.kill()
        told = [int(line) for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    with Journal(tmp_path / "log.db") as journal:
        assert journal.last_seq >= max(told, default=200)
        assert [record.seq for record in journal.replay()] == list(range(1, journal.last_seq + 1))


def test_readers_do_not_hold_up_the_writer(tmp_path: Path) -> None:
    with Journal(tmp_path / "log.db") as journal:
        fill(journal, 10)
        with journal._read_lock:  # a reader in the middle of its page
            fill(journal, 10)
        assert len(journal.read(0)) == 20


def test_a_closed_journal_says_so() -> None:
    journal = Journal()
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.append(MARKER, "", {}, time=0)
    with pytest.raises(JournalError, match="closed"):
        journal.read(0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", ""]), st.sampled_from([MARKER, EXPRESSION_SPOTTED]), st.floats(0, 1)
        ),
        max_size=30,
    ),
    st.builds(
        Filter,
        st.none() | st.frozensets(st.sampled_from(["a", "b"]), min_size=1),
        st.none() | st.frozensets(st.sampled_from([MARKER, EXPRESSION_SPOTTED])),
        st.floats(0, 1),
    ),
    st.integers(0, 30),
    st.integers(1, 5),
)
def test_replay_filters_as_live_does(
    written: list[tuple[str, str, float]], wanted: Filter, after: int, limit: int
) -> None:
    with Journal() as journal:
        records = [journal.append(type, source, {"score": score}, time=0) for source, type, score in written]
        expected = [r for r in records if (r.seq or 0) > after and wanted.matches(r.type, r.source, r.score)]
        assert list(journal.replay(after, wanted=wanted)) == expected
        assert journal.read(after, limit=limit, wanted=wanted) == expected[:limit]


def test_the_stages_of_one_thing_are_found_by_its_id() -> None:
    with Journal() as journal:
        fill(journal, 5)
        journal.append("expression.described", "cam", {"id": "e2"}, time=0, id="e2")
        journal.append("expression.spotted", "cam", {"id": "e2"}, time=0, id="e2")
        assert [record.seq for record in journal.about("e2")] == [6, 7]


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        (Retention(max_events=3), [8, 9, 10]),
        (Retention(max_age_s=4.0), [7, 8, 9, 10]),
        (Retention(max_age_s=0.1), []),
        (Retention(max_events=50), list(range(1, 11))),
        (Retention(max_events=2, max_age_s=4.0), [9, 10]),
    ],
)
def test_what_is_forgotten_is_a_prefix_and_numbers_go_on(
    tmp_path: Path, rule: Retention, left: list[int]
) -> None:
    with Journal(tmp_path / "log.db") as journal:
        fill(journal, 10)  # at seconds 0 … 9
        gone = journal.prune(rule, now=10 * 10**9)
        assert gone == 10 - len(left)
        assert journal.prune(rule, now=10 * 10**9) == 0
        assert [record.seq for record in journal.replay()] == left
        assert (journal.first_seq, journal.last_seq) == (gone + 1, 10)
    with Journal(tmp_path / "log.db") as journal:
        assert (journal.first_seq, journal.last_seq) == (gone + 1, 10)
        assert journal.append(MARKER, "", {}, time=0).seq == 11


def test_memory_keeps_a_bounded_number() -> None:
    with Journal(retention=Retention(max_events=100)) as journal:
        fill(journal, 3000)
        assert journal.last_seq == 3000
        assert len(list(journal.replay())) <= 100 + 1024
    with Journal() as journal:
        assert journal.retention.max_events is not None


@pytest.mark.parametrize("wrong", [{"max_events": 0}, {"max_age_s": 0.0}, {"max_age_s": float("nan")}])
def test_retention_is_checked(wrong: dict) -> None:
    with pytest.raises(ValueError, match="positive"):
        Retention(**wrong)
