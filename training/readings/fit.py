"""Fits the weights of :mod:`mellm.engine.describe.ensemble`.

``python -m mellm.training.readings.fit`` reads what :mod:`mellm.training.readings.observed` kept of validation people
and writes ``engine/describe/ensemble.json``. Three weights for all units together and a constant for each, held near a
plain mean of the three voices; two weights for the class; and the gate, a logistic regression on a few signs of an
expression. Thresholds and the measured shares that sentences name follow from the same people, each judged by a fit
without that person.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
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
    SIGNS,
    VOICES,
    Gate,
    Judgement,
    Weights,
    class_shares,
    judge,
    sigmoid,
    signs,
    unit_logits,
)
from mellm.engine.describe.local import SHIPPED as NANO
from mellm.engine.describe.observation import CLASSES, F64, UNITS, logit
from mellm.stream.errors import MellmError, UsageError
from mellm.stream.files import write as write_file
from mellm.training.readings.clips import Split
from mellm.training.readings.observed import Observed, load

PLAIN: Final = np.array([0.5, 0.3, 0.3, 0.0])
"""Weights of the voices and a constant from which the fit is drawn away by evidence only."""

HELD: Final = 8.0
"""How strongly voices are held there, in spots."""

APART_HELD: Final = 2.0
"""How strongly units' constants are held to that of all units."""

GATE_HELD: Final = 1.0
"""How strongly the gate's weights are held to 0."""

UNASKED: Final = logit(0.1)
"""Where the spotter was not asked, its opinion counts as the share of clips that show a unit."""

AGREES_AT: Final = 0.4
"""Least agreement of the readings."""

THRESHOLDS: Final = np.arange(0.3, 0.76, 0.05).round(2)

MARGIN: Final = 0.5
"""The gate opens at so much of the lowest probability of a right spot of validation people. Right at the lowest, a
little more compression would silence some of what is right."""

PARTS: Final = 10
"""People are left out in so many parts."""

BINS: Final = (0.0, 0.85, 0.95, 1.01)
"""Of the class's probability, for the shares that sentences name."""

OPEN_GATE: Final = Gate(*(np.zeros(len(SIGNS)), np.ones(len(SIGNS)), np.zeros(len(SIGNS))), 10.0, 0.0)


def voices(o: Observed) -> F64:
    """U×3: mean log-odds of all readings, by voice."""
    opinion = np.where(np.isfinite(o.seen.opinion), o.seen.opinion, UNASKED)
    return np.stack([o.seen.rules.mean(0), o.seen.nano.mean(0), opinion], 1)


def truth(o: Observed) -> F64:
    """U, 1 where the unit is there."""
    there = {au for au, _ in o.truth.units} if o.truth else set()
    return np.array([float(au in there) for au in UNITS])


def fit_units(right: Sequence[Observed]) -> tuple[F64, F64]:
    """Weights of the voices, and the constants, on spots that are expressions."""
    x, y = np.stack([voices(o) for o in right]), np.stack([truth(o) for o in right])
    n = len(VOICES)

    def loss(p: F64) -> float:
        z, off = x @ p[:n] + p[n] + p[n + 1 :], p[: n + 1] - PLAIN
        held = HELD * off[:n] @ off[:n] + 0.1 * off[n] ** 2 + APART_HELD * p[n + 1 :] @ p[n + 1 :]
        return float((np.logaddexp(0, z) - y * z).sum() + held)

    # nobody's opinion counts against itself
    bounds = [(0.0, None)] * n + [(None, None)] * (1 + len(UNITS))
    best: F64 = minimize(
        loss, np.concatenate([PLAIN, np.zeros(len(UNITS))]), method="L-BFGS-B", bounds=bounds
    ).x
    return best[:n], best[n] + best[n + 1 :]


def fit_classes(right: Sequence[Observed], w: Weights) -> F64:
    """Weights of the two opinions on the class."""
    known = [(o, o.truth.coarse) for o in right if o.truth is not None and o.truth.coarse is not None]
    named = [_named(o, w) for o, _ in known]

    def loss(p: F64) -> float:
        trial = replace(w, classes=p)
        lost = sum(
            -np.log(class_shares(o.seen, units, trial)[CLASSES.index(coarse)] + 1e-9)
            for (o, coarse), units in zip(known, named, strict=True)
        )
        return float(lost + 0.5 * ((p - 0.5) ** 2).sum())

    best: F64 = minimize(loss, np.array([0.5, 0.5]), method="L-BFGS-B", bounds=[(0.0, None)] * 2).x
    return best


def _named(o: Observed, w: Weights) -> dict[int, float]:
    shares = sigmoid(unit_logits(o.seen, w).mean(0))
    return {au: float(p) for au, p in zip(UNITS, shares, strict=True) if p >= w.threshold}


def signs_of(o: Observed, w: Weights) -> F64:
    """What the gate looks at."""
    each = unit_logits(o.seen, w)
    named = [frozenset(np.flatnonzero(row).tolist()) for row in sigmoid(each) >= w.threshold]
    return signs(o.seen, each, overlap(named))


def fit_gate(found: Sequence[Observed], w: Weights) -> Gate:
    """A gate that lets everything through, with the probability of an expression; right and false weigh the same."""
    x = np.stack([signs_of(o, w) for o in found])
    y = np.array([float(o.truth is not None) for o in found])
    if y.min() == y.max():
        return OPEN_GATE
    centre, spread = np.nanmean(x, 0), np.nanstd(x, 0) + 1e-6
    z = np.nan_to_num((x - centre) / spread)
    weight = np.where(y > 0, 0.5 / y.mean(), 0.5 / (1 - y.mean()))

    def loss(p: F64) -> float:
        s = z @ p[:-1] + p[-1]
        return float((weight * (np.logaddexp(0, s) - y * s)).sum() + GATE_HELD * p[:-1] @ p[:-1])

    best = minimize(loss, np.zeros(len(SIGNS) + 1), method="L-BFGS-B").x
    return Gate(centre, spread, best[:-1], float(best[-1]), 0.0)


def fitted(found: Sequence[Observed], threshold: float) -> Weights:
    """All weights from some spots, at a threshold of units; the gate is open."""
    right = [o for o in found if o.truth is not None]
    by_voice, bias = fit_units(right)
    w = Weights(by_voice, bias, UNASKED, threshold, np.array([0.5, 0.5]), AGREES_AT, OPEN_GATE)
    w = replace(w, classes=fit_classes(right, w))
    return replace(w, gate=fit_gate(found, w))


def left_out(
    found: Sequence[Observed], make: Callable[[Sequence[Observed]], Weights]
) -> Iterator[tuple[Observed, Weights]]:
    """Each spot with weights from other people."""
    people = sorted({o.subject for o in found})
    part = {who: i % PARTS for i, who in enumerate(people)}
    for k in range(min(PARTS, len(people))):
        w = make([o for o in found if part[o.subject] != k])
        yield from ((o, w) for o in found if part[o.subject] == k)


def fit(found: Sequence[Observed]) -> tuple[Weights, dict[str, Any]]:
    """Weights from spots, and how well a fit without a person does on that person.

    :raises UsageError: there are expressions of fewer than two people
    """
    asked = [o for o in found if o.refused is None]
    right = [o for o in asked if o.truth is not None]
    if len({o.subject for o in right}) < 2:
        raise UsageError(
            "expressions of fewer than two people", remedy="watch more clips: mellm.training.readings.spots"
        )
    apart = list(left_out(right, lambda some: _units_only(some)))
    shares = np.stack([sigmoid(unit_logits(o.seen, w).mean(0)) for o, w in apart])
    there = np.stack([truth(o) for o, _ in apart])
    scores = {float(t): micro_f1((shares >= t).astype(np.float64), there) for t in THRESHOLDS}
    threshold = max(scores, key=lambda t: (scores[t], -abs(t - 0.5)))
    judged = [(o, judge(o.seen, w)) for o, w in left_out(asked, lambda some: fitted(some, threshold))]
    level = gate_threshold(judged)
    w = fitted(asked, threshold)
    w = replace(w, gate=replace(w.gate, threshold=level), measured=_measured(judged, level))
    facts = {
        "people": len({o.subject for o in found}), "spots": len(right),
        "false_alarms": len(asked) - len(right),
        "unit_f1_on_people_left_out": round(scores[threshold], 3),
        "calibration_error_on_people_left_out": round(calibration_error(shares, there), 4),
    }  # fmt: skip
    return w, facts


def _units_only(some: Sequence[Observed]) -> Weights:
    by_voice, bias = fit_units(some)
    return Weights(by_voice, bias, UNASKED, 0.5, np.array([1.0, 0.0]), AGREES_AT, OPEN_GATE)


def gate_threshold(judged: Sequence[tuple[Observed, Judgement]]) -> float:
    """A probability well under that of every right spot of the product that would get words; see :data:`MARGIN`."""
    likely = [j.likely for o, j in judged if o.truth is not None and o.own and j.reason is None]
    return round(MARGIN * min(likely), 4) if likely else 0.0


def _measured(
    judged: Sequence[tuple[Observed, Judgement]], level: float
) -> tuple[tuple[float, float, int, int], ...]:
    """How often the class was right, by its probability, of what is described."""
    told = [
        (j.emotion.scores[j.emotion.coarse], o.truth is not None and o.truth.coarse == j.emotion.coarse)
        for o, j in judged
        if o.own and j.emotion is not None and j.likely >= level
    ]
    out = []
    for low, high in itertools.pairwise(BINS):
        some = [right for share, right in told if low <= share < high]
        if some:
            out.append((low, high, sum(some), len(some)))
    return tuple(out)


def micro_f1(named: F64, there: F64) -> float:
    """Pooled over spots and units."""
    return float(2 * (named * there).sum() / max(1.0, named.sum() + there.sum()))


def calibration_error(shares: F64, right: F64, bins: int = 10) -> float:
    """Expected calibration error: mean distance of what is said and what is so, over equally wide bins."""
    said, so = np.ravel(shares), np.ravel(right)
    at = np.clip((said * bins).astype(int), 0, bins - 1)
    gaps = [
        (at == b).mean() * abs(said[at == b].mean() - so[at == b].mean())
        for b in range(bins)
        if (at == b).any()
    ]
    return float(sum(gaps))


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
        "voices": w.voices.round(4).tolist(),
        "bias": w.bias.round(4).tolist(),
        "unasked": round(w.unasked, 4),
        "threshold": w.threshold,
        "classes": w.classes.round(4).tolist(),
        "agrees_at": w.agrees_at,
        "gate": {
            **{name: getattr(w.gate, name).round(4).tolist() for name in ("centre", "spread", "weights")},
            "bias": round(w.gate.bias, 4),
            "threshold": w.gate.threshold,
        },
        "measured": w.measured,
    }
    write_file(path, json.dumps(record, indent=1) + "\n")


@click.command()
@click.option("--observed", type=click.Path(path_type=Path), default=Path("runs/observed"), show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=FILE, show_default=True)
def main(observed: Path, out: Path) -> None:
    """Fit the ensemble on the validation people of OBSERVED and write its weights to OUT."""
    split: Split = "val"
    try:
        w, facts = fit(load(observed, [split]))
        write(out, w, facts)
        gate = dict(zip(SIGNS, w.gate.weights.round(2).tolist(), strict=True))
        click.echo(
            f"{out}: {facts}; voices {w.voices.round(2)}, threshold {w.threshold}; gate {gate}", err=True
        )
    except MellmError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
