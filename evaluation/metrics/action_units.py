"""Action units as sets: F1 of each unit over clips, and overlap of the sets clip by clip.

Binary F1 is the mean over units of the F1 of "shown". Macro F1 is the mean over units of (F1 of "shown" + F1 of "not
shown") / 2, as in the cross-data-set benchmark of Varanka et al. (tvaranka/meb). A constant "all shown" therefore
has a macro F1 of half its binary F1. Jaccard and set F1 are means over clips; two empty sets agree (1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mellm.evaluation.metrics.counts import Counts, Plain, mean
from mellm.evaluation.metrics.errors import MetricsError


@dataclass(frozen=True, slots=True)
class UnitScore:
    """One unit over all clips."""

    shown: Counts
    hidden: Counts

    @property
    def macro_f1(self) -> float:
        """Mean of the F1 of "shown" and of "not shown"."""
        return mean((self.shown.f1, self.hidden.f1))

    def as_dict(self) -> dict[str, Any]:
        """As JSON data; ``f1`` is of "shown"."""
        return {**self.shown.as_dict(), "macro_f1": self.macro_f1}


@dataclass(frozen=True, slots=True)
class ActionUnitScore(Plain):
    """Scores of sets of action units.

    :param units: unit → score
    :param jaccard: mean over clips
    :param set_f1: mean over clips
    :param exact: share of clips whose sets are equal
    :param unparsable: predictions that could not be read; they count as the empty set
    :param foreign: predicted unit → clips, for units outside :attr:`units`: no unit's F1 sees them, the sets do
    """

    TOLD: ClassVar = (
        *("macro_f1", "binary_f1", "jaccard", "set_f1", "exact", "clips", "unparsable", "foreign", "units"),
    )
    clips: int
    units: Mapping[int, UnitScore]
    jaccard: float
    set_f1: float
    exact: float
    unparsable: int
    foreign: Mapping[int, int]

    @property
    def macro_f1(self) -> float:
        """Mean over units of the mean F1 of shown and not shown."""
        return mean([score.macro_f1 for score in self.units.values()])

    @property
    def binary_f1(self) -> float:
        """Mean over units of the F1 of shown."""
        return mean([score.shown.f1 for score in self.units.values()])


def action_unit_score(
    true: Sequence[frozenset[int]],
    predicted: Sequence[frozenset[int] | None],
    units: Iterable[int] | None = None,
) -> ActionUnitScore:
    """Score predicted sets of units against true ones, clip by clip.

    :param predicted: ``None`` where the answer could not be read: counts as the empty set
    :param units: judge these units only, in F1 and in sets; all that occur in the truth, and whole sets, by default
    :raises MetricsError: no clips, sequences of unequal length, or no unit to judge
    """
    if len(true) != len(predicted) or not true:
        raise MetricsError(
            f"{len(true)} true and {len(predicted)} predicted sets of units",
            remedy="give one prediction for each clip; null where there is none",
        )
    chosen = sorted(set(units) if units is not None else frozenset().union(*true))
    if not chosen:
        raise MetricsError("no clip shows any unit", remedy="name the units to judge")
    got = [p or frozenset() for p in predicted]
    strangers = sorted(frozenset().union(*got) - set(chosen))
    foreign = {unit: sum(unit in p for p in got) for unit in strangers}
    if units is not None:
        true = [t & set(chosen) for t in true]
        got = [p & set(chosen) for p in got]
    clips = list(zip(true, got, strict=True))
    return ActionUnitScore(
        len(clips),
        {unit: _of_unit(unit, clips) for unit in chosen},
        mean([len(t & p) / len(t | p) if t | p else 1.0 for t, p in clips]),
        mean([2 * len(t & p) / (len(t) + len(p)) if t or p else 1.0 for t, p in clips]),
        mean([float(t == p) for t, p in clips]),
        sum(p is None for p in predicted),
        foreign,
    )


def _of_unit(unit: int, clips: Sequence[tuple[frozenset[int], frozenset[int]]]) -> UnitScore:
    cells = [(unit in t, unit in p) for t, p in clips]
    tp, fp, fn = cells.count((True, True)), cells.count((False, True)), cells.count((True, False))
    return UnitScore(Counts(tp, fp, fn), Counts(cells.count((False, False)), fn, fp))
