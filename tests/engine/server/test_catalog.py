"""What a late client is told."""

from mellm.engine.server.catalog import MAX_DRIFT_NS, Catalog


def test_sources_are_known_before_they_speak_and_keep_the_facts_of_their_last_word() -> None:
    catalog = Catalog(["cam"], models={"spotter": {"sha256": "ab"}})
    assert catalog.sources() == [{"id": "cam", "state": "offline", "preview": False, "push": False}]
    catalog.observe("source.online", "cam", {"width": 640, "state": "x", "id": "y"})
    catalog.observe("source.gap", "cam", {"reason": "decode"})
    catalog.observe("source.online", "door", {})
    catalog.observe("stats", "", {})
    assert catalog.sources() == [
        {"id": "cam", "state": "online", "preview": False, "push": False, "width": 640},
        {"id": "door", "state": "online", "preview": False, "push": False},
    ]
    catalog.observe("source.reconnecting", "cam", {"attempt": 1})
    assert catalog.sources()[0]["state"] == "reconnecting"
    assert catalog.ids() == {"cam", "door"}
    assert catalog.models() == {"spotter": {"sha256": "ab"}}


def test_whether_a_source_has_previews_is_said_and_no_event_changes_it() -> None:
    catalog = Catalog(["cam", "door"], previews=["cam"])
    catalog.observe("source.online", "door", {"preview": True})
    assert [source["preview"] for source in catalog.sources()] == [True, False]


def test_readiness_has_a_reason() -> None:
    catalog = Catalog(ready=False)
    assert catalog.unready == "starting"
    catalog.set_ready()
    assert catalog.unready is None
    catalog.set_ready("the spotter is gone")
    assert catalog.unready == "the spotter is gone"


def test_the_media_clock_runs_on_for_a_second_at_most() -> None:
    catalog = Catalog()
    assert catalog.media_now("cam") is None
    catalog.observe("score", "cam", {"t_ns": "not a time"})
    assert catalog.media_now("cam") is None
    catalog.observe("score", "cam", {"t_ns": "5000000000"})
    first, second = catalog.media_now("cam"), catalog.media_now("cam")
    assert first is not None
    assert second is not None
    assert 5_000_000_000 <= first <= second <= 5_000_000_000 + MAX_DRIFT_NS
