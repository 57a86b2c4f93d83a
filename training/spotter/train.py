"""Train the spotter from nothing: simulate, fit, choose the threshold, export.

``python -m training.spotter.train --help`` lists the options. A run folder holds the simulated corpora
and a checkpoint; the same command goes on where it was stopped. The shipped model is replaced in one
rename, and only by one whose validation score is higher (``--force`` replaces it anyway).
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from detectors.stepmodel import OnnxStepModel
from stream.errors import ModelError, UsageError
from training.spotter import evaluate
from training.spotter.dataset import Augment, Corpus, CorpusSpec, batches, generate
from training.spotter.export import export
from training.spotter.losses import losses
from training.spotter.net import DELAY, SpotterNet
from training.synth.simulator import SimOptions

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with the stage, what is done and the total."""

MODELS = Path(__file__).resolve().parents[2] / "detectors" / "models"
VALIDATION_SEED_OFFSET = 1_000_003
"""Validation clips come from another random stream, hence other identities, scripts and cameras."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """A training run. The defaults are the recommended recipe.

    :param clips: simulated clips of 12 s for training; :param validation: and for choosing the threshold
    :param iterations: optimiser steps of ``batch`` crops of ``crop_s`` seconds
    :param run: folder of corpora and checkpoint; :param output: where the model goes
    :param threads: of torch; :param workers: processes that simulate
    :param start: checkpoint of another run whose weights to begin with
    :param force: replace the model at ``output`` even if it scored higher
    """

    clips: int = 5000
    validation: int = 150
    iterations: int = 5000
    batch: int = 24
    crop_s: float = 6.4
    rate: float = 3e-3
    decay: float = 0.01
    seed: int = 1
    run: Path = Path("runs/spotter")
    output: Path = MODELS / "spotter.onnx"
    version: str = "0.1.0"
    threads: int = 1
    workers: int = 2
    checkpoint_every: int = 200
    start: Path | None = None
    force: bool = False
    augment: Augment = field(default_factory=Augment)
    sim: SimOptions = field(default_factory=SimOptions)

    def __post_init__(self) -> None:
        if min(self.clips, self.validation, self.iterations, self.batch, self.threads, self.workers) < 1:
            raise UsageError("clips, validation, iterations, batch, threads and workers are at least 1")
        longest = self.sim.duration_s - 1.0
        if not 1.0 <= self.crop_s <= longest:
            raise UsageError(f"crop_s is {self.crop_s}; it lies between 1 and {longest:g} seconds")

    @property
    def command(self) -> str:
        """The command line that repeats this run."""
        start = f" --start {self.start.name}" if self.start else ""
        return (
            f"python -m training.spotter.train --clips {self.clips} --iterations {self.iterations} "
            f"--batch {self.batch} --rate {self.rate:g} --seed {self.seed}{start}"
        )


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a run ended in.

    :param replaced: whether ``model`` was written; it is not when the old one is better
    :param metrics: scores on simulated validation clips at ``threshold``
    """

    model: Path
    sha256: str
    threshold: float
    metrics: dict[str, float | None]
    replaced: bool
    seconds: float


def _schedule(options: TrainOptions, i: int) -> float:
    """Learning rate at iteration ``i``: short warm-up, then half a cosine down to a hundredth."""
    warm = min(100, options.iterations // 10 + 1)
    if i < warm:
        return options.rate * (i + 1) / warm
    phase = (i - warm) / max(1, options.iterations - warm)
    return options.rate * (0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * phase))))


class Trainer:
    """Network, optimiser and random state of a run, with checkpoints."""

    def __init__(self, options: TrainOptions, corpus: Corpus) -> None:
        self.options = options
        torch.manual_seed(options.seed)
        self.net = SpotterNet()
        if options.start is None:
            sample = corpus.features[:: max(1, len(corpus) // 100)].astype(np.float32)
            self.net.standardise(torch.from_numpy(sample))
        else:
            self.net.load_state_dict(torch.load(options.start, weights_only=True)["net"])
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=options.rate, weight_decay=options.decay, betas=(0.9, 0.98)
        )
        self.corpus = corpus
        self.iteration = 0
        self.loss = float("nan")
        self.path = options.run / "checkpoint.pt"

    def fingerprint(self) -> str:
        """Settings that a checkpoint must share to be continued."""
        o = self.options
        return repr(
            (o.clips, o.iterations, o.batch, o.crop_s, o.rate, o.decay, o.seed, o.augment, o.sim, o.start)
        )

    def save(self) -> None:
        part = self.path.with_suffix(".part")
        torch.save(
            {
                "fingerprint": self.fingerprint(),
                "iteration": self.iteration,
                "net": self.net.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "loss": self.loss,
            },
            part,
        )
        os.replace(part, self.path)

    def resume(self) -> bool:
        """Load the checkpoint if it belongs to this run."""
        if not self.path.exists():
            return False
        saved = torch.load(self.path, weights_only=True)
        if saved["fingerprint"] != self.fingerprint():
            log.warning("%s belongs to other settings; starting over", self.path)
            return False
        self.net.load_state_dict(saved["net"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.iteration, self.loss = saved["iteration"], saved["loss"]
        return True

    def fit(self, progress: Progress | None = None) -> None:
        """Run the remaining iterations."""
        o = self.options
        steps = round(o.crop_s * 50)
        # seeded by where it starts, so that a resumed run does not see the first batches again
        stream = batches(
            self.corpus, np.random.default_rng([o.seed, self.iteration]), o.batch, steps, o.augment
        )
        self.net.train()
        while self.iteration < o.iterations:
            for group in self.optimiser.param_groups:
                group["lr"] = _schedule(o, self.iteration)
            x, y = next(stream)
            parts = losses(self.net(x)[:, DELAY:], y)
            loss = torch.stack(list(parts.values())).sum()
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            self.optimiser.step()
            value = float(loss.detach())
            self.loss = value if np.isnan(self.loss) else 0.98 * self.loss + 0.02 * value
            self.iteration += 1
            if self.iteration % o.checkpoint_every == 0 or self.iteration == o.iterations:
                self.save()
                log.info(
                    "iteration %d loss %.4f (%s)",
                    self.iteration,
                    self.loss,
                    " ".join(f"{name} {float(part.detach()):.3f}" for name, part in parts.items()),
                )
            if progress:
                progress("train", self.iteration, o.iterations)


def train(options: TrainOptions, progress: Progress | None = None) -> TrainResult:
    """Run the whole recipe.

    :raises UsageError: on settings that cannot be obeyed
    """
    began = time.monotonic()
    torch.set_num_threads(options.threads)
    options.run.mkdir(parents=True, exist_ok=True)

    def report(stage: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(stage, done, total) if progress else None

    spec = CorpusSpec(options.clips, options.seed, options.sim)
    held = CorpusSpec(
        options.validation, options.seed + VALIDATION_SEED_OFFSET, replace(options.sim, split="val")
    )
    corpus = generate(spec, options.run / "clips", options.workers, report("simulate"))
    validation = generate(held, options.run / "clips", options.workers, report("simulate validation"))

    trainer = Trainer(options, corpus)
    if trainer.resume():
        log.info("resumed at iteration %d", trainer.iteration)
    trainer.fit(progress)
    trainer.net.eval()

    outputs = evaluate.outputs(trainer.net, validation.features)
    threshold, scores = evaluate.choose_threshold(outputs, validation)
    metrics = scores.flat()
    seconds = time.monotonic() - began
    old = None if options.force else _f1_of(options.output, validation)
    better = old is None or scores.f1 > old
    target = options.output if better else options.run / options.output.name
    record = {
        "trained_on": "synthetic motion only (simulated region signals of a linear face model)",
        "command": options.command,
        "seed": options.seed,
        "date": datetime.now(UTC).date().isoformat(),
        "clips": options.clips,
        "hours": round(corpus.seconds / 3600, 2),
        "iterations": options.iterations,
        "validation": {"clips": options.validation, **metrics},
        "torch": torch.__version__.split("+")[0],
        "options": json.loads(json.dumps({"augment": asdict(options.augment), "sim": asdict(options.sim)})),
    }
    digest = export(trainer.net, target, version=options.version, threshold=threshold, record=record)
    if not better:
        log.warning("the model at %s scores %.3f and stays; this one is %s", options.output, old, target)
    return TrainResult(target, digest, threshold, metrics, better, seconds)


def _f1_of(path: Path, validation: Corpus) -> float | None:
    """F1 of the model at ``path`` on these validation clips, at its own threshold; ``None`` without one."""
    try:
        model = OnnxStepModel(path)
    except ModelError:
        return None
    rows = np.stack([evaluate.stream(model, clip) for clip in validation.features])
    return evaluate.evaluate_signals(rows, validation, model.threshold).f1


if __name__ == "__main__":
    from training.spotter.cli import main

    raise SystemExit(main())
