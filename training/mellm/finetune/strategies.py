"""Which weights a stage trains: whole parts of the model, or adapters on its language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from mellm.stream.errors import UsageError
from mellm.training.mellm.finetune.base import Family, family, part_of
from mellm.training.mellm.finetune.config import Config, Fit, Lora, Stage

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_WRAPPER = "base_model.model."
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


def canonical(name: str) -> str:
    """The name a parameter has without adapters round it."""
    return name.removeprefix(_WRAPPER).replace(".base_layer.", ".")


def trains(name: str, stage: Stage, of: Family) -> bool:
    """Whether a stage trains the parameter of that name."""
    if ".lora_" in name:
        return stage.language == "lora"
    part = part_of(canonical(name), of)
    return bool(getattr(stage, part) == "tuned")


def adapted_layers(model: nn.Module, of: Family, targets: str) -> list[str]:
    """Linear layers of the language model that get an adapter; never the output layer.

    :raises UsageError: there is none
    """
    found = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and part_of(name, of) == "language"
        and not name.endswith("lm_head")
        and (targets == "all-linear" or name.rpartition(".")[2] in ATTENTION)
    ]
    if not found:
        raise UsageError(f"no linear layer of the language model answers to {targets!r}")
    return found


def prepare(model: PreTrainedModel, config: Config, half: bool) -> nn.Module:
    """Put adapters on where the strategy has them, freeze everything, and settle precisions.

    What any stage trains is kept in fp32, because steps of 1e-5 vanish in bf16; what none trains is kept in bf16
    where the arithmetic is in bf16 (``half``).
    """
    of = family(model.config.model_type)
    tuned: nn.Module = model
    if config.lora is not None:
        tuned = with_adapters(model, config.lora, of)
    stages = config.strategy.stages()
    for name, parameter in tuned.named_parameters():
        ever = any(trains(name, stage, of) for stage in stages)
        parameter.requires_grad_(False)
        parameter.data = parameter.data.to(torch.bfloat16 if half and not ever else torch.float32)
    if config.fit.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return tuned


def with_adapters(model: PreTrainedModel, lora: Lora, of: Family) -> nn.Module:
    """The model with adapters that change nothing yet."""
    from peft import LoraConfig, get_peft_model

    wanted = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # peft calls it an int and divides by the rank
        lora_dropout=lora.dropout,
        target_modules=adapted_layers(model, of, lora.targets),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, wanted)


def select(model: nn.Module, stage: Stage, of: Family) -> list[str]:
    """Thaw what the stage trains, freeze the rest; returns the names of what is trained."""
    names = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trains(name, stage, of))
        if parameter.requires_grad:
            names.append(name)
    return names


def groups(model: nn.Module, stage: Stage, fit: Fit, of: Family) -> list[dict[str, object]]:
    """Parameter groups for the optimiser: the vision tower may have its own rate; norms and biases do not decay."""
    rate = stage.rate or fit.rate
    vision_rate = stage.vision_rate or (fit.vision_rate if stage.rate is None else None) or rate
    sorted_out: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            mine = vision_rate if part_of(canonical(name), of) == "vision" else rate
            decay = fit.decay if parameter.ndim > 1 else 0.0
            sorted_out.setdefault((mine, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": mine, "highest": mine, "weight_decay": decay}
        for (mine, decay), parameters in sorted_out.items()
    ]


def changed(names: Sequence[str], config: Config, of: Family) -> list[str]:
    """Of these parameters, those that any stage trains: what a checkpoint must hold."""
    stages = config.strategy.stages()
    return [name for name in names if any(trains(name, stage, of) for stage in stages)]
