import threading
import time

import pytest

from mellm.stream.clock import ManualClock, MonotonicClock
from mellm.stream.clock import clock as media_time
from tests import PATIENCE_S


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
    assert ended.wait(PATIENCE_S)


def test_manual_wait_ends_with_the_event():
    event = threading.Event()
    event.set()
    assert ManualClock().wait(event, 600.0)


def test_time_does_not_run_backwards():
    with pytest.raises(ValueError, match="backwards"):
        ManualClock().advance(-1.0)


@pytest.mark.parametrize(
    ("ms", "said"),
    [(0, "00:00.000"), (61_001, "01:01.001"), (3_599_999.9, "1:00:00.000"), (36e6, "10:00:00.000")],
)
def test_media_time(ms, said):
    assert media_time(ms) == said


def test_media_time_as_captions_and_axes_want_it():
    assert media_time(61_001, hours=True, mark=",") == "00:01:01,001"
    assert media_time(59_600, 0) == "01:00"
    assert media_time(3_661_040, 1) == "1:01:01.0"
