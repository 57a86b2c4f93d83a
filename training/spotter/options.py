"""What a training run of the spotter is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mellm.stream.errors import UsageError
from mellm.training.spotter import sets
from mellm.training.spotter.dataset import Augment
from mellm.training.synth.simulator import SimOptions

Progress = Callable[[str, int, int], None]
"""Called with the stage, what is done and the total."""

MODELS = Path(__file__).resolve().parents[2] / "detectors" / "models"
VALIDATION_SEED_OFFSET = 1_000_003
"""Validation clips come from another random stream, hence other identities, scripts and cameras."""
LIVELY_SEED_OFFSET = 2_000_006
CAPTURED_SEED_OFFSET = 3_000_009

SHAPES: dict[str, tuple[int, tuple[int, ...]]] = {
    "small": (64, (1, 2, 4, 8, 16, 32, 1, 2, 4)),
    "medium": (96, (1, 2, 4, 8, 16, 32, 1, 2, 4)),
    "large": (128, (1, 2, 4, 8, 16, 32, 1, 2, 4, 8)),
}
"""Channels and dilations."""

SHARES = {
    "simulated": 0.20,
    "captured": 0.13,
    "lively": 0.06,
    "stills": 0.07,
    "rendered": 0.07,
    "rough": 0.06,
    "filmed": 0.07,
}
"""Share of each kind of material in a batch, relative to the others that are there."""

LAID_SHARE = 0.4
"""Share of real people with expressions laid on their signals."""

MEASURED = {
    "rendered": "train-rendered",
    "stills": "train-stills",
    "rough": "train-rough",
    "filmed": "train-filmed",
}

LATE = ("rendered", "filmed")
"""Kinds that come in when the learning rate starts over."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """A training run. The defaults are the shipped recipe.

    :param clips: simulated clips of 12 s for training
    :param validation: and for choosing the threshold
    :param captured: simulated clips driven by motion capture (:mod:`mellm.training.synth.mocap`)
    :param lively: simulated clips of people with habits (:class:`mellm.training.synth.lively.LivelyOptions`)
    :param rendered: measured clips of each kind (:mod:`mellm.training.spotter.sets`); a kind whose
        pictures are not on this machine is left out, with a warning
    :param stills: as ``rendered``
    :param rough: as ``rendered``
    :param filmed: as ``rendered``: expressions laid on the pixels of filmed people; a network without a fold of them
        sees none of these either
    :param laid: expressions that are laid on the signals of real people; 0 trains without real people
    :param iterations: optimiser steps of ``batch`` crops of ``crop_s`` seconds, the first ``pretrain`` included
    :param shape: of the network, in :data:`SHAPES`
    :param average: decay of the running mean of the weights, which is what is exported; 0 takes the last ones
    :param pretrain: first so many iterations see no filmed people; from there one network is trained without each fold
        of them. People are judged by the one that never saw them, and the model is all of these together
        (:class:`mellm.training.spotter.net.Ensemble`)
    :param precision: of the products inside the network while it is trained; ``bfloat16`` is faster on processors and
        GPUs that have it, and slower on others
    :param restart: there the learning rate starts over, at half its height; :data:`LATE` kinds come in; and each
        network looks for what it takes for an expression on recordings without any: a quarter of the crops of real
        people is taken there from then on. 0 leaves all this out
    :param run: folder of corpora and checkpoint
    :param output: where the model goes, by default into the run folder
    :param install: put it in the place of the shipped model instead
    :param device: ``auto`` takes a GPU where there is one
    :param threads: of torch
    :param workers: processes that
        draw and measure
    :param start: checkpoint of another run whose weights to begin with
    :param force: replace the model at ``output`` even if it scored higher
    """

    clips: int = 3000
    captured: int = 1000
    lively: int = 600
    validation: int = 100
    rendered: int = 0
    stills: int = 30
    rough: int = 0
    filmed: int = 41
    laid: int = 1800
    iterations: int = 2800
    batch: int = 16
    crop_s: float = 9.6
    rate: float = 3e-3
    decay: float = 0.01
    shape: Literal["small", "medium", "large"] = "small"
    precision: Literal["float32", "bfloat16"] = "float32"
    average: float = 0.998
    pretrain: int = 1500
    restart: int = 2200
    seed: int = 1
    run: Path = Path("runs/spotter")
    measured: Path = sets.ROOT
    output: Path = None  # type: ignore[assignment]  # __post_init__ sets it
    install: bool = False
    version: str = "0.4.0"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 1
    workers: int = 2
    checkpoint_every: int = 200
    start: Path | None = None
    force: bool = False
    augment: Augment = field(default_factory=Augment)
    sim: SimOptions = field(default_factory=SimOptions)

    def __post_init__(self) -> None:
        if self.install and self.output not in (None, MODELS / "spotter.onnx"):
            raise UsageError(
                f"{self.output} and the shipped model cannot both be written",
                remedy="give --output or --install",
            )
        if getattr(self, "output", None) is None:
            folder = MODELS if self.install else self.run
            object.__setattr__(self, "output", folder / "spotter.onnx")
        if min(self.clips, self.validation, self.iterations, self.batch, self.threads, self.workers) < 1:
            raise UsageError("clips, validation, iterations, batch, threads and workers are at least 1")
        longest = self.sim.duration_s - 1.0
        if not 1.0 <= self.crop_s <= longest:
            raise UsageError(f"crop_s is {self.crop_s}; it lies between 1 and {longest:g} seconds")
        if not 0 <= self.pretrain <= self.iterations:
            raise UsageError(
                f"pretrain is {self.pretrain}; it lies between 0 and {self.iterations} iterations"
            )
        if self.restart and not self.pretrain <= self.restart < self.iterations:
            raise UsageError(
                f"restart is {self.restart}; it lies between pretrain ({self.pretrain}) and iterations, or is 0"
            )

    @property
    def command(self) -> str:
        """The command line that repeats this run."""
        words = ["mellm train spotter"]
        default = TrainOptions()
        names = "clips captured lively rendered stills rough filmed laid iterations batch rate shape precision average"
        for name in (*names.split(), "pretrain", "restart", "seed"):
            value = getattr(self, name)
            if value != getattr(default, name) or name in ("clips", "iterations", "seed"):
                words.append(
                    f"--{name.replace('_', '-')} {value:g}"
                    if isinstance(value, float)
                    else f"--{name.replace('_', '-')} {value}"
                )
        return " ".join(words) + (f" --start {self.start.name}" if self.start else "")
