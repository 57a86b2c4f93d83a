from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from mellm.stream.errors import MissingExtra, ModelCorrupt, ModelMissing, UsageError
from mellm.training.mellm.finetune import base
from mellm.training.mellm.finetune.run import Trainer
from tests.training.mellm.finetune import tiny, tiny_qwen


@pytest.fixture
def folder(root: Path) -> Path:
    return root / "base"


def test_a_name_on_a_hub_is_no_folder() -> None:
    with pytest.raises(ModelMissing, match="download it yourself"):
        base.check(Path("Qwen/Qwen2.5-VL-7B-Instruct"))
    with pytest.raises(ModelMissing, match=r"holds config\.json"):
        base.check(Path("/nowhere/at/all"))


def test_folders_that_are_no_model(folder: Path) -> None:
    config = (folder / "config.json").read_text()
    (folder / "config.json").unlink()
    with pytest.raises(ModelMissing, match=r"no config\.json"):
        base.check(folder)
    for broken in ("{", "[]", "{}"):
        (folder / "config.json").write_text(broken)
        with pytest.raises(ModelCorrupt):
            base.check(folder)
    (folder / "config.json").write_text('{"model_type": "whisper"}')
    with pytest.raises(UsageError, match="idefics3"):
        base.check(folder)
    (folder / "config.json").write_text(config)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelMissing, match="no weights"):
        base.check(folder)


def test_weights_that_are_damaged_or_of_another_shape(folder: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelCorrupt, match="cannot be loaded"):
        base.load_model(folder)
    (folder / "model.safetensors").write_bytes(weights)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 3
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelCorrupt, match="lacks"):
        base.load_model(folder)


def test_a_tokenizer_of_another_model(root: Path) -> None:
    words = json.loads((root / "base" / "tokenizer.json").read_text())
    last = max(words["model"]["vocab"].values())
    words["model"]["vocab"]["zzz"] = last + 1
    (root / "base" / "tokenizer.json").write_text(json.dumps(words))
    with pytest.raises(ModelCorrupt, match=rf"token {last + 1} and the embedding has {last + 1} rows"):
        Trainer(tiny.config(root))


def test_a_processor_that_is_damaged_or_has_no_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelCorrupt, match="no chat template"):
        base.load_processor(folder)
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelCorrupt, match="cannot be loaded"):
        base.load_processor(folder)


def test_what_qwen_needs_is_named(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("importlib").util.find_spec("torchvision")
    if torchvision is not None:
        pytest.skip("torchvision is installed here")
    folder = tiny_qwen.model_folder(tmp_path / "qwen")
    (folder / "preprocessor_config.json").write_text(
        '{"image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor"}'
    )
    with pytest.raises(MissingExtra, match="pip install torchvision"):
        base.load_processor(folder)


def test_a_missing_library_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.partition(".")[0] == "peft":
            raise ModuleNotFoundError("No module named 'peft'", name="peft")
        return real(name, *args)

    import importlib

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(MissingExtra, match=r"needs peft — pip install 'mellm-live\[train\]'"):
        base.require("json", "peft")


def test_no_network(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading opens no connection at all."""
    import socket

    asked: list[object] = []

    def refuse(*args: object) -> None:
        asked.append(args)  # whoever asks may swallow the error
        raise OSError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    base.offline()
    processor = base.load_processor(made / "base")
    base.check_vocabulary(base.load_model(made / "base"), processor, made / "base")
    assert asked == []
