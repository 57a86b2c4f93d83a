import logging

import pytest

from mellm.engine.server.process.state_log import StateLog
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> StateLog:
    caplog.set_level(logging.INFO, "mellm.engine.server.process.state_log")
    return StateLog()


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (r.levelname, r.getMessage())
        for r in caplog.records
        if r.name == "mellm.engine.server.process.state_log"
    ]


def test_one_line_for_each_change(log: StateLog, caplog: pytest.LogCaptureFixture) -> None:
    hub = Hub(Journal())
    hub.observe(log)
    hub.publish_threadsafe("source.online", "cam", {"width": 640, "height": 480})
    hub.publish_threadsafe(
        "source.offline", "cam", {"code": "source_stalled", "message": "no frame for 2.5 s"}
    )
    for attempt in range(20):
        data = {"code": "source_unreachable", "message": "m", "attempt": attempt, "delay_s": attempt / 3}
        hub.publish_threadsafe("source.reconnecting", "cam", data)
    hub.publish_threadsafe("source.reconnecting", "cam", {"code": "source_auth", "message": "m"})
    hub.publish_threadsafe("source.online", "cam", {"width": 640, "height": 480})
    hub.journal.close()
    assert lines(caplog) == [
        ("INFO", "cam online: 640×480"),
        ("WARNING", "cam offline: source_stalled"),
        ("WARNING", "cam reconnecting: source_unreachable"),
        ("WARNING", "cam reconnecting: source_auth"),
        ("INFO", "cam online: 640×480"),
    ]


def test_sources_do_not_mix_and_gaps_are_summed_up(log: StateLog, caplog: pytest.LogCaptureFixture) -> None:
    for source in ("a", "b"):
        log("source.online", source, {})
    for _ in range(300):
        log("source.gap", "a", {})
    log("source.picture", "b", {"state": "frozen"})
    log("source.picture", "b", {"state": "live"})
    less = {"degraded": True, "message": "200 → 100 - lower its rate", "reason": "overload"}
    for data in (less, less, {**less, "degraded": False, "reason": "recovered", "message": "100 → 200"}):
        log("source.degraded", "b", data)
    log("source.ended", "a", {})
    log("expression.spotted", "a", {"id": "e"})
    assert lines(caplog)[2:] == [
        ("WARNING", "b picture frozen"),
        ("INFO", "b picture live"),
        *[("WARNING", "b: 200 → 100 - lower its rate")] * 2,
        ("INFO", "b: 100 → 200"),
        ("INFO", "a ended (300 gaps before)"),
    ]
    record = caplog.records[-1]
    assert (record.source, record.state, record.gaps) == ("a", "ended", 300)  # type: ignore[attr-defined]
