import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mellm.stream.capture.reconnect import STEPS_S, Backoff, BackoffOptions, judge
from mellm.stream.errors import (
    SourceNotFound,
    SourceTimeout,
    SourceUnauthorized,
    SourceUnreachable,
    SourceUnsupported,
    UsageError,
)


def test_a_dead_camera_is_asked_at_most_forty_times_in_ten_minutes():
    for seed in range(50):
        backoff, now, tries = Backoff(rng=random.Random(seed)), 0.0, 0
        while now < 600.0:
            tries += 1
            now += backoff.delay_s(tries, "failed")
        assert tries <= 40


@given(st.floats(0.0, 5.0), st.integers(0, 2**32))
@example(5.0, 80100)  # jitter that shortened the early steps once let a long one begin before five seconds
def test_short_outages_are_noticed_to_be_over_soon(outage_s, seed):
    """users row 1: tried again within 1.25 s of the end of an outage of up to 5 s."""
    backoff, now, attempt = Backoff(rng=random.Random(seed)), 0.0, 0
    while now < outage_s:
        attempt += 1
        now += backoff.delay_s(attempt, "lost")
    assert now - outage_s <= 1.25


@given(st.integers(1, 10_000), st.integers(0, 2**32))
def test_jitter_keeps_to_its_part(attempt, seed):
    delay = Backoff(rng=random.Random(seed)).delay_s(attempt, "lost")
    step = STEPS_S[min(attempt, len(STEPS_S)) - 1]
    assert 0.8 * step <= delay <= 1.2 * step


def test_a_refusal_waits_the_longest_step_at_once():
    assert Backoff(BackoffOptions(jitter=0.0)).delay_s(1, "refused") == 30.0


@pytest.mark.parametrize("bad", [{"steps_s": ()}, {"steps_s": (-1.0,)}, {"jitter": 1.0}])
def test_bad_options_are_refused(bad):
    with pytest.raises(ValueError):
        BackoffOptions(**bad)


@pytest.mark.parametrize(
    ("error", "was", "ever", "verdict"),
    [
        (SourceUnreachable("x"), False, False, "failed"),
        (SourceTimeout("x"), False, True, "failed"),
        (SourceUnreachable("x"), True, True, "lost"),
        (SourceUnauthorized("x"), False, False, None),
        (SourceUnauthorized("x"), False, True, "refused"),
        (SourceUnsupported("x"), False, False, None),
        (SourceUnsupported("x"), True, True, "lost"),
        (SourceNotFound("x"), False, False, "failed"),
        (UsageError("x"), True, True, None),
    ],
)
def test_verdicts(error, was, ever, verdict):
    assert judge(error, was_online=was, ever_online=ever, may_appear=True) == verdict


def test_a_missing_file_does_not_appear():
    error = SourceNotFound("x")
    assert judge(error, was_online=False, ever_online=False, may_appear=False) is None
