"""Fits how small a motion a spotter finds, and measures whether that is true.

Known expressions of random size are laid on signals of real people (:mod:`mellm.training.spotter.overlay`), each person
judged by a network that never saw them. Which of them are found, at several thresholds, is what the coefficients of
:class:`mellm.detectors.sensitivity.SensitivityModel` are fitted to. Then, on people whom neither network nor coefficients
know, expressions are laid that are exactly as large as the model says would be found with 80 %; the share that is found
is the reliability table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import log, sqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from mellm.detectors.sensitivity import (
    CONTEXT,
    HALVES,
    LARGEST,
    SHARE,
    SMALLEST,
    Half,
    HalfModel,
    SensitivityModel,
    Watch,
)
from mellm.detectors.spotting import SpottingOptions
from mellm.detectors.stepmodel import SHIPPED, OnnxStepModel, StepModel
from mellm.stream.errors import ModelCorrupt, SourceEmpty
from mellm.training.spotter import sets
from mellm.training.spotter.evaluate import match
from mellm.training.spotter.export import write_atomic
from mellm.training.spotter.overlay import Laid, Overlay, SizeOf, lay
from mellm.training.spotter.records import Record, steps
from mellm.training.spotter.validation import Scored

F64 = NDArray[np.float64]

SIZES = (0.6, 9.0)
"""Motions that are laid for the fit, hundredths of the inter-ocular distance, log-uniform."""

THRESHOLDS = (-1.2, -0.6, 0.0, 0.6, 1.2)
"""Log odds of the thresholds that are tried, relative to the network's own: other thresholds are told of truthfully, too."""

LAPSES = (0.0, 0.02, 0.05, 0.1, 0.15)
RIDGE = 2.0
EDGES = (SMALLEST, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, LARGEST)
"""Borders of the rows of the reliability table, per cent of the eye distance."""

SETS = ("free", "val-free", "stills", "val-stills")
"""Sets of :mod:`mellm.training.spotter.sets` that are fitted on: recordings as they are, and photographs."""

Progress = Callable[[str, int, int], None]


class Trial(NamedTuple):
    """One expression that was laid, and what came of it.

    :param fold: of the person; :param context: of its half at the apex, on the face without it, for the network's own threshold
    :param before: the same 0.3 s before the onset; ``None`` where the stretch began later
    :param found: at each of :data:`THRESHOLDS`
    """

    subject: str
    fold: str
    group: str
    half: Half
    motion: float
    context: F64
    before: F64 | None
    found: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the reliability table: motions that were said to be found with :data:`SHARE`.

    :param said: range of the sensitivity, per cent of the eye distance; :param low, high: 95 % interval (Wilson)
    """

    said: tuple[float, float]
    laid: int
    found: int
    people: int

    @property
    def share(self) -> float:
        return self.found / self.laid if self.laid else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.found, self.laid)


def wilson(found: int, laid: int) -> tuple[float, float]:
    """95 % interval of a share."""
    if not laid:
        return 0.0, 1.0
    z, p = 1.96, found / laid
    middle, spread = p + z * z / (2 * laid), z * sqrt(p * (1 - p) / laid + (z / (2 * laid)) ** 2)
    return (middle - spread) / (1 + z * z / laid), (middle + spread) / (1 + z * z / laid)


def odds(share: float) -> float:
    """Log odds."""
    return log(share / (1 - share))


def contexts(record: Record, threshold: float, after: int) -> dict[Half, F64]:
    """The product's own context of every grid step, T×len(CONTEXT) for each half; NaN where it says nothing."""
    out = {half: np.full((len(record.grid_s), len(CONTEXT)), np.nan) for half in HALVES}
    watch, last = Watch(after), None
    for k, (t_ns, features) in enumerate(steps(record)):
        if features is None or (last is not None and t_ns - last > 20_500_000):
            watch.reset()
        last = t_ns
        if features is None:
            continue
        watch.push(features)
        both = watch.contexts(record.fps, threshold)
        if both is not None:
            out["upper"][k - after], out["lower"][k - after] = both
    return out


def try_out(overlay: Overlay, clean: Mapping[Half, F64], model: StepModel, fold: str) -> list[Trial]:
    """Run the spotter over a record with expressions and say which are found."""
    scored = Scored.of_record(overlay.record)
    truths = overlay.record.truths
    hits: list[set[int]] = []
    for shift in THRESHOLDS:
        threshold = 1 / (1 + np.exp(-(odds(model.threshold) + shift)))
        options = SpottingOptions(threshold=float(threshold))
        hits.append({i for i, _ in match(truths, scored.spots(model, options))})
    record = overlay.record
    out = []
    for i, one in enumerate(overlay.laid):
        context = clean[one.half][one.apex_step]
        if np.isnan(context).any():
            continue
        before = clean[one.half][max(0, one.onset_step - model.delay_steps)]
        out.append(
            Trial(
                record.subject,
                fold,
                _group(record),
                one.half,
                one.truth.peak,
                context,
                None if np.isnan(before).any() else before,
                tuple(i in hit for hit in hits),
            )
        )
    return out


def _group(record: Record) -> str:
    return next((g for g in record.groups if g in ("talking", "acting", "silent")), "other")


class Judge:
    """Which network judges whom: the one of the person's fold, else the main one."""

    def __init__(self, model: StepModel, folds: Mapping[str, StepModel]) -> None:
        self._model, self._folds = model, folds

    def of(self, record: Record) -> StepModel:
        """The network that never saw this person."""
        return self._folds.get(str(record.facts.get("fold", "")), self._model)


def fold_of(record: Record) -> str:
    """Part of the cross-validation of the coefficients; photographed people are spread over five."""
    fold = str(record.facts.get("fold", ""))
    return fold or "ABCDE"[int.from_bytes(record.subject.encode()[-2:], "big") % 5]


def collect(
    records: Sequence[Record],
    judge: Judge,
    size: Callable[[Record, Mapping[Half, F64]], SizeOf],
    *,
    rounds: int,
    seed: int,
    progress: Progress = lambda stage, done, total: None,
    stage: str = "",
) -> list[Trial]:
    """Lay and judge; every record ``rounds`` times with other expressions.

    :param size: record and its clean contexts → what decides the size of an expression
    """
    out: list[Trial] = []
    for n, record in enumerate(records):
        progress(stage, n, len(records))
        model = judge.of(record)
        clean = contexts(record, model.threshold, model.delay_steps)
        of = size(record, clean)
        for k in range(rounds):
            overlay = lay(record, np.random.default_rng([seed, n, k]), of)
            if overlay.laid:
                out += try_out(overlay, clean, model, fold_of(record))
    progress(stage, len(records), len(records))
    return out


def random_size(seed: int) -> Callable[[Record, Mapping[Half, F64]], SizeOf]:
    """Sizes log-uniform over :data:`SIZES`."""
    rng = np.random.default_rng(seed)
    low, high = np.log(SIZES)
    return lambda record, clean: lambda half, step: float(np.exp(rng.uniform(low, high)))


def said_size(models: Mapping[str, SensitivityModel]) -> Callable[[Record, Mapping[Half, F64]], SizeOf]:
    """Each expression as large as a model that does not know the person says would be found with :data:`SHARE`."""

    def of(record: Record, clean: Mapping[Half, F64]) -> SizeOf:
        model = models[fold_of(record)]

        def size(half: Half, step: int) -> float:
            context = clean[half][min(step, len(clean[half]) - 1)]
            return LARGEST if np.isnan(context).any() else model.half(half).smallest(context)

        return size

    return of


def fit_half(trials: Sequence[Trial]) -> HalfModel:
    """Ridge logistic regression by maximum likelihood, with the share of lapses that explains the trials best."""
    rows, found, weight = _table(trials)
    mean, spread = rows.mean(0), rows.std(0)
    spread[spread < 1e-6] = 1.0
    scaled = np.concatenate([np.ones((len(rows), 1)), (rows - mean) / spread], axis=1)

    def loss(w: F64, lapse: float) -> tuple[float, F64]:
        logistic = 1 / (1 + np.exp(-np.clip(scaled @ w, -40, 40)))
        p = np.clip((1 - lapse) * logistic, 1e-9, 1 - 1e-9)
        value = -(weight * np.where(found, np.log(p), np.log(1 - p))).sum() + RIDGE * (w[1:] ** 2).sum()
        slope = np.where(found, -1 / p, 1 / (1 - p)) * (1 - lapse) * logistic * (1 - logistic) * weight
        gradient = scaled.T @ slope
        gradient[1:] += 2 * RIDGE * w[1:]
        return float(value), gradient

    fits = []
    for lapse in LAPSES:
        got = minimize(loss, np.zeros(scaled.shape[1]), (lapse,), jac=True, method="L-BFGS-B")
        fits.append((float(got.fun), lapse, np.asarray(got.x, np.float64)))
    _, lapse, w = min(fits, key=lambda fit: fit[0])
    weights = w[1:] / spread
    bias = float(w[0] - weights @ mean)
    return HalfModel(
        round(bias, 5), round(float(weights[0]), 5), tuple(round(float(v), 5) for v in weights[1:]), lapse
    )


def _table(trials: Sequence[Trial]) -> tuple[F64, NDArray[np.bool_], F64]:
    """Rows (log motion, context), found or not, and weights: the thresholds of one trial count as one trial and a half."""
    place = CONTEXT.index("threshold")
    rows, found = [], []
    for trial in trials:
        for shift, hit in zip(THRESHOLDS, trial.found, strict=True):
            context = trial.context.copy()
            context[place] += shift
            rows.append([log(trial.motion), *context])
            found.append(hit)
    # the network's own threshold is the one that matters most
    one = np.where(np.array(THRESHOLDS) == 0, 1.0, 0.5 / (len(THRESHOLDS) - 1))
    return np.array(rows), np.array(found), np.tile(one, len(trials))


def fit(trials: Sequence[Trial]) -> SensitivityModel:
    """Coefficients of both halves.

    :raises SourceEmpty: too few expressions to fit anything
    """
    by_half = {half: [t for t in trials if t.half == half] for half in HALVES}
    for half, some in by_half.items():
        if len(some) < 50:
            raise SourceEmpty(
                f"{len(some)} expressions could be laid on the {half} half of the face: too few to fit",
                remedy="give more records, or more --rounds",
            )
    return SensitivityModel(fit_half(by_half["upper"]), fit_half(by_half["lower"]))


def cross_fit(trials: Sequence[Trial]) -> dict[str, SensitivityModel]:
    """For each fold, coefficients that know nobody of it."""
    folds = sorted({t.fold for t in trials})
    return {fold: fit([t for t in trials if t.fold != fold]) for fold in folds}


def reliability(trials: Sequence[Trial], said: Callable[[Trial], float | None]) -> list[Row]:
    """Share found by what was said, at the network's own threshold. What was said to be beyond reach is left out."""
    own = THRESHOLDS.index(0.0)
    rows = []
    pairs = [(value, t) for t in trials if (value := said(t)) is not None and value < LARGEST]
    for low, high in zip(EDGES, EDGES[1:], strict=False):
        some = [t for value, t in pairs if low <= value < high]
        rows.append(
            Row((low, high), len(some), sum(t.found[own] for t in some), len({t.subject for t in some}))
        )
    return rows


def total(rows: Sequence[Row]) -> Row:
    """All rows as one."""
    return Row(
        (rows[0].said[0], rows[-1].said[1]),
        sum(r.laid for r in rows),
        sum(r.found for r in rows),
        max((r.people for r in rows), default=0),
    )
