from __future__ import annotations

from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.evaluation.metrics.bootstrap import interval, intervals
from mellm.evaluation.metrics.errors import MetricsError
from mellm.evaluation.metrics.spotting import SpottingScore
from mellm.evaluation.spotting.stats import bootstrap


def mean(items: list[float]) -> float:
    return sum(items) / len(items)


def test_the_interval_covers_the_mean_of_many_people() -> None:
    people = {f"s{k}": [float(k % 10)] for k in range(100)}
    low, high = interval(people, mean, draws=500)
    assert low < 4.5 < high
    assert 0.8 < high - low < 1.5  # 2 · 1.96 · 2.87 / √100 = 1.13


def test_people_are_drawn_whole() -> None:
    people = {"a": [0.0] * 50, "b": [1.0] * 50}  # 100 clips, but two people: nothing is known
    assert interval(people, mean) == (0, 1)


def test_the_same_seed_draws_the_same() -> None:
    people = {f"s{k}": [float(k), float(k**2)] for k in range(7)}
    assert interval(people, mean, seed=3) == interval(people, mean, seed=3)
    assert interval(people, mean, seed=3) != interval(people, mean, seed=4)


def test_one_person_says_nothing() -> None:
    assert all(isnan(v) for v in interval({"a": [1.0, 2.0]}, mean))
    with pytest.raises(MetricsError, match="subjects"):
        interval({}, mean)
    with pytest.raises(MetricsError, match="draw"):
        interval({"a": [1.0]}, mean, draws=0)


def test_it_agrees_with_the_bootstrap_of_pooled_counts() -> None:
    counts = {f"s{k}": SpottingScore(k % 4, (k + 1) % 3, k % 2 + 1) for k in range(12)}
    theirs = bootstrap(counts, resamples=2000, seed=5).f1
    ours = interval(
        {k: [v] for k, v in counts.items()},
        lambda items: sum(items, SpottingScore(0, 0, 0)).f1,
        draws=2000,
        seed=5,
    )
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.02)


@given(st.dictionaries(st.text(max_size=3), st.lists(st.floats(0, 1), min_size=1), min_size=2, max_size=5))
def test_bounds_hold_and_all_scores_come_from_the_same_draws(people: dict[str, list[float]]) -> None:
    found = intervals(people, lambda items: {"mean": mean(items), "twice": 2 * mean(items)}, draws=20)
    low, high = found["mean"]
    every = [v for values in people.values() for v in values]
    assert min(every) - 1e-9 <= low <= high <= max(every) + 1e-9
    assert found["twice"] == pytest.approx((2 * low, 2 * high))
