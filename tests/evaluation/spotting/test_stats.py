"""Intervals against tables and by reason."""

from __future__ import annotations

from math import inf, isnan

import pytest

pytest.importorskip("scipy", reason="extra `eval` is not installed")

from hypothesis import given
from hypothesis import strategies as st

from mellm.evaluation.metrics.spotting import SpottingScore
from mellm.evaluation.spotting.stats import bootstrap, percentiles, poisson_rate, share


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(0, 0.0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.39)],  # Garwood's table
)
def test_poisson_intervals_are_exact(count: int, low: float, high: float) -> None:
    rate = poisson_rate(count, 1.0)
    assert rate.value == count
    assert (rate.low, rate.high) == pytest.approx((low, high), rel=1e-3)
    assert poisson_rate(count, 4.0).high == pytest.approx(high / 4, rel=1e-3)


def test_no_time_tells_nothing() -> None:
    assert poisson_rate(0, 0.0) == (0.0, 0.0, inf)
    assert share(0, 0) == (0.0, 0.0, 1.0)
    assert all(isnan(v) for v in percentiles([]))


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"), [(0, 10, 0.0, 0.3085), (5, 10, 0.1871, 0.8129), (10, 10, 0.6915, 1.0)]
)
def test_shares_are_exact(hits: int, of: int, low: float, high: float) -> None:
    found = share(hits, of)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


@given(st.lists(st.tuples(*[st.integers(0, 9)] * 3), min_size=1, max_size=8))
def test_the_bootstrap_lies_round_the_pooled_counts(counts: list[tuple[int, int, int]]) -> None:
    scores = {str(k): SpottingScore(*c) for k, c in enumerate(counts)}
    pooled = sum(scores.values(), SpottingScore(0, 0, 0))
    found = bootstrap(scores, resamples=50)
    for estimate, value in zip(found, (pooled.f1, pooled.precision, pooled.recall), strict=True):
        assert estimate.value == pytest.approx(value)
        assert 0 <= estimate.low <= estimate.high <= 1


def test_people_are_resampled_not_clips() -> None:
    alike = bootstrap({str(k): SpottingScore(3, 1, 1) for k in range(6)})
    assert alike.f1.low == alike.f1.high == pytest.approx(0.75)
    one = bootstrap({"only": SpottingScore(3, 1, 1)})
    assert (one.f1.low, one.f1.high) == (0, 1)
    assert bootstrap({str(k): SpottingScore(k, 9 - k, 1) for k in range(9)}) == bootstrap(
        {str(k): SpottingScore(k, 9 - k, 1) for k in range(9)}
    )
