from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from mellm.detectors import flow, patches, recipe, region_flow, signals, windows
from mellm.detectors.signals import FEATURES, PER_BASELINE
from mellm.detectors.stepmodel import (
    APEX,
    ME,
    OUTPUTS,
    SHIPPED,
    SPOT_AUS,
    FakeStepModel,
    OnnxStepModel,
    outputs,
)
from mellm.stream.errors import (
    MissingExtra,
    ModelCorrupt,
    ModelMismatch,
    ModelMissing,
    ModelOutputInvalid,
    ProviderUnavailable,
)

STATE = 4
FACTS = {
    "mellm.version": "0",
    "mellm.delay_steps": "15",
    "mellm.grid_hz": "50",
    "mellm.aus": ",".join(map(str, SPOT_AUS)),
    "mellm.threshold": "0.55",
    "mellm.state": str(STATE),
}


def tiny(
    folder: Path,
    *,
    facts: dict[str, str] | None = None,
    outputs_: int = OUTPUTS,
    sha256: str | None = None,
    trained_on: dict[str, object] | None = None,
) -> Path:
    """y = x·W + sum(state), state_out = state + 1: enough to see that both are passed on."""
    weight = np.zeros((FEATURES, outputs_), np.float32)
    weight[0, 0] = 2
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["mixed"]),
        helper.make_node("ReduceSum", ["state"], ["sum"], keepdims=1),
        helper.make_node("Add", ["mixed", "sum"], ["y"]),
        helper.make_node("Add", ["state", "one"], ["state_out"]),
    ]

    def value(name: str, size: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])

    graph = helper.make_graph(
        nodes,
        "tiny",
        [value("x", FEATURES), value("state", STATE)],
        [value("y", outputs_), value("state_out", STATE)],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.ones(1, np.float32), "one")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    helper.set_model_props(model, FACTS if facts is None else facts)
    path = folder / "tiny.onnx"
    path.write_bytes(model.SerializeToString())
    digest = sha256 or hashlib.sha256(path.read_bytes()).hexdigest()
    record = {"sha256": digest, recipe.KEY: recipe.of_signals() if trained_on is None else trained_on}
    path.with_suffix(".json").write_text(json.dumps(record))
    return path


class TestRecipe:
    """The signals of this version have to be those that the network was trained on."""

    @pytest.mark.parametrize(
        ("module", "name", "value", "named"),
        [
            (region_flow, "THRIFTY", flow.LIVE, "flow.finest_scale is 0, not 1"),
            (patches, "CROP_IOD", 60.0, "crop.iod is 57.0, not 60.0"),
            (patches, "CROP_W", 144, "crop.width is 160, not 144"),
            (signals, "BASELINES_NS", (100_000_000, 200_000_000), "baselines_ms"),
            (signals, "VERSION", signals.VERSION + 1, "signals is 1, not 2"),
            (windows, "STEP_NS", 10_000_000, "grid_ms is 20.0, not 10.0"),
        ],
        ids=["flow", "eye distance", "crop", "baselines", "signals", "grid"],
    )
    def test_another_way_to_measure_is_refused_with_the_command_that_mends_it(
        self, monkeypatch: pytest.MonkeyPatch, module: object, name: str, value: object, named: str
    ) -> None:
        monkeypatch.setattr(module, name, value)
        with pytest.raises(ModelMismatch) as refused:
            OnnxStepModel()
        assert named in str(refused.value)
        assert "`mellm train spotter`" in refused.value.remedy

    def test_other_regions_are_named_one_by_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        swapped = ("brow_mid_R", "brow_outer_R", *recipe.regions.NAMES[2:])
        monkeypatch.setattr(recipe.regions, "NAMES", swapped)
        with pytest.raises(ModelMismatch, match=r"regions\[0\] is 'brow_outer_R', not 'brow_mid_R'"):
            OnnxStepModel()

    def test_a_model_that_does_not_say_is_refused(self, tmp_path: Path) -> None:
        path = tiny(tmp_path)
        record = json.loads(path.with_suffix(".json").read_text())
        del record[recipe.KEY]
        path.with_suffix(".json").write_text(json.dumps(record))
        with pytest.raises(ModelMismatch, match="does not say what it was trained on"):
            OnnxStepModel(path)

    def test_an_entry_that_this_version_does_not_know_is_refused(self, tmp_path: Path) -> None:
        path = tiny(tmp_path, trained_on={**recipe.of_signals(), "whitening": True})
        with pytest.raises(ModelMismatch, match="whitening is True, which this version does not know"):
            OnnxStepModel(path)

    def test_many_differences_are_counted(self, tmp_path: Path) -> None:
        with pytest.raises(ModelMismatch, match=r"baselines_ms is missing, crop is missing, .* and 4 more"):
            OnnxStepModel(tiny(tmp_path, trained_on={"of": "another world"}))


class TestOnnx:
    def test_facts_come_from_the_file(self, tmp_path: Path) -> None:
        model = OnnxStepModel(tiny(tmp_path))
        assert (model.delay_steps, model.threshold, model.version) == (15, 0.55, "0")
        assert model.start().shape == (1, STATE)
        assert model.provider == "CPUExecutionProvider"

    def test_steps_pass_features_and_state(self, tmp_path: Path) -> None:
        model = OnnxStepModel(tiny(tmp_path))
        features = np.zeros(FEATURES, np.float32)
        features[0] = 3
        y, state = model.step(features, model.start())
        assert y.shape == (OUTPUTS,)
        assert y[:2].tolist() == [6, 0]
        y, state = model.step(features, state)
        assert y[:2].tolist() == [10, 4]
        assert state.tolist() == [[2] * STATE]

    def test_not_a_number_is_an_error(self, tmp_path: Path) -> None:
        model = OnnxStepModel(tiny(tmp_path))
        with pytest.raises(ModelOutputInvalid, match="NaN"):
            model.step(np.full(FEATURES, np.nan, np.float32), model.start())

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ModelMissing, match=r"none\.onnx"):
            OnnxStepModel(tmp_path / "none.onnx")

    def test_a_device_that_is_not_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
        with pytest.raises(ProviderUnavailable, match="cuda"):
            OnnxStepModel(tiny(tmp_path), device="cuda")

    def test_a_device_whose_provider_cannot_be_loaded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A GPU build beside a missing driver: it advertises CUDA, and quietly gives the CPU."""
        true = onnxruntime.InferenceSession

        def quietly(path: str, options: object, *, providers: list, enable_fallback: int = 1) -> object:
            return true(path, options, providers=["CPUExecutionProvider"])

        monkeypatch.setattr(
            "onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
        )
        monkeypatch.setattr("onnxruntime.InferenceSession", quietly)
        with pytest.raises(
            ProviderUnavailable, match="CUDAExecutionProvider is installed and cannot be loaded"
        ):
            OnnxStepModel(tiny(tmp_path), device="cuda")
        assert OnnxStepModel(tiny(tmp_path)).provider == "CPUExecutionProvider"

    def test_without_onnx_runtime(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(MissingExtra, match="ONNX Runtime"):
            OnnxStepModel(tiny(tmp_path))

    def test_another_hash(self, tmp_path: Path) -> None:
        with pytest.raises(ModelCorrupt, match="SHA-256"):
            OnnxStepModel(tiny(tmp_path, sha256="0" * 64))

    @pytest.mark.parametrize("record", [None, "no json", "[]"])
    def test_no_record(self, tmp_path: Path, record: str | None) -> None:
        path = tiny(tmp_path)
        path.with_suffix(".json").unlink()
        if record is not None:
            path.with_suffix(".json").write_text(record)
        with pytest.raises(ModelCorrupt, match="record"):
            OnnxStepModel(path)

    @pytest.mark.parametrize(
        "change",
        [{"mellm.threshold": "high"}, {"mellm.aus": "1,2"}, {"mellm.grid_hz": "25"}, {"mellm.state": "5"}],
        ids=lambda change: next(iter(change)),
    )
    def test_another_contract(self, tmp_path: Path, change: dict[str, str]) -> None:
        with pytest.raises(ModelCorrupt):
            OnnxStepModel(tiny(tmp_path, facts={**FACTS, **change}))

    def test_missing_metadata(self, tmp_path: Path) -> None:
        with pytest.raises(ModelCorrupt, match=r"mellm\.version"):
            OnnxStepModel(tiny(tmp_path, facts={}))

    def test_other_shapes(self, tmp_path: Path) -> None:
        with pytest.raises(ModelCorrupt, match="shapes"):
            OnnxStepModel(tiny(tmp_path, outputs_=OUTPUTS + 1))

    def test_not_a_graph(self, tmp_path: Path) -> None:
        path = tmp_path / "junk.onnx"
        path.write_bytes(b"junk")
        path.with_suffix(".json").write_text(json.dumps({"sha256": hashlib.sha256(b"junk").hexdigest()}))
        with pytest.raises(ModelCorrupt, match=r"junk\.onnx"):
            OnnxStepModel(path)

    def test_the_shipped_model_keeps_the_contract(self) -> None:
        if not SHIPPED.exists():
            pytest.skip("no trained model in the package yet")
        model = OnnxStepModel()
        assert model.delay_steps == 15
        assert 0 < model.threshold < 1
        state = model.start()
        for k in range(100):
            y, state = model.step(np.zeros(FEATURES, np.float32), state)
            if k >= model.delay_steps:  # what is said earlier is about the time before the segment
                assert y[ME] < -2, "a still face is no micro-expression"
                assert y[APEX] < -2


class TestFake:
    def test_outputs_come_after_the_delay(self) -> None:
        model = FakeStepModel(lambda features: outputs(me=float(features[0])), delay_steps=2)
        state, seen = model.start(), []
        for p in (0.2, 0.5, 0.7, 0.9):
            y, state = model.step(np.full(FEATURES, p, np.float32), state)
            seen.append(1 / (1 + np.exp(-y[ME])))
        np.testing.assert_allclose(seen, (0.01, 0.01, 0.2, 0.5), atol=1e-6)

    def test_motion_script_answers_to_motion(self) -> None:
        model = FakeStepModel(delay_steps=0)
        moving = np.zeros(FEATURES, np.float32)
        moving[PER_BASELINE + 5] = -1.5
        assert model.step(moving, model.start())[0][ME] > 0
        assert model.step(np.zeros(FEATURES, np.float32), model.start())[0][ME] < 0

    def test_not_a_number_is_an_error(self) -> None:
        model = FakeStepModel(lambda features: outputs() * np.nan)
        with pytest.raises(ModelOutputInvalid):
            model.step(np.zeros(FEATURES, np.float32), model.start())
