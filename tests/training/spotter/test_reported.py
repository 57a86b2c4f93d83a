"""Expressions that are laid on pixels to see whether what was reported is true."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("torch", reason="extra `train` is not installed")

from mellm.detectors.sensitivity import CONTEXT, HalfModel, SensitivityModel
from mellm.detectors.signals import FEATURES
from mellm.detectors.spotting import FakeStepModel
from mellm.detectors.stepmodel import outputs
from mellm.stream.errors import ModelMissing
from mellm.training.spotter import reported
from mellm.training.spotter.overlay import APART_S, half_of
from mellm.training.spotter.records import Record
from mellm.training.spotter.sensitivity import Judge, contexts
from mellm.training.spotter.windows import RowByRow
from mellm.training.synth.rig import load_rig


@pytest.fixture(scope="module", autouse=True)
def _rig() -> None:
    try:
        load_rig()
    except ModelMissing as error:
        pytest.skip(str(error))


def record(loud: float) -> Record:
    rng = np.random.default_rng(3)
    features = (loud * rng.normal(size=(1000, FEATURES))).astype(np.float32)
    features[500:520] = np.nan
    grid = 0.34 + 0.02 * np.arange(1000)
    return Record("r", "who", grid, features, (), 20.0, 30, 90, facts={"fold": "A", "file": "x.mp4"})


def models() -> dict[str, SensitivityModel]:
    """Found with 80 % when twice as large as the half's own motion."""
    weights = tuple(-6.0 if name == "own" else 0.0 for name in CONTEXT)
    half = HalfModel(float(np.log(4) - 6 * np.log(2)), 6.0, weights)
    return {"A": SensitivityModel(half, half)}


def test_each_is_as_large_as_was_reported_and_has_room_round_it() -> None:
    judge = Judge(RowByRow(FakeStepModel(lambda _: outputs())), {})
    r = record(0.2)
    plan = reported.planned(r, judge, models(), seed=1)
    assert len(plan) >= 3
    assert plan[-1][0].offset_s - plan[0][0].onset_s < reported.LONGEST_S
    rows = contexts(r, 0.5, judge.of(r).delay_steps)
    for e, size in plan:
        half = half_of([a.au for a in e.actions])
        own = np.exp(rows[half][np.searchsorted(r.grid_s, e.apex_s)][CONTEXT.index("own")])
        assert size == pytest.approx(2 * own, rel=1e-3)
        assert not (e.onset_s - 0.6 < r.grid_s[519] and r.grid_s[500] < e.offset_s + 0.9)  # the void
    for (a, _), (b, _) in pairwise(plan):
        assert b.onset_s >= a.offset_s + APART_S


def test_where_nothing_could_be_seen_nothing_is_laid() -> None:
    judge = Judge(RowByRow(FakeStepModel(lambda _: outputs())), {})
    assert reported.planned(record(8.0), judge, models(), seed=1) == []
