"""Train mellm-nano from nothing on the project's own pairs; the command is ``mellm train nano``.

Two stages. First the eye: encoder and connector learn to tell units, sides and kinds of motion from the picture, with
plain outputs in place of words, which costs a tenth of a language model's steps. Then the whole model learns to write
the answer. A stopped run goes on with the same command; the last checkpoint is replaced by rename only.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mellm.stream.errors import UsageError
from mellm.stream.files import replacing
from mellm.training.instruct import answers
from mellm.training.instruct.pairs import NEGATIVES
from mellm.training.mellm import architecture, store
from mellm.training.mellm import tokenizer as words
from mellm.training.mellm.architecture import NanoShape
from mellm.training.mellm.sampling import AUS, SampleOptions, Sampler, Truth, plain, truth_of
from mellm.training.mellm.store import Stored

log = logging.getLogger(__name__)

KINDS = ("expression", *NEGATIVES)
OUTPUTS = 2 * len(AUS) + len(KINDS)


@dataclass(frozen=True, slots=True)
class NanoOptions:
    """:param look: iterations of the first stage

    :param write: of the second
    :param chinese: share of answers"""

    run: Path = Path("runs/nano")
    pairs: Path = Path("runs/pairs")
    look: int = 2500
    write: int = 1400
    batch: int = 48
    look_rate: float = 1e-3
    write_rate: float = 8e-4
    decay: float = 0.05
    average: float = 0.998
    chinese: float = 0.1
    seed: int = 1
    threads: int = 1
    shape: NanoShape = field(default_factory=NanoShape)
    sample: SampleOptions = field(default_factory=SampleOptions)


class Looker(nn.Module):
    """Encoder and connector of the model, with one linear read-out of their image tokens."""

    def __init__(self, model: Any, shape: NanoShape) -> None:
        super().__init__()
        self.model = model
        self.side = shape.side
        self.out = nn.Linear(shape.image_tokens * shape.width, OUTPUTS)

    def tokens(self, pictures: torch.Tensor) -> torch.Tensor:
        """B×3×H×W → B×tokens×width."""
        found = self.model.model.get_image_features(pictures[:, None])
        seen: torch.Tensor = getattr(found, "pooler_output", found)
        return seen.reshape(len(pictures), -1, seen.shape[-1])

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Logits: units on the left, units on the right, kinds."""
        t = self.tokens(pictures)
        logits: torch.Tensor = self.out(functional.layer_norm(t, t.shape[-1:]).flatten(1))
        return logits


def fitted(pictures: torch.Tensor, side: int) -> torch.Tensor:
    """Pictures B×3×H×W at the size a model sees, by averaging."""
    return pictures if pictures.shape[-1] == side else functional.adaptive_avg_pool2d(pictures, side)


def look_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Units as independent decisions, the kind as one choice."""
    n = 2 * len(AUS)
    units = functional.binary_cross_entropy_with_logits(logits[:, :n], target[:, :n], reduction="none")
    kind = functional.cross_entropy(logits[:, n:], target[:, n:].argmax(1))
    return units.sum(1).mean() + kind


@dataclass(slots=True)
class Average:
    """Running mean of weights, which is what is kept."""

    model: nn.Module
    decay: float
    steps: int = 0
    shadow: dict[str, torch.Tensor] = field(default_factory=dict)

    def update(self) -> None:
        """After an optimiser step. The mean is short at first, so that the random start is forgotten."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 10))
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                if name not in self.shadow or not value.is_floating_point():
                    self.shadow[name] = value.clone()
                else:
                    self.shadow[name].lerp_(value, 1 - decay)


def schedule(step: int, total: int, warm: int = 100) -> float:
    """Share of the highest rate: up in ``warm`` steps, then half a cosine down to a hundredth."""
    if step < warm:
        return (step + 1) / warm
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, total - warm))))


class Trainer:
    """One training; see the module."""

    def __init__(self, options: NanoOptions, pairs: Sequence[Stored]) -> None:
        torch.set_num_threads(options.threads)
        self.options = options
        options.run.mkdir(parents=True, exist_ok=True)
        self.tokenizer = self._tokenizer()
        self.model = architecture.build(options.shape, self.tokenizer, options.seed)
        self.looker = Looker(self.model, options.shape)
        self.sampler = Sampler(pairs, options.sample, options.seed)
        self.rng = np.random.default_rng([0x7A, options.seed])
        self.average = Average(self.looker, options.average)
        self.stage, self.step = "look", 0
        self.optimizer = self._optimizer(options.look_rate)

    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        path = self.options.run / "tokenizer.json"
        if not path.exists():
            texts = [
                *answers.draw_many(4000, 1),
                *answers.draw_many(1000, 1, "zh"),
                *answers.vocabulary("en"),
                *answers.vocabulary("zh"),
            ]
            words.train(texts).save(str(path))
        return Tokenizer.from_file(str(path))

    def _optimizer(self, rate: float) -> torch.optim.Optimizer:
        matrices = [p for p in self.looker.parameters() if p.ndim > 1]
        rest = [p for p in self.looker.parameters() if p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": self.options.decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))

    @property
    def path(self) -> Path:
        """The checkpoint."""
        return self.options.run / "checkpoint.pt"

    def save(self) -> None:
        """Write the checkpoint, whole or not at all.

        :raises UsageError: the disk is full or the folder read-only; the last checkpoint is intact
        """
        state = {
            "stage": self.stage,
            "step": self.step,
            "looker": self.looker.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "shadow": self.average.shadow,
            "averaged": self.average.steps,
            "sampler": self.sampler.rng.bit_generator.state,
            "rng": self.rng.bit_generator.state,
        }
        try:
            with replacing(self.path, durable=True) as part:
                torch.save(state, part)
        except (OSError, RuntimeError) as error:
            raise UsageError(
                f"cannot write {self.path} ({error})", remedy="free some space; the last checkpoint is intact"
            ) from error

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if not self.path.exists():
            return
        state = torch.load(self.path, weights_only=True)
        try:
            self.looker.load_state_dict(state["looker"])
        except RuntimeError as error:
            raise UsageError(
                f"{self.path} is of a model of another shape",
                remedy="use the options it was begun with, or another --run folder",
            ) from error
        self.stage, self.step = state["stage"], state["step"]
        self.optimizer = self._optimizer(self._rate())
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.shadow, self.average.steps = state["shadow"], state["averaged"]
        self.sampler.rng.bit_generator.state = state["sampler"]
        self.rng.bit_generator.state = state["rng"]

    def _rate(self) -> float:
        return self.options.look_rate if self.stage == "look" else self.options.write_rate

    def fit(self, validation: Sequence[Stored] = ()) -> None:
        """Both stages, from where it stands to the end."""
        for stage, total in (("look", self.options.look), ("write", self.options.write)):
            if self.stage == "look" and stage == "write":
                self._next_stage()
            if self.stage != stage:
                continue
            began, done = time.monotonic(), self.step
            while self.step < total:
                loss = self._iterate(total)
                if not math.isfinite(loss):
                    raise UsageError(
                        f"the loss of {stage} step {self.step} is {loss}", remedy="lower the rate"
                    )
                if self.step % 100 == 0:
                    pace = (time.monotonic() - began) / (self.step - done)
                    log.info("%s %d/%d loss %.4f, %.2f s a step", stage, self.step, total, loss, pace)
                if self.step % 500 == 0 or self.step == total:
                    self.save()
                    if validation:
                        log.info("%s", {k: round(v, 3) for k, v in self.check(validation).items()})

    def _next_stage(self) -> None:
        self.looker.load_state_dict(self.average.shadow)
        self.average = Average(self.looker, self.options.average)
        self.stage, self.step = "write", 0
        self.optimizer = self._optimizer(self.options.write_rate)

    def _iterate(self, total: int) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate() * schedule(self.step, total)
        self.looker.train()
        pictures, truths = self.sampler.batch(self.options.batch)
        pictures = fitted(pictures, self.options.shape.side)
        target = torch.from_numpy(np.stack([t.vector() for t in truths]))
        with torch.autocast("cpu", torch.bfloat16):
            if self.stage == "look":
                logits = self.looker(pictures)
                written = logits.new_zeros(())
            else:
                tokens = self.looker.tokens(pictures)
                logits = self.looker.out(functional.layer_norm(tokens, tokens.shape[-1:]).flatten(1))
                written = self._written(tokens, truths)
        loss = look_loss(logits.float(), target)
        whole = loss if self.stage == "look" else written.float() + 0.3 * loss
        self.optimizer.zero_grad(set_to_none=True)
        whole.backward()
        nn.utils.clip_grad_norm_(self.looker.parameters(), 1.0)
        self.optimizer.step()
        self.average.update()
        self.step += 1
        return float(whole.detach())

    def _written(self, tokens: torch.Tensor, truths: Sequence[Truth]) -> torch.Tensor:
        """Mean over answers of the summed loss of their tokens."""
        rows = [self._row(truth) for truth in truths]
        ids, targets = self._padded(rows)
        embedded = self.model.get_input_embeddings()(ids)
        image = self.tokenizer.token_to_id(words.IMAGE)
        embedded = embedded.masked_scatter((ids == image)[..., None], tokens.to(embedded.dtype))
        told = self.model.model.text_model(inputs_embeds=embedded).last_hidden_state
        keep = targets >= 0
        logits = self.model.lm_head(told[keep])
        return functional.cross_entropy(logits.float(), targets[keep], reduction="sum") / len(truths)

    def _row(self, truth: Truth) -> tuple[list[int], list[int]]:
        language: Any = "zh" if self.rng.random() < self.options.chinese else "en"
        answer = answer_of(truth, self.rng, language)
        return self.prompt(language), self.tokenizer.encode(answer).ids + self.tokenizer.encode(words.END).ids

    def prompt(self, language: Any = "en") -> list[int]:
        """Token ids of the user's turn, image tokens included, up to where the answer begins."""
        image = words.FAKE + words.GLOBAL + words.IMAGE * self.options.shape.image_tokens + words.FAKE
        text = f"{words.BEGIN}user\n{image}{answers.QUESTION[language]}{words.END}\n{words.BEGIN}assistant\n"
        ids: list[int] = self.tokenizer.encode(text).ids
        return ids

    def _padded(self, rows: Sequence[tuple[list[int], list[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids B×T (padded at the right, which a causal model does not see) and what each position has to say."""
        length = max(len(p) + len(a) for p, a in rows)
        ids = torch.full((len(rows), length), self.tokenizer.token_to_id(words.PAD))
        targets = torch.full((len(rows), length), -100)
        for i, (prompt, answer) in enumerate(rows):
            ids[i, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
            start = len(prompt) - 1
            targets[i, start : start + len(answer)] = torch.tensor(answer)
        return ids, targets

    def averaged(self) -> Looker:
        """A copy with the mean weights."""
        from copy import deepcopy

        copied = deepcopy(self.looker)
        if self.average.shadow:
            copied.load_state_dict(self.average.shadow)
        return copied.eval()

    def check(self, pairs: Sequence[Stored]) -> dict[str, float]:
        """Unit F1 and abstention of the eye alone, read off its plain outputs."""
        return look_scores(self.averaged(), pairs)


def answer_of(truth: Truth, rng: np.random.Generator, language: Any = "en") -> str:
    """The canonical answer."""
    if truth.kind == "expression":
        return answers.compose(truth.units, rng, language)
    return answers.abstention(truth.kind, rng, language)


@torch.inference_mode()
def looked(looker: Looker, pairs: Sequence[Stored], batch: int = 64) -> np.ndarray:
    """Logits of the plain outputs, N×OUTPUTS."""
    parts = []
    for at in range(0, len(pairs), batch):
        pictures = plain(np.stack([p.picture for p in pairs[at : at + batch]]))
        pictures = fitted(pictures, looker.side)
        with torch.autocast("cpu", torch.bfloat16):
            parts.append(looker(pictures).float().numpy())
    return np.concatenate(parts)


def look_scores(looker: Looker, pairs: Sequence[Stored]) -> dict[str, float]:
    """Scores of the plain outputs on expressions and negatives above the motion floor."""
    pairs = [p for p in pairs if p.above]
    logits = looked(looker, pairs)
    n = len(AUS)
    units = np.maximum(logits[:, :n], logits[:, n : 2 * n]) > 0
    abstains = logits[:, 2 * n :].argmax(1) != 0
    hits = false = missed = 0
    for told, silent, pair in zip(units, abstains, pairs, strict=True):
        if pair.kind != "expression":
            continue
        true = truth_of(pair)
        want = {au for au, _ in true.units}
        said = set() if silent else {au for au, there in zip(AUS, told, strict=True) if there}
        hits, false, missed = hits + len(want & said), false + len(said - want), missed + len(want - said)
    positive = np.array([p.kind == "expression" for p in pairs])
    return {
        "f1": 2 * hits / max(1, 2 * hits + false + missed),
        "abstains": float(abstains[~positive].mean()) if (~positive).any() else 1.0,
        "silent": float(abstains[positive].mean()) if positive.any() else 0.0,
    }


def train(options: NanoOptions, out: Path) -> None:
    """Load, fit, save.

    :raises UsageError: there are no pairs, or the checkpoint is of another model
    """
    pairs = [p for source in ("rendered", "stills") for p in store.load(options.pairs, source, "train")]
    if not any(p.kind == "expression" for p in pairs):
        raise UsageError(
            f"no training pairs in {options.pairs}",
            remedy="draw them: mellm train nano does, or python -m mellm.training.mellm.store",
        )
    held = [p for source in ("rendered", "stills") for p in store.load(options.pairs, source, "val")]
    trainer = Trainer(options, pairs)
    trainer.resume()
    trainer.fit(held)
    final = trainer.averaged()
    architecture.save(final.model, trainer.tokenizer, options.shape, out)
    (out / "training.json").write_text(
        json.dumps(asdict(options), default=str, indent=1) + "\n", encoding="utf-8"
    )
