"""All spotters on all sets, as one object."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from mellm.evaluation.metrics.spotting import SpottingScore
from mellm.evaluation.spotting.data import seen_s
from mellm.evaluation.spotting.measures import Point, Result, best_within, result
from mellm.evaluation.spotting.systems import System
from mellm.training.spotter.records import Record

FORMAT = "mellm-eval-spotting/1"
TWICE = 2.0
"""How many times the baseline's F1 ours must reach at equal false alarms."""


@dataclass(frozen=True, slots=True)
class SetFacts:
    """What a set holds. ``wanted``: clips of its recipe; ``seen_s``: seconds in which a face could be analysed."""

    clips: int
    wanted: int
    subjects: int
    truths: int
    seconds: float
    seen_s: float


@dataclass(frozen=True, slots=True)
class Equal:
    """Ours against a causal baseline on one set, with the same false alarms allowed to both.

    ``at_ours``: at our false alarms a minute, our F1 and the baseline's best; ``at_baseline``: at the baseline's, our
    best and its F1. ``ratio`` is ``None`` where the baseline finds nothing.
    """

    ours: str
    baseline: str
    at_ours: tuple[float, float, float]
    at_baseline: tuple[float, float, float]

    @property
    def ratios(self) -> tuple[float | None, float | None]:
        """Ours over the baseline's, at either number of false alarms."""
        (_, a, b), (_, c, d) = self.at_ours, self.at_baseline
        return a / b if b else None, c / d if d else None

    @property
    def holds(self) -> bool:
        """Whether ours reaches :data:`TWICE` the baseline's both ways."""
        (_, a, b), (_, c, d) = self.at_ours, self.at_baseline
        return a > 0 and c > 0 and a >= TWICE * b and c >= TWICE * d


@dataclass(frozen=True, slots=True)
class SetReport:
    """One set: what it holds, a result for each spotter, and comparisons at equal false alarms."""

    name: str
    facts: SetFacts
    results: tuple[Result, ...]
    equal: tuple[Equal, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The evaluation. ``spotters``: name → what it is."""

    date: str
    machine: dict[str, str]
    spotters: dict[str, dict[str, Any]]
    sets: tuple[SetReport, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data; what is not a finite number is ``null``."""
        plain: dict[str, Any] = {"format": FORMAT, **_plain(self)}
        return plain


def evaluate(
    sets: Mapping[str, Sequence[Record]],
    systems: Sequence[System],
    *,
    wanted: Mapping[str, int] | None = None,
    progress: Callable[[str, str], None] | None = None,
) -> Report:
    """Run every spotter on every set.

    :param wanted: clips that the recipe of a set asks for, where that is known
    """
    reports = []
    for name, records in sets.items():
        results = []
        for system in systems:
            if progress:
                progress(name, system.name)
            results.append(result(system, records))
        facts = SetFacts(
            len(records),
            (wanted or {}).get(name, len(records)),
            len({r.subject for r in records}),
            sum(len(r.truths) for r in records),
            sum(r.seconds for r in records),
            sum(seen_s(r) for r in records),
        )
        kinds = {c.name: c.facts()["kind"] for c in systems}
        reports.append(SetReport(name, facts, tuple(results), _equal(results, kinds)))
    return Report(
        datetime.now(UTC).date().isoformat(),
        {
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "onnxruntime": version("onnxruntime"),
            "cpu": f"{os.cpu_count()}-core {platform.machine()}",
        },
        {c.name: c.facts() for c in systems},
        tuple(reports),
    )


def _equal(results: Sequence[Result], kinds: Mapping[str, str]) -> tuple[Equal, ...]:
    if not any(r.score.tp + r.score.fn for r in results):
        return ()
    networks = [r for r in results if kinds[r.spotter] == "network"]
    others = [r for r in results if kinds[r.spotter] == "training-free"]
    return tuple(equal(ours, other) for ours in networks for other in others)


def equal(ours: Result, baseline: Result) -> Equal:
    """The comparison of :class:`Equal` from two curves."""

    def best(points: Sequence[Point], rate: float) -> float:
        found = best_within(points, rate)
        return found.f1 if found else 0.0

    mine, its = ours.false_per_minute.value, baseline.false_per_minute.value
    return Equal(
        ours.spotter,
        baseline.spotter,
        (mine, ours.ratios.f1.value, best(baseline.curve, mine)),
        (its, best(ours.curve, its), baseline.ratios.f1.value),
    )


def _plain(value: Any) -> Any:
    """Dataclasses and named tuples as dictionaries, NaN and infinity as ``None``."""
    if isinstance(value, SpottingScore):
        return {"tp": value.tp, "fp": value.fp, "fn": value.fn}
    if isinstance(value, Equal):
        return {**asdict(value), "ratios": value.ratios, "holds": value.holds}
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(item) for name, item in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value
