"""Train the spotter from nothing: draw, film, measure, fit, choose the threshold, export.

``mellm train spotter --help`` lists the options. A run folder holds the corpora and a checkpoint; the same
command goes on where it was stopped. The shipped model is replaced in one rename, and only by one whose
validation score is higher (``--force`` replaces it anyway).
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from mellm.detectors.stepmodel import OnnxStepModel, StepModel
from mellm.stream.errors import ModelError, ModelMissing, ModelOutputInvalid, UsageError
from mellm.training.spotter import card, sets
from mellm.training.spotter.dataset import Augment, CorpusSpec, generate
from mellm.training.spotter.export import export
from mellm.training.spotter.losses import losses
from mellm.training.spotter.net import DELAY, SpotterNet
from mellm.training.spotter.pools import Pool, Sampler
from mellm.training.spotter.records import Record, load
from mellm.training.spotter.validation import Scored, choose_threshold, score_at
from mellm.training.synth.lively import LivelyOptions
from mellm.training.synth.simulator import SimOptions

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with the stage, what is done and the total."""

MODELS = Path(__file__).resolve().parents[2] / "detectors" / "models"
VALIDATION_SEED_OFFSET = 1_000_003
"""Validation clips come from another random stream, hence other identities, scripts and cameras."""
LIVELY_SEED_OFFSET = 2_000_006

SHAPES: dict[str, tuple[int, tuple[int, ...]]] = {
    "small": (64, (1, 2, 4, 8, 16, 1, 2, 4)),
    "medium": (96, (1, 2, 4, 8, 16, 1, 2, 4)),
    "large": (128, (1, 2, 4, 8, 16, 1, 2, 4, 8, 1)),
}
"""Channels and dilations. The large network takes 0.09 ms a step on one core, 2.8 MB, and sees 1.9 s."""

SHARES = {
    "simulated": 0.40,
    "lively": 0.15,
    "rendered": 0.10,
    "stills": 0.15,
    "rough": 0.12,
    "video": 0.35,
}
"""Share of each kind of material in a batch, relative to the others that are there."""

MEASURED = {
    "rendered": "train-rendered",
    "stills": "train-stills",
    "rough": "train-rough",
    "video": "train-video",
}


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """A training run. The defaults are the recipe that two cores finish in under 45 minutes.

    :param clips: simulated clips of 12 s for training; :param validation: and for choosing the threshold
    :param lively: simulated clips of people with habits (:class:`mellm.training.synth.lively.LivelyOptions`)
    :param rendered, stills, rough, video: measured clips of each kind (:mod:`mellm.training.spotter.sets`); a kind
        whose pictures are not on this machine is left out, with a warning
    :param iterations: optimiser steps of ``batch`` crops of ``crop_s`` seconds
    :param shape: of the network, in :data:`SHAPES`
    :param overlay: share of simulated crops over which the motion of real faces is laid
    :param average: decay of the running mean of the weights, which is what is exported; 0 takes the last ones
    :param pretrain: first so many iterations see no filmed people
    :param cross_validate: afterwards go back to the end of ``pretrain`` for each fold of filmed people, go on without
        them, and keep those networks as ``folds/fold-X.onnx`` in the run folder
    :param run: folder of corpora and checkpoint; :param output: where the model goes
    :param device: ``auto`` takes a GPU where there is one; :param threads: of torch; :param workers: processes that
        draw and measure
    :param start: checkpoint of another run whose weights to begin with
    :param force: replace the model at ``output`` even if it scored higher
    """

    clips: int = 6000
    lively: int = 0
    validation: int = 150
    rendered: int = 0
    stills: int = 40
    rough: int = 0
    video: int = 68
    iterations: int = 6500
    batch: int = 24
    crop_s: float = 6.4
    rate: float = 3e-3
    decay: float = 0.01
    shape: Literal["small", "medium", "large"] = "small"
    overlay: float = 0.4
    average: float = 0.998
    pretrain: int = 4000
    cross_validate: bool = False
    seed: int = 1
    run: Path = Path("runs/spotter")
    measured: Path = sets.ROOT
    output: Path = MODELS / "spotter.onnx"
    version: str = "0.2.0"
    device: Literal["auto", "cpu", "cuda"] = "auto"
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
        if not 0 <= self.pretrain <= self.iterations:
            raise UsageError(
                f"pretrain is {self.pretrain}; it lies between 0 and {self.iterations} iterations"
            )

    @property
    def command(self) -> str:
        """The command line that repeats this run."""
        words = ["mellm train spotter"]
        default = TrainOptions()
        names = "clips lively rendered stills rough video iterations batch rate shape overlay average pretrain seed"
        for name in names.split():
            value = getattr(self, name)
            if value != getattr(default, name) or name in ("clips", "iterations", "seed"):
                words.append(
                    f"--{name.replace('_', '-')} {value:g}"
                    if isinstance(value, float)
                    else f"--{name.replace('_', '-')} {value}"
                )
        return " ".join(words) + (f" --start {self.start.name}" if self.start else "")


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a run ended in.

    :param replaced: whether ``model`` was written; it is not when the old one is better
    :param metrics: scores on validation clips at ``threshold``
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
    """Network, optimiser and running mean of a run, with checkpoints."""

    def __init__(self, options: TrainOptions, pools: dict[str, Pool]) -> None:
        self.options = options
        self.pools = pools
        self.device = next(iter(pools.values())).features.device
        torch.manual_seed(options.seed)
        self.net = SpotterNet(*SHAPES[options.shape])
        if options.start is None:
            first = next(iter(pools.values())).features
            self.net.standardise(first[:: max(1, len(first) // 100)].float().cpu())
        else:
            self.net.load_state_dict(torch.load(options.start, weights_only=True)["net"])
        self.net.to(self.device)
        self.mean = deepcopy(self.net).eval()
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=options.rate, weight_decay=options.decay, betas=(0.9, 0.98)
        )
        self.iteration = 0
        self.loss = float("nan")
        self.path = options.run / "checkpoint.pt"
        self.fork = options.run / "pretrained.pt"

    def fingerprint(self) -> str:
        """Settings that a checkpoint must share to be continued."""
        o = self.options
        material = {name: len(pool) for name, pool in self.pools.items()}
        settings = "iterations batch crop_s rate decay shape overlay average pretrain seed augment sim start"
        return repr(([getattr(o, name) for name in settings.split()], material))

    def save(self, path: Path | None = None) -> None:
        """Write a checkpoint, complete or not at all."""
        path = path or self.path
        part = path.with_suffix(".part")
        torch.save(
            {
                "fingerprint": self.fingerprint(),
                "iteration": self.iteration,
                "net": self.net.state_dict(),
                "mean": self.mean.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "loss": self.loss,
            },
            part,
        )
        os.replace(part, path)

    def resume(self, path: Path | None = None) -> bool:
        """Load a checkpoint if it is there and belongs to this run."""
        path = path or self.path
        if not path.exists():
            return False
        saved = torch.load(path, weights_only=True, map_location=self.device)
        if path == self.path and saved["fingerprint"] != self.fingerprint():
            log.warning("%s belongs to other settings; starting over", path)
            return False
        self.net.load_state_dict(saved["net"])
        self.mean.load_state_dict(saved["mean"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.iteration, self.loss = saved["iteration"], float(saved["loss"])
        return True

    def sampler(self) -> Sampler:
        """Batches from here on; seeded by the iteration, so that a resumed run does not see the first ones again."""
        o = self.options
        filmed = self.iteration >= o.pretrain
        video = self.pools.get("video") if filmed else None
        steps = round(o.crop_s * 50)
        return Sampler(
            [(pool, SHARES[name]) for name, pool in self.pools.items() if filmed or name != "video"],
            size=o.batch,
            steps=steps,
            augment=o.augment,
            seed=o.seed * 1_000_003 + self.iteration,
            overlay=video.cut(steps + DELAY).without_expressions() if video is not None else None,
            overlay_share=o.overlay,
        )

    def fit(self, progress: Progress | None = None) -> None:
        """Run the remaining iterations."""
        o = self.options
        sampler = self.sampler()
        self.net.train()
        running: torch.Tensor | None = None
        while self.iteration < o.iterations:
            for group in self.optimiser.param_groups:
                group["lr"] = _schedule(o, self.iteration)
            x, y = sampler.batch()
            parts = losses(self.net(x)[:, DELAY:], y)
            loss = torch.stack(list(parts.values())).sum()
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            self.optimiser.step()
            self._average()
            value = loss.detach()  # stays on the device: asking for it at each step would wait for the device
            running = value if running is None else 0.98 * running + 0.02 * value
            self.iteration += 1
            if self.iteration % o.checkpoint_every == 0 or self.iteration == o.iterations:
                self.loss = float(running)
                if not np.isfinite(self.loss):
                    raise ModelOutputInvalid(
                        f"the loss is {self.loss} at iteration {self.iteration}; the last checkpoint is kept",
                        remedy="give a lower --rate, and look at the clips",
                    )
                self.save()
                told = " ".join(f"{name} {float(part.detach()):.3f}" for name, part in parts.items())
                log.info("iteration %d loss %.4f (%s)", self.iteration, self.loss, told)
            if self.iteration == o.pretrain:
                self.save(self.fork)
                sampler = self.sampler()
            if progress:
                progress("train", self.iteration, o.iterations)

    @torch.no_grad()
    def _average(self) -> None:
        """Running mean of the weights, with a short memory at first."""
        decay = min(self.options.average, (1 + self.iteration) / (10 + self.iteration))
        old, new = self.mean.state_dict(), self.net.state_dict()
        floats = [name for name, value in old.items() if value.dtype.is_floating_point]
        torch._foreach_lerp_([old[n] for n in floats], [new[n] for n in floats], 1 - decay)

    def result(self) -> SpotterNet:
        """The averaged network, on the CPU."""
        return self.mean.cpu().eval()


def _device(options: TrainOptions) -> str:
    if options.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device here", remedy="use --device auto or cpu")
    return options.device


def measured(options: TrainOptions, progress: Progress | None = None) -> dict[str, list[Record]]:
    """Measured clips of each kind, made where they are missing."""
    found: dict[str, list[Record]] = {}
    for kind, name in MEASURED.items():
        limit = int(getattr(options, kind))
        if not limit:
            continue
        try:
            folder = sets.build(
                name,
                options.measured,
                workers=options.workers,
                limit=limit,
                progress=partial(progress, f"measure {kind}") if progress else None,
            )
        except ModelMissing as error:
            log.warning("training goes on without %s: %s", kind, error)
            continue
        wanted = [folder / f"{c.name}.npz" for c in sets.clips(name)[:limit]]
        found[kind] = [load(p) for p in wanted if p.exists()]
    return found


def validation_records(options: TrainOptions, workers: int) -> list[Record]:
    """Measured validation clips; none where the pictures are not on this machine, or none were trained on."""
    if not (options.rendered or options.stills or options.rough or options.video):
        return []
    out: list[Record] = []
    for name in sets.VALIDATION_SETS:
        try:
            sets.build(name, options.measured, workers=workers)
            out += sets.load(name, options.measured)
        except ModelMissing as error:
            log.warning("validation goes on without %s: %s", name, error)
    return out


def train(options: TrainOptions, progress: Progress | None = None) -> TrainResult:
    """Run the whole recipe.

    :raises UsageError: on settings that cannot be obeyed
    """
    began = time.monotonic()
    torch.set_num_threads(options.threads)
    options.run.mkdir(parents=True, exist_ok=True)
    device = _device(options)

    def report(stage: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(stage, done, total) if progress else None

    spec = CorpusSpec(options.clips, options.seed, options.sim)
    held = CorpusSpec(
        options.validation, options.seed + VALIDATION_SEED_OFFSET, replace(options.sim, split="val")
    )
    corpus = generate(spec, options.run / "clips", options.workers, report("simulate"))
    simulated = generate(held, options.run / "clips", options.workers, report("simulate validation"))
    real = measured(options, progress)
    seen = validation_records(options, options.workers)

    pools = {"simulated": Pool.of_corpus(corpus, device)}
    if options.lively:
        habits = CorpusSpec(options.lively, options.seed + LIVELY_SEED_OFFSET, LivelyOptions())
        made = generate(habits, options.run / "clips", options.workers, report("simulate habits"))
        pools["lively"] = Pool.of_corpus(made, device)
    for kind, found in real.items():
        pool = Pool.of_records(found, device=device)
        if pool is not None:
            pools[kind] = pool
    hours = {kind: round(pool.seconds / 3600, 2) for kind, pool in pools.items()}
    log.info("hours of material: %s", hours)
    trainer = Trainer(options, pools)
    if trainer.resume():
        log.info("resumed at iteration %d", trainer.iteration)
    trainer.fit(progress)

    if options.cross_validate and "video" in real:
        _cross_validate(options, pools, real["video"], progress)
    net = trainer.result()
    candidate = options.run / "candidate.onnx"
    export(net, candidate, version=options.version, threshold=0.5, record={})
    scored = [*Scored.of_corpus(simulated), *map(Scored.of_record, seen)]
    model = OnnxStepModel(candidate)
    threshold, scores = choose_threshold(model, scored)
    metrics = scores.flat()
    parts = _by_kind(model, scored, threshold)
    seconds = time.monotonic() - began
    old = None if options.force else _f1_of(options.output, scored)
    better = old is None or scores.f1 > old
    target = options.output if better else options.run / options.output.name
    record = {
        "trained_on": "synthetic micro-expressions: simulated, rendered, and laid on real photographs and recordings; "
        "no micro-expression data set",
        "command": options.command,
        "seed": options.seed,
        "date": datetime.now(UTC).date().isoformat(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "hours": hours,
        "clips": options.clips,
        "iterations": options.iterations,
        "validation": {"clips": len(scored), **metrics},
        "validation_parts": parts,
        "torch": torch.__version__.split("+")[0],
        "options": json.loads(json.dumps({"augment": asdict(options.augment), "sim": asdict(options.sim)})),
    }
    digest = export(net, target, version=options.version, threshold=threshold, record=record)
    card.write(target, record, threshold)
    if not better:
        log.warning("the model at %s scores %.3f and stays; this one is %s", options.output, old, target)
    return TrainResult(target, digest, threshold, metrics, better, seconds)


def _cross_validate(
    options: TrainOptions, pools: Mapping[str, Pool], video: Sequence[Record], progress: Progress | None
) -> None:
    """One network for each fold of filmed people, which never saw them, at the threshold of the main one."""
    device = str(next(iter(pools.values())).features.device)
    for fold in sets.FOLDS:
        target = options.run / "folds" / f"fold-{fold}.onnx"
        if target.exists():
            continue
        others = Pool.of_records([r for r in video if r.facts.get("fold") != fold], device=device)
        if others is None:
            continue
        trainer = Trainer(replace(options, start=None), {**pools, "video": others})
        trainer.path = options.run / f"checkpoint-{fold}.pt"
        if not trainer.resume(trainer.fork):
            log.warning("no %s: fold %s is left out", trainer.fork, fold)
            continue
        trainer.fit(partial(_told, progress, fold) if progress else None)
        export(
            trainer.result(), target, version=options.version, threshold=0.5, record={"without_fold": fold}
        )


def _told(progress: Progress, fold: str, _: str, done: int, total: int) -> None:
    progress(f"train without fold {fold}", done, total)


def _by_kind(
    model: StepModel, scored: Sequence[Scored], threshold: float
) -> dict[str, dict[str, float | None]]:
    kinds = sorted({s.kind for s in scored})
    return {k: score_at(model, [s for s in scored if s.kind == k], threshold).flat() for k in kinds}


def _f1_of(path: Path, validation: Sequence[Scored]) -> float | None:
    """F1 of the model at ``path`` on these validation clips, at its own threshold; ``None`` without one."""
    try:
        model = OnnxStepModel(path)
    except ModelError:
        return None
    return score_at(model, validation, model.threshold).f1


if __name__ == "__main__":
    from mellm.training.spotter.cli import main

    raise SystemExit(main())
