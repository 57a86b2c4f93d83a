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
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from stream.errors import ModelOutputInvalid, ProviderUnavailable, RunError
from training.mellm.finetune import base, checkpoints, strategies
from training.mellm.finetune.checkpoints import Progress, Saved
from training.mellm.finetune.collate import IGNORE, Encoder, collate
from training.mellm.finetune.config import Config, Stage
from training.mellm.finetune.data import Record, check_subjects, digest, read

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

log = logging.getLogger(__name__)

Told = Callable[[str, int, int, float], None]
"""Called after each step with the stage's label, steps done in it, steps of it, and the running loss."""

MEMORY = 0.95
"""Share of the last running loss in the next."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a run learns from. :param left_out: records that were too long; :param tokens: of those that were not"""

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

    :raises ModelMissing: :raises ModelCorrupt: :raises UsageError: :raises MissingExtra: the base cannot be used
    :raises SourceNotFound: :raises SourceCorrupt: :raises SourceEmpty: the data cannot be used
    """

    def __init__(self, config: Config, told: Told | None = None) -> None:
        self.config = config
        self.told = told
        base.require("transformers", "safetensors", "PIL", *(("peft",) if config.lora else ()))
        base.offline()
        self.family = base.family(base.check(config.base)["model_type"])
        material = _material(config)
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
        self.model: nn.Module = strategies.prepare(model, config, self.half).to(self.device)
        names = [name for name, _ in self.model.named_parameters()]
        self.kept = strategies.changed(names, config, self.family)
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

        :raises RunError: the folder holds another run, or cannot be written; :raises Interrupted: by a signal
        :raises ConfigError: the checkpoint to go on from is of other settings
        """
        self._room()
        saved = self._begin(resume)
        stages = self.config.strategy.stages()
        at, done = (saved.progress.stage, saved.progress.step) if saved else (0, 0)
        with self._signals():
            for index in range(at, len(stages)):
                begun = saved if index == at else None
                self._stage(index, stages[index], done if index == at else 0, begun)

    def _begin(self, resume: bool) -> Saved | None:
        out = self.config.out
        saved = checkpoints.newest(self.checkpoints, self.fingerprint if resume else None)
        if saved is not None and not resume:
            raise RunError(
                f"{out} holds a run of {saved.progress.total} steps",
                remedy="go on with it by --resume, or give another out",
            )
        try:
            out.mkdir(parents=True, exist_ok=True)
            (out / "config.json").write_text(self.config.model_dump_json(indent=1) + "\n", encoding="utf-8")
            lines = self.losses.read_text(encoding="utf-8").splitlines() if self.losses.exists() else []
            done = saved.progress.total if saved else 0
            self.losses.write_text("".join(f"{line}\n" for line in lines[:done]), encoding="utf-8")
        except OSError as error:
            raise RunError(f"{out} cannot be written ({error.strerror or error})") from error
        if saved is not None:
            self.total, self.loss = saved.progress.total, saved.progress.loss
            self.model.load_state_dict(saved.weights(), strict=False)
            log.info("going on after step %d", self.total)
        return saved

    def _stage(self, index: int, stage: Stage, done: int, saved: Saved | None) -> None:
        names = strategies.select(self.model, stage, self.family)
        fit, steps = self.config.fit, self.steps(stage)
        optimiser = torch.optim.AdamW(
            strategies.groups(self.model, stage, fit, self.family), betas=fit.betas, weight_decay=0.0
        )
        if saved is not None and done:
            optimiser.load_state_dict(saved.optimiser())
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
            if last or self._stop.is_set() or self.total % self.config.keep.every == 0:
                self._save(index, step + 1, optimiser)
            if self._stop.is_set():
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
        torch.manual_seed(_seed(fit.seed, index, step))
        factor = _schedule(fit.schedule, step, steps, fit.warmup)
        for group in optimiser.param_groups:
            group["lr"] = group["highest"] * factor
        samples = [self.encoder(record) for record in self._drawn(index, step)]
        learnt = sum(int((s["labels"][:, 1:] != IGNORE).sum()) for s in samples)
        optimiser.zero_grad(set_to_none=True)
        loss = 0.0
        try:
            for i in range(0, len(samples), fit.micro_batch):
                batch = collate(samples[i : i + fit.micro_batch], self.pad)
                part = self._loss(batch) / learnt
                part.backward()  # type: ignore[no-untyped-call]
                loss += float(part.detach())
        except torch.OutOfMemoryError as error:
            raise RunError(
                f"out of memory at step {self.total + 1}",
                remedy="set fit.micro_batch = 1 and fit.checkpointing = true, or train less of the model",
            ) from error
        if not math.isfinite(loss):
            raise ModelOutputInvalid(
                f"the loss is {loss} at step {self.total + 1}; the last checkpoint is kept",
                remedy="give a lower fit.rate",
            )
        trained = [p for group in optimiser.param_groups for p in group["params"]]
        norm = float(nn.utils.clip_grad_norm_(trained, fit.clip))
        optimiser.step()
        self.total += 1
        self.loss = loss if not math.isfinite(self.loss) else MEMORY * self.loss + (1 - MEMORY) * loss
        line = {
            "step": self.total,
            "stage": index + 1,
            "loss": round(loss, 6),
            "rate": optimiser.param_groups[0]["lr"],
            "norm": round(norm, 4),
            "tokens": sum(int(s["input_ids"].shape[1]) for s in samples),
            "learnt": learnt,
            "seconds": round(time.monotonic() - began, 3),
        }
        with self.losses.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self.told:
            self.told(stage.label, step + 1, steps, self.loss)

    def _drawn(self, index: int, step: int) -> list[Record]:
        """The records of a step: every epoch has its own order."""
        count, size = len(self.material.train), self.config.fit.batch
        each = math.ceil(count / size)
        epoch, place = divmod(step, each)
        generator = torch.Generator().manual_seed(_seed(self.config.fit.seed, index, -1 - epoch))
        order = torch.randperm(count, generator=generator)[place * size : (place + 1) * size]
        return [self.material.train[int(i)] for i in order]

    def _loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Cross-entropy of what the assistant says, summed. Logits are made where something is learnt, nowhere else."""
        labels = batch.pop("labels")[:, 1:]
        places = (labels != IGNORE).any(0).nonzero().squeeze(1)
        inputs = {name: t.to(self.device) for name, t in batch.items()}
        with torch.autocast(self.device.type, torch.bfloat16) if self.half else nullcontext():
            logits = self.model(**inputs, logits_to_keep=places.to(self.device), use_cache=False).logits
        return nn.functional.cross_entropy(
            logits.flatten(0, 1).float(),
            labels[:, places].flatten().to(self.device),
            ignore_index=IGNORE,
            reduction="sum",
        )

    def _save(self, index: int, step: int, optimiser: torch.optim.Optimizer) -> None:
        parameters = dict(self.model.named_parameters())
        weights = {name: parameters[name].detach().cpu() for name in self.kept}
        progress = Progress(index, step, self.total, self.loss, self.fingerprint)
        checkpoints.save(
            self.checkpoints, progress, weights, optimiser.state_dict(), self.config.keep.checkpoints
        )

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

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM ends the run after the step; a second one at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: Any) -> None:
            if self._stop.is_set():
                raise KeyboardInterrupt
            log.info("stopping after this step")
            self._stop.set()

        old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        """End the run after the step it is in, from another thread or from ``told``."""
        self._stop.set()


def _material(config: Config) -> Material:
    train = read(config.data.train, config.data.root)
    files = [config.data.train]
    held_out: list[Record] = []
    if config.data.held_out is not None:
        held_out = read(config.data.held_out, config.data.root)
        check_subjects(train, held_out)
    return Material(train, held_out, digest(files))


def _device(config: Config) -> torch.device:
    wanted = config.fit.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ProviderUnavailable("there is no CUDA device here", remedy='set fit.device = "auto"')
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def _half(config: Config, device: torch.device) -> bool:
    if config.fit.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return config.fit.precision == "bf16"


def _seed(seed: int, stage: int, step: int) -> int:
    told = hashlib.sha256(f"{seed} {stage} {step}".encode()).digest()
    return int.from_bytes(told[:7], "big")


def _schedule(kind: str, step: int, steps: int, warmup: float) -> float:
    """Share of the highest rate at a step: up in a straight line, then down."""
    warm = math.ceil(warmup * steps)
    if step < warm:
        return (step + 1) / warm
    phase = (step - warm) / max(1, steps - warm)
    if kind == "cosine":
        return 0.5 * (1 + math.cos(math.pi * phase))
    return 1 - phase if kind == "linear" else 1.0
