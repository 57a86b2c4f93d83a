"""What describers see and say of spots, computed once: fits and comparisons then take seconds.

``python -m mellm.training.readings.observed --watched runs/watched --out runs/observed`` spots on the clips that were
watched and makes what is missing, one file a clip. Besides the product's own spots, false alarms at a lower threshold
are kept: at its own, a good spotter makes too few to learn from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import click
import cv2
import numpy as np

from mellm.detectors.spotting import OnnxStepModel, StepModel
from mellm.engine.describe.agreement import combine, several, unmirrored
from mellm.engine.describe.au_templates import templates
from mellm.engine.describe.base import DescribeContext
from mellm.engine.describe.local import NanoDescriber
from mellm.engine.describe.observation import Observation, observe
from mellm.engine.describe.rules import RulesDescriber
from mellm.engine.results.expressions import description_json
from mellm.engine.types import Description
from mellm.stream.errors import MellmError, UsageError
from mellm.stream.files import replacing
from mellm.training.readings.changed import FOLDER
from mellm.training.readings.clips import Split
from mellm.training.readings.spots import SpotCase, Truth, Watched, load_file, replay, truth_of

FIELDS = ("rules", "nano", "classes", "opinion", "sides", "votes", "cues")
SAYS = ("rules, once", "nano, once", "rules", "nano")
"""Describers whose answers are kept: from the plain reading alone, and from what all readings agree on."""

LOWER = 0.2
"""Threshold at which further false alarms are gathered."""

FURTHER = 4
"""Of each clip, at most: they cost as much as spots."""


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """A spot with its truth, what is seen of it, and what describers say.

    :param own: the product spots it at its own threshold
    :param refused: why nobody is asked
    :param says: describer → its record, with ``abstained``
    """

    id: str
    subject: str
    kind: str
    own: bool
    score: float
    truth: Truth | None
    refused: str | None
    peak: float
    seen: Observation
    says: dict[str, dict[str, Any]]


def cases_of(watched: Watched, model: StepModel) -> list[tuple[bool, SpotCase]]:
    """Spots at the product's own threshold, and some false alarms at a lower one, the likeliest first."""
    own = replay(watched, model)
    lower = [c for c in replay(watched, model, min(LOWER, model.threshold)) if c.truth is None]
    apart = [c for c in lower if all(abs(_apex(c) - _apex(o)) > 0.3 for o in own)]
    further = sorted(apart, key=lambda c: -c.score)[:FURTHER]
    return [(True, c) for c in own] + [(False, c) for c in further]


def _apex(case: SpotCase) -> float:
    return case.pair.apex.pts_ns / 1e9


def observed(case: SpotCase, own: bool, nano: NanoDescriber, rules: RulesDescriber) -> Observed:
    """Read a spot with every describer."""
    evidence = case.evidence()
    context = DescribeContext(case.id, case.duration_ms, case.opinion, 1e9, case.score)
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
        case.id, case.subject, case.kind, own, case.score, case.truth, evidence.refused,
        float(evidence.flow_stats.get("peak_iod", 0.0)), seen, says,
    )  # fmt: skip


def _record(told: Description) -> dict[str, Any]:
    return {**description_json(told), "abstained": told.abstained}


def save(path: Path, found: list[Observed]) -> None:
    """Write a clip's observations, whole or not at all."""
    rows = [
        {
            "id": o.id, "subject": o.subject, "kind": o.kind, "own": o.own, "score": o.score, "refused": o.refused,
            "peak": o.peak, "truth": None if o.truth is None else asdict(o.truth), "says": o.says,
        }
        for o in found
    ]  # fmt: skip
    arrays = {f"{name}{i}": getattr(o.seen, name) for i, o in enumerate(found) for name in FIELDS}
    with replacing(path) as part:
        np.savez_compressed(part, rows=np.array(json.dumps(rows)), **arrays)


def load(root: Path, splits: Iterable[str]) -> list[Observed]:
    """All observations of some splits, or other folders.

    :raises UsageError: there are none
    """
    out: list[Observed] = []
    for split in splits:
        for path in sorted((root / split).glob("*.npz")):
            with np.load(path, allow_pickle=False) as kept:
                for i, row in enumerate(json.loads(str(kept["rows"]))):
                    t = row.pop("truth")
                    seen = Observation(*(kept[f"{n}{i}"] for n in FIELDS))
                    out.append(Observed(**row, truth=None if t is None else truth_of(t), seen=seen))
    if not out:
        raise UsageError(
            f"no observations in {root}", remedy=f"python -m mellm.training.readings.observed --out {root}"
        )
    return out


@click.command()
@click.option(
    "--split",
    "splits",
    type=click.Choice([*get_args(Split), FOLDER]),
    multiple=True,
    default=[*get_args(Split), FOLDER],
)
@click.option("--watched", type=click.Path(path_type=Path), default=Path("runs/watched"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/observed"), show_default=True)
@click.option("--spotter", type=click.Path(path_type=Path), help="Another network than the shipped one.")
@click.option(
    "--folds",
    type=click.Path(path_type=Path),
    default=Path("runs/spotter/folds"),
    show_default=True,
    help="Networks that did not see the filmed people of a fold.",
)
def main(splits: tuple[str, ...], watched: Path, out: Path, spotter: Path | None, folds: Path) -> None:
    """Spot on the clips of a split, read each spot with every describer, and keep what they say."""
    cv2.setNumThreads(1)
    try:
        nano, rules, models = NanoDescriber(), RulesDescriber(), {"": OnnxStepModel(spotter)}
        for split in splits:
            for path in sorted((watched / split).glob("*.npz")):
                target = out / split / path.name
                if target.exists():
                    continue
                clip = load_file(path)
                fold = clip.spec.fold if clip.spec.split == "test" else ""
                if fold not in models:
                    models[fold] = OnnxStepModel(folds / f"fold-{fold}.onnx", with_sensitivity=False)
                cases = cases_of(clip, models[fold])
                save(target, [observed(case, own, nano, rules) for own, case in cases])
                click.echo(f"{path.stem}: {len(cases)}", err=True)
    except MellmError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
