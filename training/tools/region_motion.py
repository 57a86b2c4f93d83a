"""An experiment: can a small network measure the motion of the regions better, or cheaper, than optical flow?

Crops in, 31 motions with an uncertainty out. Trained on drawn faces, for which the exact motion is known, with noise,
compression, head motion and landmarks that are off; compared with the product's flow on people it never saw. What came
of it stands in docs/optical-flow.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter, process_time
from typing import TypeAlias

import click
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mellm.detectors.flow import Preset, create
from mellm.detectors.patches import CROP_IOD, anchor, apply, cut
from mellm.detectors.regions import COUNT
from mellm.detectors.signals import BASELINES_NS, Geometry
from mellm.detectors.types import F32, U8
from mellm.training.command import Command
from mellm.training.synth import renderer
from mellm.training.synth.clips import RenderedClip, draw_spec
from mellm.training.synth.rig import SPLITS, Split, load_rig

PATCH = 32
"""Side of the square round a region that the network sees in both crops, pixels."""

Batch: TypeAlias = tuple[Tensor, Tensor]
QUIET = 0.15
"""Motion (pixels of the crop) under which a region counts as still."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two crops that share one transform, and what is true.

    :param truth: ``COUNT``×2, mean motion of each region, pixels of the crop
    """

    before: U8
    after: U8
    geometry: Geometry
    truth: F32


def pairs(seed: int, count: int) -> Iterator[Pair]:
    """Pairs of one person: moments of a script, one of the two baselines apart, filmed and cut as the product does."""
    rng = np.random.default_rng([0x9A1B, seed])
    spec = replace(draw_spec(seed, 10.0, 50.0, ("mixed", "quiet", "talk")[seed % 3]), compression="none")
    clip = RenderedClip(spec)
    for k in range(count):
        span = BASELINES_NS[k % 2] / 1e9
        first = float(rng.uniform(0.5, 9.0))
        times = np.array([first, first if rng.random() < 0.15 else first + span])
        faces, poses = clip.script.evaluate(times)
        shots = [clip.renderer.render(faces[i], poses[i], float(t), 2 * k + i) for i, t in enumerate(times)]
        exact, _ = renderer.flow(shots[0], shots[1], clip.renderer.person)
        landmarks = shots[0].landmarks + rng.normal(0, 0.5, (68, 2)).astype(np.float32)
        held = anchor(landmarks, shots[0].image.shape[:2])
        if held is None:
            continue
        quality = int(rng.integers(45, 98)) if rng.random() < 0.7 else 0
        crops = [cut(_grey(s.image, quality), held).crop(held) for s in shots]
        height, width = crops[0].shape
        there = cv2.warpAffine(exact, held.matrix, (width, height)) @ held.matrix[:, :2].T.astype(np.float32)
        geometry = Geometry(apply(held.matrix, landmarks))
        yield Pair(crops[0], crops[1], geometry, geometry.region_flow(there.astype(np.float32)))


def _grey(image: U8, quality: int) -> U8:
    if quality:
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)


def patches(pair: Pair) -> F32:
    """``COUNT``×2×``PATCH``×``PATCH``: what lies round each region in both crops, each pair at mean 0 and spread 1."""
    half = PATCH // 2
    both = [
        cv2.copyMakeBorder(c, half, half, half, half, cv2.BORDER_REPLICATE) for c in (pair.before, pair.after)
    ]
    out = np.empty((COUNT, 2, PATCH, PATCH), np.float32)
    height, width = pair.before.shape
    for n, (x, y) in enumerate(np.rint(pair.geometry.centres).astype(int)):
        x, y = int(np.clip(x, 0, width - 1)), int(np.clip(y, 0, height - 1))
        for m, picture in enumerate(both):
            out[n, m] = picture[y : y + PATCH, x : x + PATCH]
    out -= out.mean((1, 2, 3), keepdims=True)
    out /= out.std((1, 2, 3), keepdims=True) + 2.0
    return out


class RegionNet(nn.Module):
    """Patches N×2×32×32 to N×4: motion in pixels, and the logarithm of its spread along each axis."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(2, width, 5, 2, 2), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(2 * width * 16, 96), nn.ReLU(), nn.Linear(96, 4),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return y


def loss(told: Tensor, truth: Tensor) -> Tensor:
    """Negative logarithm of a Laplace density, whose spread is told as well."""
    spread = told[:, 2:].clamp(-4, 3)
    return ((told[:, :2] - truth).abs() * torch.exp(-spread) + spread).mean()


def gather(split: Split, people: int, each: int) -> list[Pair]:
    """Pairs of so many people of a split."""
    return [p for seed in SPLITS[split][3000 : 3000 + people] for p in pairs(seed, each)]


def fit(found: list[Pair], epochs: int, seed: int = 1) -> RegionNet:
    """Train on all regions of all pairs; mirror images double them."""
    torch.manual_seed(seed)
    x = torch.from_numpy(np.concatenate([patches(p) for p in found]))
    y = torch.from_numpy(np.concatenate([p.truth for p in found]))
    net = RegionNet()
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-4)
    steps = epochs * max(1, len(x) // 256)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(len(x), (256,))
        some, truth = x[rows], y[rows].clone()
        for axis in (0, 1):
            flip = torch.rand(256) < 0.5
            some = torch.where(flip[:, None, None, None], some.flip(3 - axis), some)
            truth[:, axis] = torch.where(flip, -truth[:, axis], truth[:, axis])
        value = loss(net(some), truth)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        plan.step()
    return net.eval()


def scores(told: NDArray[np.float32], truth: NDArray[np.float32]) -> dict[str, float]:
    """Errors in hundredths of the eye distance (``told``, ``truth``: pixels of the crop, N×2)."""
    size, error = np.linalg.norm(truth, axis=1), np.linalg.norm(told - truth, axis=1)
    unit = 100 / CROP_IOD
    small = (size >= QUIET) & (size < 3)
    return {
        "error": float(unit * error.mean()),
        "error of small motion": float(unit * error[small].mean()),
        "gain of small motion": float((told * truth)[small].sum() / (truth**2)[small].sum()),
        "noise": float(unit * np.sqrt((told[size < QUIET] ** 2).sum(1).mean())),
    }


@click.command(cls=Command)
@click.option("--people", type=click.IntRange(1), default=150, show_default=True, help="To train on.")
@click.option("--tested", type=click.IntRange(1), default=40, show_default=True, help="Others, to test on.")
@click.option("--each", type=click.IntRange(1), default=12, show_default=True, help="Pairs of a person.")
@click.option("--epochs", type=click.IntRange(1), default=12, show_default=True)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Write the network and its scores there."
)
def main(people: int, tested: int, each: int, epochs: int, out: Path | None) -> None:
    """Train the network and put it beside the flow presets."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    load_rig()
    began = process_time()
    net = fit(gather("train", people, each), epochs)
    click.echo(f"trained after {process_time() - began:.0f} s of processor time", err=True)
    found = gather("test", tested, each)
    truth = np.concatenate([p.truth for p in found])
    rows: dict[str, dict[str, float]] = {}
    with torch.inference_mode():
        start = perf_counter()
        told = [net(torch.from_numpy(patches(p)))[:, :2].numpy() for p in found]
        rows["network"] = {
            **scores(np.concatenate(told), truth),
            "ms": 1e3 * (perf_counter() - start) / len(found),
        }
    presets: tuple[Preset, ...] = ("live", "quality")
    for preset in presets:
        estimator = create(preset)
        start = perf_counter()
        told = [p.geometry.region_flow(estimator(p.before, p.after)) for p in found]
        rows[preset] = {
            **scores(np.concatenate(told), truth),
            "ms": 1e3 * (perf_counter() - start) / len(found),
        }
    click.echo(
        json.dumps({name: {k: round(v, 3) for k, v in row.items()} for name, row in rows.items()}, indent=1)
    )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        torch.onnx.export(
            net,
            (torch.zeros(COUNT, 2, PATCH, PATCH),),
            str(out / "region-motion.onnx"),
            input_names=["patches"],
            output_names=["motion"],
            dynamo=False,
        )
        (out / "scores.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
