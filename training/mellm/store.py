"""Pairs on disk, as training reads them: the picture the model sees, and the truth. One file a person.

``python -m mellm.training.mellm.store --source rendered --split train --people 360 --out runs/pairs`` draws and
keeps them; finished people are kept when it is run again.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import get_args

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from mellm.detectors.regions import NAMES
from mellm.detectors.types import U8
from mellm.engine.types import RegionMotion
from mellm.stream.errors import UsageError
from mellm.stream.files import replacing
from mellm.training.command import Command
from mellm.training.instruct.pairs import FIRST, Pair, Source, Truth, UnitTruth, people
from mellm.training.synth.rig import SPLITS, Split

log = logging.getLogger(__name__)

SIDE = 128
"""Width and height of the kept picture, pixels; models may see it smaller."""


@dataclass(frozen=True, slots=True, eq=False)
class Stored(Truth):
    """What is kept of a pair. ``picture``: ``SIDE``×``SIDE``×3 BGR; ``motion``: region table, 31×2, 1/100 IOD.

    :param noise: what the head-motion fit left
    :param above: whether the motion floor lets the pair through
    """

    picture: U8
    motion: NDArray[np.float32]
    noise: float
    above: bool

    @property
    def aus(self) -> frozenset[int]:
        """Units without sides."""
        return frozenset(u.au for u in self.units)

    @property
    def table(self) -> tuple[RegionMotion, ...]:
        """The region table, as far as ``rules`` reads it."""
        return tuple(
            RegionMotion(name, float(dx), float(dy), 0.0, 0.0, "")
            for name, (dx, dy) in zip(NAMES, self.motion, strict=True)
        )


FIELDS = tuple(f.name for f in fields(Truth) if f.name != "units")


def small(picture: U8, side: int = SIDE) -> U8:
    """A motion map as the small model sees it."""
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def stored(pair: Pair) -> Stored:
    """The part of a pair that is kept."""
    evidence = pair.evidence("live")
    return Stored(
        **{name: getattr(pair, name) for name in FIELDS},
        units=pair.units,
        picture=small(evidence.motion_map),
        motion=np.array([(r.dx, r.dy) for r in evidence.regions], np.float32),
        noise=evidence.flow_stats["noise_iod"],
        above=evidence.refused is None,
    )


def save(path: Path, pairs: Sequence[Stored]) -> None:
    """Write pairs, whole or not at all."""
    rows = [
        {name: getattr(p, name) for name in FIELDS}
        | {"units": [(u.au, u.side, u.intensity) for u in p.units], "noise": p.noise, "above": bool(p.above)}
        for p in pairs
    ]
    with replacing(path) as part:
        np.savez_compressed(
            part,
            rows=np.array(json.dumps(rows)),
            pictures=np.stack([p.picture for p in pairs]),
            motion=np.stack([p.motion for p in pairs]),
        )


def load_file(path: Path) -> Iterator[Stored]:
    """Pairs of one file.

    :raises UsageError: it is not one of :func:`save`
    """
    try:
        with np.load(path, allow_pickle=False) as kept:
            rows, pictures, motion = json.loads(str(kept["rows"])), kept["pictures"], kept["motion"]
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"{path} holds no pairs ({error})",
            remedy="delete it and run python -m mellm.training.mellm.store again",
        ) from error
    for row, picture, moved in zip(rows, pictures, motion, strict=True):
        units = tuple(UnitTruth(*u) for u in row.pop("units"))
        yield Stored(**row, units=units, picture=picture, motion=moved)


def load(root: Path, source: Source, split: Split) -> list[Stored]:
    """All pairs of a source and split under ``root``; empty where there are none."""
    return [p for path in sorted((root / f"{source}-{split}").glob("*.npz")) for p in load_file(path)]


def _one(source: Source, split: Split, index: int, first: int, path: Path) -> int:
    cv2.setNumThreads(1)
    pairs = [stored(p) for p in people(source, split, index + 1, first)[index]()]
    save(path, pairs)
    return len(pairs)


def build(root: Path, source: Source, split: Split, count: int, first: int, workers: int) -> int:
    """Draw what is not there yet; returns the number of pairs drawn now."""
    folder = root / f"{source}-{split}"
    names = [folder / f"{(first if source == 'rendered' else 0) + i:07d}.npz" for i in range(count)]
    todo = [i for i, path in enumerate(names) if not path.exists()]
    people(source, split, 1, first)  # raises here, not in a worker
    total = 0
    with ProcessPoolExecutor(max(1, workers)) as pool:
        jobs = [pool.submit(_one, source, split, i, first, names[i]) for i in todo]
        with click.progressbar(jobs, label=f"{source} {split}", file=sys.stderr) as bar:
            for job in bar:
                total += job.result()
    return total


@click.command(cls=Command)
@click.option("--source", type=click.Choice(get_args(Source)), required=True)
@click.option("--split", type=click.Choice(list(SPLITS)), required=True)
@click.option("--people", "count", type=click.IntRange(1), required=True)
@click.option("--first", type=click.IntRange(0), default=FIRST, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/pairs"), show_default=True)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True)
def main(source: Source, split: Split, count: int, first: int, out: Path, workers: int) -> None:
    """Draw the pairs of COUNT people and keep them."""
    click.echo(f"{build(out, source, split, count, first, workers)} pairs")


if __name__ == "__main__":
    main()
