"""How often the rule-based describer is right about action units and their sides.

``python -m mellm.training.rules.evaluate PAIRS.npz`` prints micro-averaged scores over pairs drawn by
:mod:`mellm.training.rules.pairs`, at true onset and apex, without the spotter network's opinion.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np

from mellm.engine.describe import rules
from mellm.engine.describe.au_templates import Templates
from mellm.engine.evidence.motion_map import motion_floor
from mellm.training.command import Command
from mellm.training.rules.pairs import Sample
from mellm.training.rules.pairs import load as load_pairs


@dataclass(slots=True)
class Counts:
    """Micro-averaged counts. ``sides`` and ``sides_right`` are over hits of units that have sides."""

    hits: int = 0
    false: int = 0
    missed: int = 0
    sides: int = 0
    sides_right: int = 0
    pairs: int = 0
    silent: int = 0

    @property
    def precision(self) -> float:
        return self.hits / max(1, self.hits + self.false)

    @property
    def recall(self) -> float:
        return self.hits / max(1, self.hits + self.missed)

    @property
    def f1(self) -> float:
        return 2 * self.hits / max(1, 2 * self.hits + self.false + self.missed)

    def __str__(self) -> str:
        sides = f", sides {self.sides_right / self.sides:.2f}" if self.sides else ""
        return (
            f"F1 {self.f1:.3f} (precision {self.precision:.2f}, recall {self.recall:.2f}){sides}, "
            f"{self.pairs} pairs, {self.silent} without a unit"
        )


@dataclass(slots=True)
class _Pool:
    groups: dict[str, Counts] = field(default_factory=dict)

    def add(
        self, names: Iterable[str], truth: Sequence[tuple[int, str]], told: Sequence[tuple[int, str]]
    ) -> None:
        true, found = dict(truth), dict(told)
        both = true.keys() & found.keys()
        for name in names:
            c = self.groups.setdefault(name, Counts())
            c.pairs += 1
            c.silent += not found
            c.hits += len(both)
            c.false += len(found.keys() - true.keys())
            c.missed += len(true.keys() - found.keys())
            c.sides += len(both)
            c.sides_right += sum(true[au] == found[au] for au in both)
        for au in true.keys() | found.keys():
            c = self.groups.setdefault(f"AU{au}", Counts())
            c.pairs += au in true
            c.hits += au in both
            c.false += au in found and au not in true
            c.missed += au in true and au not in found


def evaluate_rules(samples: Iterable[Sample], known: Templates | None = None) -> dict[str, Counts]:
    """Scores over all pairs that show an expression, over quiet and talking people, and for each unit.

    Pairs under the motion floor count as read without a unit, as in the product.
    """
    pool = _Pool()
    for sample in samples:
        if not sample.units:
            continue
        peak, floor = motion_floor(sample.motion, sample.noise)
        told = rules.read_units(sample.table, known=known) if peak >= floor else ()
        names = ("all", "talking" if sample.talks else "quiet", _size(sample.peak))
        pool.add(names, sample.units, [(unit.au, unit.side) for unit in told])
    return pool.groups


def _size(peak: float) -> str:
    low = next(low for low in (4.0, 2.0, 1.0, 0.0) if peak >= low)
    return f"peak ≥ {low:g}"


def floors(samples: Iterable[Sample]) -> dict[str, tuple[int, float]]:
    """Pairs and the share of them above the motion floor: with and without an expression, quiet and talking."""
    shares: dict[str, list[bool]] = {}
    for sample in samples:
        peak, floor = motion_floor(sample.motion, sample.noise)
        key = ("expression" if sample.units else "none") + (", talking" if sample.talks else ", quiet")
        shares.setdefault(key, []).append(peak >= floor)
    return {key: (len(over), float(np.mean(over))) for key, over in shares.items()}


@click.command(cls=Command)
@click.argument("pairs", type=click.Path(dir_okay=False, path_type=Path))
def main(pairs: Path) -> None:
    """Score the shipped templates on PAIRS."""
    samples = load_pairs(pairs)
    scores = evaluate_rules(samples)
    for name in sorted(scores, key=lambda name: (name.startswith("AU"), len(name), name)):
        click.echo(f"{name:10} {scores[name]}")
    for name, (count, share) in floors(samples).items():
        click.echo(f"above the motion floor: {name}: {share:.2f} of {count}")


if __name__ == "__main__":
    main()
