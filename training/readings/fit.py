"""Fits the weights of :mod:`mellm.engine.describe.ensemble`.

``python -m mellm.training.readings.fit`` reads what :mod:`mellm.training.readings.observed` kept and writes
``engine/describe/ensemble.json``. There are few numbers, because there are few spots: three weights and a constant for
all units together, held near a plain mean of the three voices, and two weights for the class. Thresholds follow from
the same people, each judged by a fit without them; so does the score that is printed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from scipy.optimize import minimize

from mellm.detectors.stepmodel import SHIPPED as SPOTTER
from mellm.engine.describe.ensemble import (
    FILE,
    VOICES,
    Weights,
    class_shares,
    judge,
    sigmoid,
    unit_logits,
)
from mellm.engine.describe.local import SHIPPED as NANO
from mellm.engine.describe.observation import CLASSES, F64, UNITS, logit
from mellm.stream.errors import MellmError, UsageError
from mellm.training.readings.observed import Observed, load
from mellm.training.readings.spots import Split

PLAIN: Final = np.array([0.5, 0.3, 0.3, 0.0])
"""Weights of the voices and a constant from which the fit is drawn away by evidence only."""

HELD: Final = 8.0
"""How strongly it is held there, in spots."""

UNASKED: Final = logit(0.1)
"""Where the spotter was not asked, its opinion counts as the share of clips that show a unit."""

AGREES_AT: Final = 0.4
"""Least agreement of the readings."""

THRESHOLDS: Final = np.arange(0.3, 0.61, 0.05).round(2)
BINS: Final = np.linspace(0, 1, 6)
"""Of the reliability diagram."""


def voices(o: Observed) -> F64:
    """U×3: mean log-odds of all readings, by voice."""
    opinion = np.where(np.isfinite(o.seen.opinion), o.seen.opinion, UNASKED)
    return np.stack([o.seen.rules.mean(0), o.seen.nano.mean(0), opinion], 1)


def truth(o: Observed) -> F64:
    """U, 1 where the unit is there."""
    there = {au for au, _ in o.truth.units} if o.truth else set()
    return np.array([float(au in there) for au in UNITS])


def fit_units(right: Sequence[Observed]) -> F64:
    """Weights of the voices, and a constant, on spots that are expressions."""
    x, y = np.stack([voices(o) for o in right]), np.stack([truth(o) for o in right])
    n = len(VOICES)

    def loss(p: F64) -> float:
        z, off = x @ p[:n] + p[n], p - PLAIN
        return float((np.logaddexp(0, z) - y * z).sum() + HELD * off[:n] @ off[:n] + 0.1 * off[n] ** 2)

    bounds = [(0.0, None)] * n + [(None, None)]  # nobody's opinion counts against itself
    best: F64 = minimize(loss, PLAIN, method="L-BFGS-B", bounds=bounds).x
    return best


def fit_classes(right: Sequence[Observed], w: Weights) -> F64:
    """Weights of the two opinions on the class."""
    known = [(o, o.truth.coarse) for o in right if o.truth is not None and o.truth.coarse is not None]
    shares = [sigmoid(unit_logits(o.seen, w).mean(0)) for o, _ in known]
    units = [{au: float(p) for au, p in zip(UNITS, s, strict=True) if p >= w.threshold} for s in shares]

    def loss(p: F64) -> float:
        trial = replace(w, classes=p)
        lost = sum(
            -np.log(class_shares(o.seen, named, trial)[CLASSES.index(coarse)] + 1e-9)
            for (o, coarse), named in zip(known, units, strict=True)
        )
        return float(lost + 0.5 * ((p - 0.5) ** 2).sum())

    best: F64 = minimize(loss, np.array([0.5, 0.5]), method="L-BFGS-B", bounds=[(0.0, None)] * 2).x
    return best


def fit(found: Sequence[Observed]) -> tuple[Weights, dict[str, Any]]:
    """Weights from spots, and how well a fit without a person does on that person.

    :raises UsageError: there are expressions of fewer than two people
    """
    right = [o for o in found if o.refused is None and o.truth is not None]
    people = sorted({person(o) for o in right})
    if len(people) < 2:
        raise UsageError(
            "expressions of fewer than two people", remedy="collect more spots: mellm.training.readings.spots"
        )
    apart = np.zeros((len(right), len(UNITS)))
    for one in people:
        p = fit_units([o for o in right if person(o) != one])
        for i, o in enumerate(right):
            if person(o) == one:
                apart[i] = sigmoid(voices(o) @ p[:-1] + p[-1])
    there = np.stack([truth(o) for o in right])
    scores = {float(t): micro_f1((apart >= t).astype(np.float64), there) for t in THRESHOLDS}
    threshold = max(scores, key=lambda t: (scores[t], -abs(t - 0.5)))
    p = fit_units(right)
    w = Weights(p[:-1], float(p[-1]), UNASKED, threshold, np.array([0.5, 0.5]), AGREES_AT)
    w = replace(w, classes=fit_classes(right, w))
    facts = {
        "people": len(people), "spots": len(right),
        "unit_f1_on_people_left_out": round(scores[threshold], 3),
        "calibration_error_on_people_left_out": round(calibration_error(apart, there), 4),
    }  # fmt: skip
    return w, facts


def person(o: Observed) -> str:
    """Whose face it is: a photographed person comes silent and with drawn speech."""
    return o.subject.removeprefix("drawn-speech-").removeprefix("stills-")


def micro_f1(named: F64, there: F64) -> float:
    """Pooled over spots and units."""
    return float(2 * (named * there).sum() / max(1.0, named.sum() + there.sum()))


def calibration_error(shares: F64, there: F64) -> float:
    """Expected calibration error over five bins: mean distance of what is said and what is so."""
    at = np.clip(np.digitize(shares, BINS) - 1, 0, len(BINS) - 2)
    gaps = [
        (at == b).mean() * abs(shares[at == b].mean() - there[at == b].mean())
        for b in range(len(BINS) - 1)
        if (at == b).any()
    ]
    return float(sum(gaps))


def table(found: Sequence[Observed], w: Weights) -> str:
    """Markdown: unit F1 of right spots, and what is described, by kind and describer."""
    lines = ["| spots | describer | unit F1, right spots | right spots described | false alarms described |",
             "|---|---|---|---|---|"]  # fmt: skip
    for kind in (*sorted({o.kind for o in found}), "all"):
        some = [o for o in found if kind in ("all", o.kind)]
        right, false = [o for o in some if o.truth], [o for o in some if not o.truth]
        for name in (*some[0].says, "spotter", "ensemble"):
            told = {o.id: _units_of(o, name, w) for o in some}
            sets = np.array([[float(au in told[o.id]) for au in UNITS] for o in right])
            f1 = micro_f1(sets, np.stack([truth(o) for o in right])) if right else float("nan")
            said = [sum(bool(told[o.id]) for o in part) for part in (right, false)]
            lines.append(
                f"| {kind} | {name} | {f1:.2f} | {said[0]} of {len(right)} | {said[1]} of {len(false)} |"
            )
    return "\n".join(lines)


def _units_of(o: Observed, name: str, w: Weights) -> set[int]:
    if name == "spotter":
        return {au for au, z in zip(UNITS, o.seen.opinion, strict=True) if z >= 0}
    if o.refused is not None:
        return set()
    if name == "ensemble":
        return {u.au for u in judge(o.seen, w).units}
    said = o.says[name]
    return set() if said["abstained"] else {u["au"] for u in said["action_units"]}


def write(path: Path, w: Weights, facts: dict[str, Any]) -> None:
    """Write the engine's file."""
    record = {
        "recipe": "python -m mellm.training.readings.fit",
        "date": datetime.now(UTC).date().isoformat(),
        "fitted_with": {
            "spotter": hashlib.sha256(SPOTTER.read_bytes()).hexdigest(),
            "nano": hashlib.sha256((NANO / "decoder.onnx").read_bytes()).hexdigest(),
        },
        "fitted_on": facts,
        "voices": [round(float(v), 4) for v in w.voices],
        "bias": round(w.bias, 4),
        "unasked": round(w.unasked, 4),
        "threshold": w.threshold,
        "classes": [round(float(v), 4) for v in w.classes],
        "agrees_at": w.agrees_at,
    }  # fmt: skip
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


@click.command()
@click.option("--observed", type=click.Path(path_type=Path), default=Path("runs/observed"), show_default=True)
@click.option(
    "--split",
    "splits",
    type=click.Choice(["val", "test"]),
    multiple=True,
    default=("val",),
    show_default=True,
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=FILE, show_default=True)
def main(observed: Path, splits: tuple[Split, ...], out: Path) -> None:
    """Fit the ensemble on the people of OBSERVED, write its weights to OUT and print how describers do there."""
    try:
        found = [o for split in splits for o in load(observed, split)]
        w, facts = fit(found)
        write(out, w, facts)
        click.echo(table(found, w))
        click.echo(f"{out}: {facts}; voices {w.voices.round(2)}, threshold {w.threshold}", err=True)
    except MellmError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
