from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from mellm.evaluation.metrics.errors import MetricsError
from mellm.evaluation.metrics.matching import Interval, iou, match

intervals = st.tuples(st.integers(0, 30), st.integers(0, 12)).map(lambda p: (p[0], p[0] + p[1]))
lists = st.lists(intervals, max_size=9)
thresholds = st.sampled_from([0.1, 0.3, 0.5, 0.75, 1.0])


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 9), (0, 9), 1.0),
        ((0, 9), (10, 19), 0.0),
        ((0, 9), (9, 18), 1 / 19),  # both ends count
        ((0, 9), (5, 14), 5 / 15),
        ((3, 3), (3, 3), 1.0),
    ],
)
def test_iou_counts_frames_inclusively(a: Interval, b: Interval, expected: float) -> None:
    assert iou(a, b) == pytest.approx(expected)


@given(intervals, intervals)
def test_iou_is_symmetric_and_counts_the_frames_of_both(a: Interval, b: Interval) -> None:
    frames = [set(range(first, last + 1)) for first, last in (a, b)]
    assert iou(a, b) == iou(b, a) == len(frames[0] & frames[1]) / len(frames[0] | frames[1])


@given(lists, lists, thresholds)
def test_the_matching_is_one_to_one_and_as_large_as_any(
    predicted: list[Interval], true: list[Interval], threshold: float
) -> None:
    pairs = match(predicted, true, threshold)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    assert all(iou(predicted[i], true[j]) >= threshold for i, j in pairs)
    assert len(pairs) == _largest(predicted, true, threshold)


def _largest(predicted: list[Interval], true: list[Interval], threshold: float) -> int:
    if not predicted or not true:
        return 0
    fits = np.array([[iou(p, t) >= threshold for t in true] for p in predicted], float)
    return int(fits[linear_sum_assignment(fits, maximize=True)].sum())


@given(lists, lists, st.randoms())
def test_the_order_of_intervals_does_not_change_how_many_match(
    predicted: list[Interval], true: list[Interval], shuffle: random.Random
) -> None:
    before = len(match(predicted, true))
    shuffle.shuffle(predicted)
    shuffle.shuffle(true)
    assert len(match(predicted, true)) == before == len(match(true, predicted))


def test_a_greedy_choice_is_undone_where_that_finds_more() -> None:
    true = [(0, 9), (10, 19)]
    assert match([(0, 19), (0, 8)], true) == [(1, 0), (0, 1)]  # (0, 19) overlaps each by just a half


def test_a_long_chain_of_swaps_needs_no_deep_stack() -> None:
    n = 3000
    true = [(10 * k, 10 * k + 9) for k in range(n + 1)]
    wide = [
        (10 * k, 10 * k + 19) for k in range(n)
    ]  # each takes its first truth before the last one asks for it
    assert len(match([*wide, wide[0]], true)) == n + 1


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(MetricsError, match="ends before it begins"):
        iou((5, 3), (0, 1))
    with pytest.raises(MetricsError, match="ends before it begins"):
        match([(0, 5), (90, 80)], [(1, 5)])
    with pytest.raises(MetricsError, match="threshold"):
        match([], [], 0.0)
