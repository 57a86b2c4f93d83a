"""Options are chosen on validation sets, for the best F1, and on nothing else."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="extra `train` is not installed")
pytest.importorskip("scipy", reason="extra `eval` is not installed")

from mellm.detectors.spotting import SpottingOptions
from mellm.detectors.stepmodel import FakeStepModel
from mellm.evaluation.spotting import tune
from mellm.evaluation.spotting.baselines import BaselineOptions, Form
from mellm.evaluation.spotting.systems import ModelSystem
from mellm.stream.errors import UsageError
from tests.evaluation.spotting.made import record, truth


def _sets() -> dict[str, list]:
    """Strong expressions, and weak movements that are none: a threshold between them is right."""
    weak = [(truth(5.0, 1.1), ("chin", "lower_lip"))]
    return {"val-a": [record([truth(2.0)], name="a", also=weak), record([truth(3.0)], name="bb", also=weak)]}


def test_test_sets_are_refused() -> None:
    sets = {**_sets(), "rendered50": []}
    with pytest.raises(UsageError, match="rendered50 is a test set"):
        tune.model(ModelSystem("m", FakeStepModel()), sets)
    with pytest.raises(UsageError, match="rendered50 is a test set"):
        tune.baseline("causal", sets)


def test_a_threshold_between_right_and_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "MODEL_GRID", {"threshold": (0.2, 0.4, 0.8), "min_ms": (0.0, 600.0, 40.0)})
    system = ModelSystem("m", FakeStepModel(), SpottingOptions(threshold=0.3))
    tuned = tune.model(system, _sets())
    assert tuned.options.threshold == 0.8
    assert tuned.options.min_ms == 40  # the present value stays where no other is better
    assert tuned.before["all"][0].fp > tuned.after["all"][0].fp
    assert tuned.before["all"][0].tp == tuned.after["all"][0].tp == 2
    assert tuned.after["val-a"] == tuned.after["all"]
    assert tuned.tried >= 4


def test_the_baseline_is_tuned_fairly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "BASELINE_GRID", {"half_s": (0.04, 0.2), "floor": (0.05,)})
    poor = BaselineOptions(half_s=0.04, min_s=0.04)
    forms: tuple[Form, ...] = ("causal", "whole")
    for form in forms:
        tuned = tune.baseline(form, _sets(), poor)
        assert tuned.options.half_s == 0.2
        assert tuned.after["all"][0].f1 > tuned.before["all"][0].f1
