from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mellm.detectors import onnx
from mellm.detectors.onnx import CPU, CUDA, TENSORRT, Session, choose, session
from mellm.detectors.weights import store as weights
from mellm.stream.errors import (
    MissingExtra,
    ModelCorrupt,
    ModelMissing,
    ModelOutputInvalid,
    ProviderUnavailable,
    UsageError,
)

ort = pytest.importorskip("onnxruntime")


class FakeRuntime:
    """ONNX Runtime that advertises providers and can load only some of them."""

    def __init__(self, advertised: list[str], working: list[str], *, raises: bool = False) -> None:
        self.advertised, self.working, self.raises = advertised, working, raises
        self.asked: list[list[str]] = []

    def get_available_providers(self) -> list[str]:
        return self.advertised

    SessionOptions = SimpleNamespace

    def InferenceSession(self, path: str, options: Any, *, providers: Any, enable_fallback: int) -> Any:
        assert enable_fallback == 0
        assert options.intra_op_num_threads == 1
        names = [name for name, _ in providers]
        self.asked.append(names)
        if "broken" in path or (self.raises and names[0] not in self.working):
            raise RuntimeError("libcudnn.so.9: cannot open shared object file")
        loaded = [name for name in names if name in self.working]
        return SimpleNamespace(get_providers=lambda: loaded)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "some.onnx"
    path.write_bytes(b"-")
    return path


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "_warned", False)


def fake(monkeypatch: pytest.MonkeyPatch, *args: Any, **kwargs: Any) -> FakeRuntime:
    runtime = FakeRuntime(*args, **kwargs)
    monkeypatch.setattr(onnx, "_runtime", lambda: runtime)
    return runtime


@pytest.mark.parametrize(
    ("device", "available", "chosen"),
    [
        ("auto", [CPU], (CPU,)),
        ("auto", [CUDA, CPU], (CUDA, CPU)),
        ("auto", [TENSORRT, CUDA, CPU], (CUDA, CPU)),  # TensorRT compiles for minutes: on request only
        ("cpu", [CUDA, CPU], (CPU,)),
        ("cuda", [CUDA, CPU], (CUDA, CPU)),
        ("tensorrt", [TENSORRT, CPU], (TENSORRT, CPU)),
    ],
)
def test_providers_of_a_device(device: str, available: list[str], chosen: tuple[str, ...]) -> None:
    assert choose(device, available) == chosen


def test_a_device_that_this_build_lacks_is_refused_with_what_it_has() -> None:
    with pytest.raises(ProviderUnavailable, match=r"has CPUExecutionProvider.*mellm-live\[gpu\]"):
        choose("cuda", [CPU])
    with pytest.raises(UsageError, match=r"tpu.*auto, cpu, cuda, tensorrt"):
        choose("tpu", [CPU])


@pytest.mark.parametrize("raises", [False, True])
def test_a_provider_that_cannot_load_is_an_error_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, file: Path, raises: bool
) -> None:
    fake(monkeypatch, [CUDA, CPU], [CPU], raises=raises)
    with pytest.raises(ProviderUnavailable, match="CUDAExecutionProvider is installed and cannot be loaded"):
        session(file, "cuda")


@pytest.mark.parametrize("raises", [False, True])
def test_auto_falls_back_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, file: Path, caplog: pytest.LogCaptureFixture, raises: bool
) -> None:
    fake(monkeypatch, [CUDA, CPU], [CPU], raises=raises)
    with caplog.at_level(logging.WARNING):
        assert [session(file).provider for _ in range(3)] == [CPU] * 3
    assert len(caplog.records) == 1
    assert "networks run on CPUExecutionProvider" in caplog.text


def test_a_plain_cpu_build_makes_no_noise(
    monkeypatch: pytest.MonkeyPatch, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = fake(monkeypatch, ["AzureExecutionProvider", CPU], [CPU])
    with caplog.at_level(logging.DEBUG):
        assert session(file).provider == CPU
    assert runtime.asked == [[CPU]]
    assert not caplog.records


def test_cuda_is_used_where_it_works(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    fake(monkeypatch, [TENSORRT, CUDA, CPU], [CUDA, CPU])
    assert session(file).provider == CUDA


def test_a_broken_file_is_not_blamed_on_the_provider(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake(monkeypatch, [CUDA, CPU], [CUDA, CPU])
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"-")
    with pytest.raises(ModelCorrupt, match=r"broken\.onnx cannot be loaded.*models verify"):
        session(path, "cuda")


def test_a_missing_runtime_names_the_extra(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"pip install 'mellm-live\[cpu\]'"):
        session(file)


def test_f16_missing_and_corrupt_files(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelMissing, match=r"nowhere\.onnx.*models pull"):
        session(file.with_name("nowhere.onnx"))
    file.write_bytes(b"not a network " * 100)
    with pytest.raises(ModelCorrupt, match=r"some\.onnx cannot be loaded"):
        session(file)
    assert capfd.readouterr() == ("", "")  # standard output is for data


def network(path: Path) -> Path:
    """log(x) of three numbers: NaN where they are negative."""
    helper = pytest.importorskip("onnx").helper
    ends = [helper.make_tensor_value_info(name, 1, [1, 3]) for name in ("input0", "output0")]
    graph = helper.make_graph([helper.make_node("Log", ["input0"], ["output0"])], "log", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"mellm.kind": "test"})
    path.write_bytes(model.SerializeToString())
    return path


def test_a_session_reports_what_it_is_and_runs(file: Path) -> None:
    loaded = session(network(file), "cpu")
    assert (loaded.provider, loaded.metadata["mellm.kind"]) == (CPU, "test")
    assert loaded.shapes() == {"input0": [1, 3], "output0": [1, 3]}
    np.testing.assert_allclose(loaded.run({"input0": np.ones((1, 3), np.float32)}), [[[0, 0, 0]]])


def test_f16_nan_and_wrong_shape(file: Path) -> None:
    loaded = session(network(file), "cpu")
    with pytest.raises(ModelOutputInvalid, match="NaN"):
        loaded.run({"input0": np.full((1, 3), -1, np.float32)})
    loaded.expect({"input0": (1, 3)})
    with pytest.raises(ModelCorrupt, match=r"output0 is \[1, 3\], expected \[1, 4\]"):
        loaded.expect({"output0": (1, 4)})
    with pytest.raises(ModelCorrupt, match="output1 is None"):
        loaded.expect({"output1": (1, 3)})


def parity(path: Path, device: str) -> float:
    """Largest difference between a device's answers and the CPU's for one random picture, relative to each output's
    largest magnitude, so that pixels and probabilities compare."""
    random = np.random.default_rng(0)
    other, cpu = session(path, device), session(path, "cpu")
    shapes = {name: shape for name, shape in cpu.shapes().items() if name.startswith("input")}
    inputs = {name: random.random(shape, np.float32) for name, shape in shapes.items()}
    pairs = zip(other.run(inputs), cpu.run(inputs), strict=True)
    return max(float(np.abs(a - b).max() / max(1.0, float(np.abs(b).max()))) for a, b in pairs)


def test_a_device_agrees_with_itself(file: Path) -> None:
    assert parity(network(file), "cpu") == 0


@pytest.mark.parametrize("name", ["face_detector", "face_landmarks"])
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_gpu_agrees_with_cpu(name: str, device: str) -> None:
    try:
        difference = parity(weights.path(name), device)
    except (ProviderUnavailable, ModelMissing) as error:
        pytest.skip(error.message)
    assert difference <= 1e-3


def test_sessions_are_a_thin_wrapper() -> None:
    assert Session(SimpleNamespace(get_providers=lambda: [CUDA, CPU]), "x").provider == CUDA


def test_no_other_place_makes_sessions() -> None:
    """A network with a session of its own falls back to the CPU without a word; the bench of GPUs refuses that."""
    root = Path(onnx.__file__).parents[1]
    rooms = ("stream", "detectors", "engine", "clients", "evaluation")
    makers = {
        path.name
        for room in rooms
        for path in (root / room).rglob("*.py")
        if "InferenceSession(" in path.read_text()
    }
    assert makers == {"onnx.py", "gpu.py"}
