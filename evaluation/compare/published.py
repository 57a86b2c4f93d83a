"""Scores that others published, for rows that are printed beside those of a run and say that they were not run.

MME only: the four domains of the survey were judged by eye, so that it has no numbers for their sub-tasks. Source:
Fu et al., "A Challenger to GPT-4V? Early Explorations of Gemini in Visual Expertise" (arXiv 2312.12436), table 1, with
the two decimals of the MME leaderboard.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from mellm.evaluation.compare.types import Cell, Published, Row
from mellm.evaluation.metrics.mme import COGNITION, PERCEPTION, TASKS

SOURCE: Final = "arXiv 2312.12436, table 1; decimals from the MME leaderboard"
SUMS: Final[Mapping[str, tuple[str, ...]]] = {
    "perception": PERCEPTION,
    "cognition": COGNITION,
    "total": TASKS,
}
"""Sums of MME → what they add up, on scales to 2000, 800 and 2800."""

_SCORES: Final[Mapping[str, tuple[float, ...]]] = {
    # in the order of TASKS, each on a scale to 200
    "Gemini Pro": (
        *(175.0, 131.67, 90.0, 163.33, 164.97, 147.35, 144.75, 158.75, 135.75, 185.0),
        *(129.29, 77.5, 145.0, 85.0),
    ),
    "GPT-4V": (
        *(190.0, 160.0, 95.0, 150.0, 192.18, 0.0, 151.0, 138.25, 148.0, 185.0),
        *(142.14, 130.0, 75.0, 170.0),
    ),
    "Sphinx": (
        *(195.0, 160.0, 153.33, 160.0, 164.29, 177.94, 160.0, 168.09, 134.0, 87.5),
        *(130.0, 55.0, 75.0, 50.0),
    ),
}
MODELS: Final = tuple(_SCORES)
_NOTES: Final = {"GPT-4V": "it refuses to say who a person is: 0 in celebrity"}


def mme(model: str) -> Mapping[str, float] | None:
    """Published scores of a model on MME: sub-task or sum → score. ``None``: not in the list.

    :param model: one of :data:`MODELS`; case, blanks and hyphens do not matter
    """
    scores = next((s for name, s in _SCORES.items() if _plain(name) == _plain(model)), None)
    return None if scores is None else with_sums(dict(zip(TASKS, scores, strict=True)))


def with_sums(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores of MME with the sums that can be made of them; sums that are given stay as they are."""
    sums = {
        name: round(sum(scores[part] for part in parts), 2)
        for name, parts in SUMS.items()
        if all(part in scores for part in parts)
    }
    return {**scores, **sums, **{name: scores[name] for name in SUMS if name in scores}}


def defaults() -> tuple[Published, ...]:
    """What stands beside a run of MME where the file names no published row."""
    return tuple(Published(name, name, source=SOURCE) for name in MODELS)


def mme_rows(published: Iterable[Published], columns: Sequence[str]) -> tuple[Row, ...]:
    """Rows of a table of MME.

    :param published: those of the task; a model without scores that the list does not know is left out
    :param columns: sub-tasks and sums; a dash where nothing was published
    """
    rows = []
    for given in published:
        known = mme(given.model or given.name) if not given.scores else with_sums(given.scores)
        if known is not None:
            rows.append(_row(given, known, columns, "" if given.scores else SOURCE))
    return tuple(rows)


def rows(published: Iterable[Published], columns: Sequence[str]) -> tuple[Row, ...]:
    """Rows of any other table: only where the file gives scores for one of its columns."""
    return tuple(
        _row(given, given.scores, columns, "")
        for given in published
        if any(column in given.scores for column in columns)
    )


def _row(given: Published, scores: Mapping[str, float], columns: Sequence[str], source: str) -> Row:
    cells: tuple[Cell, ...] = tuple(scores.get(column) for column in columns)
    known = next(
        (n for n in MODELS if not given.scores and _plain(n) == _plain(given.model or given.name)), ""
    )
    note = "; ".join(part for part in (given.source or source, _NOTES.get(known, "")) if part)
    return Row(given.name, cells, published=True, note=f"published, not run: {note}")


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()
