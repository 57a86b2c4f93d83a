"""Training targets, the corpus of simulated clips on disk, and the sizes of augmentation.

A corpus is a folder of shards. A shard is written once, under a temporary name, so an interrupted
generation goes on where it stopped; clip ``i`` depends on seed and ``i`` alone, not on who makes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mellm.detectors.regions import COUNT, NAMES
from mellm.detectors.signals import FEATURES
from mellm.detectors.stepmodel import (
    APEX,
    AU0,
    MACRO,
    ME,
    OFFSET,
    ONSET,
    OUTPUTS,
    SPOT_AUS,
    TO_OFFSET,
    TO_ONSET,
)
from mellm.stream.errors import UsageError
from mellm.stream.files import replacing
from mellm.training.synth.simulator import SimOptions, Truth, simulate

F32 = NDArray[np.float32]

HEAT_S = 0.03
"""Width (sigma) of the bumps that mark onset, apex and offset."""

MAX_ME_S = 0.5
EDGE = 1e-6
"""Slack in comparisons of times (s): grid times are products of floats."""
VISIBLE = (0.4, 1.0)
"""Peak motion (hundredths of IOD) from which an expression starts to count, and counts fully, in the loss."""

SHARD = 50
WEIGHT = OUTPUTS
"""Column of the targets that holds the loss weight of a step."""


def targets(grid: NDArray[np.float64], truths: Sequence[Truth]) -> F32:
    """What the network should say at each grid time (T × ``OUTPUTS`` + 1, the last column is the weight).

    Heats and probabilities are values in 0…1, distances are seconds, AU columns are set inside ME only.
    """
    out = np.zeros((grid.size, OUTPUTS + 1), np.float32)
    out[:, WEIGHT] = 1
    for truth in truths:
        inside = (grid >= truth.onset_s - EDGE) & (grid <= truth.offset_s + EDGE)
        if truth.offset_s - truth.onset_s > MAX_ME_S + EDGE:
            out[inside, MACRO] = 1
            continue
        out[inside, ME] = 1
        for column, at in ((APEX, truth.apex_s), (ONSET, truth.onset_s), (OFFSET, truth.offset_s)):
            out[:, column] = np.maximum(out[:, column], np.exp(-0.5 * ((grid - at) / HEAT_S) ** 2))
        out[inside, TO_ONSET] = grid[inside] - truth.onset_s
        out[inside, TO_OFFSET] = truth.offset_s - grid[inside]
        for unit in truth.aus:
            if unit in SPOT_AUS:
                out[inside, AU0 + SPOT_AUS.index(unit)] = 1
        low, high = VISIBLE
        near = (grid >= truth.onset_s - 0.1) & (grid <= truth.offset_s + 0.1)
        out[near, WEIGHT] = np.clip((truth.peak - low) / (high - low), 0.05, 1)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """Simulated clips in memory: features N×T×136 float16, targets N×T×23 float16, and the truths."""

    features: NDArray[np.float16]
    targets: NDArray[np.float16]
    grid: NDArray[np.float64]
    truths: tuple[tuple[Truth, ...], ...]

    def __len__(self) -> int:
        return len(self.features)

    @property
    def seconds(self) -> float:
        """Time covered by all clips."""
        return len(self) * float(self.grid[-1] - self.grid[0] + self.grid[1] - self.grid[0])


@dataclass(frozen=True, slots=True)
class CorpusSpec:
    """What a corpus holds: ``clips`` clips of ``options``, numbered from ``first``, drawn from ``seed``."""

    clips: int
    seed: int
    options: SimOptions
    first: int = 0


def _shard(spec: CorpusSpec, start: int, path: str) -> None:
    torch.set_num_threads(1)
    stop = min(start + SHARD, spec.first + spec.clips)
    made = [simulate(np.random.default_rng([spec.seed, i]), spec.options) for i in range(start, stop)]
    with replacing(Path(path)) as part:
        np.savez(
            part,
            features=np.stack([c.features for c in made]).astype(np.float16),
            grid=made[0].grid,
            truths=json.dumps([[t._asdict() for t in c.truths] for c in made]),
        )


def _same_options(spec: CorpusSpec, path: Path) -> None:
    """Refuse to mix clips of two kinds of simulation."""
    told = {"options": repr(spec.options)}
    if not path.exists():
        path.write_text(json.dumps(told))
    elif json.loads(path.read_text()) != told:
        raise UsageError(
            f"the clips in {path.parent} were simulated with other options",
            remedy="give another folder with --run",
        )


def generate(
    spec: CorpusSpec, folder: Path, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> Corpus:
    """Make (or finish making) a corpus in ``folder`` and load it.

    :raises UsageError: the clips of this seed in ``folder`` were simulated with other options
    """
    folder.mkdir(parents=True, exist_ok=True)
    _same_options(spec, folder / f"{spec.seed}.json")
    starts = range(spec.first, spec.first + spec.clips, SHARD)
    paths = [folder / f"{spec.seed}-{start:06d}.npz" for start in starts]
    missing = [(start, path) for start, path in zip(starts, paths, strict=True) if not path.exists()]
    done = len(paths) - len(missing)
    if progress:
        progress(done * SHARD, spec.clips)
    if workers <= 1:
        for start, path in missing:
            _shard(spec, start, str(path))
            done += 1
            if progress:
                progress(min(done * SHARD, spec.clips), spec.clips)
    else:
        with ProcessPoolExecutor(workers) as pool:
            jobs = [pool.submit(_shard, spec, start, str(path)) for start, path in missing]
            for job in jobs:
                job.result()
                done += 1
                if progress:
                    progress(min(done * SHARD, spec.clips), spec.clips)
    return load(paths)


def load(paths: Sequence[Path]) -> Corpus:
    """Shards into memory, targets computed on the way."""
    features: list[NDArray[np.float16]] = []
    marks: list[NDArray[np.float16]] = []
    truths: list[tuple[Truth, ...]] = []
    grid = np.zeros(0)
    for path in paths:
        with np.load(path) as shard:
            features.append(shard["features"])
            grid = shard["grid"]
            for clip in json.loads(str(shard["truths"])):
                clip_truths = tuple(Truth(**{**t, "aus": tuple(t["aus"])}) for t in clip)
                truths.append(clip_truths)
                marks.append(targets(grid, clip_truths).astype(np.float16))
    return Corpus(np.concatenate(features), np.stack(marks), grid, tuple(truths))


def _mirror_table() -> tuple[NDArray[np.intp], F32]:
    """Source column and sign of each feature of the mirrored face."""

    def twin(name: str) -> str:
        return name[:-1] + {"R": "L", "L": "R"}[name[-1]] if name[-2:] in ("_R", "_L") else name

    half = FEATURES // 2
    order = np.empty(half, np.intp)
    sign = np.ones(half, np.float32)
    for i, name in enumerate(NAMES):
        j = NAMES.index(twin(name))
        order[2 * i : 2 * i + 2] = 2 * j, 2 * j + 1
        sign[2 * i] = -1
    order[2 * COUNT :] = np.arange(2 * COUNT, half)
    sign[2 * COUNT :] = (-1, 1, 1, -1, -1, 1)  # shift x, roll and yaw change sides
    return np.concatenate([order, order + half]), np.concatenate([sign, sign])


MIRROR_ORDER, MIRROR_SIGN = _mirror_table()


@dataclass(frozen=True, slots=True)
class Augment:
    """Sizes of the random changes to a training crop.

    :param gain: log standard deviation of one factor for all
    :param region_gain: and of each region's own
    :param drop: probability that a region is lost in the whole crop (an arm, hair, a microphone)
    :param noise: standard deviation of added white noise, hundredths of IOD
    """

    gain: float = 0.15
    region_gain: float = 0.12
    drop: float = 0.02
    noise: float = 0.03
