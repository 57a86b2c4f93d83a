from __future__ import annotations

import pytest

from mellm.evaluation.metrics.spotting import SpottingScore, spotting_score


def test_counts_are_pooled_over_videos() -> None:
    score = spotting_score(
        [
            ([(0, 9), (50, 59)], [(0, 9)]),
            ([], [(10, 19), (30, 39)]),
            ([(5, 9)], []),
            ([(100, 109), (101, 110)], [(100, 110)]),  # two predictions never share one truth
        ]
    )
    assert score == SpottingScore(tp=2, fp=3, fn=2)
    assert score.precision == pytest.approx(0.4)
    assert score.recall == pytest.approx(0.5)
    assert score.f1 == pytest.approx(4 / 9)


def test_ratios_are_zero_where_they_are_undefined() -> None:
    nothing = spotting_score([([], [])])
    assert (nothing.precision, nothing.recall, nothing.f1) == (0, 0, 0)
