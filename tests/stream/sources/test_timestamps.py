"""F5: what clocks do, and what becomes of it (users row 5)."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mellm.stream.sources.timestamps import WRAP_33_BIT_NS, RateMeter, Stamp, StampMender

STEP = 33_333_333
HOUR = 3_600_000_000_000

stamps = st.lists(st.one_of(st.none(), st.integers(-(2**62), 2**62), st.integers(0, 10**9)), max_size=60)


def regular(count, start=0, step=STEP):
    return [start + i * step for i in range(count)]


def mend(raw, **options):
    mender = StampMender(STEP, **options)
    return [mender.push(r) for r in raw]


def times(verdicts):
    return [v.pts_ns for v in verdicts]


@given(stamps, st.booleans(), st.sampled_from([None, WRAP_33_BIT_NS]))
def test_media_time_always_rises(raw, from_zero, wrap):
    verdicts = mend(raw, from_zero=from_zero, wrap_ns=wrap)
    out = times(verdicts)
    assert all(b > a for a, b in pairwise(out))
    assert all(v.gap_from_ns is None or v.gap_from_ns < v.pts_ns for v in verdicts)
    assert all(v.gap_from_ns is not None for v in verdicts if v.new_segment)


@given(st.integers(-HOUR, HOUR), st.lists(st.integers(1, 150_000_000), max_size=40))
def test_good_stamps_are_left_alone(start, steps):
    """Variable rates too: nothing under 0.15 s a step is a gap."""
    raw = [start]
    for step in steps:
        raw.append(raw[-1] + step)
    assert mend(raw) == [Stamp(r) for r in raw]


@given(st.integers(-(2**62), 2**62))
def test_cameras_count_from_zero(start):
    assert times(mend(regular(3, start), from_zero=True)) == regular(3)


def test_first_stamp_missing():
    """FFmpeg gives the first picture of an RTSP stream none; the second is then a step later."""
    verdicts = mend([None, *regular(3, 9 * HOUR)], from_zero=True)
    assert times(verdicts) == regular(4)
    assert [v.repaired for v in verdicts] == [True, False, False, False]


def test_missing_in_the_middle():
    verdicts = mend([0, STEP, None, 3 * STEP])
    assert times(verdicts) == regular(4)
    assert verdicts[2].repaired


def test_repeated_stamp_is_squeezed_in_and_flagged():
    verdicts = mend([0, STEP, STEP, 2 * STEP])
    assert [v.repaired for v in verdicts] == [False, False, True, False]
    assert STEP < verdicts[2].pts_ns < 2 * STEP
    assert verdicts[3].pts_ns == 2 * STEP


def test_a_step_back_of_two_frames_is_repaired():
    verdicts = mend([*regular(5), 3 * STEP - STEP // 2, 5 * STEP])
    assert verdicts[5].repaired
    assert not verdicts[5].new_segment
    assert verdicts[6].pts_ns == 5 * STEP


def test_a_clock_that_stands_still_goes_on_at_the_usual_rate():
    verdicts = mend([*regular(4), *[3 * STEP] * 20])
    assert all(v.repaired for v in verdicts[4:])
    assert verdicts[-1].pts_ns - verdicts[-2].pts_ns == STEP


def test_a_restart_begins_a_segment_and_time_goes_on():
    verdicts = mend([*regular(5, 60 * HOUR), *regular(3)], wrap_ns=None)
    assert verdicts[5] == Stamp(60 * HOUR + 5 * STEP, True, 60 * HOUR + 4 * STEP, True)
    assert verdicts[6] == Stamp(60 * HOUR + 6 * STEP)


def test_an_hour_forward_is_a_gap():
    verdicts = mend([*regular(5), *regular(2, HOUR)])
    assert verdicts[5] == Stamp(HOUR, gap_from_ns=4 * STEP)
    assert verdicts[6].gap_from_ns is None


def test_the_wrap_of_33_bits_is_not_seen():
    raw = [r % WRAP_33_BIT_NS for r in regular(40, WRAP_33_BIT_NS - 20 * STEP)]
    verdicts = mend(raw)
    assert times(verdicts) == regular(40, raw[0])
    assert not any(v.repaired or v.gap_from_ns for v in verdicts)


def test_slow_sources_are_not_full_of_gaps():
    mender = StampMender(200_000_000)
    verdicts = [mender.push(r) for r in regular(10, step=200_000_000)]
    assert all(v.gap_from_ns is None for v in verdicts)


def test_usual_step_follows_what_arrives():
    mender = StampMender(STEP)
    for raw in regular(10, step=10_000_000):
        mender.push(raw)
    assert mender.step_ns == 10_000_000


def test_rate_leaves_holes_out():
    meter = RateMeter()
    assert meter.fps is None
    for verdict in mend([*regular(30), *regular(30, HOUR)]):
        meter.push(verdict)
    assert abs(meter.fps - 30.0) < 0.01
