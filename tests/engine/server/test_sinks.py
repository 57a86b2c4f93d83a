from __future__ import annotations

from pathlib import Path

from mellm.engine.evidence.store import EvidenceStore
from mellm.engine.server.sinks import HubSink
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal, Record


def test_events_reach_the_journal_and_maps_stay_in_memory(tmp_path: Path) -> None:
    store = EvidenceStore()
    with Journal() as journal:
        sink = HubSink(Hub(journal), store)
        sink.publish("face.appeared", "desk", {"track": 1}, 40_000_000)
        sink.evidence("abc", b"png")
        journal.flush()
        (record,) = journal.replay()
    assert record.event.data == {"track": 1, "t_ns": "40000000", "t_ms": 40.0}
    assert store.get("abc") == b"png"
    assert not list(tmp_path.iterdir())


def test_maps_are_kept_on_disk_only_when_asked_for(tmp_path: Path) -> None:
    with Journal() as journal:
        HubSink(Hub(journal), EvidenceStore(tmp_path / "maps")).evidence("abc", b"png")
    assert (tmp_path / "maps" / "abc.png").read_bytes() == b"png"


def test_a_folder_that_cannot_be_written_does_not_stop_the_camera(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = EvidenceStore(tmp_path / "file")
    with Journal() as journal:
        HubSink(Hub(journal), store).evidence("abc", b"png")
    assert store.get("abc") == b"png"


async def test_two_faces_in_one_frame_both_have_their_score_told() -> None:
    with Journal() as journal:
        hub = Hub(journal)
        hub.attach()
        reader = hub.subscribe()
        sink = HubSink(hub, EvidenceStore())
        for track, me in ((1, 0.2), (2, 0.4), (1, 0.6)):
            sink.publish("score", "desk", {"track": track, "me": me}, 40_000_000)
        hub.flush()
        told = [await reader.next() for _ in range(3)]  # and one notice of what was passed over
    assert {(r.event.data["track"], r.event.data["me"]) for r in told if isinstance(r, Record)} == {
        (1, 0.6),
        (2, 0.4),
    }
    assert reader.totals.coalesced == 1
