"""A model folder as vLLM will see it: what its ``config.json`` says, checked before a server is started."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mellm.engine.vllm.checkpoint import whole
from mellm.stream.errors import ModelCorrupt, ModelMissing

NANO = Path(__file__).parents[1] / "describe" / "models" / "nano"
"""Where the small model lies that ships with the project."""

END_OF_UTTERANCE = "<end_of_utterance>"
"""The Idefics3 processor adds this token to a tokenizer that lacks it. The tokenizer is then larger than the model, and
vLLM fails (HTTP 500) at the first answer under a JSON schema."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What decides how a model is served.

    :param name: under which clients ask for it
    :param family: ``model_type`` of the configuration, such as ``idefics3`` or ``qwen2_5_vl``
    :param vision: whether it takes pictures
    :param context: longest prompt and answer together, tokens
    :param kv_bytes: memory of one token's keys and values at 4 bytes a number
    """

    folder: Path
    name: str
    family: str
    vision: bool
    context: int
    kv_bytes: int

    @property
    def profile(self) -> str:
        """How to ask it: who takes no pictures gets the region table; the published MELLM models are known by name."""
        if self.name == "mellm-nano":
            return "nano"
        if not self.vision:
            return "mellm-v3"
        return "mellm-v1" if self.family == "qwen2_5_vl" and "mellm" in self.name.lower() else "generic"


def find(what: str) -> ServedModel:
    """``nano``, or the path of a model folder.

    :raises ModelMissing: no such folder, or no weights in it
    :raises ModelCorrupt: its configuration cannot be understood
    """
    if what == "nano":
        if not (NANO / "config.json").is_file():
            raise ModelMissing(
                "mellm-nano is not in this installation",
                remedy="reinstall mellm-live, or give a model folder",
            )
        return inspect(whole(NANO), "mellm-nano")
    folder = Path(what).expanduser()
    if not folder.is_dir():
        raise ModelMissing(
            f"there is no model folder {what}", remedy="give nano, or a folder with config.json"
        )
    return inspect(folder.resolve())


def inspect(folder: Path, name: str | None = None) -> ServedModel:
    """Read what the folder says of itself.

    :param name: defaults to the folder's
    :raises ModelMissing: configuration or weights are not there
    :raises ModelCorrupt: configuration or tokenizer cannot be understood, or do not fit
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ModelMissing(f"{folder} has no config.json", remedy="give the folder that a model was saved to")
    if (folder / "adapter_config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise ModelMissing(
            f"{folder} holds no whole model (*.safetensors)",
            remedy="merge adapters into their base model before serving it",
        )
    try:
        config = json.loads(path.read_text("utf-8"))
        family = config["model_type"]
        if not isinstance(family, str):
            raise TypeError("model_type is not a word")
        if family == "idefics3":
            _check_tokenizer(folder)
        language = config.get("text_config") or config
        return ServedModel(
            folder,
            name or folder.name,
            family,
            "vision_config" in config,
            _positive(language, "max_position_embeddings"),
            _kv_bytes(language),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelCorrupt(
            f"{path} is not a model configuration ({type(error).__name__}: {error})",
            remedy="save the model again with transformers",
        ) from error


def _check_tokenizer(folder: Path) -> None:
    """Refuse a tokenizer that the Idefics3 processor would make outgrow its model; see :data:`END_OF_UTTERANCE`."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return
    try:
        found = json.loads(path.read_text("utf-8"))
        tokens = {*found["model"]["vocab"], *(entry["content"] for entry in found.get("added_tokens") or ())}
    except (ValueError, KeyError, TypeError) as error:
        raise ModelCorrupt(
            f"{path} is not a tokenizer ({type(error).__name__}: {error})", remedy="save the model again"
        ) from error
    if END_OF_UTTERANCE not in tokens:
        raise ModelCorrupt(
            f"{path} has no {END_OF_UTTERANCE}, which the processor would add beyond the model's vocabulary",
            remedy="save the model with a tokenizer that has it",
        )


def _kv_bytes(language: dict[str, Any]) -> int:
    heads = _positive(language, "num_attention_heads")
    shared = _positive(language, "num_key_value_heads") if language.get("num_key_value_heads") else heads
    width = (
        _positive(language, "head_dim")
        if language.get("head_dim")
        else _positive(language, "hidden_size") // heads
    )
    return 2 * 4 * _positive(language, "num_hidden_layers") * shared * width


def _positive(table: dict[str, Any], key: str) -> int:
    value = table[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{key} is {value!r}")
    return value
