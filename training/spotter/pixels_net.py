"""Signals or pixels: the same temporal network on the 136 measured signals, and on the pictures they are made from.

``python -m mellm.training.spotter.pixels_net`` films rendered people through the product's chain, keeps both what the
chain measured and the aligned grey crops it measured it in, trains one network on each for equally long from the same
clips, chooses both thresholds on the same validation clips, and scores both on the same test clips.

The pixel network gets, for each step, the crop itself and how it differs from the crops 0.1 s and 0.3 s before, made
with the same transform (so head motion is held still as far as the product's crop does that). A small convolutional
encoder takes the place of the signals; everything after it is :class:`~mellm.training.spotter.net.SpotterNet`.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mellm.detectors.flow import Dis, FlowEstimator
from mellm.detectors.signals import BASELINES_NS, CROP_H, CROP_W
from mellm.detectors.stepmodel import ME, OFFSET, OUTPUTS
from mellm.detectors.types import F32, U8
from mellm.stream.errors import MellmError, SourceCorrupt, UsageError
from mellm.stream.files import replacing
from mellm.training.spotter import records, sets
from mellm.training.spotter.dataset import Augment, targets
from mellm.training.spotter.losses import losses
from mellm.training.spotter.net import DELAY, SpotterNet, parameters
from mellm.training.spotter.pools import Pool, Sampler
from mellm.training.spotter.records import Record
from mellm.training.spotter.validation import Scored, choose_threshold, score_at
from mellm.training.synth.simulator import Truth

log = logging.getLogger(__name__)

SHRINK = 4
WIDTH, HEIGHT = CROP_W // SHRINK, CROP_H // SHRINK
CHANNELS = 1 + len(BASELINES_NS)
"""The crop, and its difference from each earlier one."""


class Watch:
    """A flow estimator that keeps the shrunken pictures it is given; the flow is another's.

    The chain asks for the baselines of a frame in turn, so that ``len(BASELINES_NS)`` calls make one step.
    """

    def __init__(self, inner: FlowEstimator) -> None:
        self.inner = inner
        self.pairs: list[tuple[F32, F32]] = []

    def __call__(self, a: U8, b: U8, /) -> F32:
        self.pairs.append((_shrunk(a), _shrunk(b)))
        return self.inner(a, b)

    def pictures(self) -> NDArray[np.float16]:
        """Steps × ``CHANNELS`` × ``HEIGHT`` × ``WIDTH`` grey levels."""
        n = len(BASELINES_NS)
        rows = [
            [self.pairs[k][1], *(now - before for before, now in self.pairs[k : k + n])]
            for k in range(0, len(self.pairs), n)
        ]
        return np.array(rows, np.float16).reshape(-1, CHANNELS, HEIGHT, WIDTH)


def _shrunk(picture: U8) -> F32:
    return np.asarray(
        cv2.resize(picture.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.float32
    )


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A clip as signals and as pictures: one picture for each row of the record that is not void."""

    record: Record
    pictures: NDArray[np.float16]

    def __post_init__(self) -> None:
        valid = int((~np.isnan(self.record.features[:, 0])).sum())
        if valid != len(self.pictures):
            raise SourceCorrupt(
                f"{self.record.name} has {valid} steps and {len(self.pictures)} pictures",
                remedy="film one face, at the rate of the grid",
            )

    def rows(self) -> NDArray[np.int64]:
        """For each row of the record, the number of its picture; -1 where void."""
        valid = ~np.isnan(self.record.features[:, 0])
        return np.where(valid, np.cumsum(valid) - 1, -1)


def film(clip: sets.Clip, inner: FlowEstimator | None = None) -> Seen:
    """Film a clip at the rate of the grid, through the product's chain.

    :param inner: measures the signals; by default the product's flow
    :raises SourceCorrupt: pictures and signals do not go together: the face was lost and found elsewhere
    """
    watches: list[Watch] = []

    def watch() -> Watch:
        watches.append(Watch(inner or Dis()))
        return watches[-1]

    record = sets.make(replace(clip, fps=50.0), watch)
    longest = max(watches, key=lambda w: len(w.pairs), default=Watch(Dis()))
    return Seen(record, longest.pictures())


def save(seen: Seen, folder: Path) -> None:
    """Keep a filmed clip: the record, and then the pictures beside it."""
    records.save(seen.record, folder / f"{seen.record.name}.npz")
    with replacing(folder / f"{seen.record.name}.npy") as part:
        np.save(part, seen.pictures)


def load(folder: Path) -> list[Seen]:
    """Filmed clips of a folder, by name."""
    return [Seen(records.load(p.with_suffix(".npz")), np.load(p)) for p in sorted(folder.glob("[!.]*.npy"))]


def film_set(name: str, folder: Path, count: int, until_s: float | None = None) -> list[Seen]:
    """The first so many clips of a set of rendered people; what is there is kept.

    :param until_s: film none after this ``time.monotonic()``
    """
    folder = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    for clip in [c for c in sets.clips(name) if c.fps == 50 or name.startswith("train")][:count]:
        if until_s is not None and time.monotonic() > until_s:
            break
        if not (folder / f"{clip.name}.npy").exists():
            try:
                save(film(clip), folder)
            except SourceCorrupt as error:
                log.warning("%s is left out: %s", clip.name, error)
    return load(folder)[:count]


class PixelNet(SpotterNet):
    """Pictures (batch × steps × ``CHANNELS``·``HEIGHT``·``WIDTH``) to outputs (batch × steps × ``OUTPUTS``)."""

    def __init__(self, channels: int = 64, dropout: float = 0.05) -> None:
        super().__init__(channels, dropout=dropout)
        steps = ((CHANNELS, 8, 5), (8, 16, 3), (16, 32, 3))
        layers: list[nn.Module] = []
        for into, out, kernel in steps:
            layers += [nn.Conv2d(into, out, kernel, 2, kernel // 2), nn.BatchNorm2d(out), nn.ReLU()]
        rest = -(-HEIGHT // 8) * -(-WIDTH // 8) * 32
        self.encoder = nn.Sequential(*layers, nn.Flatten(), nn.Linear(rest, channels))
        self.stem = nn.Conv1d(channels, channels, 1)
        grey = torch.tensor([50.0, *([4.0] * len(BASELINES_NS))])
        self.register_buffer("level", grey[:, None, None])

    def forward(self, features: Tensor) -> Tensor:
        batch, steps = features.shape[:2]
        pictures = features.reshape(-1, CHANNELS, HEIGHT, WIDTH)
        now = pictures[:, :1] - pictures[:, :1].mean((2, 3), keepdim=True)
        told = torch.cat([now, pictures[:, 1:]], 1) / self.get_buffer("level")
        x = torch.relu(self.stem(self.encoder(told).reshape(batch, steps, -1).transpose(1, 2)))
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.head(torch.relu(self.neck(x))).transpose(1, 2)
        return y


class PixelSampler(Sampler):
    """Batches of pictures: mirrored, brighter or darker, noisier."""

    def _augmented(self, x: Tensor) -> Tensor:
        n = len(x)
        pictures = x.reshape(*x.shape[:2], CHANNELS, HEIGHT, WIDTH)
        flip = (self._uniform(n) < 0.5)[:, None, None, None, None]
        pictures = torch.where(flip, pictures.flip(-1), pictures)
        pictures = pictures * torch.exp(self.augment.gain * self._normal(n, 1, 1, 1, 1))
        return pictures.reshape(x.shape)


def pool(clips: Sequence[Seen], *, pictures: bool, longest: int = 580) -> Pool:
    """Stretches between voids of all clips, as signals or as pictures.

    :raises UsageError: there is none
    """
    xs: list[NDArray[np.float16]] = []
    ys: list[NDArray[np.float16]] = []
    for seen in clips:
        r, rows = seen.record, seen.rows()
        marks = targets(r.grid_s, [Truth(t.onset_s, t.apex_s, t.offset_s, t.aus, t.peak) for t in r.truths])
        for start, stop in r.stretches():
            stop = min(stop, start + longest)
            part = seen.pictures[rows[start] : rows[stop - 1] + 1] if pictures else r.features[start:stop]
            xs.append(part.reshape(stop - start, -1).astype(np.float16))
            ys.append(marks[start:stop].astype(np.float16))
    if not xs:
        raise UsageError("no clip holds an unbroken stretch", remedy="film more clips")
    size = max(len(x) for x in xs)

    def padded(parts: Iterable[NDArray[np.float16]]) -> Tensor:
        return torch.from_numpy(np.stack([np.pad(p, ((0, size - len(p)), (0, 0))) for p in parts]))

    return Pool(padded(xs), padded(ys), torch.tensor([len(x) for x in xs]))


def fit(net: SpotterNet, sampler: Sampler, iterations: int, rate: float = 3e-3) -> float:
    """Train ``net`` in place; returns the last running loss. Warm-up and half a cosine, as in the recipe."""
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    warm = min(100, iterations // 10 + 1)
    running = float("nan")
    net.train()
    for i in range(iterations):
        phase = max(0.0, (i - warm) / max(1, iterations - warm))
        factor = (i + 1) / warm if i < warm else 0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * phase))
        for group in optimiser.param_groups:
            group["lr"] = rate * factor
        x, y = sampler.batch()
        loss = torch.stack(list(losses(net(x)[:, DELAY:], y).values())).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        running = float(loss.detach()) if i == 0 else 0.98 * running + 0.02 * float(loss.detach())
        if (i + 1) % 100 == 0:
            log.info("iteration %d loss %.3f", i + 1, running)
    net.eval()
    return running


class Answers:
    """A step model whose features are already its answers.

    The 0.3 s that a spotter adds at the end of a recording have no picture; there it answers that nothing is.
    """

    delay_steps = DELAY
    threshold = 0.5
    sensitivity = None

    def start(self) -> F32:
        return np.zeros((1, 1), np.float32)

    def step(self, features: F32, state: F32) -> tuple[F32, F32]:
        if features.shape == (OUTPUTS,):
            return features, state
        nothing = np.zeros(OUTPUTS, np.float32)
        nothing[ME : OFFSET + 1] = -20.0
        return nothing, state


@torch.no_grad()
def heard(net: SpotterNet, clips: Sequence[Seen], *, pictures: bool) -> list[Scored]:
    """What the network answers to whole clips, for the product's decoder."""
    out: list[Scored] = []
    for seen in clips:
        rows, r = seen.rows(), seen.record
        answers = np.full((len(r.features), OUTPUTS), np.nan, np.float32)
        for start, stop in r.stretches():
            part = seen.pictures[rows[start] : rows[stop - 1] + 1] if pictures else r.features[start:stop]
            x = torch.from_numpy(part.reshape(1, stop - start, -1).astype(np.float32))
            answers[start:stop] = net(x)[0].numpy()
        out.append(Scored.of_record(replace(r, features=answers)))
    return out


def compare(
    train: Sequence[Seen],
    validation: Sequence[Seen],
    test: Sequence[Seen],
    *,
    iterations: int,
    batch: int,
    crop_s: float,
    seed: int = 1,
) -> dict[str, Any]:
    """Train and score both networks."""
    out: dict[str, Any] = {
        "clips": {"train": len(train), "validation": len(validation), "test": len(test)},
        "iterations": iterations,
        "batch": batch,
        "crop_s": crop_s,
    }
    for kind in ("signals", "pixels"):
        pictures = kind == "pixels"
        torch.manual_seed(seed)
        material = pool(train, pictures=pictures)
        net = PixelNet() if pictures else SpotterNet()
        if not pictures:
            net.standardise(material.features.float())
        sampler = (PixelSampler if pictures else Sampler)(
            [(material, 1.0)], size=batch, steps=round(crop_s * 50), augment=Augment(), seed=seed
        )
        began = time.process_time()
        loss = fit(net, sampler, iterations)
        model = Answers()
        threshold, held = choose_threshold(model, heard(net, validation, pictures=pictures))
        own = score_at(model, heard(net, train, pictures=pictures), threshold)
        scores = score_at(model, heard(net, test, pictures=pictures), threshold)
        out[kind] = {
            "parameters": parameters(net),
            "loss": round(loss, 3),
            "cpu_s": round(time.process_time() - began),
            "threshold": threshold,
            "validation": held.flat(),
            "train": own.flat(),
            "test": scores.flat(),
        }
    return out


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/pixels"), show_default=True)
@click.option("--train", "count", default=80, show_default=True, help="Clips to train on.")
@click.option("--validation", default=8, show_default=True)
@click.option("--test", default=24, show_default=True)
@click.option(
    "--minutes", default=15.0, show_default=True, help="Film no training clip after so many minutes."
)
@click.option("--iterations", default=400, show_default=True)
@click.option("--batch", default=8, show_default=True)
@click.option("--crop-s", default=3.2, show_default=True)
def main(
    out: Path,
    count: int,
    validation: int,
    test: int,
    minutes: float,
    iterations: int,
    batch: int,
    crop_s: float,
) -> None:
    """Film, train both networks, score both, print the report."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    try:
        tested = film_set("rendered50", out, test)
        held = film_set("val-rendered", out, validation)
        until = time.monotonic() + 60 * minutes
        seen = film_set("train-rendered", out, count, until)
        report = compare(seen, held, tested, iterations=iterations, batch=batch, crop_s=crop_s)
    except MellmError as error:
        raise click.ClickException(str(error)) from error
    (out / "report.json").write_text(json.dumps(report, indent=1))
    click.echo(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
