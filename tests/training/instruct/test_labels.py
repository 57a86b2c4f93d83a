from __future__ import annotations

import numpy as np
import pytest

from mellm.engine.facs import action_units as facs
from mellm.training.instruct import labels


def test_posteriors_sum_to_one_and_follow_the_table() -> None:
    for units in ((12,), (4,), (1, 2, 5), ()):
        assert sum(labels.posterior(frozenset(units)).values()) == pytest.approx(1)
    assert labels.best((6, 12)) == "positive"
    assert labels.best((4, 7)) == "negative"
    assert labels.best((1, 2, 5)) == "surprise"


def test_labels_are_drawn_as_often_as_the_posterior_says() -> None:
    rng = np.random.default_rng(1)
    drawn = [labels.coarse(labels.draw((12,), rng)) for _ in range(4000)]
    share = drawn.count("positive") / len(drawn)
    assert share == pytest.approx(labels.coarse_posterior((12,))["positive"], abs=0.03)


def test_uf1_is_one_for_right_and_counts_silence_as_wrong() -> None:
    truth = ["negative", "positive", "surprise", "negative"]
    assert labels.uf1(truth, truth) == 1
    assert labels.uf1(["negative", "positive"], ["negative", None]) == pytest.approx(0.5)
    # worked by hand: negative 2·1/(2+1), positive 2·1/(1+2)
    assert labels.uf1(
        ["negative", "negative", "positive"], ["negative", "positive", "positive"]
    ) == pytest.approx(2 / 3)


def test_ceiling_is_below_one_where_units_leave_it_open() -> None:
    rng = np.random.default_rng(2)
    cases = []
    for _ in range(1500):
        units = frozenset(rng.choice(list(facs.UNITS), size=int(rng.integers(1, 3)), replace=False).tolist())
        cases.append((units, labels.coarse(labels.draw(units, rng))))
    assert 0.4 < labels.ceiling(cases) < 0.95
