from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.evaluation.metrics.action_units import action_unit_score
from mellm.evaluation.metrics.errors import MetricsError

sets = st.frozensets(st.sampled_from([1, 2, 4, 7, 12, 14]), max_size=4)
clips = st.lists(st.tuples(sets, st.one_of(st.none(), sets)), min_size=1, max_size=15)


def f(*units: int) -> frozenset[int]:
    return frozenset(units)


def test_a_case_worked_by_hand() -> None:
    true = [f(1, 2), f(4), f(12), f()]
    got = [f(1), f(4, 7), None, f()]
    score = action_unit_score(true, got)
    # F1 shown: 1 → 1, 2 → 0, 4 → 1, 12 → 0; not shown: 1 → 1, 2 → 2·3/(6+0+1), 4 → 1, 12 → 6/7
    assert score.binary_f1 == pytest.approx(0.5)
    assert score.macro_f1 == pytest.approx((1 + 3 / 7 + 1 + 3 / 7) / 4)
    assert score.jaccard == pytest.approx((1 / 2 + 1 / 2 + 0 + 1) / 4)
    assert score.set_f1 == pytest.approx((2 / 3 + 2 / 3 + 0 + 1) / 4)
    assert (score.exact, score.unparsable, score.foreign) == (0.25, 1, {7: 1})
    assert score.as_dict()["units"]["4"]["f1"] == 1


def test_units_can_be_chosen() -> None:
    score = action_unit_score([f(1, 2), f(2)], [f(1, 9), f(2)], units=[1, 9])
    assert sorted(score.units) == [1, 9]
    assert score.jaccard == pytest.approx((1 / 2 + 1) / 2)
    assert score.foreign == {2: 1}


def test_a_constant_answer_of_all_units_has_half_its_binary_f1_as_macro_f1() -> None:
    # the published cross-data-set table has 8.9 and 17.8 for it; counts of its 12 units among about 2030 clips
    counts = (708, 304, 280, 277, 252, 176, 134, 117, 86, 75, 60, 52)
    clips = [frozenset(k for k, count in enumerate(counts) if clip < count) for clip in range(2030)]
    score = action_unit_score(clips, [frozenset(range(12))] * len(clips))
    assert round(100 * score.binary_f1, 1) == 17.8
    assert round(100 * score.macro_f1, 1) == 8.9


@given(clips, st.randoms())
def test_bounds_order_and_perfection(
    rows: list[tuple[frozenset[int], frozenset[int] | None]], shuffle: random.Random
) -> None:
    units = [1, 2, 4, 7, 12, 14]
    before = action_unit_score([t for t, _ in rows], [p for _, p in rows], units)
    shuffle.shuffle(rows)
    after = action_unit_score([t for t, _ in rows], [p for _, p in rows], units)
    assert (after.units, after.foreign) == (before.units, before.foreign)
    assert after.jaccard == pytest.approx(before.jaccard)
    for value in (before.macro_f1, before.binary_f1, before.jaccard, before.set_f1):
        assert 0 <= value <= 1 + 1e-9
    assert before.exact <= before.jaccard <= before.set_f1 + 1e-9
    perfect = action_unit_score([t for t, _ in rows], [t for t, _ in rows], units)
    assert (perfect.jaccard, perfect.set_f1, perfect.exact) == (1, 1, 1)


def test_bad_input_is_refused() -> None:
    with pytest.raises(MetricsError, match="1 true and 2 predicted"):
        action_unit_score([f(1)], [f(1), f(2)])
    with pytest.raises(MetricsError, match="0 true"):
        action_unit_score([], [])
    with pytest.raises(MetricsError, match="no clip shows"):
        action_unit_score([f()], [f(1)])
