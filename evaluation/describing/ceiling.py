"""Where micro-expressions end: the motion ceiling, chosen on validation people and tried on test people.

``python -m mellm.evaluation.describing.ceiling`` moves photographs and drawn people by units of known size, from 1/100
of the eye distance to 35/100, and measures each pair of pictures as the ``live`` recipe does. The table then says how
many micro-expressions (up to 6/100) the chosen ceiling loses, and how many larger motions it tells apart.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import click
import cv2
import numpy as np

from mellm.detectors.regions import eye_frame
from mellm.detectors.types import F32
from mellm.engine.evidence.motion_map import motion_floor
from mellm.evaluation.spotting.stats import Estimate, share
from mellm.stream.errors import MellmError, UsageError
from mellm.training.instruct.pairs import JPEG_FOR_H264
from mellm.training.readings.clips import Split
from mellm.training.rules import pairs as rule_pairs
from mellm.training.rules import portraits as rule_portraits
from mellm.training.spotter.sets import still_split
from mellm.training.synth.clips import RenderedClip, draw_spec
from mellm.training.synth.rig import SPLITS, load_rig
from mellm.training.synth.script import PROFILES, draw_actions, random_script
from mellm.training.synth.warper import Portrait
from mellm.training.tools.make_sample import landmarks

Source: TypeAlias = Literal["stills", "rendered"]

LARGEST_MICRO = 6.0
"""Largest region of a micro-expression, 1/100 inter-ocular distance: about 2.7 % of the face's width."""

GRIMACE = (7.0, 35.0)
"""Range of the largest regional displacement of what is no micro-expression; drawn faces reach about 15."""

LOST, APART = 0.02, 0.9
"""Most micro-expressions that may be lost, and fewest larger motions of photographs that must be told apart."""

STEP = 0.5
"""Ceilings that are tried, 1/100 inter-ocular distance."""

EACH = 12
"""Micro-expressions and larger motions of each person."""

FIRST, SECONDS = 50_000, 40.0


@dataclass(frozen=True, slots=True)
class Motion:
    """A pair of pictures. ``true``, ``measured``: largest region, 1/100 inter-ocular distance."""

    source: Source
    person: str
    true: float
    measured: float


def of_photograph(path: Path) -> Iterator[Motion]:
    """Motions of one photograph, small and large in turn."""
    person = path.stem.split("_")[-2]
    rng = np.random.default_rng([0xCE11, int(person)])
    image = np.asarray(cv2.imread(str(path)), np.uint8)
    points = landmarks(image)
    zoom = rule_portraits.FACE_IOD / eye_frame(points).iod
    image = np.asarray(cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), np.uint8)
    portrait = Portrait(image, ((points + 0.5) * zoom - 0.5).astype(np.float32), load_rig())
    for i in range(2 * EACH):
        wanted = float(np.exp(rng.uniform(*np.log((1.0, LARGEST_MICRO) if i % 2 else GRIMACE))))
        field: F32 = np.zeros((*image.shape[:2], 2), np.float32)
        for action in draw_actions(rng, wanted):
            field += portrait.unit_field([(action.au, action.side)]) * np.float32(action.intensity)
        # units end at their full strength: larger motions are those enlarged
        field *= np.float32(wanted / max(portrait.peak(field), 1e-6))
        moved, _ = rule_portraits.measure(portrait, field, rng)
        yield Motion("stills", person, wanted, motion_floor(moved, 0.0)[0])


def of_drawn(seed: int) -> Iterator[Motion]:
    """Motions of one drawn person: a script of quick expressions of all sizes."""
    rng = np.random.default_rng([0xCE12, seed])
    spec = draw_spec(seed, SECONDS)
    if spec.compression == "h264":
        spec = replace(spec, compression="jpeg", quality=int(rng.integers(*JPEG_FOR_H264)))
    clip = RenderedClip(spec, load_rig())
    for peak in ((1.0, LARGEST_MICRO), (GRIMACE[0], 20.0)):
        profile = replace(
            PROFILES[spec.profile], micro_per_min=60 * EACH / SECONDS, macro_per_min=0, peak=peak
        )
        clip.script = random_script(rng, SECONDS, profile)
        truth = clip.truth()["expressions"]
        for expression, told in zip(clip.script.expressions, truth, strict=True):
            moved, noise = rule_pairs.measure_moment(clip, rng, expression.onset_s, expression.apex_s)
            yield Motion("rendered", str(seed), float(told["peak"]), motion_floor(moved, noise)[0])


def draw(split: Split, people: int) -> Iterator[Motion]:
    """Motions of so many photographed people, and as many drawn ones."""
    for path in still_split(split)[:people]:
        yield from of_photograph(path)
    for seed in SPLITS[split][FIRST : FIRST + people]:
        yield from of_drawn(seed)


def choose(motions: list[Motion]) -> float:
    """The highest ceiling that still tells :data:`APART` of the photographs' larger motions apart.

    :raises UsageError: it would lose more than :data:`LOST` of the micro-expressions
    """
    moved = [m for m in motions if m.source == "stills"]
    tried = np.arange(LARGEST_MICRO, GRIMACE[1], STEP).tolist()
    best = max((c for c in tried if rates(moved, c)[1].value >= APART), default=tried[0])
    if rates(motions, best)[0].value > LOST:
        raise UsageError("no ceiling loses few enough and tells enough apart", remedy="draw more people")
    return float(best)


def rates(motions: list[Motion], ceiling: float) -> tuple[Estimate, Estimate]:
    """Share of micro-expressions that are lost, and of motions truly above the ceiling that are told apart."""
    micro = [m for m in motions if m.true <= LARGEST_MICRO]
    large = [m for m in motions if m.true > ceiling]
    return (
        share(sum(m.measured > ceiling for m in micro), len(micro)),
        share(sum(m.measured > ceiling for m in large), len(large)),
    )


def save(path: Path, motions: list[Motion]) -> None:
    """Write motions as a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{m.source},{m.person},{m.true:.3f},{m.measured:.3f}" for m in motions]
    path.write_text("\n".join(["source,person,true,measured", *rows]) + "\n", encoding="utf-8")


def load(path: Path) -> list[Motion]:
    """Motions of a file of :func:`save`."""
    rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    return [Motion("stills" if s == "stills" else "rendered", p, float(t), float(m)) for s, p, t, m in rows]


@click.command()
@click.option(
    "--people", type=click.IntRange(1), default=16, show_default=True, help="Of each source and split."
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/ceiling"), show_default=True)
def main(people: int, out: Path) -> None:
    """Choose the ceiling on validation people and say what it does to test people."""
    try:
        found: dict[Split, list[Motion]] = {}
        for split in get_args(Split):
            path = out / f"{split}.csv"
            if not path.exists():
                with click.progressbar(draw(split, people), label=split, file=sys.stderr) as bar:
                    save(path, list(bar))
            found[split] = load(path)
        ceiling = choose(found["val"])
        click.echo(f"ceiling {ceiling:.1f}")
        click.echo(
            "| people | source | micro-expressions lost | larger motions told apart |\n|---|---|---|---|"
        )
        for split, motions in found.items():
            for source in get_args(Source):
                some = [m for m in motions if m.source == source]
                lost, apart = rates(some, ceiling)
                micro = sum(m.true <= LARGEST_MICRO for m in some)
                large = sum(m.true > ceiling for m in some)
                click.echo(
                    f"| {split} | {source} | {lost.value:.1%} [{lost.low:.1%}, {lost.high:.1%}] of {micro} "
                    f"| {apart.value:.1%} [{apart.low:.1%}, {apart.high:.1%}] of {large} |"
                )
    except MellmError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
