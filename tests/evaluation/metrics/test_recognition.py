from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.evaluation.metrics.errors import MetricsError
from mellm.evaluation.metrics.recognition import OTHER, recognition_score

labels = st.sampled_from(["negative", "positive", "surprise"])
answers = st.one_of(st.none(), st.sampled_from(["negative", "positive", "surprise", "others", "?"]))
rows = st.lists(st.tuples(labels, answers), min_size=1, max_size=30)


def test_a_case_worked_by_hand() -> None:
    true = ["neg"] * 5 + ["pos"] * 3 + ["sur"] * 2
    got = ["neg", "neg", "neg", "pos", None, "pos", "pos", "neg", "sur", "others"]
    score = recognition_score(true, got)
    assert score.confusion["neg"] == {"neg": 3, "pos": 1, "sur": 0, OTHER: 1}
    # F1: neg 2·3/(6+1+2), pos 2·2/(4+1+1), sur 2·1/(2+0+1); recall 3/5, 2/3, 1/2
    assert score.uf1 == pytest.approx((6 / 9 + 4 / 6 + 2 / 3) / 3)
    assert score.uar == pytest.approx((3 / 5 + 2 / 3 + 1 / 2) / 3)
    assert score.accuracy == pytest.approx(0.6)
    assert (score.unparsable, score.foreign) == (1, {"others": 1})


def test_classes_are_those_of_the_truth() -> None:
    score = recognition_score(["a", "a", "b", "b"], ["a", "a", "b", "c"])
    assert score.classes == ("a", "b")
    assert score.uf1 == pytest.approx((1 + 2 / 3) / 2)  # a third class with F1 0 would make it 5/9
    assert (
        recognition_score(["a", "a"], ["a", "a"]).uf1 == 1
    )  # one class that fills everything is no division by 0


def test_folds_are_pooled_and_told_apart() -> None:
    true, got, folds = ["a", "b", "a", "a"], ["a", "a", "a", "b"], ["s1", "s1", "s2", "s2"]
    score = recognition_score(true, got, folds)
    assert score.uf1 == recognition_score(true, got).uf1 == pytest.approx((2 / 3 + 0) / 2)
    assert score.folds["s1"] == pytest.approx((1 / 3, 1 / 2))
    assert score.folds["s2"] == pytest.approx((2 / 3, 1 / 2))


@given(rows, st.randoms())
def test_order_does_not_matter_and_scores_are_bounded(
    pairs: list[tuple[str, str | None]], shuffle: random.Random
) -> None:
    before = recognition_score([t for t, _ in pairs], [p for _, p in pairs])
    shuffle.shuffle(pairs)
    after = recognition_score([t for t, _ in pairs], [p for _, p in pairs])
    assert before == after
    assert 0 <= before.uf1 <= 1
    assert 0 <= before.uar <= 1
    assert sum(c.tp + c.fn for c in before.per_class.values()) == len(pairs) == before.rows
    assert before.unparsable == sum(p is None for _, p in pairs)


@given(rows)
def test_an_unreadable_answer_never_helps(pairs: list[tuple[str, str | None]]) -> None:
    true = [t for t, _ in pairs]
    best = recognition_score(true, true)
    assert (best.uf1, best.uar, best.accuracy) == (1, 1, 1)
    worse = recognition_score(true, [None, *true[1:]])
    assert worse.uf1 < 1
    assert worse.accuracy == pytest.approx(1 - 1 / len(true))


def test_bad_input_is_refused() -> None:
    with pytest.raises(MetricsError, match="no labels"):
        recognition_score([], [])
    with pytest.raises(MetricsError, match="2 labels, 1 answers"):
        recognition_score(["a", "b"], ["a"])
    with pytest.raises(MetricsError, match="1 folds"):
        recognition_score(["a", "b"], ["a", "b"], [1])
