"""The configuration of a fine-tuning: a TOML file, typed, unknown keys refused by name.

::

    recipe = "hiermeqa"                        # optional: start from a named recipe, see training/mellm/recipes/
    base = "/models/Qwen2.5-VL-7B-Instruct"    # a folder; nothing is ever fetched
    out = "runs/mellm-7b"

    [data]
    train = "data/train.jsonl"
    held_out = "data/test.jsonl"

    [strategy]
    kind = "lora"
    vision = "tuned"

Relative paths are relative to the working directory, as on the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, ValidationError, model_validator

from mellm.engine.sections import Section, explain, read_toml
from mellm.stream.errors import ConfigError
from mellm.training.mellm.finetune import recipes

Mode: TypeAlias = Literal["frozen", "tuned"]
Part: TypeAlias = Literal["vision", "projector", "language"]


class Data(Section):
    """What is learnt from and what is held out.

    :param train: JSONL, one conversation a line
    :param held_out: the same, of other subjects; may be missing
    :param root: folder that image paths are relative to; by default that of each JSONL file
    :param max_length: tokens of a conversation, image tokens included
    :param too_long: what becomes of longer ones
    """

    train: Path
    held_out: Path | None = None
    root: Path | None = None
    max_length: int = Field(default=4096, ge=16)
    too_long: Literal["refuse", "leave-out"] = "refuse"


class Lora(Section):
    """Low-rank adapters on linear layers of the language model."""

    rank: int = Field(default=16, ge=1, le=1024)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: Literal["all-linear", "attention"] = "all-linear"


class Stage(Section):
    """What is trained at one time. ``epochs``, ``rate``, ``vision_rate`` override those of ``[fit]``."""

    vision: Mode = "frozen"
    projector: Mode = "frozen"
    language: Literal["frozen", "lora", "tuned"] = "frozen"
    epochs: int | None = Field(default=None, ge=1)
    rate: float | None = Field(default=None, gt=0)
    vision_rate: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _trains_something(self) -> Stage:
        if self.vision == self.projector == self.language == "frozen":
            raise ValueError("a stage that trains nothing: vision, projector and language are all frozen")
        return self

    @property
    def label(self) -> str:
        """``projector+vision``, ``language (lora)`` …: what it trains."""
        named = [name for name in ("vision", "projector") if getattr(self, name) == "tuned"]
        if self.language != "frozen":
            named.append("language" + (" (lora)" if self.language == "lora" else ""))
        return "+".join(named)


class FullStrategy(Section):
    """All weights of the language model; the vision tower and the projector on wish."""

    kind: Literal["full"]
    vision: Mode = "tuned"
    projector: Mode = "tuned"

    def stages(self) -> tuple[Stage, ...]:
        """The one stage."""
        return (Stage(vision=self.vision, projector=self.projector, language="tuned"),)


class LoraStrategy(Section):
    """Adapters on the language model; all weights of the vision tower and the projector on wish."""

    kind: Literal["lora"]
    vision: Mode = "frozen"
    projector: Mode = "frozen"
    lora: Lora = Lora()

    def stages(self) -> tuple[Stage, ...]:
        """The one stage."""
        return (Stage(vision=self.vision, projector=self.projector, language="lora"),)


class StagedStrategy(Section):
    """One stage after the other; by default the projector, then the vision tower with it, then everything."""

    kind: Literal["staged"]
    lora: Lora = Lora()
    stage: tuple[Stage, ...] = Field(
        default=(
            Stage(projector="tuned"),
            Stage(projector="tuned", vision="tuned"),
            Stage(projector="tuned", vision="tuned", language="tuned"),
        ),
        min_length=1,
        max_length=16,
    )

    def stages(self) -> tuple[Stage, ...]:
        """The stages, in order."""
        return self.stage

    @model_validator(mode="after")
    def _one_way_for_language(self) -> StagedStrategy:
        ways = {s.language for s in self.stage} - {"frozen"}
        if len(ways) > 1:
            raise ValueError("the language model is tuned by adapters or as a whole, not both in one run")
        return self


Strategy: TypeAlias = Annotated[FullStrategy | LoraStrategy | StagedStrategy, Field(discriminator="kind")]


class Fit(Section):
    """The optimisation.

    :param batch: conversations in an optimiser step over all processes
    :param micro_batch: of them at once on a device
    :param rate: highest learning rate
    :param vision_rate: that of the vision tower where it is another
    :param warmup: share of the steps in which the rate rises; then it falls as ``schedule`` says
    :param clip: largest norm of the gradient
    :param decay: of weights, not of norms and biases
    :param precision: of the arithmetic; ``auto`` is bf16 on a GPU that has it. What is trained is kept in fp32
    :param checkpointing: recompute activations in the backward pass (less memory, a third more arithmetic)
    :param max_steps: of a stage, for trials
    """

    epochs: int = Field(default=1, ge=1)
    batch: int = Field(default=16, ge=1)
    micro_batch: int = Field(default=1, ge=1)
    rate: float = Field(default=1e-4, gt=0, lt=1)
    vision_rate: float | None = Field(default=None, gt=0, lt=1)
    warmup: float = Field(default=0.05, ge=0, le=0.5)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    checkpointing: bool = True
    max_steps: int | None = Field(default=None, ge=1)
    seed: int = Field(default=1, ge=0)

    @model_validator(mode="after")
    def _divides(self) -> Fit:
        if self.batch % self.micro_batch:
            raise ValueError(f"batch {self.batch} is not a multiple of micro_batch {self.micro_batch}")
        return self


class Keep(Section):
    """Checkpoints: every so many optimiser steps and at the end of a stage; the last ``checkpoints`` are kept."""

    every: int = Field(default=200, ge=1)
    checkpoints: int = Field(default=2, ge=1)


class Evaluation(Section):
    """Questions to the held-out subjects after training.

    :param limit: records asked, spread evenly over the file; 0 asks none
    :param max_tokens: of an answer
    :param batch: answered at once
    """

    limit: int = Field(default=500, ge=0)
    max_tokens: int = Field(default=512, ge=1)
    batch: int = Field(default=8, ge=1)


class Config(Section):
    """One fine-tuning."""

    recipe: str | None = None
    base: Path
    out: Path
    name: str = Field(default="mellm", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    data: Data
    strategy: Strategy
    fit: Fit = Fit()
    keep: Keep = Keep()
    evaluation: Evaluation = Evaluation()

    @property
    def lora(self) -> Lora | None:
        """The adapters, where any stage trains them."""
        adapted = any(stage.language == "lora" for stage in self.strategy.stages())
        return getattr(self.strategy, "lora", None) if adapted else None


def load(path: Path) -> Config:
    """Read a configuration.

    :raises ConfigError: not readable, no TOML, unknown key (named, with the nearest known one), value out of range
    """
    return validated(read_toml(path), str(path))


def validated(data: Mapping[str, Any], origin: str) -> Config:
    """A configuration from its keys, over those of the recipe that it names.

    :raises ConfigError: see :func:`load`
    """
    name = data.get("recipe")
    if name is not None:
        if not isinstance(name, str):
            raise ConfigError(f"{origin}: recipe is {name!r}, not a name")
        data = merged(recipes.get(name).settings, data)
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise explain(error, Config, origin, data) from error


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid on ``under``, table by table. A strategy of another kind replaces the recipe's as a whole."""
    out = dict(under)
    for key, value in over.items():
        below = out.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            other_kind = key == "strategy" and value.get("kind", below.get("kind")) != below.get("kind")
            out[key] = dict(value) if other_kind else merged(below, value)
        else:
            out[key] = value
    return out
