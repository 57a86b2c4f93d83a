"""The tuned model as a folder that transformers and vLLM load like the base it came from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mellm.training.mellm.finetune.checkpoints import replacing

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

BESIDE = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "vocab.*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.*",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "LICENSE*",
    "NOTICE*",
)
"""Files of the base that go along as they are: written anew they may name classes that other programs do not know."""


def merge(model: nn.Module) -> PreTrainedModel:
    """The model with its adapters folded into the weights; without adapters, the model itself."""
    from peft import PeftModel

    merged = model.merge_and_unload() if isinstance(model, PeftModel) else model
    return merged  # type: ignore[return-value]


def write(
    model: nn.Module, base: Path, folder: Path, dtype: torch.dtype, texts: dict[str, str], adapter: bool
) -> None:
    """Write the model folder, whole or not at all. The model is merged in place.

    :param dtype: the weights are stored in it
    :param texts: further files
    :param adapter: keep the adapters as they
        are as well, in the folder ``adapter``
    :raises RunError: it cannot be written; an older model at ``folder`` is still there
    """
    with replacing(folder) as part:
        if adapter:
            model.save_pretrained(part / "adapter")  # type: ignore[operator]
            _forget_the_base(part / "adapter")
        whole = merge(model)
        whole.to(dtype).save_pretrained(part)  # type: ignore[arg-type]  # the library wraps `to` without its self
        for pattern in BESIDE:
            for file in base.glob(pattern):
                shutil.copy2(file, part / file.name)
        for name, text in texts.items():
            (part / name).write_text(text, encoding="utf-8")


def _forget_the_base(adapter: Path) -> None:
    """Paths of this machine are nobody's business: the adapter names no folder, and has no card of its own."""
    file = adapter / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(config | {"base_model_name_or_path": ""}, indent=1) + "\n", encoding="utf-8")
    (adapter / "README.md").unlink(missing_ok=True)
