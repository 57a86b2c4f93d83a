import threading
import time

import pytest

from mellm.stream.clock import ManualClock, MonotonicClock


def test_real_clock_waits_no_longer_than_asked():
    clock = MonotonicClock()
    before = clock.now_ns()
    assert not clock.wait(threading.Event(), 0.01)
    assert 0.01 <= (clock.now_ns() - before) / 1e9 < 1.0


def test_manual_wait_ends_when_time_has_come():
    clock = ManualClock()
    ended = threading.Event()

    def wait() -> None:
        clock.wait(threading.Event(), 600.0)
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    time.sleep(0.02)
    clock.advance(599.0)
    assert not ended.wait(0.05)
    clock.advance(1.0)
    assert ended.wait(1.0)


def test_manual_wait_ends_with_the_event():
    event = threading.Event()
    event.set()
    assert ManualClock().wait(event, 600.0)


def test_time_does_not_run_backwards():
    with pytest.raises(ValueError, match="backwards"):
        ManualClock().advance(-1.0)
