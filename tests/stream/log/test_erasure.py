"""Erased events are gone from the files, and a replay says where they were."""

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.stream.errors import JournalError
from mellm.stream.log.erasure import DAY_NS, Selection
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal, Retention
from mellm.stream.log.subscriber import ReplayDone
from mellm.stream.protocol.events import EVENTS_ERASED, EXPRESSION_SPOTTED, FACE_APPEARED, MARKER, Filter
from tests.stream.spoken import problems

SECRET = "smile-of-someone"
DAY = 20_000 * DAY_NS


def spot(journal: Journal, source: str, id: str, *, at: int = DAY, **more: object) -> None:
    journal.append(EXPRESSION_SPOTTED, source, {"id": id, "score": 0.5, **more}, time=at, id=id)


def bytes_on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.parametrize("what", [{}, {"source": ""}, {"consent": ""}, {"expression": "", "source": "a"}])
def test_a_selection_of_everything_is_refused(what: dict) -> None:
    with pytest.raises(ValueError, match="selection"):
        Selection(**what)


def test_the_bytes_are_gone_from_every_file_and_the_numbers_stay(tmp_path: Path) -> None:
    with Journal(tmp_path / "log.db") as journal:
        for n in range(300):
            spot(journal, "a" if n % 3 else "b", f"e{n}", text=f"{SECRET}-{n % 3}" * 20)
        assert f"{SECRET}-1".encode() in bytes_on_disk(tmp_path)
        epoch = journal.epoch
        found = journal.erase(Selection(source="a"), reason="purge")
        assert (found.events, found.sources, found.wiped) == (200, {"a"}, True)
        assert found.expressions == tuple(f"e{n}" for n in range(300) if n % 3)
        on_disk = bytes_on_disk(tmp_path)  # while the journal is open
        assert f"{SECRET}-1".encode() not in on_disk
        assert f"{SECRET}-2".encode() not in on_disk
        assert on_disk.count(f"{SECRET}-0".encode()) == 100 * 20
        assert (journal.epoch, journal.last_seq) == (epoch, 300)
        journal.append(MARKER, "a", {"label": "later"}, time=DAY)
        assert journal.last_seq == 301
    with Journal(tmp_path / "log.db") as journal:
        assert (journal.first_seq, journal.last_seq) == (1, 301)


def test_what_an_older_version_has_freed_goes_with_vacuum(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with Journal(path) as journal:
        for n in range(50):
            spot(journal, "a", f"e{n}", text=SECRET * 100)
    careless = sqlite3.connect(path)
    careless.execute("PRAGMA secure_delete=OFF")
    careless.execute("DELETE FROM events WHERE seq > 1")
    careless.commit()
    careless.close()
    assert SECRET.encode() in path.read_bytes()
    with Journal(path) as journal:
        journal.erase(Selection(source="a"), reason="purge", vacuum=True)
        assert SECRET.encode() not in bytes_on_disk(tmp_path)


def test_retention_by_age_wipes_too(tmp_path: Path) -> None:
    with Journal(tmp_path / "log.db") as journal:
        for n in range(40):
            spot(journal, "a", f"e{n}", at=n * DAY_NS, text=f"{SECRET}-{n // 20}" * 100)
        assert journal.prune(Retention(max_age_s=20 * 86_400), now=40 * DAY_NS) == 20
        assert f"{SECRET}-0".encode() not in bytes_on_disk(tmp_path)
        assert f"{SECRET}-1".encode() in bytes_on_disk(tmp_path)


SOURCES = ("a", "b", "")
LOGS = st.lists(
    st.tuples(st.sampled_from(SOURCES), st.sampled_from(("x", "y", None)), st.integers(0, 9)), max_size=40
)
PARTS = st.fixed_dictionaries(
    {},
    optional={
        "source": st.sampled_from(SOURCES[:2]),
        "consent": st.sampled_from(("x", "y")),
        "before_ns": st.integers(0, 10).map(lambda day: day * DAY_NS),
        "expression": st.integers(0, 40).map(lambda n: f"e{n}"),
    },
)


@given(log=LOGS, selections=st.lists(PARTS.filter(bool), min_size=1, max_size=3))
def test_every_number_is_either_there_or_told_as_erased(log: list, selections: list[dict]) -> None:
    with Journal() as journal:
        left: dict[int, tuple[str, str | None, int]] = {}
        for number, (source, consent, day) in enumerate(log, 1):
            data = {"label": SECRET} | ({} if consent is None else {"consent": consent})
            journal.append(EXPRESSION_SPOTTED, source, data, time=day * DAY_NS, id=f"e{number}")
            left[number] = source, consent, day
        gone: dict[int, str] = {}
        for parts in selections:
            expected = {
                n
                for n, (source, consent, day) in left.items()
                if parts.get("source") in (None, source)
                and parts.get("consent") in (None, consent)
                and parts.get("expression") in (None, f"e{n}")
                and day * DAY_NS < parts.get("before_ns", 10**30)
            }
            what = Selection(**parts)
            foreseen = journal.erase(what, reason="purge", dry_run=True)
            found = journal.erase(what, reason="purge")
            assert found == foreseen
            assert found.events == len(expected)
            gone |= {n: left.pop(n)[0] for n in expected}
        told: dict[int, int] = {}
        for record in journal.replay():
            event = record.event
            assert record.seq is not None
            if record.type != EVENTS_ERASED:
                assert record.seq in left
                continue
            assert not problems(record.payload)
            data = event.data
            assert data["to_seq"] == record.seq
            assert data["events"] == data["to_seq"] - data["from_seq"] + 1
            for number in range(data["from_seq"], data["to_seq"] + 1):
                assert gone[number] == record.source
                told[number] = told.get(number, 0) + 1
        assert told == dict.fromkeys(gone, 1)
        assert journal.last_seq == len(log)


def test_a_replay_tells_of_erased_events_whatever_types_were_chosen_but_not_of_other_sources(
    tmp_path: Path,
) -> None:
    with Journal(tmp_path / "log.db") as journal:
        journal.append(FACE_APPEARED, "a", {"track": 1}, time=DAY + 5)
        spot(journal, "a", "e1", at=DAY + 6)
        spot(journal, "b", "e2", at=DAY + 7)
        journal.erase(Selection(source="a"), reason="withdrawal")
        wanted = Filter(types=frozenset({EXPRESSION_SPOTTED}), min_score=0.9)
        (stone,) = journal.read(0, wanted=wanted)
        assert stone.event.data == {"reason": "withdrawal", "events": 2, "from_seq": 1, "to_seq": 2}
        assert stone.event.time == DAY  # not the moment
        assert not journal.read(0, wanted=Filter(sources=frozenset({"c"}), whole_server=False))
        assert wanted.matches(EVENTS_ERASED, "a", None)
        # the day of a tombstone does not hold up retention, and a stone is not erased again
        assert journal.erase(Selection(source="a"), reason="purge").events == 0
        assert journal.prune(Retention(max_age_s=1), now=DAY + 10**10) == 2
        assert journal.first_seq == 4


async def test_a_reader_that_comes_back_gets_the_stone_and_no_repetition() -> None:
    with Journal() as journal:
        hub = Hub(journal)
        hub.attach()
        for n in range(6):
            spot(journal, "a" if n < 4 else "b", f"e{n}")
        hub.attach()
        journal.erase(Selection(source="a"), reason="purge")
        reader = hub.subscribe(after=type(journal.position)(journal.epoch, 2))
        seen = [await reader.next() for _ in range(4)]
        assert [item.seq for item in seen[:3]] == [4, 5, 6]
        assert isinstance(seen[3], ReplayDone)


def test_an_erasure_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(tmp_path / "log.db") as journal:
        spot(journal, "a", "e1")
        spot(journal, "b", "e2")
        spot(journal, "a", "e3")
        monkeypatch.setattr("mellm.stream.log.erasure.wire.encode", lambda event: 1 / (event.seq - 3))
        with pytest.raises(ZeroDivisionError):
            journal.erase(Selection(source="a"), reason="purge")
        monkeypatch.undo()
        assert [record.id for record in journal.replay()] == ["e1", "e2", "e3"]
        assert journal.erase(Selection(source="a"), reason="purge").events == 2
    with pytest.raises(JournalError, match="closed"):
        journal.erase(Selection(source="a"), reason="purge")


def test_a_fact_beside_the_log_survives_a_restart(tmp_path: Path) -> None:
    with Journal(tmp_path / "log.db") as journal:
        assert journal.note("withdrawn:a") is None
        journal.note("withdrawn:a", "ref-1")
    with Journal(tmp_path / "log.db") as journal:
        assert journal.note("withdrawn:a") == "ref-1"
