from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.evaluation.metrics.errors import MetricsError
from mellm.evaluation.metrics.moments import Moments, moment_errors

PAIRS = [
    (Moments(10, 20, 30), Moments(12, 19, 30)),
    (Moments(10, 20, 30), Moments(8, None, 35)),
    (Moments(10, None, 29), Moments(14, 25, 29)),
]


def test_a_case_worked_by_hand() -> None:
    found = moment_errors(PAIRS)
    onset = found.moments["onset"]  # +2, −2, +4
    assert (onset.count, onset.bias, onset.mae) == (3, pytest.approx(4 / 3), pytest.approx(8 / 3))
    assert onset.rmse == pytest.approx((24 / 3) ** 0.5)
    assert (onset.median, onset.p95) == (2, pytest.approx(3.8))
    apex = found.moments["apex"]
    assert (apex.count, apex.missing, apex.unknown, apex.bias, apex.mae) == (1, 1, 1, -1, 1)
    assert found.iou == pytest.approx((19 / 21 + 21 / 28 + 16 / 20) / 3)


def test_frames_become_milliseconds() -> None:
    found = moment_errors(PAIRS).scaled(200)
    assert found.unit == "ms"
    assert found.moments["onset"].mae == pytest.approx(5 * 8 / 3)
    assert found.moments["onset"].count == 3
    for rate in (0, float("nan"), float("inf")):
        with pytest.raises(MetricsError, match="frames a second"):
            moment_errors(PAIRS).scaled(rate)


def test_what_is_unknown_is_counted_and_not_guessed() -> None:
    found = moment_errors([(Moments(1, None, None), Moments(None, 5, None))])
    assert [e.count for e in found.moments.values()] == [0, 0, 0]
    assert [e.missing for e in found.moments.values()] == [1, 0, 0]
    assert (found.intervals, found.iou) == (0, 0)
    assert found.as_dict()["apex"]["mae"] == 0


@given(st.lists(st.tuples(*[st.integers(-100, 100)] * 2), min_size=1))
def test_summaries_are_ordered(rows: list[tuple[int, int]]) -> None:
    e = moment_errors([(Moments(apex=t), Moments(apex=p)) for t, p in rows]).moments["apex"]
    assert abs(e.bias) <= e.mae + 1e-9
    assert e.mae <= e.rmse + 1e-9
    assert e.median <= e.p95 + 1e-9


def test_bad_input_is_refused() -> None:
    with pytest.raises(MetricsError, match="no moments"):
        moment_errors([])
    with pytest.raises(MetricsError, match="ends before"):
        moment_errors([(Moments(5, None, 2), Moments(1, None, 3))])
