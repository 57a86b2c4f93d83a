import asyncio
import logging
import time

from mellm.engine.analysis.watchdog import LOOP, Heartbeats, Watchdog
from mellm.stream.clock import ManualClock
from tests.reliability.figures import record


def test_what_beats_in_time_is_well_and_what_ended_is_not_missed():
    beats = Heartbeats()
    beats.heartbeat("a", 0.0, 1.0)
    beats.heartbeat("b", 0.0, 5.0)
    assert beats.stalls(1.0) == []
    assert [(s.name, s.seconds) for s in beats.stalls(7.0)] == [("a", 7.0), ("b", 7.0)]
    beats.heartbeat("a", 7.0, 1.0)
    beats.drop("b")
    assert beats.stalls(7.5) == []


def test_a_stall_is_told_once_with_stacks_and_once_when_it_is_over(caplog):
    clock, alive = ManualClock(), []
    dog = Watchdog(clock=clock, on_alive=lambda: alive.append(1))
    dog.heartbeat("worker", 1.0)
    assert dog.check() == []
    clock.advance(2.0)
    with caplog.at_level(logging.WARNING):
        dog.check()
        dog.check()
        assert dog.unhealthy == "worker has stood still for 2.0 s"
        dog.heartbeat("worker", 1.0)
        dog.check()
    assert dog.unhealthy is None
    on_change = [r.getMessage() for r in caplog.records]
    assert len(on_change) == 2
    assert on_change[0].startswith("worker has stood still for 2.0 s\nthread ")
    assert "thread MainThread:" in on_change[0]
    assert on_change[1] == "worker recovered"
    assert len(alive) == 2


async def test_f14_a_blocked_event_loop_is_reported_with_its_stack(caplog):
    with Watchdog(tick_s=0.1) as dog, caplog.at_level(logging.ERROR):
        follower = asyncio.create_task(dog.follow_loop())
        await asyncio.sleep(0.2)
        assert dog.unhealthy is None
        start = time.monotonic()
        while not caplog.records and time.monotonic() - start < 20:
            time.sleep(0.05)  # noqa: ASYNC251 - this is the fault
        told_after = time.monotonic() - start
        record("F14", "C", run="blocked event loop", told_after_s=round(told_after, 2))
        assert caplog.records[0].getMessage().startswith(LOOP)
        assert "in test_f14_a_blocked_event_loop" in caplog.records[0].getMessage()
        await asyncio.sleep(0.2)
        assert dog.unhealthy is None
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)
    assert dog._heartbeats.stalls(time.monotonic() + 100) == []
