"""Limits, pauses and patience on a clock that a test moves by hand."""

from __future__ import annotations

import random
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.engine.describe.retry import duration, retry_after
from mellm.evaluation.compare.limits import Backoff, Fault, Limiter, Patience, Streak


def times(limiter: Limiter, costs: list[int], now: float = 0.0) -> list[float]:
    """When requests go that are all ready at once."""
    gone = []
    for cost in costs:
        while wait := limiter.wait(now, cost):
            now += wait
        limiter.take(now, cost)
        gone.append(now)
    return gone


def test_without_bounds_everything_goes_at_once():
    assert times(Limiter(), [10**6] * 50) == [0.0] * 50


@given(
    st.integers(1, 20), st.lists(st.tuples(st.floats(0, 30), st.integers(0, 500)), min_size=1, max_size=80)
)
def test_no_minute_holds_more_than_the_bounds(bound, arrivals):
    limiter, now, sent = Limiter(bound, 1000), 0.0, []
    for pause, cost in arrivals:
        now += pause
        while wait := limiter.wait(now, cost):
            now += wait
        limiter.take(now, cost)
        sent.append((now, cost))
    for end, _ in sent:
        inside = [cost for at, cost in sent if end - 60.0 + 1e-6 < at <= end]
        assert len(inside) <= bound
        assert sum(inside) <= 1000


def test_requests_go_as_soon_as_the_window_allows():
    assert times(Limiter(requests=3), [1] * 7) == [0, 0, 0, 60, 60, 60, 120]
    assert times(Limiter(tokens=100), [60, 30, 30, 100]) == [0, 0, 60, 120]


def test_a_request_larger_than_the_bound_goes_alone():
    assert times(Limiter(tokens=100), [500, 10, 500]) == [0, 60, 120]


def test_what_the_endpoint_counted_replaces_the_estimate():
    limiter = Limiter(tokens=100)
    limiter.settle(limiter.take(0.0, 90), 20)
    assert limiter.wait(1.0, 80) == 0
    assert limiter.wait(1.0, 81) == 59


def test_a_hold_is_for_everybody_and_never_shortened():
    limiter = Limiter()
    limiter.hold(10.0)
    limiter.hold(5.0)
    assert limiter.wait(2.0, 1) == limiter.held(2.0) == 8.0
    assert limiter.wait(10.0, 1) == 0


def test_headers_that_tell_what_is_left():
    limiter = Limiter()
    limiter.observe({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1.5s"}, 0.0)
    assert limiter.wait(0.0, 1) == 1.5
    limiter = Limiter()
    limiter.observe({"x-ratelimit-remaining-tokens": "100", "x-ratelimit-reset-tokens": "20s"}, 0.0)
    assert limiter.wait(0.0, 100) == 0
    assert limiter.wait(0.0, 101) == 20
    limiter.take(0.0, 60)
    assert limiter.wait(0.0, 60) == 20
    assert limiter.wait(20.0, 60) == 0
    limiter = Limiter()
    limiter.observe({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6h0m0s"}, 0.0)
    assert limiter.wait(0.0, 1) == 60
    limiter = Limiter()
    limiter.observe({"x-ratelimit-remaining-requests": "soon", "x-ratelimit-remaining-tokens": "nan"}, 0.0)
    assert limiter.wait(0.0, 1) == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("6m0s", 360.0), ("20ms", 0.02), ("1.5s", 1.5), ("12", 12.0), ("1h2m3s", 3723.0), ("-3", 0.0)),
        *(("", None), (None, None), ("soon", None), ("5 s", None), ("nan", None), ("inf", None)),
    ],
)
def test_durations(text, seconds):
    assert duration(text) == (None if seconds is None else pytest.approx(seconds))


def test_retry_after_is_seconds_milliseconds_or_a_date():
    assert retry_after({"retry-after": "7"}, 0.0) == 7
    assert retry_after({"retry-after-ms": "250", "retry-after": "7"}, 0.0) == 0.25
    assert retry_after({"retry-after": formatdate(1_000_030, usegmt=True)}, 1_000_000.0) == 30
    assert retry_after({"retry-after": formatdate(5, usegmt=True)}, 1_000_000.0) == 0
    assert retry_after({"retry-after": "later"}, 0.0) is None
    assert retry_after({}, 0.0) is None


@given(st.integers(1, 1000), st.floats(0, 1), st.none() | st.floats(0, 1e4))
def test_pauses_are_bounded_and_never_shorter_than_asked(tries, spread, asked):
    pause = Backoff().pause(tries, spread, asked)
    assert 0.25 <= pause <= max(30.0, (asked or 0) + 0.5)
    assert pause >= (asked or 0)


def test_pauses_grow_and_differ():
    least = [Backoff().pause(n, 1.0) for n in range(1, 9)]
    assert least == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    spread = {Backoff().pause(3, random.Random(seed).random()) for seed in range(20)}
    assert len(spread) == 20


PASSING = Fault("server_error", "503", retryable=True)


@pytest.mark.parametrize(
    ("fault", "tries", "elapsed", "pause"),
    [
        (PASSING, 1, 0.0, 0.5),
        (PASSING, 2, 0.0, 1.0),
        (PASSING, 3, 0.0, None),
        (PASSING, 1, 9.6, None),
        (Fault("invalid_request", "400"), 1, 0.0, None),
        (Fault("rate_limited", "429", retryable=True, retry_after=5.0), 1, 0.0, 5.0),
        (Fault("rate_limited", "429", retryable=True, retry_after=5.0), 1, 6.0, None),
    ],
)
def test_patience(fault, tries, elapsed, pause):
    assert Patience(tries=3, deadline_s=10.0).next_try(fault, tries, elapsed, 0.0) == pause


def test_a_streak_ends_when_somebody_answers():
    streak = Streak(3)
    assert [streak.away(), streak.away()] == [False, False]
    streak.reached()
    assert [streak.away() for _ in range(3)] == [False, False, True]
