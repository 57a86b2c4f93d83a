"""What the expressions of a run add up to, and how far the sums can be trusted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from mellm.engine.export import words
from mellm.engine.facs.action_units import UNITS
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.run_reader import Run, duration_ms

FALSE_PER_MINUTE: Final = (2.9, 1.1, 6.4)
"""False alarms a minute of the shipped spotter on filmed people who show no expression, with the 95 % interval:
docs/results/spotting.md, set ``free`` (6 in 122 s)."""


@dataclass(frozen=True, slots=True)
class UnitRow:
    """How often one action unit was named.

    :param share: of the described expressions
    :param score: mean of the scores it was named with
    """

    au: int
    name: str
    count: int
    share: float
    score: float
    left: int
    right: int
    both: int


@dataclass(frozen=True, slots=True)
class BaseRate:
    """What false alarms alone would leave in a recording of this length.

    :param known: whether the rate was measured with this run's spotter at its own threshold
    :param expected: false alarms, with the ends of their 95 % interval
    :param found: expressions of the run
    """

    minutes: float
    found: int
    expected: float
    low: float
    high: float
    known: bool


def unit_rows(records: Sequence[ExpressionRecord]) -> list[UnitRow]:
    """Units that were named at all, most frequent first."""
    described = sum(1 for r in records if r.state == "described")
    sides: dict[int, Counter[str]] = {}
    scores: dict[int, list[float]] = {}
    for record in records:
        for unit in record.action_units:
            sides.setdefault(unit.au, Counter())[unit.side] += 1
            scores.setdefault(unit.au, []).append(unit.score)
    rows = []
    for au, count in ((au, len(s)) for au, s in scores.items()):
        by_side = sides[au]
        rows.append(
            UnitRow(
                au,
                UNITS[au].name if au in UNITS else "not read by this project's own models",
                count,
                # a describer may name a unit twice, once for each side
                min(1.0, count / described) if described else 0.0,
                sum(scores[au]) / count,
                by_side["left"],
                by_side["right"],
                by_side["both"],
            )
        )
    return sorted(rows, key=lambda row: (-row.count, row.au))


def base_rate(run: Run) -> BaseRate:
    """Hold the count of the run against the spotter's measured false alarms."""
    minutes = sum(duration_ms(run, source) for source in run.sources) / 60_000
    rate, low, high = FALSE_PER_MINUTE
    own = run.state.get("settings", {}).get("spotting", {}).get("threshold") is None
    used = {
        m.get("sha256") for m in run.state.get("facts", {}).get("models", []) if m.get("name") == "spotter"
    }
    card = json.loads((files("mellm.detectors") / "models" / "spotter.json").read_text(encoding="utf-8"))
    known = own and used == {card["sha256"]}
    return BaseRate(
        minutes, len(counted(run.expressions)), rate * minutes, low * minutes, high * minutes, known
    )


def counted(records: Iterable[ExpressionRecord]) -> list[ExpressionRecord]:
    """Records without those above the motion ceiling: what counts as found."""
    return [r for r in records if r.is_counted]


def emotions(records: Iterable[ExpressionRecord]) -> Counter[str]:
    """Coarse class → count, over records whose description gives one."""
    return Counter(c for c in map(words.coarse, records) if c is not None)


def states(records: Iterable[ExpressionRecord]) -> Counter[str]:
    """Terminal state → count."""
    return Counter(str(r.state) for r in records)


def why_undescribed(records: Iterable[ExpressionRecord]) -> Counter[str]:
    """Reason in words → count, over records without a description."""
    return Counter(words.reason(r.reason) for r in records if r.state != "described")
