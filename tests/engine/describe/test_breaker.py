import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.engine.describe.breaker import CircuitBreaker


def opened(now: float = 0.0) -> CircuitBreaker:
    breaker = CircuitBreaker()
    assert [breaker.failed(now) for _ in range(5)] == [False] * 4 + [True]
    return breaker


def test_it_opens_after_five_failures_in_a_row_and_a_success_starts_the_count_anew():
    breaker = CircuitBreaker()
    for _ in range(4):
        breaker.failed(0.0)
    assert not breaker.succeeded()
    for _ in range(4):
        assert not breaker.failed(0.0)
    assert breaker.admit(0.0) == 0
    assert breaker.failed(0.0)
    assert breaker.admit(0.0) == 1.0
    assert breaker.state(0.5) == "open"


def test_one_probe_at_a_time_and_its_success_closes():
    breaker = opened()
    assert breaker.state(1.0) == "half-open"
    assert breaker.admit(1.0) == 0
    assert breaker.admit(1.0) > 0
    assert breaker.succeeded()
    assert breaker.admit(1.0) == breaker.admit(1.0) == 0
    assert breaker.state(1.0) == "closed"


def test_failed_probes_double_the_pause_up_to_the_longest():
    breaker, now, pauses = opened(), 0.0, []
    for _ in range(4):
        wait = breaker.admit(now)
        pauses.append(wait)
        now += wait
        assert breaker.admit(now) == 0
        assert not breaker.failed(now)
    assert pauses == [1, 2, 4, 4]


def test_failures_of_calls_from_before_do_not_lengthen_the_pause():
    breaker = opened()
    for _ in range(10):
        breaker.failed(0.5)
    assert breaker.admit(1.0) == 0


def test_a_probe_that_is_lost_does_not_keep_everybody_out():
    breaker = opened()
    assert breaker.admit(1.0, patience_s=10) == 0
    assert breaker.admit(10.9) > 0
    assert breaker.admit(11.0) == 0


def test_a_probe_that_proved_nothing_leaves_its_place_to_another():
    breaker = opened()
    assert breaker.admit(1.0) == 0
    breaker.withdrawn()
    assert breaker.admit(1.0) == 0


@given(st.lists(st.tuples(st.sampled_from("asf"), st.floats(0, 3)), max_size=60))
def test_nobody_waits_longer_than_the_longest_pause_once_probes_report(steps):
    breaker, now = CircuitBreaker(), 0.0
    for what, later in steps:
        now += later
        if what == "a":
            assert 0 <= breaker.admit(now, patience_s=4.0) <= 4.0
        elif what == "s":
            breaker.succeeded()
            assert breaker.admit(now) == 0
        else:
            breaker.failed(now)
    assert breaker.admit(now + 8.1) == 0


@pytest.mark.parametrize("wrong", [{"threshold": 0}, {"pause_s": 0}, {"pause_s": 5, "longest_s": 4}])
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="positive"):
        CircuitBreaker(**wrong)
