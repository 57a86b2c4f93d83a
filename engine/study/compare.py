"""Conditions of a study side by side: expressions a judged minute, with intervals over subjects.

Subjects are drawn with replacement (percentile bootstrap): recordings of one person are not independent. A rate is the
sum of expressions over the sum of judged minutes of whoever was drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mellm.engine.export import statistics
from mellm.engine.results.run_reader import judged
from mellm.engine.study.tables import Recording

DRAWS: Final = 5000
SEED: Final = 0
LEAST_SUBJECTS: Final = 3
"""Under so many people an interval over people says nothing."""

APART: Final = 0.1
"""Conditions are warned of when the share of judged time differs by more than this share of the larger one."""

HALVES: Final = ("either", "upper", "lower")


@dataclass(frozen=True, slots=True)
class Condition:
    """What one condition adds up to.

    :param found: expressions at judged moments
    :param judged_min: judged minutes: of at least one half of the face, of the upper and the lower half
    :param face_min: minutes with a usable face
    :param interval: 95 % of the rate, over subjects; ``None`` for too few
    :param rates: subject → rate; ``None`` under a second of judged time
    """

    name: str
    recordings: int
    subjects: int
    found: int
    judged_min: dict[str, float]
    face_min: float
    interval: tuple[float, float] | None
    rates: dict[str, float | None]

    @property
    def rate(self) -> float | None:
        """Expressions a judged minute."""
        minutes = self.judged_min["either"]
        return self.found / minutes if minutes >= 1 / 60 else None

    def share(self, half: str) -> float | None:
        """Judged part of the time with a face."""
        return self.judged_min[half] / self.face_min if self.face_min >= 1 / 60 else None


@dataclass(frozen=True, slots=True)
class Difference:
    """Two conditions: rate of the first minus rate of the second.

    :param interval: 95 % over subjects; where a subject is in both, it is drawn into both
    :param both: subjects in both conditions
    """

    first: str
    second: str
    value: float | None
    interval: tuple[float, float] | None
    both: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The conditions of a study, in the order of the table, and each pair of them."""

    conditions: tuple[Condition, ...]
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]
    known: bool

    @property
    def unit(self) -> str:
        """What the minutes are."""
        return "judged minute" if self.known else "minute with a face"


@dataclass(frozen=True, slots=True)
class _Counts:
    """By subject: expressions, judged minutes of either half, upper, lower, minutes with a face; N×5."""

    subjects: tuple[str, ...]
    table: NDArray[np.float64]
    recordings: int


def compare(study: Sequence[Recording], *, draws: int = DRAWS, seed: int = SEED) -> Comparison:
    """Compare the conditions of what has been analysed; recordings without a condition are one of their own, ``""``."""
    done = [each for each in study if each.is_done]
    known = bool(done) and all(_rate(each).known or _rate(each).seconds < 1 for each in done)
    names = list(dict.fromkeys(each.entry.about.condition for each in done))
    counts = {name: _count([e for e in done if e.entry.about.condition == name], known) for name in names}
    everyone = sorted({s for c in counts.values() for s in c.subjects})
    # one draw of people for all conditions: who is in several is drawn into all of them
    generator = np.random.default_rng(seed)
    weights = (
        generator.multinomial(len(everyone), [1 / len(everyone)] * len(everyone), draws) if everyone else None
    )
    drawn = {name: _drawn(c, everyone, weights) for name, c in counts.items()}
    conditions = tuple(_condition(name, counts[name], drawn[name]) for name in names)
    differences = tuple(
        _difference(a, b, drawn[a.name], drawn[b.name], counts) for a, b in combinations(conditions, 2)
    )
    return Comparison(conditions, differences, tuple(_warnings(conditions, known)), known)


def _rate(each: Recording) -> statistics.JudgedRate:
    assert each.run is not None
    return statistics.judged_rate(each.run)


def _count(some: Sequence[Recording], known: bool) -> _Counts:
    subjects = tuple(dict.fromkeys(each.entry.about.subject for each in some))
    table = np.zeros((len(subjects), 5))
    for each in some:
        assert each.run is not None
        time, rate = judged(each.run, each.source), _rate(each)
        bar = statistics.BAR
        minutes = [
            (time.either_s.get(bar, 0.0) if known else time.face_s) / 60,
            time.upper_s.get(bar, 0.0) / 60,
            time.lower_s.get(bar, 0.0) / 60,
            time.face_s / 60,
        ]
        found = rate.found if known else len(statistics.counted(each.run.expressions))
        table[subjects.index(each.entry.about.subject)] += [found, *minutes]
    return _Counts(subjects, table, len(some))


def _drawn(
    counts: _Counts, everyone: Sequence[str], weights: NDArray[np.int64] | None
) -> NDArray[np.float64] | None:
    """Rate of each draw; not a number where nobody with judged time was drawn."""
    if weights is None or len(counts.subjects) < LEAST_SUBJECTS:
        return None
    mine = weights[:, [everyone.index(s) for s in counts.subjects]]
    found, minutes = mine @ counts.table[:, 0], mine @ counts.table[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        rates: NDArray[np.float64] = np.where(minutes > 0, found / minutes, np.nan)
    return rates


def _condition(name: str, counts: _Counts, drawn: NDArray[np.float64] | None) -> Condition:
    found, either, upper, lower, face = counts.table.sum(0)
    rates = {
        subject: float(row[0] / row[1]) if row[1] >= 1 / 60 else None
        for subject, row in zip(counts.subjects, counts.table, strict=True)
    }
    minutes = dict(zip(HALVES, (float(either), float(upper), float(lower)), strict=True))
    return Condition(
        name, counts.recordings, len(counts.subjects), int(found), minutes, float(face), _ends(drawn), rates
    )


def _difference(
    a: Condition,
    b: Condition,
    of_a: NDArray[np.float64] | None,
    of_b: NDArray[np.float64] | None,
    counts: dict[str, _Counts],
) -> Difference:
    both = len({*counts[a.name].subjects} & {*counts[b.name].subjects})
    value = None if a.rate is None or b.rate is None else a.rate - b.rate
    ends = None if of_a is None or of_b is None else _ends(of_a - of_b)
    return Difference(a.name, b.name, value, ends, both)


def _ends(drawn: NDArray[np.float64] | None) -> tuple[float, float] | None:
    if drawn is None or np.isnan(drawn).mean() > 0.05:
        return None
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _warnings(conditions: Sequence[Condition], known: bool) -> list[str]:
    found = []
    if not known and conditions:
        found.append(
            "Some runs do not tell their sensitivity: rates are per minute with a face, and whether the same could be "
            "seen in each condition is not known."
        )
    for a, b in combinations(conditions, 2) if known else ():
        apart = [
            f"{told} {100 * x:.0f} % and {100 * y:.0f} %"
            for half, told in (
                ("either", "at least one half"),
                ("upper", "upper half"),
                ("lower", "lower half"),
            )
            if (x := a.share(half)) is not None
            and (y := b.share(half)) is not None
            and abs(x - y) > APART * max(x, y)
        ]
        if apart:
            found.append(
                f"{label(a.name)} and {label(b.name)} differ in how much of the time with a face could be judged "
                f"({', '.join(apart)}): a difference between their rates may come from what could be seen."
            )
    found += [
        f"{label(c.name)}: {c.subjects} subject{'' if c.subjects == 1 else 's'} - too few for an interval."
        for c in conditions
        if c.subjects < LEAST_SUBJECTS
    ]
    return found


def label(name: str) -> str:
    """A condition in words."""
    return name or "no condition"


COLUMNS: Final = (
    *("condition", "recordings", "subjects", "expressions_judged", "face_min"),
    *(f"judged_{half}_min" for half in HALVES),
    *("expressions_per_judged_minute", "rate_low", "rate_high"),
    *("compared_with", "difference", "difference_low", "difference_high", "subjects_in_both"),
)


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Rows of ``conditions.csv``: one for each condition, then one for each pair."""

    def ends(pair: tuple[float, float] | None) -> tuple[float | None, float | None]:
        return (None, None) if pair is None else (round(pair[0], 4), round(pair[1], 4))

    found: list[dict[str, Any]] = []
    for each in comparison.conditions:
        low, high = ends(each.interval)
        found.append(
            {
                "condition": each.name,
                "recordings": each.recordings,
                "subjects": each.subjects,
                "expressions_judged": each.found,
                "face_min": round(each.face_min, 3),
                **{f"judged_{half}_min": round(each.judged_min[half], 3) for half in HALVES},
                "expressions_per_judged_minute": None if each.rate is None else round(each.rate, 4),
                "rate_low": low,
                "rate_high": high,
            }
        )
    for pair in comparison.differences:
        low, high = ends(pair.interval)
        found.append(
            {
                "condition": pair.first,
                "compared_with": pair.second,
                "difference": None if pair.value is None else round(pair.value, 4),
                "difference_low": low,
                "difference_high": high,
                "subjects_in_both": pair.both,
            }
        )
    return found
