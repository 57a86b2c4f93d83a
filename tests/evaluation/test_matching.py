from __future__ import annotations

from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.metrics.matching import Interval, iou, match

intervals = st.tuples(st.integers(0, 30), st.integers(0, 12)).map(lambda p: (p[0], p[0] + p[1]))


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
def test_iou_is_symmetric_and_bounded(a: Interval, b: Interval) -> None:
    assert iou(a, b) == iou(b, a)
    assert 0 <= iou(a, b) <= 1


@given(st.lists(intervals, max_size=5), st.lists(intervals, max_size=5))
def test_the_matching_is_one_to_one_and_as_large_as_any(
    predicted: list[Interval], true: list[Interval]
) -> None:
    pairs = match(predicted, true)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    assert all(iou(predicted[i], true[j]) >= 0.5 for i, j in pairs)
    assert len(pairs) == _brute_force(predicted, true)


def _brute_force(predicted: list[Interval], true: list[Interval]) -> int:
    for size in range(min(len(predicted), len(true)), 0, -1):
        for chosen in combinations(range(len(predicted)), size):
            for targets in permutations(range(len(true)), size):
                if all(iou(predicted[i], true[j]) >= 0.5 for i, j in zip(chosen, targets, strict=True)):
                    return size
    return 0


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="ends before it begins"):
        iou((5, 3), (0, 1))
    with pytest.raises(ValueError, match="threshold"):
        match([], [], 0.0)
