from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="extra `train` is not installed")
import onnxruntime as ort  # noqa: E402

from mellm.detectors.signals import FEATURES  # noqa: E402
from mellm.detectors.stepmodel import OUTPUTS  # noqa: E402
from mellm.training.spotter import export  # noqa: E402
from mellm.training.spotter.net import DELAY, Ensemble, SpotterNet  # noqa: E402


def make_net(seed: int = 0) -> SpotterNet:
    """A network with non-trivial weights and normalisation statistics."""
    torch.manual_seed(seed)
    net = SpotterNet()
    features = torch.randn(4, 120, FEATURES) * 3
    net.standardise(features)
    net.train()
    with torch.no_grad():
        for _ in range(3):
            net(features)
    return net.eval()


def stream(model: bytes, features: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    state = np.zeros((1, session.get_inputs()[1].shape[1]), np.float32)
    rows = []
    for x in features:
        y, state = session.run(["y", "state_out"], {"x": x[None], "state": state})
        rows.append(y[0])
    return np.array(rows)


@pytest.mark.parametrize("members", [1, 3])
def test_the_stream_equals_the_full_convolution(members: int) -> None:
    nets = [make_net(seed) for seed in range(members)]
    net = nets[0] if members == 1 else Ensemble(nets).eval()
    features = np.random.default_rng(1).normal(0, 4, (200, FEATURES)).astype(np.float32)
    with torch.no_grad():
        full = net(torch.from_numpy(features)[None])[0].numpy()
    stepped = stream(export.build(net).SerializeToString(), features)
    assert stepped.shape == (200, OUTPUTS)
    assert np.abs(stepped - full).max() <= 1e-5


def test_matrices_in_half_precision_halve_the_file_and_hardly_move_an_answer() -> None:
    net = make_net()
    features = np.random.default_rng(1).normal(0, 4, (200, FEATURES)).astype(np.float32)
    whole, half = (export.build(net, half=half).SerializeToString() for half in (False, True))
    assert len(half) < 0.6 * len(whole)
    moved = np.abs(stream(whole, features) - stream(half, features)).max()
    assert 0 < moved <= 5e-3


def test_metadata_states_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "spotter.onnx"
    digest = export.export(make_net(), path, version="9.9", threshold=0.42, record={"seed": 3})
    props = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert props["mellm.delay_steps"] == str(DELAY)
    assert props["mellm.aus"] == "1,2,4,5,6,7,9,10,12,14,15,17,20,24,26"
    assert (props["mellm.version"], props["mellm.threshold"], props["mellm.state"]) == (
        "9.9",
        "0.420",
        str(Ensemble([SpotterNet()]).state_size),
    )
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["sha256"] == digest
    assert record["seed"] == 3


def test_a_failed_export_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "spotter.onnx"
    export.export(make_net(), path, version="1", threshold=0.4, record={})
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        export.export(make_net(1), path, version="2", threshold=0.4, record={})
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["spotter.json", "spotter.onnx"]


def test_a_step_is_cheap() -> None:
    features = np.zeros((300, FEATURES), np.float32)
    model = export.build(make_net()).SerializeToString()
    stream(model, features[:50])
    start = time.process_time()
    stream(model, features)
    assert (time.process_time() - start) / 300 < 2e-3  # ten times the usual cost: contended machines pass
