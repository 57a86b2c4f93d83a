"""How far the simulator is from what the product measures: gain and noise of each region, on the same scripts.

``python -m mellm.training.tools.calibrate`` takes the rendered validation clips
(:mod:`mellm.training.spotter.sets`), which went through renderer, codec, face networks and optical flow, and
simulates the very same scripts. They fit one factor of gain and one of noise for each region; the rendered test
clips, other people and scripts, tell how well the simulator then agrees. Training draws its cameras wider and noisier
on purpose (docs/spotter-training.md).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from mellm.detectors.regions import COUNT, NAMES
from mellm.training.command import Command
from mellm.training.spotter import sets
from mellm.training.spotter.records import Record
from mellm.training.synth.clips import RenderedClip, draw_spec
from mellm.training.synth.measurement import Camera, draw, frame_times, measure
from mellm.training.synth.simulator import draw_sites, face_motion, mean_centres, to_crop

F64 = NDArray[np.float64]
FLOW = 2 * COUNT

DRAWS = 4
"""Cameras drawn for each clip."""

QUIET = 0.06
"""True motion over 0.1 s under which a step tells noise, 1/100 inter-ocular distance."""

WITHIN = 0.2
"""Agreement that is asked for, relative."""


EXPRESSIVE = 0.25
"""Root mean square of a region's true motion over 0.3 s under which its gain is not told: nose and temples, which the
head-motion fit rests on, hardly move by themselves."""


@dataclass(frozen=True, slots=True, eq=False)
class Traits:
    """What clips say of each region, ``COUNT`` each.

    :param cross: sums of seen·true and true·true over 0.3 s
    :param power: as ``cross``
    :param steps: that went into them
    :param noise: over 0.1 s where nothing moves; NaN where the clip cannot tell
    """

    cross: F64
    power: F64
    steps: int
    noise: F64

    @property
    def gain(self) -> F64:
        """Share of the true motion that is seen, by least squares; NaN where there is too little of it."""
        enough = np.sqrt(self.power / max(1, self.steps)) >= EXPRESSIVE
        return np.where(enough, self.cross / np.maximum(self.power, 1e-9), np.nan)


def ideal(fps: float) -> Camera:
    """A camera that reports the true motion."""
    zero = np.zeros(COUNT)
    return Camera(
        fps=fps,
        jitter_s=0,
        repeat=0,
        local=np.tile(np.eye(2), (COUNT, 1, 1)),
        leak=np.zeros((COUNT, COUNT)),
        head=1,
        parallax=np.zeros((COUNT, 2, 6)),
        white=zero,
        drift=0,
        drift_s=1,
        pair=zero,
        moving=0,
        busy=0,
        blink=np.zeros((COUNT, 2)),
        flicker=0,
        flicker_hz=1,
        hold=0,
        keyframe_s=1,
        anchor=(0, 0),
    )


def traits(seen: F64, true: F64) -> Traits:
    """Gain over 0.3 s by least squares, noise over 0.1 s where nothing moves; both T×136."""
    half = seen.shape[1] // 2
    long_seen, long_true = (x[:, half : half + FLOW].reshape(-1, COUNT, 2) for x in (seen, true))
    cross, power = (long_seen * long_true).sum((0, 2)), (long_true**2).sum((0, 2))
    short_seen, short_true = (x[:, :FLOW].reshape(-1, COUNT, 2) for x in (seen, true))
    noise = np.full(COUNT, np.nan)
    for r in range(COUNT):
        still = np.hypot(*short_true[:, r].T) < QUIET
        if still.sum() >= 25:
            left = short_seen[still, r] - short_true[still, r]
            noise[r] = 1.4826 * np.median(np.abs(left - np.median(left, axis=0)))
    return Traits(cross, power, len(seen), noise)


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A rendered clip as measured, and the true motion behind it."""

    record: Record
    stamps: F64
    positions: F64
    landmarks: F64
    grid: F64
    rows: NDArray[np.intp]
    fps: float

    @classmethod
    def of(cls, record: Record) -> Pair:
        """Rebuild the script of a record of a rendered clip."""
        clip = RenderedClip(draw_spec(int(record.facts["seed"]), record.seconds, record.fps))
        rng = np.random.default_rng(0)
        stamps, _ = frame_times(rng, ideal(record.fps), record.seconds)
        sites = draw_sites()
        motion = face_motion(
            clip.rig,
            clip.rig.identity(clip.spec.seed),
            *clip.script.evaluate(stamps),
            clip.camera.distance,
            sites,
        )
        regions, landmarks = to_crop(*motion)
        known = ~np.isnan(record.features[:, 0]) & (record.grid_s >= 0.34) & (record.grid_s <= stamps[-1])
        rows = np.flatnonzero(known)
        return cls(record, stamps, 100 * regions, landmarks, record.grid_s[rows], rows, record.fps)

    def seen_by(self, camera: Camera, seed: int) -> F64:
        """Features that a simulated camera gives."""
        rng = np.random.default_rng([0xCA1, seed])
        return measure(rng, camera, self.stamps, self.positions, self.landmarks, self.grid).astype(np.float64)

    def measured(self) -> Traits:
        """What the product made of the rendered pixels."""
        true = self.seen_by(ideal(self.fps), 0)
        return traits(self.record.features[self.rows].astype(np.float64), true)

    def simulated(self, gain: F64 | None = None, noise: F64 | None = None) -> Traits:
        """Medians over :data:`DRAWS` cameras as training draws them, or with factors for each region."""
        true = self.seen_by(ideal(self.fps), 0)
        found = []
        for k in range(DRAWS):
            camera = draw(np.random.default_rng([0xCA2, k]), mean_centres(), self.fps)
            if gain is not None and noise is not None:
                level = float(np.median(noise))
                camera = replace(
                    camera,
                    local=camera.local * gain[:, None, None],
                    white=camera.white * noise,
                    pair=camera.pair * noise,
                    drift=camera.drift * level,
                    moving=camera.moving * level,
                    busy=camera.busy * level,
                    flicker=0.0,
                )
            found.append(traits(self.seen_by(camera, k), true))
        return pooled(found)


def pooled(found: Sequence[Traits]) -> Traits:
    """Sums, and the median of the noise."""
    told = np.array([t.noise for t in found])
    noise = [float(np.median(c[~np.isnan(c)])) if (~np.isnan(c)).any() else np.nan for c in told.T]
    return Traits(
        np.sum([t.cross for t in found], axis=0),
        np.sum([t.power for t in found], axis=0),
        sum(t.steps for t in found),
        np.array(noise),
    )


def calibrate(records: Sequence[Record], others: Sequence[Record]) -> dict[str, Any]:
    """Factors from ``records``, agreement on ``others``: other people, other scripts."""
    fit, held = [Pair.of(r) for r in records], [Pair.of(r) for r in others]
    want, have = pooled([p.measured() for p in fit]), pooled([p.simulated() for p in fit])
    gain = np.nan_to_num(np.clip(want.gain / have.gain, 0.4, 2.5), nan=1.0)
    noise = np.nan_to_num(np.clip(want.noise / have.noise, 0.05, 20), nan=1.0)
    for _ in range(2):  # leaks carry one region's factors into its neighbours
        now = pooled([p.simulated(gain, noise) for p in fit])
        gain *= np.nan_to_num(np.clip(want.gain / now.gain, 0.5, 2), nan=1.0)
        noise *= np.nan_to_num(np.clip(want.noise / now.noise, 0.5, 2), nan=1.0)
    truth, drawn = pooled([p.measured() for p in held]), pooled([p.simulated() for p in held])
    fitted = pooled([p.simulated(gain, noise) for p in held])
    return {
        "clips": [len(fit), len(held)],
        "regions": {
            name: {
                "gain": [_number(t.gain[i]) for t in (truth, drawn, fitted)],
                "noise": [_number(t.noise[i]) for t in (truth, drawn, fitted)],
            }
            for i, name in enumerate(NAMES)
        },
    }


def _number(value: float) -> float | None:
    return round(float(value), 3) if np.isfinite(value) else None


def _cell(value: float | None, places: int) -> str:
    return "–" if value is None else f"{value:.{places}f}"


def agreement(found: dict[str, Any], trait: str, column: int) -> list[str]:
    """Regions that are within :data:`WITHIN` of the measured value; column 1 as drawn, 2 as fitted."""
    rows = found["regions"].items()
    return [n for n, r in rows if r[trait][0] and abs(r[trait][column] / r[trait][0] - 1) <= WITHIN]


def table(found: dict[str, Any]) -> str:
    """Markdown: measured, as training draws it, with fitted factors."""
    lines = [
        "| region | gain measured | drawn | fitted | noise measured | drawn | fitted |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in found["regions"].items():
        cells = [_cell(v, 2) for v in row["gain"]] + [_cell(v, 3) for v in row["noise"]]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for trait in ("gain", "noise"):
        drawn, fitted = (len(agreement(found, trait, c)) for c in (1, 2))
        told = sum(row[trait][0] is not None for row in found["regions"].values())
        lines.append(f"\n{trait} within {WITHIN:.0%}: {drawn} of {told} as drawn, {fitted} of {told} fitted")
    return "\n".join(lines)


def plot(found: dict[str, Any], path: Path) -> None:
    """Gain and noise by region, three marks each."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    names = list(found["regions"])
    at = np.arange(len(names))
    figure, axes = pyplot.subplots(2, 1, figsize=(10, 6.5), sharex=True, layout="constrained")
    for axis, trait, told in zip(
        axes, ("gain", "noise"), ("gain over 0.3 s", "noise over 0.1 s, 1/100 eye distance"), strict=True
    ):
        values = np.array([found["regions"][n][trait] for n in names], np.float64)
        axis.fill_between(
            at, 0.8 * values[:, 0], 1.2 * values[:, 0], color="#cccccc", label="measured ± 20 %"
        )
        for column, mark, colour, label in (
            (0, "o", "#000000", "measured on rendered clips"),
            (1, "^", "#d55e00", "simulated as drawn for training"),
            (2, "s", "#0072b2", "simulated, factors fitted on other clips"),
        ):
            axis.plot(at, values[:, column], mark, color=colour, markersize=4.5, label=label)
        axis.set_ylabel(told)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8, ncols=2)
    axes[1].set_xticks(at, [n.replace("_", " ") for n in names], rotation=75, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


@click.command(cls=Command)
@click.option("--root", type=click.Path(path_type=Path), default=sets.ROOT, show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("docs/img/calibration.png"), show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(root: Path, out: Path, as_json: bool) -> None:
    """Compare the simulator with what the product measures on rendered validation clips; draw OUT."""
    for name in ("val-rendered", "rendered50", "rendered30"):
        sets.build(name, root)
    found = calibrate(
        sets.load("val-rendered", root), [*sets.load("rendered50", root), *sets.load("rendered30", root)]
    )
    plot(found, out)
    click.echo(json.dumps(found) if as_json else table(found))


if __name__ == "__main__":
    main()
