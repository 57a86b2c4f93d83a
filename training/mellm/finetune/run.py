"""The training run: read, check, fit stage by stage, write the model, ask the held-out subjects.

A run folder holds ``config.json``, ``log.jsonl``, ``checkpoints/`` and in the end ``model/``. Everything random is
drawn from the seed and the number of the step, so a run that was stopped and resumed ends like one that was not.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from mellm.stream.errors import ModelOutputInvalid, ProviderUnavailable, RunError, UsageError
from mellm.stream.signals import until_signal
from mellm.training.mellm.finetune import base, checkpoints, parallel, strategies
from mellm.training.mellm.finetune.checkpoints import Progress, Saved
from mellm.training.mellm.finetune.collate import IGNORE, Encoder, collate
from mellm.training.mellm.finetune.config import Config, Stage
from mellm.training.mellm.finetune.data import Record, check_subjects, digest, read
from mellm.training.mellm.finetune.schedule import seed_of, share_of_rate

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

log = logging.getLogger(__name__)

OnStep = Callable[[str, int, int, float], None]
"""Called after each step with the stage's label, steps done in it, steps of it, and the running loss."""

MEMORY = 0.95
"""Share of the last running loss in the next."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a run learns from.

    :param left_out: records that were too long
    :param tokens: of those that were not"""

    train: list[Record]
    held_out: list[Record]
    sha256: str
    left_out: int = 0
    tokens: int = 0


class Interrupted(RunError):
    """Stopped by a signal, after a checkpoint."""

    exit_code = 130


class Trainer:
    """A base model, its material, and a run folder.

    :raises ModelMissing: the base cannot be used
    :raises ModelCorrupt: the base cannot be used
    :raises UsageError: the base cannot be used
    :raises MissingExtra: the base cannot be used
    :raises SourceNotFound: the data cannot be used
    :raises SourceCorrupt: the data cannot be used
    :raises SourceEmpty: the data cannot be used
    """

    def __init__(self, config: Config, on_step: OnStep | None = None) -> None:
        self.config = config
        self.on_step = on_step
        base.require("transformers", "safetensors", "PIL", *(("peft",) if config.lora else ()))
        base.offline()
        self.family = base.family(base.check(config.base)["model_type"])
        material = _material(config)
        self.world = parallel.enter(config.fit.device)
        self.device = _device(config)
        self.half = _half(config, self.device)
        self.processor: ProcessorMixin = base.load_processor(config.base)
        model: PreTrainedModel = base.load_model(config.base)
        rows = base.check_vocabulary(model, self.processor, config.base)
        self.stored_dtype = model.dtype
        ends = base.ends(model, self.processor)
        self.encoder = Encoder(self.processor, ends, config.data.max_length, rows)
        kept, tokens = self.encoder.fitting(material.train, config.data.too_long)
        left_out = len(material.train) - len(kept)
        if left_out:
            log.warning("%d of %d records are too long and left out", left_out, len(material.train))
        self.material = Material(kept, material.held_out, material.sha256, left_out, tokens)
        self.pad = int(self.processor.tokenizer.pad_token_id or 0)
        torch.manual_seed(config.fit.seed)  # adapters begin with random numbers
        # shared out, a block has one precision: all of it is kept in fp32, and cast block by block
        self.model: nn.Module = strategies.prepare(model, config, self.half and self.world.alone)
        names = [name for name, _ in self.model.named_parameters()]
        self.kept = strategies.changed(names, config, self.family)
        if self.world.alone:
            self.model.to(self.device)
        else:
            _fit_to_share(config, self.material)
            parallel.share(self.model, list(model._no_split_modules or ()), self.half)
        self.checkpoints = config.out / "checkpoints"
        self.losses = config.out / "log.jsonl"
        self.total = 0
        self.loss = float("nan")
        self._stop = threading.Event()

    @property
    def fingerprint(self) -> str:
        """Everything that a checkpoint must share with a run to be continued by it."""
        settings = self.config.model_dump(mode="json", exclude={"out", "keep", "evaluation", "base", "data"})
        for free in ("device", "micro_batch", "checkpointing"):  # may change when memory runs out
            settings["fit"].pop(free)
        weights = sorted((p.name, p.stat().st_size) for p in self.config.base.glob("*.safetensors"))
        kept = [settings, self.material.sha256, len(self.material.train), weights]
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()

    def steps(self, stage: Stage) -> int:
        """Optimiser steps of a stage."""
        fit = self.config.fit
        whole = (stage.epochs or fit.epochs) * math.ceil(len(self.material.train) / fit.batch)
        return min(whole, fit.max_steps or whole)

    def fit(self, resume: bool = False) -> None:
        """Run the stages that are not done yet.

        :raises RunError: the folder holds another run, or cannot be written
        :raises Interrupted: by a signal
        :raises ConfigError: the checkpoint to go on from is of other settings
        """
        with self.world.together("the beginning"):
            saved = self._begin(resume)
        stages = self.config.strategy.stages()
        at, done = (saved.progress.stage, saved.progress.step) if saved else (0, 0)
        if saved is not None:
            parallel.give_weights(self.model, saved.weights(), self.world)
        with until_signal(lambda: log.info("stopping after this step"), self._stop):
            for index in range(at, len(stages)):
                begun = saved if index == at else None
                self._stage(index, stages[index], done if index == at else 0, begun)

    def _begin(self, resume: bool) -> Saved | None:
        self._room()
        out = self.config.out
        saved = checkpoints.newest(self.checkpoints, self.fingerprint if resume else None)
        if saved is not None and not resume:
            raise RunError(
                f"{out} holds a run of {saved.progress.total} steps",
                remedy="go on with it by --resume, or give another out",
            )
        if self.world.first:
            self._note(saved)
        if saved is not None:
            self.total, self.loss = saved.progress.total, saved.progress.loss
            log.info("going on after step %d", self.total)
        return saved

    def _note(self, saved: Saved | None) -> None:
        """Write down the settings; what the log tells of steps that are made again is forgotten."""
        out = self.config.out
        try:
            out.mkdir(parents=True, exist_ok=True)
            (out / "config.json").write_text(self.config.model_dump_json(indent=1) + "\n", encoding="utf-8")
            lines = self.losses.read_text(encoding="utf-8").splitlines() if self.losses.exists() else []
            done = saved.progress.total if saved else 0
            self.losses.write_text("".join(f"{line}\n" for line in lines[:done]), encoding="utf-8")
        except OSError as error:
            raise RunError(f"{out} cannot be written ({error.strerror or error})") from error

    def _stage(self, index: int, stage: Stage, done: int, saved: Saved | None) -> None:
        names = strategies.select(self.model, stage, self.family)
        fit, steps = self.config.fit, self.steps(stage)
        optimiser = torch.optim.AdamW(
            strategies.groups(self.model, stage, fit, self.family), betas=fit.betas, weight_decay=0.0
        )
        if saved is not None and done:
            parallel.give_optimiser_state(self.model, optimiser, saved.optimiser(), self.world)
        trained = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        log.info(
            "stage %d, %s: %d weights in %d tensors, %d steps",
            index + 1,
            stage.label,
            trained,
            len(names),
            steps,
        )
        self.model.train()
        for step in range(done, steps):
            self._step(index, stage, step, steps, optimiser)
            last = step + 1 == steps
            stopped = self.world.any(self._stop.is_set())
            if last or stopped or self.total % self.config.keep.every == 0:
                self._save(index, step + 1, optimiser)
            if stopped:
                raise Interrupted(
                    f"stopped after step {self.total}; {self.checkpoints} holds it",
                    remedy="go on with --resume",
                )

    def _step(
        self, index: int, stage: Stage, step: int, steps: int, optimiser: torch.optim.Optimizer
    ) -> None:
        began = time.monotonic()
        fit = self.config.fit
        # dropout must fall the same way in a resumed run
        torch.manual_seed(seed_of(fit.seed, index, step) + self.world.rank)
        factor = share_of_rate(fit.schedule, step, steps, fit.warmup)
        for group in optimiser.param_groups:
            group["lr"] = group["highest"] * factor
        drawn = self._drawn(index, step)
        samples = [self.encoder(record) for record in drawn[self.world.rank :: self.world.size]]
        learnt = self.world.summed(sum(int((s["labels"][:, 1:] != IGNORE).sum()) for s in samples))
        optimiser.zero_grad(set_to_none=True)
        loss = 0.0
        try:
            for i in range(0, math.ceil(len(drawn) / self.world.size), fit.micro_batch):
                # a process that has run out of conversations keeps step with the others
                batch = collate(samples[i : i + fit.micro_batch] or [self._idle(drawn)], self.pad)
                part = self._loss(batch) / learnt
                (part * self.world.size).backward()  # gradients are averaged over processes
                loss += float(part.detach())
        except torch.OutOfMemoryError as error:
            raise RunError(
                f"out of memory at step {self.total + 1}",
                remedy="set fit.micro_batch = 1 and fit.checkpointing = true, or train less of the model",
            ) from error
        loss = self.world.summed(loss)
        if not math.isfinite(loss):
            raise ModelOutputInvalid(
                f"the loss is {loss} at step {self.total + 1}; the last checkpoint is kept",
                remedy="give a lower fit.rate",
            )
        trained = [p for group in optimiser.param_groups for p in group["params"]]
        norm = parallel.number(nn.utils.clip_grad_norm_(trained, fit.clip))
        optimiser.step()
        self.total += 1
        self.loss = loss if not math.isfinite(self.loss) else MEMORY * self.loss + (1 - MEMORY) * loss
        line = {
            "step": self.total,
            "stage": index + 1,
            "loss": round(loss, 6),
            "rate": optimiser.param_groups[0]["lr"],
            "norm": round(norm, 4),
            "learnt": int(learnt),
            "seconds": round(time.monotonic() - began, 3),
        }
        if self.world.first:
            with self.losses.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        if self.on_step and self.world.first:
            self.on_step(stage.label, step + 1, steps, self.loss)

    def _idle(self, drawn: list[Record]) -> dict[str, torch.Tensor]:
        """A conversation of which nothing is learnt."""
        sample = self.encoder(drawn[0])
        return sample | {"labels": torch.full_like(sample["labels"], IGNORE)}

    def _drawn(self, index: int, step: int) -> list[Record]:
        """The records of a step: every epoch has its own order."""
        count, size = len(self.material.train), self.config.fit.batch
        each = math.ceil(count / size)
        epoch, place = divmod(step, each)
        generator = torch.Generator().manual_seed(seed_of(self.config.fit.seed, index, -1 - epoch))
        order = torch.randperm(count, generator=generator)[place * size : (place + 1) * size]
        return [self.material.train[int(i)] for i in order]

    def _loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Cross-entropy of what the assistant says, summed. Logits are made where something is learnt, nowhere else."""
        labels = batch.pop("labels")[:, 1:]
        places = (labels != IGNORE).any(0).nonzero().squeeze(1)
        if not len(places):
            places = torch.zeros(1, dtype=torch.long)  # nothing is learnt; the model is run all the same
        inputs = {name: t.to(self.device) for name, t in batch.items()}
        cast = self.half and self.world.alone  # shared out, blocks cast by themselves
        with torch.autocast(self.device.type, torch.bfloat16) if cast else nullcontext():
            logits = self.model(**inputs, logits_to_keep=places.to(self.device), use_cache=False).logits
        return nn.functional.cross_entropy(
            logits.flatten(0, 1).float(),
            labels[:, places].flatten().to(self.device),
            ignore_index=IGNORE,
            reduction="sum",
        )

    def _save(self, index: int, step: int, optimiser: torch.optim.Optimizer) -> None:
        weights = parallel.weights(self.model, self.kept, self.world)
        state = parallel.optimiser_state(self.model, optimiser, self.world)
        progress = Progress(index, step, self.total, self.loss, self.fingerprint)
        with self.world.together("saving"):
            if self.world.first:
                checkpoints.save(self.checkpoints, progress, weights, state, self.config.keep.checkpoints)

    def whole(self) -> nn.Module:
        """The tuned model in one piece and full precision: where it was shared out or rounded, made anew from the base
        and the last checkpoint."""
        if self.world.alone and not self.half:
            return self.model
        saved = checkpoints.newest(self.checkpoints, self.fingerprint)
        if saved is None:
            raise RunError(f"{self.checkpoints} holds no checkpoint")
        model = strategies.prepare(base.load_model(self.config.base), self.config, half=False)
        model.load_state_dict(saved.weights(), strict=False)
        return model

    def _room(self) -> None:
        """Refuse to begin what the disk cannot hold: one checkpoint more than are kept, and the model."""
        parameters = dict(self.model.named_parameters())
        trained = sum(parameters[name].numel() for name in self.kept)
        whole = sum(p.numel() for p in parameters.values())
        wanted = trained * 12 * (self.config.keep.checkpoints + 1) + whole * self.stored_dtype.itemsize
        there = next(p for p in (self.config.out, *self.config.out.absolute().parents) if p.exists())
        free = shutil.disk_usage(there).free
        if free < wanted:
            raise RunError(
                f"checkpoints and model need {wanted / 1e9:.1f} GB and {there} has {free / 1e9:.1f} GB left",
                remedy="make room, or keep fewer checkpoints (keep.checkpoints)",
            )

    def stop(self) -> None:
        """End the run after the step it is in, from another thread or from ``on_step``."""
        self._stop.set()


def _material(config: Config) -> Material:
    train = read(config.data.train, config.data.root)
    files = [config.data.train]
    held_out: list[Record] = []
    if config.data.held_out is not None:
        held_out = read(config.data.held_out, config.data.root)
        check_subjects(train, held_out)
    return Material(train, held_out, digest(files))


def _fit_to_share(config: Config, material: Material) -> None:
    """Refuse what processes cannot do side by side.

    :raises UsageError: naming it
    """
    if len(config.strategy.stages()) > 1:
        raise UsageError(
            "a staged run takes one process",
            remedy="run the stages one after the other, or take lora or full",
        )
    for record in material.train:
        if not record.images:
            raise UsageError(
                f"{record.where} has no picture; with several processes each conversation needs one",
                remedy="take one process",
            )


def _device(config: Config) -> torch.device:
    wanted = config.fit.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ProviderUnavailable("there is no CUDA device here", remedy='set fit.device = "auto"')
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted, torch.cuda.current_device()) if wanted == "cuda" else torch.device(wanted)


def _half(config: Config, device: torch.device) -> bool:
    if config.fit.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return config.fit.precision == "bf16"
