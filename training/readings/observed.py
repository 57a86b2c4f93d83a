"""What describers see and say of spots, computed once: fits and comparisons then take seconds.

``python -m mellm.training.readings.observed --split val --spots runs/spots --out runs/observed`` makes what is missing,
one file a clip.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import click
import cv2
import numpy as np

from mellm.engine.describe.agreement import combine, several, unmirrored
from mellm.engine.describe.au_templates import templates
from mellm.engine.describe.base import DescribeContext
from mellm.engine.describe.local import NanoDescriber
from mellm.engine.describe.observation import Observation, observe
from mellm.engine.describe.rules import RulesDescriber
from mellm.engine.results.expressions import description_json
from mellm.engine.types import Description
from mellm.stream.errors import MellmError, UsageError
from mellm.training.readings.spots import Split, SpotCase, Truth, load_file

log = logging.getLogger(__name__)

FIELDS = ("rules", "nano", "classes", "opinion", "sides", "votes")
SAYS = ("rules, once", "nano, once", "rules", "nano")
"""Describers whose answers are kept: from the plain reading alone, and from what all readings agree on."""


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """A spot with its truth, what is seen of it, and what describers say.

    :param refused: why nobody is asked
    :param says: describer → its record, with ``abstained``
    """

    id: str
    subject: str
    kind: str
    score: float
    truth: Truth | None
    refused: str | None
    peak: float
    seen: Observation
    says: dict[str, dict[str, Any]]


def observed(case: SpotCase, nano: NanoDescriber, rules: RulesDescriber) -> Observed:
    """Read a spot with every describer."""
    evidence = case.evidence()
    context = DescribeContext(case.id, case.duration_ms, case.opinion, 1e9)
    shown = several(evidence, 1e9)
    read = nano.read_many(shown)
    seen = observe(shown, read, context, templates())
    answers = {
        "nano": [r.description for r in read],
        "rules": [rules.describe(e, context) for e in shown],
    }
    says: dict[str, dict[str, Any]] = {}
    for name, told in answers.items():
        straight = [unmirrored(d) if e.mirrored else d for d, e in zip(told, shown, strict=True)]
        says[f"{name}, once"] = _record(straight[0])
        says[name] = (
            _record(combine(straight, evidence)) if evidence.refused is None else _record(straight[0])
        )
    return Observed(
        case.id, case.subject, case.kind, case.score, case.truth, evidence.refused,
        float(evidence.flow_stats.get("peak_iod", 0.0)), seen, says,
    )  # fmt: skip


def _record(told: Description) -> dict[str, Any]:
    return {**description_json(told), "abstained": told.abstained}


def save(path: Path, found: list[Observed]) -> None:
    """Write a clip's observations, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "id": o.id, "subject": o.subject, "kind": o.kind, "score": o.score, "refused": o.refused, "peak": o.peak,
            "truth": None if o.truth is None else asdict(o.truth), "says": o.says,
        }
        for o in found
    ]  # fmt: skip
    arrays = {f"{name}{i}": getattr(o.seen, name) for i, o in enumerate(found) for name in FIELDS}
    part = path.with_name(f".{path.stem}.part.npz")
    np.savez_compressed(part, rows=np.array(json.dumps(rows)), **arrays)
    part.replace(path)


def load(root: Path, split: Split) -> list[Observed]:
    """All observations of a split.

    :raises UsageError: there are none
    """
    out: list[Observed] = []
    for path in sorted((root / split).glob("*.npz")):
        with np.load(path, allow_pickle=False) as kept:
            for i, row in enumerate(json.loads(str(kept["rows"]))):
                t = row.pop("truth")
                truth = (
                    None if t is None else Truth(tuple((a, s) for a, s in t["units"]), t["peak"], t["coarse"])
                )
                out.append(Observed(**row, truth=truth, seen=Observation(*(kept[f"{n}{i}"] for n in FIELDS))))
    if not out:
        raise UsageError(
            f"no observations in {root / split}",
            remedy=f"python -m mellm.training.readings.observed --split {split} --out {root}",
        )
    return out


@click.command()
@click.option("--split", type=click.Choice(get_args(Split)), required=True)
@click.option("--spots", type=click.Path(path_type=Path), default=Path("runs/spots"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/observed"), show_default=True)
def main(split: Split, spots: Path, out: Path) -> None:
    """Read the spots of a split with every describer, and keep what they say."""
    cv2.setNumThreads(1)
    try:
        nano, rules = NanoDescriber(), RulesDescriber()
        for path in sorted((spots / split).glob("*.npz")):
            target = out / split / path.name
            if target.exists():
                continue
            cases, _ = load_file(path)
            save(target, [observed(case, nano, rules) for case in cases])
            click.echo(f"{path.stem}: {len(cases)}", err=True)
    except MellmError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
