"""The model a fine-tuning starts from: a folder on this machine, opened without any network."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mellm.stream.errors import MissingExtra, ModelCorrupt, ModelMissing, UsageError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, ProcessorMixin

INSTALL = "pip install 'mellm-live[train]'"


@dataclass(frozen=True, slots=True)
class Family:
    """Where a family of models keeps its parts: prefixes of parameter names. All that has neither is language."""

    vision: str
    projector: tuple[str, ...]


FAMILIES: dict[str, Family] = {
    "idefics3": Family("model.vision_model.", ("model.connector.",)),
    "smolvlm": Family("model.vision_model.", ("model.connector.",)),
    "qwen2_vl": Family("model.visual.", ("model.visual.merger.",)),
    "qwen2_5_vl": Family("model.visual.", ("model.visual.merger.",)),
    "qwen3_vl": Family("model.visual.", ("model.visual.merger.", "model.visual.deepstack_merger_list.")),
    "llava": Family("model.vision_tower.", ("model.multi_modal_projector.",)),
}
"""Families that can be tuned, by ``model_type`` of their ``config.json``."""


def family(model_type: str) -> Family:
    """The family of that type.

    :raises UsageError: it is not known how it is built
    """
    if model_type not in FAMILIES:
        raise UsageError(
            f"models of type {model_type!r} cannot be tuned here", remedy=f"known are {', '.join(FAMILIES)}"
        )
    return FAMILIES[model_type]


def part_of(name: str, of: Family) -> str:
    """``vision``, ``projector`` or ``language``: where the parameter of that name belongs."""
    if name.startswith(of.projector):
        return "projector"
    return "vision" if name.startswith(of.vision) else "language"


def check(folder: Path) -> dict[str, Any]:
    """Configuration of a model folder, after a look at what can be seen without loading it.

    :raises ModelMissing: no folder, or no weights in it
    :raises ModelCorrupt: its ``config.json`` cannot be read
    :raises UsageError: a family that is not known
    """
    if not folder.is_dir():
        named = "/" in str(folder) and not folder.is_absolute() and len(folder.parts) == 2
        raise ModelMissing(
            f"there is no model folder {folder}",
            remedy="a name on a model hub is not enough: download it yourself and give the folder"
            if named
            else "give the folder that holds config.json and the weights",
        )
    if not (folder / "config.json").is_file():
        raise ModelMissing(f"{folder} holds no config.json", remedy="give the folder of a whole model")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model_type = str(config["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelCorrupt(f"{folder}/config.json cannot be used ({error!r})") from error
    family(model_type)
    if not any(folder.glob("*.safetensors")):
        raise ModelMissing(f"{folder} holds no weights (*.safetensors)")
    return dict(config)


def offline() -> None:
    """Forbid the libraries every network access; harmless to call again."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ[name] = "1"


def require(*modules: str) -> None:
    """Check that libraries are there.

    :raises MissingExtra: naming the first that is not
    """
    from importlib import import_module

    for name in modules:
        try:
            import_module(name)
        except ImportError as error:
            raise MissingExtra(f"fine-tuning needs {error.name or name}", remedy=INSTALL) from error


def load_processor(folder: Path) -> ProcessorMixin:
    """Tokenizer, picture preparation and chat template.

    :raises ModelCorrupt: they cannot be made of what is in the folder
    :raises MissingExtra: they need a library
    """
    from transformers import AutoProcessor

    try:
        processor: ProcessorMixin = AutoProcessor.from_pretrained(folder, local_files_only=True)
    except ImportError as error:
        # Qwen's processor prepares videos with torchvision, also where there is none
        wants = "torchvision" if "torchvision" in str(error).lower() else (error.name or str(error))
        raise MissingExtra(
            f"the processor of {folder.name} needs {wants}", remedy=f"pip install {wants}"
        ) from error
    except Exception as error:  # the library raises any kind for damaged files
        raise ModelCorrupt(
            f"the processor of {folder} cannot be loaded ({type(error).__name__}: {error})"
        ) from error
    if not getattr(processor, "chat_template", None):
        raise ModelCorrupt(f"{folder} has no chat template", remedy="add chat_template.jinja to the folder")
    return processor


def load_model(folder: Path, dtype: torch.dtype | str = "auto") -> PreTrainedModel:
    """The model, on the CPU, in its stored precision by default.

    :raises ModelCorrupt: weights are damaged, missing or of other shapes than ``config.json`` says
    """
    from transformers import AutoModelForImageTextToText

    loading: Any = AutoModelForImageTextToText.from_pretrained  # returns a pair where it is asked to
    try:
        model, info = loading(folder, local_files_only=True, dtype=dtype, output_loading_info=True)
    except Exception as error:  # safetensors, transformers and torch each raise their own
        raise ModelCorrupt(
            f"the weights in {folder} cannot be loaded ({type(error).__name__}: {error})"
        ) from error
    missing = sorted(info.get("missing_keys", ()))
    if missing:
        raise ModelCorrupt(
            f"{folder} lacks {len(missing)} of the weights that its config.json names, {missing[0]} first"
        )
    found: PreTrainedModel = model
    return found


def check_vocabulary(model: PreTrainedModel, processor: ProcessorMixin, folder: Path) -> int:
    """Tokenizer and embedding must fit: an id without a row would be an index error deep in a step.

    The tokenizer's own file counts: a processor may add tokens that no template of its model uses.

    :returns: rows of the embedding
    :raises ModelCorrupt: the tokenizer knows more tokens than the embedding has rows, or has no end of an answer
    """
    from transformers import AutoTokenizer

    embedding: Any = model.get_input_embeddings()
    rows = int(embedding.weight.shape[0])
    highest = max(AutoTokenizer.from_pretrained(folder, local_files_only=True).get_vocab().values())
    if highest >= rows:
        raise ModelCorrupt(
            f"the tokenizer names token {highest} and the embedding has {rows} rows",
            remedy="take tokenizer and weights from the same model",
        )
    if not ends(model, processor):
        raise ModelCorrupt(
            "neither the tokenizer nor generation_config.json names a token that ends an answer"
        )
    return rows


def ends(model: PreTrainedModel, processor: ProcessorMixin) -> frozenset[int]:
    """Tokens that end an answer."""

    def each() -> Iterator[int]:
        for value in (model.generation_config.eos_token_id, processor.tokenizer.eos_token_id):
            yield from value if isinstance(value, list) else () if value is None else (value,)

    return frozenset(each())
