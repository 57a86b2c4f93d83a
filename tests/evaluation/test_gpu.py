"""The measurement of a GPU, played on the CPU."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("onnxruntime", reason="extra `cpu` is not installed")
pytest.importorskip("onnx", reason="extra `cpu` is not installed")

from mellm.detectors import stepmodel
from mellm.detectors.onnx import CPU, CUDA
from mellm.detectors.weights import store
from mellm.evaluation import gpu
from mellm.stream.errors import ProviderUnavailable


def test_a_batch_of_the_spotter_answers_as_one_by_one() -> None:
    network = gpu.Batched(stepmodel.SHIPPED, 3, CPU)
    inputs = network.inputs(np.random.default_rng(1))
    assert inputs["x"].shape[0] == 3
    found, wanted = network(inputs), gpu._one_by_one(stepmodel.SHIPPED, inputs)
    assert [len(each) for each in wanted] == [3, 3]
    assert gpu._difference(found, wanted) <= 1e-5
    assert gpu._difference([values + 1 for values in found], wanted) > gpu.PARITY, "a difference is seen"


@pytest.mark.bare
@pytest.mark.skipif(
    not (store.cache_dir() / "face_landmarks.onnx").exists(), reason="the face models were not pulled"
)
def test_the_whole_script_on_the_cpu(tmp_path: Path) -> None:
    arguments = [
        "--cameras",
        "1",
        "--cameras",
        "4",
        "--seconds",
        "0",
        "--device",
        "cpu",
        "--out",
        str(tmp_path),
    ]
    result = CliRunner().invoke(gpu.main, arguments)
    assert result.exit_code == 0, result.output
    assert "Not run on a GPU" in (tmp_path / "gpu.md").read_text()
    facts = json.loads((tmp_path / "gpu.json").read_text())
    assert [row["cameras"] for row in facts["rows"]] == [1, 4]
    assert all(row["parity"] <= gpu.PARITY and row["ticks"] >= 5 for row in facts["rows"])


def test_the_table_says_what_was_carried() -> None:
    rows = [gpu.Row(16, 9, 5.0, 9.0, 1e-5, True), gpu.Row(64, 9, 30.0, 40.0, 1e-5, False)]
    assert gpu.table(rows, CUDA).startswith("16 cameras")
    assert "Not run on a GPU" in gpu.table(rows, CPU)


def test_a_gpu_that_is_asked_for_and_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu._runtime(), "get_available_providers", lambda: [CPU])
    result = CliRunner().invoke(gpu.main, ["--device", "cuda"])
    assert isinstance(result.exception, ProviderUnavailable)
