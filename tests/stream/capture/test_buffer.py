import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.stream.capture.buffer import BufferOptions, MediaBuffer
from mellm.stream.frames import Frame, Gap
from tests import PATIENCE_S, PROMPT_S
from tests.stream.videos import frame_at


def take(buffer):
    items = []
    while (item := buffer.get(0.0)) is not None:
        items.append(item)
    return items


@pytest.mark.parametrize("policy", ["newest", "block"])
def test_items_come_out_in_order(policy):
    buffer = MediaBuffer(policy)
    items = [frame_at(0), Gap("cam", 0, 0, 50_000_000, "pts"), frame_at(50)]
    assert all(buffer.put(item) for item in items)
    assert take(buffer) == items


def test_overflow_in_seconds_drops_the_whole_backlog_and_says_so():
    buffer = MediaBuffer("newest", BufferOptions(seconds=0.1))
    for ms in (0, 40, 80, 120):
        buffer.put(frame_at(ms))
    gap, frame = take(buffer)
    assert gap == Gap("cam", 0, 0, 120_000_000, "overflow", 3)
    assert frame.pts_ns == 120_000_000
    assert buffer.overflowed == 3


def test_overflow_in_bytes():
    buffer = MediaBuffer("newest", BufferOptions(seconds=60.0, max_bytes=100))
    for ms in (0, 10, 20):
        buffer.put(frame_at(ms, pixels=16))
    gap, frame = take(buffer)
    assert (gap.reason, gap.frames, frame.pts_ns) == ("overflow", 2, 20_000_000)


def test_a_single_picture_always_fits():
    buffer = MediaBuffer("block", BufferOptions(max_bytes=1))
    assert buffer.put(frame_at(0, pixels=100))


@pytest.mark.parametrize(
    ("keep_every", "kept"), [(1, [0, 10, 20, 30, 40]), (2, [0, 20, 40]), (4, [0, 40]), (0, [])]
)
def test_what_waits_is_thinned_evenly_and_gaps_stay(keep_every, kept):
    buffer = MediaBuffer("newest")
    gap = Gap("cam", 0, 20_000_000, 30_000_000, "decode")
    for item in (*map(frame_at, (0, 10, 20)), gap, *map(frame_at, (30, 40))):
        buffer.put(item)
    assert buffer.thin(keep_every) == 5 - len(kept)
    assert len(buffer) == len(kept)
    items = take(buffer)
    assert [round(i.pts_ns / 1e6) for i in items if isinstance(i, Frame)] == kept
    assert gap in items
    assert len(buffer) == 0


@given(st.lists(st.one_of(st.just("get"), st.integers(1, 200)), max_size=60))
def test_nothing_is_unaccounted(steps):
    """Put = taken + told as lost in gaps + waiting; the media time of what comes out rises."""
    buffer = MediaBuffer("newest", BufferOptions(seconds=0.3, max_bytes=200))
    put, out, now = 0, [], 0
    for step in steps:
        if step == "get":
            item = buffer.get(0.0)
            out += [] if item is None else [item]
        else:
            now += step
            buffer.put(frame_at(now))
            put += 1
    out += take(buffer)
    frames = [i for i in out if isinstance(i, Frame)]
    lost = sum(i.frames for i in out if isinstance(i, Gap))
    assert put == len(frames) + lost
    assert lost == buffer.overflowed
    assert [f.pts_ns for f in frames] == sorted(f.pts_ns for f in frames)


def test_block_waits_for_room():
    buffer = MediaBuffer("block", BufferOptions(seconds=0.01))
    buffer.put(frame_at(0))
    done = threading.Event()
    threading.Thread(target=lambda: (buffer.put(frame_at(100)), done.set()), daemon=True).start()
    assert not done.wait(0.05)
    assert buffer.get(1.0) is not None
    assert done.wait(PATIENCE_S)
    assert buffer.overflowed == 0


def test_get_gives_up_in_time():
    began = time.monotonic()
    assert MediaBuffer("newest").get(0.02) is None
    assert time.monotonic() - began < PROMPT_S


def test_close_lets_what_waits_be_taken():
    buffer = MediaBuffer("newest")
    buffer.put(frame_at(0))
    buffer.close()
    assert not buffer.put(frame_at(1))
    assert not buffer.drained
    assert buffer.get() is not None
    assert buffer.get() is None
    assert buffer.drained


def test_close_discards_and_counts():
    buffer = MediaBuffer("newest")
    buffer.put(frame_at(0))
    buffer.put(frame_at(30))
    assert buffer.lag_s == pytest.approx(0.03)
    assert buffer.close(discard=True) == 2
    assert buffer.drained
    assert len(buffer) == 0


def test_close_wakes_a_blocked_writer():
    buffer = MediaBuffer("block", BufferOptions(seconds=0.01))
    buffer.put(frame_at(0))
    taken: list[bool] = []
    thread = threading.Thread(target=lambda: taken.append(buffer.put(frame_at(100))), daemon=True)
    thread.start()
    time.sleep(0.02)
    buffer.close()
    thread.join(PATIENCE_S)
    assert taken == [False]
