"""Spotters under one roof: replays equal to the product, folds for the people they never saw, typed errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="extra `train` is not installed")
pytest.importorskip("scipy", reason="extra `eval` is not installed")
pytest.importorskip("onnxruntime", reason="extra `cpu` is not installed")

from mellm.detectors.signals import FEATURES
from mellm.detectors.spotting import SpottingOptions
from mellm.detectors.stepmodel import SHIPPED, FakeStepModel, OnnxStepModel, StepModel, outputs
from mellm.evaluation.spotting.systems import BaselineSystem, ModelSystem, load_model
from mellm.stream.errors import ModelCorrupt, ModelMissing, ModelOutputInvalid
from mellm.training.spotter import records
from mellm.training.spotter.replay import Replay
from tests.evaluation.spotting.made import record, truth


@pytest.mark.parametrize("made", [OnnxStepModel, FakeStepModel])
def test_a_replay_gives_what_the_product_gives(made: type[StepModel]) -> None:
    model = made()
    clip = record([truth(2.5), truth(5.0, 4.0)], void_s=(4.0, 4.02))
    system = ModelSystem("m", model)
    for options in (SpottingOptions(), SpottingOptions(threshold=0.2), SpottingOptions(threshold=0.9)):
        assert system.decode(clip, options) == records.spot(clip, model, options)
    assert system.spots(clip) == records.spot(clip, model)
    assert system.spots(clip, 0.3) == records.spot(clip, model, SpottingOptions(threshold=0.3))
    assert system.spots(clip) or made is OnnxStepModel
    p50, p95 = system.compute_ms()
    assert 0 < p50 <= p95


def test_a_failed_step_fails_again() -> None:
    calls: list[int] = []

    def script(features: np.ndarray) -> np.ndarray:
        calls.append(1)
        return np.full_like(outputs(), np.nan) if features[0] > 1 else outputs()

    tape = Replay(FakeStepModel(script))
    state = tape.start()
    for _ in range(2):
        tape.rewind()
        tape.step(np.zeros(FEATURES, np.float32), state)
        with pytest.raises(ModelOutputInvalid):
            tape.step(np.full(FEATURES, 2, np.float32), state)
    assert len(calls) == 2


def test_filmed_people_are_judged_by_the_network_that_never_saw_them() -> None:
    seen: list[str] = []

    class Named(FakeStepModel):
        def __init__(self, name: str) -> None:
            super().__init__()
            self._name = name

        def start(self) -> np.ndarray:
            seen.append(self._name)
            return super().start()

    system = ModelSystem(
        "m", Named("main"), folds={"A": Named("fold A")}, trained_on_video=True, facts={"version": "1"}
    )
    a, b, rendered = record(fold="A"), record(fold="B"), record()
    for clip in (a, b, rendered):
        seen.clear()
        system.spots(clip)
        assert set(seen) == {"fold A" if clip is a else "main"}
    assert [system.seen_in_training(r) for r in (a, b, rendered)] == [False, True, False]
    assert system.facts()["folds"] == ["A"]


def _copy(folder: Path, name: str, **facts: object) -> Path:
    """The shipped network under another name, its record changed."""
    path = folder / f"{name}.onnx"
    shutil.copy(SHIPPED, path)
    told = json.loads(SHIPPED.with_suffix(".json").read_text()) | facts
    path.with_suffix(".json").write_text(json.dumps(told))
    return path


def test_models_come_with_their_facts_and_folds(tmp_path: Path) -> None:
    shipped = load_model("shipped")
    assert shipped.facts()["sha256"] == OnnxStepModel().sha256
    assert shipped.level == OnnxStepModel().threshold
    _copy(tmp_path, "fold-A")
    path = _copy(tmp_path, "other", trained_on="laid on real photographs and recordings")
    other = load_model("other", path, folds=tmp_path)
    assert other.facts()["folds"] == ["A"]
    assert not other.seen_in_training(record(fold="A"))
    assert other.seen_in_training(record(fold="B"))


def test_wrong_models_are_typed_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelMissing):
        load_model("m", tmp_path / "none.onnx")
    with pytest.raises(ModelCorrupt, match="SHA-256"):
        load_model("m", _copy(tmp_path, "tampered", sha256="0" * 64))
    _copy(tmp_path, "fold-A")
    versions = iter(["2.0", "1.0"])
    true = OnnxStepModel.__init__

    def versioned(self: OnnxStepModel, path: Path | None = None) -> None:
        true(self, path)
        self.version = next(versions)

    monkeypatch.setattr(OnnxStepModel, "__init__", versioned)
    with pytest.raises(ModelCorrupt, match=r"fold-A\.onnx is version 1\.0, spotter\.onnx is 2\.0") as caught:
        load_model("m", folds=tmp_path)
    assert "mellm train spotter" in caught.value.remedy


def test_baselines_sweep_their_level() -> None:
    clip = record([truth(3.0)])
    for form in ("causal", "whole"):
        system = BaselineSystem(form)  # type: ignore[arg-type]
        counts = [len(system.spots(clip, level)) for level in system.levels]
        assert counts[-1] <= 1 <= len(system.spots(clip))
        assert system.causal == (form == "causal")
        assert system.facts()["options"]["level"] == system.level
