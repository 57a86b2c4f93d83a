"""Recognition scores: UF1 and UAR over the classes of the truth, pooled over folds.

"MEGC2019 Recognition Challenge" obtains TP, FP and FN of each class over all k folds of leave-one-subject-out first,
then F1_c = 2·TP_c / (2·TP_c + FP_c + FN_c), UF1 = mean of F1_c, UAR = mean of TP_c / n_c.
Classes are those that occur in the truth. An answer that is no such class, or could not be read, is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mellm.evaluation.metrics.counts import Counts, mean
from mellm.evaluation.metrics.errors import MetricsError

OTHER: Final = "(no class)"
"""Column of the confusion for answers that are none of the classes."""


@dataclass(frozen=True, slots=True)
class RecognitionScore:
    """Scores over the classes of the truth.

    :param confusion: true class → answered class → rows; the columns are the classes and :data:`OTHER`
    :param unparsable: answers that could not be read (``None``)
    :param foreign: answers that name a class which no truth has, with their number
    :param folds: UF1 and UAR within each fold, where folds were given; they are not what MEGC asks for
    """

    classes: tuple[str, ...]
    per_class: Mapping[str, Counts]
    confusion: Mapping[str, Mapping[str, int]]
    unparsable: int = 0
    foreign: Mapping[str, int] = field(default_factory=dict)
    folds: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many rows were scored."""
        return sum(sum(row.values()) for row in self.confusion.values())

    @property
    def uf1(self) -> float:
        """Unweighted mean of the F1 of each class."""
        return mean([c.f1 for c in self.per_class.values()])

    @property
    def uar(self) -> float:
        """Unweighted mean of the recall of each class."""
        return mean([c.recall for c in self.per_class.values()])

    @property
    def precision(self) -> float:
        """Unweighted mean of the precision of each class."""
        return mean([c.precision for c in self.per_class.values()])

    @property
    def accuracy(self) -> float:
        """Share of rows that are right."""
        return sum(c.tp for c in self.per_class.values()) / self.rows if self.rows else 0.0

    def as_dict(self) -> dict[str, Any]:
        """As JSON data."""
        out: dict[str, Any] = {
            "uf1": self.uf1,
            "uar": self.uar,
            "accuracy": self.accuracy,
            "rows": self.rows,
            "unparsable": self.unparsable,
            "foreign": dict(self.foreign),
            "classes": list(self.classes),
            "per_class": {
                name: {**score.as_dict(), "support": score.tp + score.fn}
                for name, score in self.per_class.items()
            },
            "confusion": {name: dict(row) for name, row in self.confusion.items()},
        }
        if self.folds:
            out["folds"] = {name: {"uf1": uf1, "uar": uar} for name, (uf1, uar) in self.folds.items()}
        return out


def recognition_score(
    true: Sequence[str], predicted: Sequence[str | None], folds: Sequence[object] | None = None
) -> RecognitionScore:
    """Score answers against labels, row by row.

    :param predicted: ``None`` where the answer could not be read: counted wrong
    :param folds: fold of each row. Scores are pooled over folds either way, as MEGC asks; with folds, those within
        each are told as well
    :raises MetricsError: no rows, or sequences of unequal length
    """
    if len(true) != len(predicted) or (folds is not None and len(folds) != len(true)):
        sizes = f"{len(true)} labels, {len(predicted)} answers" + (f", {len(folds)} folds" if folds else "")
        raise MetricsError(sizes, remedy="give one answer for each label; null where there is none")
    if not true:
        raise MetricsError("there are no labels to score", remedy="give at least one row")
    classes = tuple(sorted(set(true)))
    columns = (*classes, OTHER)
    confusion = {name: dict.fromkeys(columns, 0) for name in classes}
    for t, p in zip(true, predicted, strict=True):
        confusion[t][p if p in confusion else OTHER] += 1
    foreign = Counter(p for p in predicted if p is not None and p not in confusion)
    return RecognitionScore(
        classes,
        {name: _of_class(name, confusion) for name in classes},
        confusion,
        unparsable=sum(p is None for p in predicted),
        foreign=dict(sorted(foreign.items())),
        folds=_folds(true, predicted, folds) if folds is not None else {},
    )


def _of_class(name: str, confusion: Mapping[str, Mapping[str, int]]) -> Counts:
    tp = confusion[name][name]
    answered = sum(row[name] for row in confusion.values())
    return Counts(tp, answered - tp, sum(confusion[name].values()) - tp)


def _folds(
    true: Sequence[str], predicted: Sequence[str | None], folds: Sequence[object]
) -> dict[str, tuple[float, float]]:
    rows: dict[str, tuple[list[str], list[str | None]]] = {}
    for t, p, fold in zip(true, predicted, folds, strict=True):
        ts, ps = rows.setdefault(str(fold), ([], []))
        ts.append(t)
        ps.append(p)
    scores = {name: recognition_score(ts, ps) for name, (ts, ps) in rows.items()}
    return {name: (score.uf1, score.uar) for name, score in scores.items()}
