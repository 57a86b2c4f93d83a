"""Fits what turns a motion into probabilities of action units, and writes the engine's template file.

``python -m mellm.training.rules.fit PAIRS.npz`` with pairs of training identities
(:mod:`mellm.training.rules.pairs`). Fitted are the spread of the measurement round the templates, and one logistic
curve whose four weights all units share while each has its own constant: few enough numbers that they say nothing
about anybody's face.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls

from mellm.detectors import regions
from mellm.engine.describe.au_templates import FEATURES, FILE, Templates, explain, load
from mellm.training.command import Command
from mellm.training.rules.evaluate import Counts, evaluate_rules
from mellm.training.rules.pairs import Sample
from mellm.training.rules.pairs import load as load_pairs
from mellm.training.rules.templates import SWAP, Template, templates
from mellm.training.synth.rig import load_rig

F64 = NDArray[np.float64]

LEAST_SPREAD = 0.08
"""Added (in squares) to the spread, 1/100 inter-ocular distance: no region is trusted beyond the flow's own noise."""

KEPT = 0.95
"""Share of pairs that the spread is taken from; the others hold blinks."""

THRESHOLDS = np.arange(0.2, 0.61, 0.05)


def spread(samples: Sequence[Sample], made: Sequence[Template]) -> F64:
    """Standard deviation (``COUNT``×2) of quiet motion round what the true units explain, both sides alike."""
    columns = np.stack([t.motion.ravel() for t in made], 1).astype(np.float64)
    weight = np.ones(2 * regions.COUNT)
    misses = np.zeros((0, 2 * regions.COUNT))
    for _ in range(3):
        rows = []
        for sample in samples:
            if sample.talks or not sample.units:
                continue
            true = [
                i
                for i, t in enumerate(made)
                if any(
                    au == t.au and (side in ("both", t.side) or t.side == "both") for au, side in sample.units
                )
            ]
            motion = sample.motion.ravel().astype(np.float64)
            amounts, _ = nnls(columns[:, true] * weight[:, None], motion * weight)
            rows.append(motion - columns[:, true] @ amounts)
        misses = np.array(rows)
        size = np.hypot(misses[:, 0::2], misses[:, 1::2]).sum(1)
        misses = misses[np.argsort(size)[: int(KEPT * len(misses))]]
        weight = 1 / np.sqrt((misses**2).mean(0) + LEAST_SPREAD**2)
    variance = (1 / weight**2).reshape(regions.COUNT, 2)
    out: F64 = np.sqrt((variance + variance[SWAP]) / 2)
    return out


def calibrate(
    samples: Sequence[Sample], known: Templates, ridge: float = 0.02
) -> tuple[dict[str, float], dict[int, float]]:
    """Weights of the features, shared by all units, and a constant for each, by penalised logistic regression."""
    units = sorted({au for au, _ in known.units})
    matches = [explain(s.motion.ravel().astype(np.float64), known) for s in samples]
    x = np.array([[match.features() for match in row] for row in matches])
    y = np.array(
        [[match.au in s.aus for match in row] for s, row in zip(samples, matches, strict=True)], float
    )
    n, k = len(FEATURES), len(units)

    def loss(p: F64) -> tuple[float, F64]:
        w, b = p[:n], p[n:]
        z = x @ w + b
        off = b - b.mean()
        value = k * (np.logaddexp(0, z) - y * z).mean() + ridge / k * off @ off + 1e-3 * w @ w
        slip = (1 / (1 + np.exp(-z)) - y) / len(x)
        slope = np.concatenate(
            [np.einsum("nk,nkf->f", slip, x) + 2e-3 * w, slip.sum(0) + 2 * ridge / k * off]
        )
        return float(value), slope

    start = np.concatenate([np.zeros(n), np.full(k, -3.0)])
    best = minimize(loss, start, jac=True, method="L-BFGS-B").x
    weights = dict(zip(FEATURES, best[:n].tolist(), strict=True))
    return weights, dict(zip(units, best[n:].tolist(), strict=True))


def write(path: Path, made: Sequence[Template], spreads: F64, calibration: dict[str, object]) -> None:
    """Write the engine's file, numbers rounded to what they are worth."""

    def short(values: NDArray[np.floating]) -> list[list[float]]:
        return [[round(float(v), 3) for v in pair] for pair in values]

    record = {
        "recipe": "python -m mellm.training.rules.fit PAIRS.npz",
        "unit": "1/100 of the inter-ocular distance; motion at full intensity of the unit",
        "regions": list(regions.NAMES),
        "templates": [{"au": t.au, "side": t.side, "motion": short(t.motion)} for t in made],
        "spread": short(spreads),
        "calibration": calibration,
    }
    path.write_text(json.dumps(record, separators=(",", ":")) + "\n", encoding="utf-8")


@click.command(cls=Command)
@click.argument("pairs", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=FILE, show_default=True)
def main(pairs: Path, out: Path) -> None:
    """Fit templates and calibration on PAIRS of training identities and write them to OUT."""
    samples = [s for s in load_pairs(pairs) if s.units]
    made = templates(load_rig())
    spreads = spread(samples, made)
    plain: dict[str, object] = {
        "weights": dict.fromkeys(FEATURES, 0.0),
        "bias": {t.au: 0.0 for t in made},
        "threshold": 0.5,
    }
    write(out, made, spreads, plain)
    weights, bias = calibrate(samples, load(out))
    fitted: dict[str, object] = {
        "weights": {name: round(value, 4) for name, value in weights.items()},
        "bias": {au: round(value, 4) for au, value in bias.items()},
        "people": len({s.person for s in samples}),
        "pairs": len(samples),
        "date": datetime.now(UTC).date().isoformat(),
    }
    scores: dict[float, Counts] = {}
    for threshold in THRESHOLDS.round(2).tolist():
        write(out, made, spreads, fitted | {"threshold": threshold})
        scores[threshold] = evaluate_rules(samples, load(out))["all"]
        click.echo(f"threshold {threshold:.2f}: {scores[threshold]}", err=True)
    best = max(scores, key=lambda threshold: scores[threshold].f1)
    write(out, made, spreads, fitted | {"threshold": best})
    click.echo(f"{out}: threshold {best:.2f}, {scores[best]} on the people it was fitted on")


if __name__ == "__main__":
    main()
