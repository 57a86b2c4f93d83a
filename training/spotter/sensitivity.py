"""Fits how small a motion a spotter finds, and measures whether that is true.

Known expressions of random size are laid on signals of real people (:mod:`mellm.training.spotter.overlay`), each
person judged by a network that never saw them. Which of them are found, at several thresholds, is what the coefficients
of :class:`mellm.detectors.sensitivity.SensitivityModel` are fitted to. Expressions laid on pixels, which are harder to
find, then move the fit (:func:`recalibrate`). Last, on people whom neither network nor coefficients know, expressions
are laid that are exactly as large as the model says would be found with 80 %; the share found is the reliability table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from mellm.detectors.sensitivity import (
    CONTEXT,
    HALVES,
    LARGEST,
    SMALLEST,
    Half,
    HalfModel,
    SensitivityModel,
    Watch,
)
from mellm.detectors.spotting import SpottingOptions
from mellm.detectors.stepmodel import StepModel
from mellm.stream.errors import SourceEmpty
from mellm.training.spotter import windows
from mellm.training.spotter.overlay import Laid, Overlay, SizeOf, half_of, lay
from mellm.training.spotter.records import Record, spot, steps
from mellm.training.spotter.windows import Rows

F64 = NDArray[np.float64]

SIZES = (0.6, 9.0)
"""Motions that are laid for the fit, hundredths of the inter-ocular distance, log-uniform."""

THRESHOLDS = (-1.0, 0.0, 1.0)
"""Log odds of the thresholds that are tried, relative to the network's own: users may choose another."""

LAPSES = (0.0, 0.02, 0.05, 0.1, 0.15)
RIDGE = 2.0
EDGES = (SMALLEST, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, LARGEST)
"""Borders of the rows of the reliability table, per cent of the eye distance."""

Progress = Callable[[str, int, int], None]


class Trial(NamedTuple):
    """One expression that was laid, and what came of it.

    :param fold: of the person
    :param context: of its half at the apex, on the face without it, at the network's own threshold
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
    """One row of the reliability table: motions that were reported to be found with :data:`SHARE`.

    :param reported: range of the sensitivity, per cent of the eye distance
    """

    reported: tuple[float, float]
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


@dataclass(slots=True, eq=False)
class _Case:
    """One expression before it is judged."""

    overlay: Overlay
    laid: Laid
    clean: Mapping[Half, F64]
    bare: Record
    past: Record


def _judged(cases: Sequence[_Case], network: Rows) -> list[Trial]:
    """Run the spotter over all of them and say which are found."""
    thresholds = [1 / (1 + np.exp(-(odds(network.threshold) + shift))) for shift in THRESHOLDS]
    looked = [windows.Case(c.overlay.record, c.laid.truth, c.past) for c in cases]
    hits = windows.found(looked, network, thresholds)
    out = []
    for case, hit in zip(cases, hits, strict=True):
        rows, laid = case.clean[case.laid.half], case.laid
        before = rows[max(0, laid.onset_step - network.delay_steps)]
        out.append(
            Trial(
                case.bare.subject,
                fold_of(case.bare),
                _group(case.bare),
                laid.half,
                laid.truth.peak,
                rows[laid.apex_step],
                None if np.isnan(before).any() else before,
                tuple(bool(h) for h in hit),
            )
        )
    return out


def _cases(overlay: Overlay, clean: Mapping[Half, F64], bare: Record, past: Record) -> list[_Case]:
    """Expressions at moments whose context is known."""
    return [
        _Case(overlay, one, clean, bare, past)
        for one in overlay.laid
        if not np.isnan(clean[one.half][one.apex_step]).any()
    ]


def _group(record: Record) -> str:
    return next((g for g in record.groups if g in ("talking", "acting", "silent")), "other")


class Judge:
    """Which network judges whom: the one of the person's fold, else the main one."""

    def __init__(self, network: Rows, folds: Mapping[str, Rows]) -> None:
        self._network, self._folds = network, folds

    def of(self, record: Record) -> Rows:
        """The network that never saw this person."""
        return self._folds.get(str(record.facts.get("fold", "")), self._network)


def _all_judged(cases: Sequence[_Case], judge: Judge) -> list[Trial]:
    by_network: dict[int, list[_Case]] = {}
    for case in cases:
        by_network.setdefault(id(judge.of(case.bare)), []).append(case)
    return [t for some in by_network.values() for t in _judged(some, judge.of(some[0].bare))]


def fold_of(record: Record) -> str:
    """Part of the cross-validation of the coefficients; photographed people are spread over five."""
    fold = str(record.facts.get("fold", ""))
    return fold or f"photographs {int.from_bytes(record.subject.encode()[-2:], 'big') % 5}"


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
    cases: list[_Case] = []
    for n, record in enumerate(records):
        progress(stage, n, len(records))
        network = judge.of(record)
        clean = contexts(record, network.threshold, network.delay_steps)
        of = size(record, clean)
        for k in range(rounds):
            cases += _cases(lay(record, np.random.default_rng([seed, n, k]), of), clean, record, record)
    progress(stage, len(records), len(records))
    return _all_judged(cases, judge)


def on_pixels(
    filmed: Sequence[Record], clean: Mapping[str, Record], judge: Judge, progress: Progress
) -> list[Trial]:
    """Trials from clips whose expressions were laid on pixels, with the context of the same recording without them.

    :param filmed: records with truths
    :param clean: the recordings as they are, by file name
    """
    cases: list[_Case] = []
    for n, record in enumerate(filmed):
        progress("pixels", n, len(filmed))
        bare = clean.get(str(record.facts.get("file")))
        if bare is None or not record.truths or record.facts.get("speed", 1.0) != 1.0:
            continue
        network = judge.of(bare)
        shifted = bare.grid_s - float(record.facts.get("start_s", 0.0))
        laid = tuple(
            Laid(
                truth,
                half_of(truth.aus),
                min(int(np.searchsorted(shifted, truth.onset_s)), len(shifted) - 1),
                min(int(np.searchsorted(shifted, truth.apex_s)), len(shifted) - 1),
            )
            for truth in record.truths
        )
        clean_contexts = contexts(bare, network.threshold, network.delay_steps)
        cases += _cases(Overlay(record, laid), clean_contexts, bare, record)
    progress("pixels", len(filmed), len(filmed))
    return _all_judged(cases, judge)


def recalibrate(model: SensitivityModel, trials: Sequence[Trial]) -> SensitivityModel:
    """The model moved, and where there are enough trials stretched, so that it is right about these trials."""
    moved = {}
    for half in HALVES:
        old, some = model.half(half), [t for t in trials if t.half == half]
        if len(some) < 20:
            moved[half] = old
            continue
        own = THRESHOLDS.index(0.0)
        z = np.array(
            [old.bias + old.size * log(t.motion) + float(np.dot(old.weights, t.context)) for t in some]
        )
        found = np.array([t.found[own] for t in some])

        def loss(w: F64, z: F64 = z, found: NDArray[np.bool_] = found, lapse: float = old.lapse) -> float:
            p = np.clip((1 - lapse) / (1 + np.exp(-np.clip(w[0] + w[1] * z, -40, 40))), 1e-9, 1 - 1e-9)
            # a weak pull towards no change: twenty trials say little about a slope
            return float(
                -np.where(found, np.log(p), np.log(1 - p)).sum() + 0.1 * w[0] ** 2 + 8 * (w[1] - 1) ** 2
            )

        a, b = minimize(loss, np.array([0.0, 1.0]), method="L-BFGS-B", bounds=[(-6, 6), (0.3, 3)]).x
        weights = tuple(round(float(b * v), 5) for v in old.weights)
        moved[half] = HalfModel(
            round(float(a + b * old.bias), 5), round(float(b * old.size), 5), weights, old.lapse
        )
    return SensitivityModel(moved["upper"], moved["lower"])


def random_size(seed: int) -> Callable[[Record, Mapping[Half, F64]], SizeOf]:
    """Sizes log-uniform over :data:`SIZES`."""
    rng = np.random.default_rng(seed)
    low, high = np.log(SIZES)
    return lambda record, clean: lambda half, step: float(np.exp(rng.uniform(low, high)))


def reported_size(models: Mapping[str, SensitivityModel]) -> Callable[[Record, Mapping[Half, F64]], SizeOf]:
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
    # a larger motion is never harder to find
    bounds = [(None, None), (1e-3, None), *[(None, None)] * len(CONTEXT)]
    for lapse in LAPSES:
        got = minimize(
            loss, np.full(scaled.shape[1], 1e-3), (lapse,), jac=True, method="L-BFGS-B", bounds=bounds
        )
        fits.append((float(got.fun), lapse, np.asarray(got.x, np.float64)))
    _, lapse, w = min(fits, key=lambda fit: fit[0])
    weights = w[1:] / spread
    bias = float(w[0] - weights @ mean)
    return HalfModel(
        round(bias, 5), round(float(weights[0]), 5), tuple(round(float(v), 5) for v in weights[1:]), lapse
    )


def _table(trials: Sequence[Trial]) -> tuple[F64, NDArray[np.bool_], F64]:
    """Rows (log motion, context), found or not, and weights: all thresholds of a trial count as one and a half."""
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


def cross_fit(trials: Sequence[Trial], pixels: Sequence[Trial] = ()) -> dict[str, SensitivityModel]:
    """For each fold, coefficients that know nobody of it."""
    folds = sorted({t.fold for t in (*trials, *pixels)})
    return {
        fold: recalibrate(fit([t for t in trials if t.fold != fold]), [t for t in pixels if t.fold != fold])
        for fold in folds
    }


def false_alarms(
    records: Sequence[Record],
    judge: Judge,
    spotter_of: Callable[[Record], StepModel],
    models: Mapping[str, SensitivityModel],
    bar: float,
) -> dict[str, tuple[int, float]]:
    """What is found on recordings as they are: (count, minutes) of all time with a face, and of judged time alone.

    :param spotter_of: record → the network that never saw the person, step by step
    """
    count = judged = 0
    seconds = judged_s = 0.0
    for record in records:
        network, reported = judge.of(record), models[fold_of(record)]
        clean = contexts(record, network.threshold, network.delay_steps)
        known = ~np.isnan(clean["upper"][:, 0])
        best = np.full(len(known), LARGEST)
        for k in np.flatnonzero(known):
            best[k] = min(reported.half(half).smallest(clean[half][k]) for half in HALVES)
        seconds += 0.02 * int(known.sum())
        judged_s += 0.02 * int((known & (best <= bar)).sum())
        options = SpottingOptions(threshold=network.threshold)
        for found in spot(record, spotter_of(record), options):
            count += 1
            onset = int(np.searchsorted(record.grid_s, found.interval.onset_s))
            before = max(0, onset - network.delay_steps)
            judged += bool(not known[before] or best[before] <= bar)
    return {"face": (count, seconds / 60), "judged": (judged, judged_s / 60)}


def reliability(trials: Sequence[Trial], reported: Callable[[Trial], float | None]) -> list[Row]:
    """Share found by reported size, at its own threshold. What was reported to be beyond reach is left out."""
    own = THRESHOLDS.index(0.0)
    rows = []
    pairs = [(value, t) for t in trials if (value := reported(t)) is not None and value < LARGEST]
    for low, high in pairwise(EDGES):
        some = [t for value, t in pairs if low <= value < high]
        rows.append(
            Row((low, high), len(some), sum(t.found[own] for t in some), len({t.subject for t in some}))
        )
    return rows


def total(rows: Sequence[Row]) -> Row:
    """All rows as one."""
    return Row(
        (rows[0].reported[0], rows[-1].reported[1]),
        sum(r.laid for r in rows),
        sum(r.found for r in rows),
        max((r.people for r in rows), default=0),
    )


def predicted(trials: Sequence[Trial], models: Mapping[str, SensitivityModel]) -> list[dict[str, object]]:
    """Share found by the probability that a model which does not know the person gave: ten rows, as JSON."""
    own = THRESHOLDS.index(0.0)
    pairs = [(models[t.fold].half(t.half).probability(t.motion, t.context), t) for t in trials]
    rows: list[dict[str, object]] = []
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        some = [(p, t) for p, t in pairs if low <= p < low + 0.2 or (low == 0.8 and p == 1)]
        hits = sum(t.found[own] for _, t in some)
        rows.append(
            {
                "said": [low, round(low + 0.2, 1)],
                "laid": len(some),
                "found": hits,
                "people": len({t.subject for _, t in some}),
                "share": round(hits / len(some), 3) if some else None,
                "interval": [round(v, 3) for v in wilson(hits, len(some))],
            }
        )
    return rows
