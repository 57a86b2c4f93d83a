"""The exporter writes what transformers would say, or nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")
import onnx
from click.testing import CliRunner

from mellm.engine.describe import nano_folder
from mellm.engine.describe.nano_folder import GRAPHS, MANIFEST
from mellm.stream.errors import ModelCorrupt, ModelMissing, UsageError
from mellm.training.mellm import export_onnx, onnx_graphs
from tests.engine.describe.nano_models import checkpoint, exported

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint(), tmp_path / "checkpoint"))


def test_the_folder_is_whole_and_small() -> None:
    """That it says what transformers says, the export itself has checked."""
    out = exported()
    facts = json.loads((out / MANIFEST).read_text())
    assert set(facts["files"]) == {*export_onnx.KEPT, *GRAPHS}
    assert {path.name for path in out.iterdir()} == {*facts["files"], MANIFEST}
    for name, digest in facts["files"].items():
        assert nano_folder.sha256(out / name) == digest
    graph = onnx.load(out / "decoder.onnx").graph
    kinds = {t.data_type for t in graph.initializer if t.name.endswith(".half")}
    assert kinds == {onnx.TensorProto.FLOAT16}
    assert [o.type.tensor_type.elem_type for o in graph.output] == [onnx.TensorProto.FLOAT] * 3


def test_the_same_weights_give_the_same_bytes() -> None:
    config = json.loads((checkpoint() / "config.json").read_text())
    from safetensors.numpy import load_file

    weights = {k: v.astype(np.float32) for k, v in load_file(checkpoint() / "model.safetensors").items()}
    assert (
        onnx_graphs.vision(config, weights).SerializeToString() == (exported() / "vision.onnx").read_bytes()
    )
    del weights["model.connector.modality_projection.proj.weight"]
    with pytest.raises(UsageError, match=r"no weight model\.connector"):
        onnx_graphs.vision(config, weights)


def test_notes_in_the_manifest_stay_and_a_checkpoint_may_be_its_own_output(folder: Path) -> None:
    (folder / MANIFEST).write_text('{"training": "how", "version": "0"}')
    export_onnx.export(folder, folder, pictures=export_onnx.patterns(32, 1), version="7")
    facts = json.loads((folder / MANIFEST).read_text())
    assert (facts["training"], facts["version"]) == ("how", "7")
    assert nano_folder.read(folder).version == "7"
    assert not list(folder.parent.glob(".export-*"))


def test_graphs_that_differ_from_transformers_are_not_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = onnx_graphs.decoder

    def wrong(config: dict[str, dict[str, object]], weights: onnx_graphs.Weights) -> onnx.ModelProto:
        return right({**config, "text_config": {**config["text_config"], "rms_norm_eps": 1.0}}, weights)

    monkeypatch.setattr(onnx_graphs, "decoder", wrong)
    with pytest.raises(ModelCorrupt, match="transformers differ"):
        export_onnx.export(folder, tmp_path / "out", pictures=export_onnx.patterns(32, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "chat_template.jinja"])
def test_an_incomplete_checkpoint_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelMissing, match=name):
        export_onnx.export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("part", "setting", "value"),
    [
        (None, "model_type", "qwen2_5_vl"),
        ("text_config", "hidden_act", "gelu"),
        ("text_config", "rope_parameters", {"rope_type": "yarn"}),
        ("vision_config", "hidden_act", "gelu"),
        (None, "scale_factor", 3),
    ],
)
def test_another_architecture_is_refused(
    folder: Path, tmp_path: Path, part: str | None, setting: str, value: object
) -> None:
    config = json.loads((folder / "config.json").read_text())
    (config[part] if part else config)[setting] = value
    (folder / "config.json").write_text(json.dumps(config))
    done = CliRunner().invoke(export_onnx.main, [str(folder), str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "Error: " in done.output
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_a_usage_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot write"):
        export_onnx.export(folder, tmp_path / "file" / "out")
