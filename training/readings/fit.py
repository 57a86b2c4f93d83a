"""Fits the weights of :mod:`mellm.engine.describe.ensemble` on validation people.

``python -m mellm.training.readings.fit`` reads what :mod:`mellm.training.readings.observed` kept of validation people
and writes ``engine/describe/ensemble.json``. Three small regressions: of each unit, of the class, and of whether there
is an expression at all; the thresholds follow from the same people, each judged by a fit without them.
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
from mellm.engine.describe.agreement import overlap
from mellm.engine.describe.ensemble import (
    FILE,
    GATE,
    UNITS,
    VOICES,
    Weights,
    class_shares,
    gate_input,
    sigmoid,
    unit_logits,
)
from mellm.engine.describe.local import SHIPPED as NANO
from mellm.engine.describe.observation import CLASSES, F64
from mellm.stream.errors import MellmError
from mellm.training.readings.observed import Observed, load

DESCRIBED: Final = 0.93
"""Share of right spots of validation people about which something is said; on others it is a little less."""

AGREES_AT: Final = 0.4
"""Least agreement of the readings."""

FOLDS: Final = 6
RIDGE_BIAS, RIDGE_GATE = 0.3, 2.0
"""Penalties: of a unit's constant against the mean of all, and of the gate's weights; counted in spots."""

GRID: Final = np.arange(0.2, 0.66, 0.05)
"""Thresholds that are tried."""


def _voices(o: Observed, unasked: F64) -> F64:
    """U×3: mean log-odds of all readings, by voice."""
    opinion = np.where(np.isfinite(o.seen.opinion), o.seen.opinion, unasked)
    return np.stack([o.seen.rules.mean(0), o.seen.nano.mean(0), opinion], 1)


def _truth(o: Observed) -> F64:
    there = {au for au, _ in o.truth.units} if o.truth else set()
    return np.array([float(au in there) for au in UNITS])


def fit_units(right: Sequence[Observed], unasked: F64) -> tuple[F64, F64]:
    """Weights of the voices, and a constant for each unit, on spots that are expressions."""
    x = np.stack([_voices(o, unasked) for o in right])
    y = np.stack([_truth(o) for o in right])
    n, k = len(VOICES), len(UNITS)

    def loss(p: F64) -> tuple[float, F64]:
        w, b = p[:n], p[n:]
        z, off = x @ w + b, b - b.mean()
        slip = sigmoid(z) - y
        value = float((np.logaddexp(0, z) - y * z).sum() + RIDGE_BIAS * off @ off + 0.1 * w @ w)
        return value, np.concatenate(
            [np.einsum("sk,skf->f", slip, x) + 0.2 * w, slip.sum(0) + 2 * RIDGE_BIAS * off]
        )

    start = np.concatenate([np.full(n, 0.3), np.full(k, -2.0)])
    bounds = [(0.0, None)] * n + [(None, None)] * k  # nobody's opinion counts against itself
    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return best[:n], best[n:]


def fit_classes(right: Sequence[Observed], w: Weights) -> F64:
    """Weights of the two opinions on the class and a constant for each class."""
    known = [o for o in right if o.truth is not None and o.truth.coarse is not None]
    target = np.array([CLASSES.index(o.truth.coarse) for o in known if o.truth and o.truth.coarse])
    units = [_named(o, w) for o in known]

    def loss(p: F64) -> float:
        trial = replace(w, classes=p)
        rows = np.stack([class_shares(o.seen, u, trial) for o, u in zip(known, units, strict=True)])
        off = p[2:] - p[2:].mean()
        return float(-np.log(rows[np.arange(len(rows)), target] + 1e-9).sum() + 0.5 * off @ off + 0.1 * p @ p)

    best: F64 = minimize(loss, np.array([0.5, 0.5, 0.0, 0.0, 0.0]), method="L-BFGS-B").x
    return best


def _named(o: Observed, w: Weights) -> dict[int, float]:
    shares = sigmoid(unit_logits(o.seen, w).mean(0))
    return {au: float(p) for au, p, t in zip(UNITS, shares, w.thresholds, strict=True) if p >= t}


def gate_rows(found: Sequence[Observed], w: Weights) -> F64:
    """Values of :data:`GATE` of each spot."""
    rows = []
    for o in found:
        each = sigmoid(unit_logits(o.seen, w))
        sets = [frozenset(np.flatnonzero(row).tolist()) for row in each >= w.thresholds]
        shares = np.clip(sigmoid(unit_logits(o.seen, w).mean(0)), 1e-6, 1 - 1e-6)
        rows.append(gate_input(o.seen, shares, overlap(sets)))
    return np.array(rows)


def fit_gate(rows: F64, right: F64) -> tuple[F64, F64, F64]:
    """Weights with the constant last, centre and scale."""
    centre, scale = np.nanmean(rows, 0), np.nanstd(rows, 0)
    centre, scale = np.where(np.isfinite(centre), centre, 0.0), np.where(scale > 1e-6, scale, 1.0)
    x = np.where(np.isfinite(rows), (rows - centre) / scale, 0.0)
    x = np.concatenate([x, np.ones((len(x), 1))], 1)

    def loss(p: F64) -> tuple[float, F64]:
        z = x @ p
        penalty = RIDGE_GATE * p * (np.arange(len(p)) < len(p) - 1)
        value = float((np.logaddexp(0, z) - right * z).sum() + penalty @ p / 2)
        return value, x.T @ (sigmoid(z) - right) + penalty

    best: F64 = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x
    return best, centre, scale


def _gated(rows: F64, gate: F64, centre: F64, scale: F64) -> F64:
    x = np.where(np.isfinite(rows), (rows - centre) / scale, 0.0)
    return sigmoid(x @ gate[:-1] + gate[-1])


def _threshold(right: Sequence[Observed], w: Weights) -> float:
    """The one that gives the best micro-averaged F1 over units."""
    shares = np.stack([sigmoid(unit_logits(o.seen, w).mean(0)) for o in right])
    truth = np.stack([_truth(o) for o in right])
    scores = {}
    for t in GRID.round(2).tolist():
        named = shares >= t
        scores[t] = 2 * (named * truth).sum() / max(1.0, named.sum() + truth.sum())
    return max(scores, key=lambda t: scores[t])


def fit(found: Sequence[Observed]) -> tuple[Weights, dict[str, Any]]:
    """Weights from the spots of validation people, and how many there were."""
    shown = [o for o in found if o.refused is None]
    right = [o for o in shown if o.truth is not None]
    asked = np.array([o.seen.opinion for o in shown])
    unasked = np.where(np.isfinite(asked).any(0), np.nanmean(asked, 0), -2.0)
    k = len(UNITS)
    w = Weights(*fit_units(right, unasked), unasked, np.full(k, 0.4), np.array([0.5, 0.5, 0, 0, 0]),
                np.zeros(len(GATE) + 1), np.zeros(len(GATE)), np.ones(len(GATE)), 0.0, AGREES_AT)  # fmt: skip
    w = replace(w, thresholds=np.full(k, _threshold(right, w)))
    w = replace(w, classes=fit_classes(right, w))
    rows, is_right = gate_rows(shown, w), np.array([float(o.truth is not None) for o in shown])
    people = sorted({o.subject for o in shown})
    fold = np.array([people.index(o.subject) % FOLDS for o in shown])
    apart = np.zeros(len(shown))
    for f in range(FOLDS):
        held = fold == f
        if held.any() and not held.all():
            apart[held] = _gated(rows[held], *fit_gate(rows[~held], is_right[~held]))
    gate, centre, scale = fit_gate(rows, is_right)
    speaks_at = float(np.quantile(apart[is_right > 0], 1 - DESCRIBED))
    w = replace(w, gate=gate, centre=centre, scale=scale, speaks_at=round(speaks_at, 4))
    silenced = float((apart[is_right == 0] < speaks_at).mean()) if (is_right == 0).any() else float("nan")
    facts = {
        "people": len(people), "spots": len(shown), "right": len(right),
        "false_alarms_silenced_in_validation": round(silenced, 3),
    }  # fmt: skip
    return w, facts


def write(path: Path, w: Weights, facts: dict[str, Any]) -> None:
    """Write the engine's file."""

    def short(values: F64) -> list[float]:
        return [round(float(v), 4) for v in values]

    record = {
        "recipe": "python -m mellm.training.readings.fit",
        "date": datetime.now(UTC).date().isoformat(),
        "fitted_with": {
            "spotter": hashlib.sha256(SPOTTER.read_bytes()).hexdigest(),
            "nano": hashlib.sha256((NANO / "decoder.onnx").read_bytes()).hexdigest(),
        },
        "fitted_on": facts,
        "units": list(UNITS),
        "voices": short(w.voices),
        "bias": short(w.bias),
        "unasked": short(w.unasked),
        "thresholds": short(w.thresholds),
        "classes": short(w.classes),
        "gate": {
            "names": list(GATE), "weights": short(w.gate), "centre": short(w.centre), "scale": short(w.scale)
        },
        "speaks_at": w.speaks_at,
        "agrees_at": w.agrees_at,
    }  # fmt: skip
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


@click.command()
@click.option("--observed", type=click.Path(path_type=Path), default=Path("runs/observed"), show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=FILE, show_default=True)
def main(observed: Path, out: Path) -> None:
    """Fit the ensemble on the validation people of OBSERVED and write its weights to OUT."""
    try:
        w, facts = fit(load(observed, "val"))
        write(out, w, facts)
        click.echo(
            f"{out}: {facts}; voices {w.voices.round(2)}, threshold {w.thresholds[0]:.2f}, {w.speaks_at=}"
        )
    except MellmError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
