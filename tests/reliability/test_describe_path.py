"""L6, F7, F8: the describe path under load and with a model server that dies, hangs and misbehaves."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from tests import PATIENCE_S
from tests.engine.serving import free_port
from tests.reliability.describing import ModelProcess, Watched
from tests.reliability.figures import percentile, record

SLACK_S = 10.0
"""What a busy machine may add to a deadline; the true figures are recorded."""


def test_l6_ten_a_second_into_a_model_of_one_a_second() -> None:
    _overload(7.0, 5.0, 32, "C")


@pytest.mark.slow
def test_l6_for_a_minute() -> None:
    _overload(60.0, 10.0, 64, "N")


def _overload(seconds: float, deadline_s: float, capacity: int, tier: str) -> None:
    """The queue stays bounded, the lowest scores go first, nobody gets an answer that is too old."""
    model = ModelProcess(free_port(), delay_s=1.0)
    watched = Watched(model.url, deadline_s=deadline_s, capacity=capacity)
    rng = random.Random(6)
    try:
        until, number = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            watched.submit(number, rng.random())
            number += 1
            time.sleep(0.1)
        assert watched.queue.drain(PATIENCE_S)
        sums = watched.balance()
    finally:
        watched.queue.close()
        model.kill()
    answered = [watched.ages[n] for n, o in watched.outcomes.items() if o.state == "described"]
    record(
        "L6",
        tier,
        seconds=seconds,
        deadline_s=deadline_s,
        capacity=capacity,
        sums=sums,
        most_waiting=watched.most_waiting,
        p99_age_s=round(percentile(answered, 0.99), 2),
    )
    assert answered
    assert watched.most_waiting <= capacity + 1  # and the one that is being asked
    assert max(answered) <= deadline_s + SLACK_S
    assert set(watched.states) <= {"described", "overflow", "deadline", "describer_timeout"}


@pytest.mark.parametrize("seed", range(2))
def test_f7_the_model_server_is_killed_and_comes_back(seed: int) -> None:
    _killed(seed, down_s=3.0, deadline_s=PATIENCE_S, tier="C")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_f7_thirty_seconds_away(seed: int) -> None:
    _killed(seed, down_s=30.0, deadline_s=10.0, tier="N")


def _killed(seed: int, down_s: float, deadline_s: float, tier: str) -> None:
    """Expressions wait for the model up to their deadline; the probe finds it soon after its return."""
    rng = random.Random(seed)
    port = free_port()
    model = ModelProcess(port, delay_s=0.2)
    watched = Watched(model.url, deadline_s=deadline_s)
    number = 0

    def feed(seconds: float) -> None:
        nonlocal number
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            watched.submit(number)
            number += 1
            time.sleep(rng.uniform(0.2, 0.6))

    try:
        feed(1.0)
        watched.submit(number)
        number += 1
        time.sleep(rng.uniform(0.0, 0.2))  # mid-request
        model.kill()
        killed = time.monotonic()
        feed(down_s)
        model = ModelProcess(port, delay_s=0.05)
        back = time.monotonic()
        feed(1.0)
        while not (answered := [n for n in watched.described() if watched.ended[n] > back]):
            assert time.monotonic() - back < PATIENCE_S, "the model is back, and nobody asks it"
            feed(0.5)
        assert watched.queue.drain(PATIENCE_S)
        sums = watched.balance()
    finally:
        watched.queue.close()
        model.kill()
    described = watched.described()
    recovery = min(watched.ended[n] for n in answered) - back
    early = [n for n, o in watched.outcomes.items() if o.state == "dropped" and watched.ages[n] < 5.0]
    record(
        "F7",
        tier,
        run=seed,
        down_s=round(back - killed, 2),
        recovery_s=round(recovery, 2),
        oldest_answered_s=round(max(watched.ages[n] for n in described), 2),
        sums=sums,
    )
    assert max(watched.ages[n] for n in described) <= deadline_s + SLACK_S
    assert not early, "given up although there was time"
    if down_s < deadline_s / 2:
        assert set(watched.states) == {"described"}


BAD = ("hang", "drip", "empty", "400", "422", "429", "500", "503", "cut-json")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    model = ModelProcess(free_port(), delay_s=0.0)
    yield model.url
    model.kill()


@pytest.mark.parametrize("mode", BAD)
def test_f8_every_expression_has_an_end_in_time(endpoint: str, mode: str) -> None:
    """Whatever the endpoint does, each job ends, and no later than its deadline."""
    watched = Watched(endpoint, mode, deadline_s=2.0)
    try:
        for number in range(3):
            watched.submit(number)
        assert watched.queue.drain(PATIENCE_S)
        sums = watched.balance()
    finally:
        watched.queue.close()
    worst = max(watched.ages.values())
    record(
        "F8", "C", run=mode, deadline_s=2.0, longest_s=round(worst, 2), ends=dict(watched.states), sums=sums
    )
    expected = {
        "hang": {"describer_timeout", "deadline"},
        "drip": {"describer_timeout", "deadline"},
        "empty": {"empty_answer"},
        "400": {"describer_rejected"},
        "422": {"describer_rejected"},
        "cut-json": {"answer_invalid"},
    }.get(mode, {"describer_unavailable", "describer_paused", "deadline"})
    assert set(watched.states) <= expected
    assert worst <= 2.0 + SLACK_S
