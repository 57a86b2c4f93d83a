"""What the expressions of a run add up to, and how far the sums can be trusted."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from mellm.detectors.sensitivity import BARS
from mellm.engine.export import words
from mellm.engine.facs.action_units import UNITS
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.run_reader import Run, judged

BAR: Final = BARS[-1]
"""Per cent of the eye distance: a moment counts as judged while a motion of this size would be found in at least one
half of the face."""


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
class JudgedRate:
    """Expressions over the time in which they could be found.

    :param found: expressions at judged moments
    :param elsewhere: the others
    :param seconds: judged time, over all faces
    :param known: whether the run tells its sensitivity; without it every expression and all time with a face count
    """

    found: int
    elsewhere: int
    seconds: float
    known: bool

    @property
    def per_minute(self) -> float | None:
        """Expressions a judged minute; ``None`` under a second of judged time."""
        return 60 * self.found / self.seconds if self.seconds >= 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Ends of the exact 95 % interval of the rate; ``None`` as :attr:`per_minute`."""
        if self.seconds < 1:
            return None
        low, high = poisson_interval(self.found)
        return 60 * low / self.seconds, 60 * high / self.seconds

    @property
    def unit(self) -> str:
        """What the minutes are."""
        return "judged minute" if self.known else "minute with a face"


@dataclass(frozen=True, slots=True)
class BaseRate:
    """What false alarms alone would leave in a recording of this length.

    :param rate: what was found here, and in how much time
    :param measured: false alarms a minute on people who were in no training, with the ends of the 95 % interval
    :param people: on how many people that was measured
    :param minutes: and in how much time
    """

    rate: JudgedRate
    measured: tuple[float, float, float]
    people: int
    minutes: float

    @property
    def expected(self) -> tuple[float, float, float]:
        """False alarms to expect, with the ends of the interval."""
        value, low, high = (m * self.rate.seconds / 60 for m in self.measured)
        return value, low, high


def poisson_interval(count: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of the mean of a Poisson count (Garwood 1936): the means under which so many, or so few, would be
    seen with half of the rest. By halving; SciPy, which has it, is not in the base installation."""
    tail = (1 - level) / 2

    def at_most(k: int, mean: float) -> float:
        return math.fsum(math.exp(i * math.log(mean) - mean - math.lgamma(i + 1)) for i in range(k + 1))

    def mean_where(k: int, share: float) -> float:
        low, high = 1e-9, k + 10 * math.sqrt(k + 1) + 10
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if at_most(k, middle) > share else (low, middle)
        return high

    return mean_where(count - 1, 1 - tail) if count else 0.0, mean_where(count, tail)


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


def judged_rate(run: Run) -> JudgedRate:
    """The rate of a run, over all its recordings."""
    times = {source: judged(run, source) for source in run.sources}
    known = (
        bool(times)
        and all(t.known or t.face_s < 1 for t in times.values())
        and any(t.known for t in times.values())
    )
    if not known:
        return JudgedRate(len(counted(run.expressions)), 0, sum(t.face_s for t in times.values()), False)
    said = [record.sensitivity for record in counted(run.expressions)]
    # at the start of a stretch nothing is known yet: such an expression counts
    found = sum(s is None or min(s) <= BAR for s in said)
    return JudgedRate(found, len(said) - found, sum(t.either_s.get(BAR, 0.0) for t in times.values()), True)


def base_rate(run: Run) -> BaseRate | None:
    """Hold the count of the run against the spotter's measured false alarms.

    ``None`` where those of this run's network and threshold were not measured.
    """
    card = json.loads((files("mellm.detectors") / "models" / "spotter.json").read_text(encoding="utf-8"))
    own = run.state.get("settings", {}).get("spotting", {}).get("threshold") is None
    used = {
        m.get("sha256") for m in run.state.get("facts", {}).get("models", []) if m.get("name") == "spotter"
    }
    told = card.get("false_alarms")
    if not own or used != {card["sha256"]} or told is None:
        return None
    rate = judged_rate(run)
    part = told["judged" if rate.known else "face"]
    low, high = part["interval"]
    return BaseRate(rate, (part["per_minute"], low, high), told["people"], part["minutes"])


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
