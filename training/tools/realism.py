"""How fast simulated faces move beside recorded ones.

``python -m mellm.training.tools.realism`` prints, for groups of regions and for the head, the speed that recordings
show once they went through the product's chain (the set ``free``: no label is used), and the same of simulated clips;
then what is left in quiet moments, which is mostly noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from mellm.detectors.regions import COUNT, NAMES
from mellm.training.command import Command
from mellm.training.spotter import sets
from mellm.training.synth.lively import LivelyOptions
from mellm.training.synth.simulator import SimOptions, simulate

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

GROUPS: dict[str, tuple[str, ...]] = {
    "brows": ("brow",),
    "forehead": ("forehead",),
    "lower lids": ("lower_lid",),
    "cheeks": ("cheek",),
    "nasolabial": ("nasolabial",),
    "nose wings": ("nose_wing",),
    "mouth corners": ("lip_corner",),
    "chin": ("chin",),
}
"""Groups of regions, by the beginnings of their names."""

HEAD: dict[str, int] = {"head shift x": 0, "head shift y": 1, "yaw": 4, "pitch": 5}
"""Parameters of head motion, by their place behind the regions."""

PERCENT = (50, 95, 99)
SHORTEST = 100
"""Steps that a recording must have to count."""
STILLEST = 0.1
"""Share of a clip's steps that are called quiet."""


def speeds(features: F32) -> dict[str, F64]:
    """Percentiles :data:`PERCENT` of the motion over 0.1 s, 1/100 inter-ocular distance, of one clip (T×136)."""
    flow = features[:, : 2 * COUNT].reshape(-1, COUNT, 2)
    size = np.hypot(flow[..., 0], flow[..., 1])
    found = {
        name: np.percentile(size[:, [i for i, n in enumerate(NAMES) if n.startswith(starts)]], PERCENT)
        for name, starts in GROUPS.items()
    }
    for name, place in HEAD.items():
        found[name] = np.percentile(np.abs(features[:, 2 * COUNT + place]), PERCENT)
    return found


def pooled(clips: Sequence[F32]) -> dict[str, F64]:
    """Median over clips of :func:`speeds`; and in a fourth column the 95th percentile that a tenth exceeds."""
    each = [speeds(c) for c in clips]
    out = {}
    for name in each[0]:
        rows = np.array([e[name] for e in each])
        out[name] = np.append(np.median(rows, axis=0), np.percentile(rows[:, 1], 90))
    return out


def quiet(clips: Sequence[F32]) -> dict[str, F64]:
    """Median motion of each group in the stillest tenth of a clip's steps: 10th, 50th, 90th percentile over clips.

    Still is where the median region and the shift of the head are smallest together. Nobody knows what a recorded
    face truly did, so this bounds the noise from above.
    """
    rows = []
    for features in clips:
        flow = features[:, : 2 * COUNT].reshape(-1, COUNT, 2)
        size = np.hypot(flow[..., 0], flow[..., 1])
        level = np.median(size, axis=1) + np.abs(features[:, 2 * COUNT : 2 * COUNT + 2]).max(1)
        still = size[level <= np.quantile(level, STILLEST)]
        rows.append(
            [np.median(still[:, [n.startswith(starts) for n in NAMES]]) for starts in GROUPS.values()]
        )
    return dict(zip(GROUPS, np.percentile(rows, (10, 50, 90), axis=0).T, strict=True))


def recorded(root: Path) -> list[F32]:
    """Recordings as the product measured them, void steps left out."""
    known = [r.features[~np.isnan(r.features[:, 0])] for r in sets.load("free", root)]
    return [f for f in known if len(f) >= SHORTEST]


def simulated(options: SimOptions, clips: int, seed: int) -> list[F32]:
    """Simulated clips at 25 or 30 frames a second, like the recordings."""
    return [
        simulate(np.random.default_rng([seed, i]), replace(options, fps=(25.0, 30.0)[i % 2])).features
        for i in range(clips)
    ]


def table(columns: dict[str, dict[str, F64]], places: int = 1) -> str:
    """Markdown: a row for each group, percentiles with slashes."""
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name in next(iter(columns.values())):
        cells = [" / ".join(f"{v:.{places}f}" for v in found[name]) for found in columns.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


@click.command(cls=Command)
@click.option("--root", type=click.Path(path_type=Path), default=sets.ROOT, show_default=True)
@click.option("--clips", default=80, show_default=True, help="Simulated clips of each kind.")
@click.option("--seed", default=11, show_default=True)
def main(root: Path, clips: int, seed: int) -> None:
    """Compare the speed of simulated faces with recordings."""
    sets.build("free", root)
    made = {"recorded": recorded(root)}
    for name, options in (
        ("default, hard", SimOptions(hard=1.0)),
        ("lively, hard", LivelyOptions(hard=1.0)),
        ("default, other", SimOptions(hard=0.0)),
    ):
        made[name] = simulated(options, clips, seed)
    click.echo(
        "median / 95th / 99th percentile over time, median over clips / 95th that a tenth of clips exceeds"
    )
    click.echo(table({name: pooled(found) for name, found in made.items()}))
    click.echo("\nquiet moments: 10th / 50th / 90th percentile over clips")
    click.echo(table({name: quiet(found) for name, found in made.items()}, places=2))


if __name__ == "__main__":
    main()
