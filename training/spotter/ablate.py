"""What each part of the spotter is worth: the same small network, trained without it.

``python -m mellm.training.spotter.ablate --run runs/ablations`` trains one network a variant, all of them on the same
material for equally long, picks each one's threshold on the validation sets, and prints F1 on the test sets. Filmed
people take part in no variant's training, so ``talking`` holds strangers.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from mellm.detectors.regions import COUNT, INDEX, centres, rigid_basis
from mellm.detectors.signals import FEATURES
from mellm.detectors.stepmodel import OnnxStepModel
from mellm.detectors.types import F32
from mellm.stream.errors import MellmError
from mellm.training.spotter import sets, train
from mellm.training.spotter.dataset import CorpusSpec, generate
from mellm.training.spotter.export import export
from mellm.training.spotter.fit import Trainer
from mellm.training.spotter.net import SpotterNet
from mellm.training.spotter.options import SHAPES, TrainOptions
from mellm.training.spotter.pools import Pool
from mellm.training.spotter.records import Record
from mellm.training.spotter.validation import Scored, choose_threshold, score_at
from mellm.training.synth.rig import load_rig
from mellm.training.synth.simulator import SimOptions

log = logging.getLogger(__name__)
HALF = FEATURES // 2
FLOW = 2 * COUNT
NOSE = ("nose_bridge", "nose_tip", "nose_side_R", "nose_side_L")
TESTS = ("rendered50", "rendered30", "stills", "talking", "free")


def same(x: F32) -> F32:
    """All signals as they are."""
    return x


@lru_cache(maxsize=1)
def _basis() -> F32:
    """How the regions of the average face move with the six head parameters, COUNT×2×6."""
    rig = load_rig()
    flat = (rig.mean[rig.lm68, :2] * [1, -1] * (57 / rig.iod(rig.mean))).astype(np.float32)
    return np.asarray(rigid_basis(centres(flat), flat), np.float32).reshape(COUNT, 2, 6)


def raw(x: F32) -> F32:
    """No head-motion compensation: the flow itself, and no head parameters."""
    out = x.copy()
    for start in (0, HALF):
        head = np.einsum("rcp,...p->...rc", _basis(), x[..., start + FLOW : start + HALF])
        out[..., start : start + FLOW] += head.reshape(*x.shape[:-1], FLOW)
        out[..., start + FLOW : start + HALF] = 0
    return out


def nose(x: F32) -> F32:
    """The published compensation: the nose's own motion is taken from every region."""
    out = raw(x)
    rows = [INDEX[name] for name in NOSE]
    for start in (0, HALF):
        flow = out[..., start : start + FLOW].reshape(*x.shape[:-1], COUNT, 2)
        flow -= flow[..., rows, :].mean(-2, keepdims=True)
    return out


def short_only(x: F32) -> F32:
    """Only the 0.1 s baseline."""
    out = x.copy()
    out[..., HALF:] = 0
    return out


def long_only(x: F32) -> F32:
    """Only the 0.3 s baseline."""
    out = x.copy()
    out[..., :HALF] = 0
    return out


def still_head(x: F32) -> F32:
    """Compensated flow without the head parameters."""
    out = x.copy()
    out[..., FLOW:HALF] = out[..., HALF + FLOW :] = 0
    return out


@dataclass(frozen=True, slots=True)
class Variant:
    """One network. ``kinds`` of material, number of simulated ``clips``, ``change`` to the signals."""

    told: str
    kinds: tuple[str, ...] = ("simulated", "rendered", "stills")
    clips: int = 5000
    change: Callable[[F32], F32] = same
    shape: str = "small"
    hard: float | None = None


VARIANTS: dict[str, Variant] = {
    "all": Variant("everything below left in place"),
    "large": Variant("the large network", shape="large"),
    "short-sight": Variant("a network that sees 0.6 s instead of 1.5 s", shape="short"),
    "raw": Variant("no head-motion compensation", change=raw),
    "nose": Variant("nose motion subtracted instead of the rigid fit", change=nose),
    "no-head": Variant("the network is not told the head's motion", change=still_head),
    "0.1 s": Variant("short baseline only", change=short_only),
    "0.3 s": Variant("long baseline only", change=long_only),
    "simulator": Variant("simulated signals only, no pixels", kinds=("simulated",)),
    "pixels": Variant("measured pixels only, no simulator", kinds=("rendered", "stills")),
    "tame": Variant("no lively talkers or actors in the simulator", kinds=("simulated",), hard=0.0),
    "500 clips": Variant("a tenth of the simulated clips", kinds=("simulated",), clips=500),
    "1500 clips": Variant("a third", kinds=("simulated",), clips=1500),
    "15000 clips": Variant("three times as many", kinds=("simulated",), clips=15000),
}
SHAPES.setdefault("short", (64, (1, 2, 4, 4, 2, 1, 1, 1)))


def _changed(pool: Pool, change: Callable[[F32], F32]) -> Pool:
    if change is same:
        return pool
    parts = [change(p.float().cpu().numpy()) for p in torch.split(pool.features, 256)]
    features = torch.from_numpy(np.concatenate(parts).astype(np.float16)).to(pool.features.device)
    return replace(pool, features=features)


def _blinded(net: SpotterNet) -> None:
    """Close the inputs that a variant does without. Augmentation disturbs them all the same, and a scale made from
    zeros would turn that into the loudest input of the network.
    """
    net.scale[net.scale > 500] = 0.0  # standardise() divides by 1e-3 at the least


def _scored(record: Record, change: Callable[[F32], F32]) -> Scored:
    features = change(record.features)
    features[np.isnan(record.features[:, 0])] = (
        np.nan
    )  # what is void stays so, whatever the variant leaves out
    return Scored.of_record(replace(record, features=features))


def run(name: str, options: TrainOptions, root: Path) -> dict[str, Any]:
    """Train and score one variant."""
    variant = VARIANTS[name]
    folder = root / name.replace(" ", "")
    folder.mkdir(parents=True, exist_ok=True)
    sim = options.sim if variant.hard is None else replace(options.sim, hard=variant.hard)
    clips = options.run / "clips" if variant.hard is None else folder / "clips"
    made = generate(CorpusSpec(variant.clips, options.seed, sim), clips, options.workers)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    material: dict[str, Pool] = {}
    if "simulated" in variant.kinds:
        material["simulated"] = Pool.of_corpus(made, device)
    for kind, records in train.measured(options).items():
        if kind in variant.kinds and (pool := Pool.of_records(records, device=device)) is not None:
            material[kind] = pool
    material = {kind: _changed(pool, variant.change) for kind, pool in material.items()}
    trainer = Trainer(
        replace(options, run=folder, shape=variant.shape, pretrain=options.iterations),  # type: ignore[arg-type]
        material,
    )
    if variant.change is not same:
        _blinded(trainer.net)
        _blinded(trainer.mean)
    trainer.resume()
    trainer.fit()
    path = folder / "spotter.onnx"
    export(trainer.result(), path, version="ablation", threshold=0.5, record={"variant": name})
    return score(name, path, options)


def score(name: str, path: Path, options: TrainOptions) -> dict[str, Any]:
    """Scores of a trained variant on the test sets that are there."""
    change = VARIANTS[name].change
    model = OnnxStepModel(path)
    held = [_scored(r, change) for s in sets.VALIDATION_SETS for r in sets.load(s, options.measured)]
    threshold, validation = choose_threshold(model, held)
    out: dict[str, Any] = {"variant": name, "threshold": threshold, "validation": validation.flat()}
    for test in TESTS:
        clips = [_scored(r, change) for r in sets.load(test, options.measured)]
        out[test] = score_at(model, clips, threshold).flat()
    return out


def table(rows: list[Mapping[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| variant | rendered 50 | rendered 30 | stills | talking | false alarms / min, real |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        f1 = " | ".join(f"{row[t]['f1']:.3f}" for t in TESTS[:-1])
        told = VARIANTS[row["variant"]].told
        lines.append(f"| {row['variant']}: {told} | {f1} | {row['free']['false_per_minute']:.1f} |")
    return "\n".join(lines)


@click.command()
@click.option(
    "--run", "folder", type=click.Path(path_type=Path), default=Path("runs/ablations"), show_default=True
)
@click.option(
    "--clips",
    type=click.Path(path_type=Path),
    default=Path("runs/spotter"),
    show_default=True,
    help="Run folder whose simulated clips are used.",
)
@click.option("--measured", type=click.Path(path_type=Path), default=sets.ROOT, show_default=True)
@click.option("--iterations", default=3000, show_default=True)
@click.option("--batch", default=64, show_default=True)
@click.option("--stills", default=130, show_default=True)
@click.option("--rendered", default=96, show_default=True)
@click.option("--only", multiple=True, type=click.Choice(list(VARIANTS)), help="Some variants.")
@click.option("--workers", default=2, show_default=True)
def main(folder: Path, clips: Path, measured: Path, only: tuple[str, ...], **numbers: int) -> None:
    """Train and score all variants; what is done is kept."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    options = TrainOptions(run=clips, measured=measured, pretrain=0, sim=SimOptions(), **numbers)  # type: ignore[arg-type]
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    try:
        for name in only or tuple(VARIANTS):
            kept = folder / f"{name.replace(' ', '')}.json"
            if not kept.exists():
                kept.write_text(json.dumps(run(name, options, folder), indent=1))
            rows.append(json.loads(kept.read_text()))
            log.info("%s: %s", name, {t: rows[-1][t]["f1"] for t in TESTS})
    except MellmError as error:
        raise click.ClickException(str(error)) from error
    click.echo(table(rows))


if __name__ == "__main__":
    main()
