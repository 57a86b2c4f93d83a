"""Memory and time that a run is expected to take, on paper. Nothing here was measured.

Memory of a device: weights 4 bytes each where any stage trains them (fp32) and 2 where none does; for those of the
stage bf16 copies, 2, gradients, 4, and Adam, 8; all of these shared among the devices. To that come activations.
With recomputing, a block keeps its input only: tokens × width; besides these there is one block's inside, and the
logits of what is learnt.

Arithmetic of a conversation: 2 operations for each weight and token forward; backward as many again for gradients of
activations (where anything before them is trained) and as many for gradients of weights (where they are trained); and
forward once more where activations are recomputed. Time is arithmetic over peak × the share of it that is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mellm.stream.errors import ModelMissing
from mellm.training.mellm.finetune import base
from mellm.training.mellm.finetune.base import part_of
from mellm.training.mellm.finetune.config import Config, Fit, Lora, Stage

if TYPE_CHECKING:
    from pathlib import Path

PEAK = 989e12
"""Dense bf16 operations a second of an H100 SXM, as its maker says."""

USED = 0.30
"""Share of the peak that is used: an assumption. Plain PyTorch with short conversations gets 0.2 to 0.4."""

PATCHES = 4
"""Patches of the picture behind one image token (Qwen2.5-VL merges 2×2)."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a model: numbers of parameters, of layers, and widths.

    :param inner: width inside a block's feed-forward part
    :param linear: parameters of adapters of rank 1 on all linear layers of the language model
    """

    vision: int
    projector: int
    language: int
    embeddings: int
    head: int
    layers: int
    width: int
    inner: int
    vision_layers: int
    vision_width: int
    vocabulary: int
    linear: int

    @property
    def weights(self) -> int:
        """All parameters."""
        return self.vision + self.projector + self.language + self.embeddings + self.head


@dataclass(frozen=True, slots=True)
class Load:
    """What is learnt from. All of them assumptions where no data are at hand.

    :param tokens: of a conversation, pictures included
    :param image_tokens: of them those of pictures
    :param learnt: of them those that the assistant says
    """

    conversations: int
    tokens: float
    image_tokens: float
    learnt: float


@dataclass(frozen=True, slots=True)
class Expected:
    """Of one stage: bytes on each device, and hours on all of them together working side by side."""

    trained: int
    states: float
    activations: float
    flops: float
    hours: float

    @property
    def memory(self) -> float:
        """Bytes on a device, with a tenth more for what fragments and 1 GB for the driver."""
        return 1.1 * (self.states + self.activations) + 1e9


def shape(config: Any) -> Shape:
    """Sizes from a transformers configuration; the model is built without memory for its weights."""
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    of = base.family(config.model_type)
    counts = {"vision": 0, "projector": 0, "language": 0}
    for name, parameter in model.named_parameters():
        counts[part_of(name, of)] += parameter.numel()
    embeddings = model.get_input_embeddings().weight
    output = model.get_output_embeddings().weight
    head = 0 if output is embeddings else output.numel()
    text, vision = config.get_text_config(), config.vision_config
    width, inner = int(text.hidden_size), int(text.intermediate_size)
    heads = int(text.num_attention_heads)
    kv = int(getattr(text, "num_key_value_heads", heads) or heads)
    each_head = int(getattr(text, "head_dim", None) or width // heads)
    # inputs plus outputs of a block's seven linear layers: what an adapter of rank 1 has parameters for
    attention = 2 * (width + heads * each_head) + 2 * (width + kv * each_head)
    layers = int(text.num_hidden_layers)
    return Shape(
        vision=counts["vision"],
        projector=counts["projector"],
        language=counts["language"] - embeddings.numel() - head,
        embeddings=embeddings.numel(),
        head=head,
        layers=layers,
        width=width,
        inner=inner,
        vision_layers=int(getattr(vision, "depth", None) or vision.num_hidden_layers),
        vision_width=int(vision.hidden_size),
        vocabulary=int(text.vocab_size),
        linear=layers * (attention + 3 * (width + inner)),
    )


def adapters(of: Shape, lora: Lora | None) -> int:
    """Parameters of the adapters."""
    if lora is None:
        return 0
    skipped = of.layers * 3 * (of.width + of.inner) if lora.targets == "attention" else 0
    return (of.linear - skipped) * lora.rank


def trained_by(of: Shape, stages: Sequence[Stage], lora: Lora | None) -> int:
    """Parameters that any of the stages trains."""
    language = {"tuned": of.language + of.embeddings + of.head, "lora": adapters(of, lora), "frozen": 0}
    return (
        (of.vision if any(s.vision == "tuned" for s in stages) else 0)
        + (of.projector if any(s.projector == "tuned" for s in stages) else 0)
        + max(language[s.language] for s in stages)
    )


def expect(
    of: Shape, stages: Sequence[Stage], at: int, lora: Lora | None, fit: Fit, load: Load, devices: int = 1
) -> Expected:
    """Memory and time of stage number ``at``."""
    stage = stages[at]
    trained, ever = trained_by(of, [stage], lora), trained_by(of, stages, lora)
    frozen = of.weights + adapters(of, lora) - ever
    states = (4 * ever + (2 + 4 + 8) * trained + 2 * frozen) / devices

    tokens, batch = load.tokens, fit.micro_batch
    patches = load.image_tokens * PATCHES
    wide = 4 if stage.language == "tuned" else 2  # a trained embedding hands on fp32
    kept = of.layers * tokens * of.width * wide
    inside = tokens * (14 * of.width + 4 * of.inner) * 2
    if not fit.checkpointing:
        kept, inside = of.layers * inside, 0
    seen = patches * of.vision_width * 2
    if stage.vision == "tuned":
        seen *= of.vision_layers if fit.checkpointing else 16 * of.vision_layers
    logits = 10 * load.learnt * of.vocabulary
    activations = batch * (kept + inside + seen + logits)

    flops = _arithmetic(of, stage, fit, load, patches) * load.conversations * (stage.epochs or fit.epochs)
    return Expected(trained, states, activations, flops, flops / (PEAK * USED * devices) / 3600)


def _arithmetic(of: Shape, stage: Stage, fit: Fit, load: Load, patches: float) -> float:
    """Operations of one conversation."""
    head = of.head or of.embeddings
    forward = 2 * (of.language * load.tokens + head * load.learnt) + 2 * of.layers * load.tokens**2 * of.width
    again = 1 if fit.checkpointing else 0
    language = forward * (2 + again + (1 if stage.language == "tuned" else 0))
    look = 2 * of.vision * patches
    vision = look * (3 + again if stage.vision == "tuned" else 1)
    return language + vision + 6 * of.projector * load.image_tokens


def report(config: Config, devices: int = 1, load: Load | None = None) -> str:
    """The estimate of a run as text. Without its data, a load is assumed."""
    found = shape(_configuration(config.base))
    load = load or measured_load(config) or ASSUMED
    lines = [
        f"{config.base.name}: {found.weights / 1e9:.2f} billion weights (vision {found.vision / 1e9:.2f}, projector "
        f"{found.projector / 1e9:.3f}, language {(found.language + found.embeddings + found.head) / 1e9:.2f})",
        f"{load.conversations} conversations of {load.tokens:.0f} tokens, {load.image_tokens:.0f} of them of pictures, "
        f"{load.learnt:.0f} learnt; micro-batch {config.fit.micro_batch}; "
        f"{devices} × H100 at {USED:.0%} of its peak",
    ]
    stages = config.strategy.stages()
    for i, stage in enumerate(stages):
        e = expect(found, stages, i, config.lora, config.fit, load, devices)
        lines.append(
            f"stage {i + 1}, {stage.label}: {e.trained / 1e9:.3f} billion weights trained; about "
            f"{e.memory / 1e9:.0f} GB on a device ({e.states / 1e9:.0f} GB weights, gradients and Adam, "
            f"{e.activations / 1e9:.1f} GB activations); about {e.hours:.1f} hours"
        )
    return "\n".join([*lines, "An estimate on paper; nothing of it was measured."])


ASSUMED = Load(10_000, 700, 154, 120)
"""Without data: half of the conversations with a region table, maps of 368×320, answers of a few sentences."""


def measured_load(config: Config) -> Load | None:
    """The load of the run's own data, where tokenizer and data can be read here."""
    from mellm.stream.errors import MellmError

    try:
        from mellm.training.mellm.finetune.collate import Encoder
        from mellm.training.mellm.finetune.data import read

        records = read(config.data.train, config.data.root)
        encoder = Encoder(base.load_processor(config.base), frozenset(), config.data.max_length, 1 << 31)
        some = records[:: max(1, len(records) // 200)]
        answers = [len(encoder.processor.tokenizer(r.answer)["input_ids"]) + 1 for r in some]
        tokens = [encoder.length(r) for r in some]
        pictures = [sum(encoder.picture_tokens(p, r.where) for p in r.images) for r in some]
    except MellmError:
        return None
    return Load(len(records), sum(tokens) / len(some), sum(pictures) / len(some), sum(answers) / len(some))


def _configuration(folder: Path) -> Any:
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise ModelMissing(f"{folder} holds no config.json", remedy="an estimate needs that file, no weights")
    return AutoConfig.from_pretrained(folder, local_files_only=True)
