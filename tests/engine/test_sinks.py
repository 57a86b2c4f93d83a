from __future__ import annotations

from pathlib import Path

from engine.http import EvidenceStore
from engine.sinks import HubSink
from stream.hub import Hub
from stream.journal import Journal


def test_events_reach_the_journal_and_maps_stay_in_memory(tmp_path: Path) -> None:
    store = EvidenceStore()
    with Journal() as journal:
        sink = HubSink(Hub(journal), store)
        sink.publish("face.appeared", "desk", {"track": 1}, 40_000_000)
        sink.evidence("abc", b"png")
        (record,) = journal.replay()
    assert record.event.data == {"track": 1, "t_ns": "40000000", "t_ms": 40.0}
    assert store.get("abc") == b"png"
    assert not list(tmp_path.iterdir())


def test_maps_are_kept_on_disk_only_when_asked_for(tmp_path: Path) -> None:
    with Journal() as journal:
        HubSink(Hub(journal), EvidenceStore(), tmp_path / "maps").evidence("abc", b"png")
    assert (tmp_path / "maps" / "abc.png").read_bytes() == b"png"


def test_a_folder_that_cannot_be_written_does_not_stop_the_camera(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = EvidenceStore()
    with Journal() as journal:
        HubSink(Hub(journal), store, tmp_path / "file").evidence("abc", b"png")
    assert store.get("abc") == b"png"
