"""Describers on the product's own spots: units, class, when words are given, and whether probabilities hold.

What is scored was kept by :mod:`mellm.training.readings.observed`, so a table takes seconds. Each set is of people
that neither describers nor (filmed people: by folds) the spotter learnt from.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from mellm.engine.describe.ensemble import Judgement, Weights, judge
from mellm.engine.describe.observation import UNITS
from mellm.engine.facs import action_units as facs
from mellm.engine.types import Coarse
from mellm.evaluation import plotting
from mellm.evaluation.describing.systems import SURE, prior_answer
from mellm.evaluation.metrics.bootstrap import intervals
from mellm.evaluation.metrics.priors import PRIOR
from mellm.evaluation.metrics.table import pipes
from mellm.evaluation.spotting.stats import Estimate, share
from mellm.training.instruct import labels
from mellm.training.readings.fit import calibration_error
from mellm.training.readings.observed import SAYS, Observed

BEGIN: Final = "<!-- results: written by mellm eval describing --spots --page -->"
SYSTEMS: Final = ("ensemble", *SAYS, "spotter", PRIOR)

SETS: Final[Mapping[str, tuple[str, ...]]] = {
    "drawn people": ("rendered",),
    "photographs, silent": ("stills",),
    "photographs, drawn speech": ("drawn-speech",),
    "recordings, silent or acting": ("silent", "acting"),
    "recordings, talking": ("talking",),
}
"""Name in tables → kinds of clips."""

ALL: Final = "all"
EVERY: Final = tuple(itertools.chain.from_iterable(SETS.values()))
DRAWS: Final = 500


@dataclass(frozen=True, slots=True)
class Told:
    """What a describer says of a spot; no units where it gives no words.

    :param truth: units that are there; ``None`` for a false alarm
    """

    subject: str
    truth: frozenset[int] | None
    label: Coarse | None
    units: frozenset[int]
    coarse: Coarse | None


@dataclass(frozen=True, slots=True)
class Row:
    """Of one system on one set.

    :param f1: units of right spots, pooled; silence names no unit
    :param against: its F1 less that of the ensemble, people drawn again; ``None`` for the ensemble
    :param coarse: UF1 of the class on right spots, with the ceiling that perfect units allow
    :param described: of right spots
    :param false_described: of false alarms at the product's threshold
    :param lower_described: of false alarms at the product's threshold or the lower one
    """

    f1: Estimate
    against: Estimate | None
    coarse: float
    ceiling: float
    described: Estimate
    false_described: Estimate
    lower_described: Estimate
    right: int
    false: int
    people: int


def told(o: Observed, name: str, w: Weights) -> Told:
    """What a system says of a spot."""
    units: frozenset[int]
    coarse: Coarse | None
    if name == PRIOR:
        one, coarse = prior_answer()
        units = frozenset({one})
    elif name == "spotter":
        units = frozenset(
            au for au, z in zip(UNITS, o.seen.opinion, strict=True) if z >= np.log(SURE / (1 - SURE))
        )
        emotion = facs.coarse_emotion((au, 1.0) for au in units)
        coarse = None if emotion is None else emotion.coarse
    elif o.refused is not None:
        units, coarse = frozenset(), None
    elif name == "ensemble":
        found = judge(o.seen, w)
        units = frozenset(u.au for u in found.units)
        coarse = None if found.emotion is None else found.emotion.coarse
    else:
        said = o.says[name]
        quiet = said["abstained"] is not None
        units = frozenset() if quiet else frozenset(u["au"] for u in said["action_units"])
        coarse = None if quiet or said["emotion"] is None else said["emotion"]["coarse"]
    truth = None if o.truth is None else frozenset(au for au, _ in o.truth.units)
    return Told(o.subject, truth, None if o.truth is None else o.truth.coarse, units, coarse)


def f1(some: Sequence[Told]) -> float:
    """Units of right spots, pooled."""
    right = [(t.truth, t.units) for t in some if t.truth is not None]
    hits = sum(len(truth & units) for truth, units in right)
    return 2 * hits / max(1, sum(len(truth) + len(units) for truth, units in right))


def rows(found: Sequence[Observed], w: Weights) -> dict[str, dict[str, Row]]:
    """Set → system → scores."""
    out: dict[str, dict[str, Row]] = {}
    for name, kinds in {**SETS, ALL: EVERY}.items():
        some = [o for o in found if o.kind in kinds]
        if any(o.own and o.truth for o in some):
            out[name] = {system: _row(some, system, w) for system in SYSTEMS}
    return out


def _row(some: Sequence[Observed], system: str, w: Weights) -> Row:
    own = [o for o in some if o.own]
    said = [told(o, system, w) for o in own]
    right, false = [t for t in said if t.truth is not None], [t for t in said if t.truth is None]
    lower = [told(o, system, w) for o in some if o.truth is None]
    best = [told(o, "ensemble", w) for o in own if o.truth is not None]
    people: dict[str, list[tuple[Told, Told]]] = {}
    for mine, other in zip(right, best, strict=True):
        people.setdefault(mine.subject, []).append((mine, other))

    def scores(pairs: Sequence[tuple[Told, Told]]) -> dict[str, float]:
        mine, other = f1([a for a, _ in pairs]), f1([b for _, b in pairs])
        return {"f1": mine, "against": mine - other}

    value = scores([pair for group in people.values() for pair in group])
    range_ = intervals(people, scores, draws=DRAWS)
    truth = [t.label for t in right if t.label is not None]
    return Row(
        Estimate(value["f1"], *range_["f1"]),
        None if system == "ensemble" else Estimate(value["against"], *range_["against"]),
        labels.uf1(truth, [t.coarse for t in right if t.label is not None]),
        labels.ceiling([(t.truth, t.label) for t in right if t.truth is not None and t.label is not None]),
        _described(right), _described(false), _described(lower),
        len(right), len(false), len(people),
    )  # fmt: skip


def _described(part: Sequence[Told]) -> Estimate:
    return share(sum(bool(t.units) for t in part), len(part))


def table(results: Mapping[str, Mapping[str, Row]]) -> str:
    """Markdown: one row a set and system."""
    heads: tuple[str, ...] = (
        "set (right spots, people)",
        "system",
        "unit F1 [95 %]",
        "F1 less the ensemble's",
    )
    heads += ("coarse UF1 (share of the ceiling)", "right spots described")
    heads += ("false alarms described, own threshold", "… and at a lower one")
    lines: list[tuple[str, ...]] = []
    for name, systems in results.items():
        for system, r in systems.items():
            against = "" if r.against is None else _signed(r.against)
            coarse = f"{r.coarse:.2f} ({r.coarse / r.ceiling:.0%})" if r.ceiling else "–"
            lines.append(
                (
                    f"{name} ({r.right}, {r.people})", system, _value(r.f1), against, coarse,
                    _share(r.described), _share(r.false_described), _share(r.lower_described),
                )
            )  # fmt: skip
    return pipes(heads, lines)


def _value(e: Estimate) -> str:
    return f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]"


def _signed(e: Estimate) -> str:
    return f"{e.value:+.2f} [{e.low:+.2f}, {e.high:+.2f}]"


def _share(e: Estimate) -> str:
    return (
        "–"
        if (e.low, e.high) == (0.0, 1.0) and e.value == 0
        else f"{e.value:.0%} [{e.low:.0%}, {e.high:.0%}]"
    )


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether what is said is so.

    :param units: ECE of every unit's probability on spots that get words
    :param named: the same of named units alone
    :param classes: ECE of the named class's probability
    :param units_named: how many
    :param points: ``units`` or ``classes`` → said, so, count of each bin
    """

    units: float
    named: float
    classes: float
    units_named: int
    points: Mapping[str, tuple[tuple[float, float, int], ...]]


def calibration(found: Sequence[Observed], w: Weights) -> Calibration:
    """On the product's own spots that the ensemble describes; of a false alarm nothing is right."""
    units: list[tuple[float, float]] = []
    named: list[tuple[float, float]] = []
    classes: list[tuple[float, float]] = []
    for o, j in judged(found, w):
        there = {au for au, _ in o.truth.units} if o.truth else set[int]()
        units += [(p, float(au in there)) for au, p in j.shares.items()]
        named += [(u.score, float(u.au in there)) for u in j.units]
        assert j.emotion is not None
        right = o.truth is not None and o.truth.coarse == j.emotion.coarse
        classes.append((j.emotion.scores[j.emotion.coarse], float(right)))
    return Calibration(
        _ece(units),
        _ece(named),
        _ece(classes),
        len(named),
        {"units": bins(units), "classes": bins(classes)},
    )


def calibration_table(found: Calibration) -> str:
    """Markdown."""
    heads = ("probability of", "expected calibration error", "decisions")
    count = {name: sum(n for _, _, n in points) for name, points in found.points.items()}
    return pipes(
        heads,
        [
            ("each of the fifteen units", f"{found.units:.3f}", str(count["units"])),
            ("units that are named", f"{found.named:.3f}", str(found.units_named)),
            ("the class that is named", f"{found.classes:.3f}", str(count["classes"])),
        ],
    )


def judged(found: Sequence[Observed], w: Weights) -> Iterator[tuple[Observed, Judgement]]:
    """The product's own spots that the ensemble describes."""
    for o in found:
        if o.own and o.refused is None and (j := judge(o.seen, w)).reason is None:
            yield o, j


def _ece(points: Sequence[tuple[float, float]]) -> float:
    return calibration_error(*np.array(points).reshape(-1, 2).T) if points else float("nan")


def bins(points: Sequence[tuple[float, float]], count: int = 10) -> tuple[tuple[float, float, int], ...]:
    """Mean of what is said, share that is so and number of points, for each bin that holds any."""
    if not points:
        return ()
    said, so = np.array(points).T
    at = np.clip((said * count).astype(int), 0, count - 1)
    return tuple(
        (float(said[at == b].mean()), float(so[at == b].mean()), int((at == b).sum())) for b in np.unique(at)
    )


def diagram(found: Calibration, path: Path) -> Path:
    """The reliability diagram.

    :raises MissingExtra: matplotlib is not installed
    """
    titles = {
        "units": f"Units (ECE {found.units:.3f})",
        "classes": f"Class that is named (ECE {found.classes:.3f})",
    }
    with plotting.style() as new:
        figure = new(figsize=(8.4, 3.9))
        for axis, (name, points) in zip(figure.subplots(1, 2), found.points.items(), strict=True):
            axis.plot([0, 1], [0, 1], color="#888888", lw=1, ls="--")
            said, so, many = (
                (np.array(values) for values in zip(*points, strict=True)) if points else ((), (), ())
            )
            ranges = [share(round(s * n), int(n)) for s, n in zip(so, many, strict=True)]
            low, high = [r.value - r.low for r in ranges], [r.high - r.value for r in ranges]
            axis.errorbar(said, so, yerr=[low, high], color=plotting.COLOURS[0], marker="o", capsize=2)
            for x, y, n in zip(said, so, many, strict=True):
                beside = (6, 5 if y < 0.1 else -11)
                axis.annotate(f"{n}", (x, y), textcoords="offset points", xytext=beside, fontsize=7.5)
            axis.set(
                title=titles[name], xlabel="probability that is told", ylabel="share that is right",
                xlim=(0, 1), ylim=(0, 1),
            )  # fmt: skip
        return plotting.save(figure, path)


def plain(results: Mapping[str, Mapping[str, Row]], found: Calibration) -> dict[str, Any]:
    """As JSON data."""
    return {
        "sets": {name: {r: asdict(row) for r, row in systems.items()} for name, systems in results.items()},
        "calibration": asdict(found),
    }
