"""How much is handed on, and that every frame is accounted for."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.stream.capture.buffer import MediaBuffer
from mellm.stream.capture.intake import LOWERED, SET_ASIDE, Intake
from mellm.stream.frames import Gap
from tests.stream.videos import frame_at


def arrive(intake, buffer, *, start, count, step_ms=5.0, segment=0):
    taken = []
    for i in range(count):
        frame = frame_at(start + i * step_ms, segment=segment)
        if intake.takes(frame):
            buffer.put(frame)
            taken.append(round(frame.pts_ns / 1e6))
    return taken


@pytest.mark.parametrize("keep_every", [1, 2, 4, 8])
def test_frames_pass_evenly(keep_every):
    buffer = MediaBuffer("newest")
    intake = Intake("cam", buffer)
    intake.lower(keep_every)
    taken = arrive(intake, buffer, start=0, count=80)
    assert len(taken) == 80 // keep_every
    assert {b - a for a, b in itertools.pairwise(taken)} == {5 * keep_every}
    assert intake.dropped[LOWERED] == 80 - len(taken)
    assert intake.fps == pytest.approx(200)


def test_the_rate_is_that_of_the_newest_segment():
    buffer = MediaBuffer("newest")
    intake = Intake("cam", buffer)
    assert intake.fps == 0
    arrive(intake, buffer, start=0, count=30)
    arrive(intake, buffer, start=150, count=30, step_ms=40.0, segment=1)
    assert intake.fps == pytest.approx(25)


def test_after_frames_that_were_set_aside_comes_a_gap_over_all_of_them():
    buffer = MediaBuffer("newest")
    intake = Intake("cam", buffer)
    arrive(intake, buffer, start=0, count=10)
    intake.lower(0)
    assert arrive(intake, buffer, start=50, count=10) == []
    assert len(buffer) == 0
    intake.lower(1)
    assert arrive(intake, buffer, start=100, count=2) == [100, 105]
    assert buffer.get(0.0) == Gap("cam", 0, 45_000_000, 100_000_000, "overflow", 20)
    assert intake.dropped == {SET_ASIDE: 20}


@given(st.lists(st.one_of(st.sampled_from([0, 1, 2, 4, 8]), st.tuples(st.integers(1, 40)), st.just("get"))))
def test_nothing_is_unaccounted(steps):
    """Arrived = taken out + left out + dropped for want of room + waiting, and each gap tells what it covers."""
    buffer = MediaBuffer("newest")
    intake = Intake("cam", buffer)
    arrived = out = told = 0
    for step in steps:
        if isinstance(step, tuple):
            arrive(intake, buffer, start=5.0 * arrived, count=step[0])
            arrived += step[0]
        elif step == "get":
            item = buffer.get(0.0)
            out += item is not None and not isinstance(item, Gap)
            told += item.frames if isinstance(item, Gap) else 0
        else:
            intake.lower(step)
    assert arrived == out + sum(intake.dropped.values()) + buffer.overflowed + len(buffer)
    assert told <= intake.dropped[SET_ASIDE] + buffer.overflowed
