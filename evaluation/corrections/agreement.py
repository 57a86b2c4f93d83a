"""How far coders agree with each other, and with the engine.

Expressions are paired one to one by an overlap of one half (:mod:`mellm.evaluation.metrics.matching`). On the pairs:
Cohen's kappa over action units (each unit that either names, named or not; scikit-learn), and Krippendorff's alpha over
classes (nominal; NLTK). Neither says anything about what only one has found: F1 does.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from mellm.engine.export.corrections import Interval
from mellm.engine.results.corrections import mark_of, units_of
from mellm.engine.results.run_reader import Run
from mellm.evaluation.metrics.matching import match
from mellm.evaluation.metrics.spotting import SpottingScore


@dataclass(frozen=True, slots=True)
class Coding:
    """What one coder, or the engine, says about recordings.

    :param faces: whether every interval says of which face it is
    """

    name: str
    intervals: tuple[Interval, ...]

    @property
    def faces(self) -> bool:
        """Whether every interval says of which face it is."""
        return all(i.track is not None for i in self.intervals)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two codings side by side. Numbers are ``None`` where there is nothing to compute them from.

    :param both: expressions that both have
    :param first: that only the first has
    :param second: that only the second has
    :param coded: pairs in which both coded units
    :param kappa: over all units together
    :param units: unit → kappa, and pairs in which at least one names it
    :param classed: pairs in which both coded a class
    """

    names: tuple[str, str]
    both: int
    first: int
    second: int
    coded: int
    kappa: float | None
    units: dict[int, tuple[float | None, int]]
    classed: int
    alpha: float | None

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; the same whichever of the two is taken to be right."""
        return SpottingScore(self.both, self.first, self.second).f1

    def as_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "a": self.names[0],
            "b": self.names[1],
            "both": self.both,
            "only_a": self.first,
            "only_b": self.second,
            "f1": self.f1,
            "coded": self.coded,
            "kappa": self.kappa,
            "kappa_by_unit": {str(au): {"kappa": k, "pairs": n} for au, (k, n) in self.units.items()},
            "classed": self.classed,
            "alpha": self.alpha,
        }


def of_run(run: Run, name: str) -> Coding:
    """A run as a coding; what has no description has no units, and was not coded as having none."""
    found = []
    for record in run.expressions:
        if not record.is_counted:
            continue
        mark = mark_of(record)
        emotion = (mark.emotion if mark is not None else None) or (
            record.emotion.coarse if record.emotion else None
        )
        units = units_of(record) if record.state == "described" else None
        found.append(
            Interval(
                record.onset_ms,
                record.offset_ms,
                record.track,
                record.source,
                record.apex_ms,
                units,
                emotion,
                id=record.id,
            )
        )
    return Coding(name, tuple(found))


def agree(codings: Sequence[Coding], iou: float = 0.5) -> list[Agreement]:
    """Every two of the codings."""
    return [_two(a, b, iou) for a, b in combinations(codings, 2)]


def _two(a: Coding, b: Coding, iou: float) -> Agreement:
    faces = a.faces and b.faces
    pairs: list[tuple[Interval, Interval]] = []
    groups = {_group(i, faces) for i in (*a.intervals, *b.intervals)}
    for group in sorted(groups):
        mine = [i for i in a.intervals if _group(i, faces) == group]
        theirs = [i for i in b.intervals if _group(i, faces) == group]
        found = match([_whole(i) for i in mine], [_whole(i) for i in theirs], iou)
        pairs += [(mine[k], theirs[j]) for k, j in found]
    coded = [
        ({au for au, _ in x.units}, {au for au, _ in y.units})
        for x, y in pairs
        if x.units is not None and y.units is not None
    ]
    named = sorted({au for x, y in coded for au in x | y})
    classes = [(x.emotion, y.emotion) for x, y in pairs if x.emotion is not None and y.emotion is not None]
    by_unit = {
        au: (
            _kappa([au in x for x, _ in coded], [au in y for _, y in coded]),
            sum(au in x | y for x, y in coded),
        )
        for au in named
    }
    return Agreement(
        (a.name, b.name),
        len(pairs),
        len(a.intervals) - len(pairs),
        len(b.intervals) - len(pairs),
        len(coded),
        _kappa([au in x for x, _ in coded for au in named], [au in y for _, y in coded for au in named]),
        by_unit,
        len(classes),
        _alpha(classes),
    )


def _group(interval: Interval, faces: bool) -> tuple[str, int]:
    return interval.source or "", (interval.track or 0) if faces else 0


def _whole(interval: Interval) -> tuple[int, int]:
    return round(interval.onset_ms), round(interval.offset_ms)


def _kappa(a: Sequence[bool], b: Sequence[bool]) -> float | None:
    """``None`` where both say always the same one thing: chance alone would agree then."""
    if len({*a, *b}) < 2:
        return None
    from sklearn.metrics import cohen_kappa_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where it returns no number, which is said by None here
        found = float(cohen_kappa_score(list(a), list(b)))
    return None if math.isnan(found) else found


def _alpha(classes: Sequence[tuple[str, str]]) -> float | None:
    """Of pairs of classes; ``None`` where only one class occurs."""
    if len({name for pair in classes for name in pair}) < 2:
        return None
    # the package `krippendorff` is under the GPL
    from nltk.metrics.agreement import AnnotationTask

    data = [(coder, item, name) for item, pair in enumerate(classes) for coder, name in enumerate(pair)]
    return float(AnnotationTask(data).alpha())
