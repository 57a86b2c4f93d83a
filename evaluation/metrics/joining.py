"""Bringing the rows of a prediction to those of the truth, and telling what had no partner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Final

from mellm.evaluation.metrics.errors import MetricsError
from mellm.evaluation.metrics.files import Record, as_text

KEYS: Final = ("dataset", "subject", "video", "filename", "image_id", "clip", "id", "question")
"""Columns that tell rows apart, as far as both sides have them."""
SUBJECT: Final = ("subject", "sub", "subject_id")
VIDEO: Final = ("video", "vid", "video_id", "filename")
SHOWN: Final = 3


def join(
    predicted: Sequence[Record], true: Sequence[Record]
) -> tuple[list[tuple[Record, Record | None]], list[str]]:
    """(Truth, prediction or ``None``) for each true row, in its order, and notes on rows without a partner.

    :raises MetricsError: no true rows, or no column that both sides have to tell rows apart
    :raises RowError: two rows of one side are the same
    """
    if not true:
        raise MetricsError("the truth has no rows", remedy="give at least one")
    both = [*predicted, *true]
    keys = [key for key in KEYS if all(as_text(record.values.get(key)) for record in both)]
    if not keys:
        raise MetricsError(
            f"the rows of {true[0].file} have no name that those of the prediction share",
            remedy=f"give both sides one of the columns {', '.join(KEYS)}",
        )
    wanted, given = _by_key(true, keys), _by_key(predicted, keys)
    notes = []
    if without := [key for key in wanted if key not in given]:
        notes.append(f"{len(without)} true rows without a prediction, counted wrong: {listed(without)}")
    if strangers := [key for key in given if key not in wanted]:
        notes.append(f"{len(strangers)} predictions without a true row, ignored: {listed(strangers)}")
    return [(record, given.get(key)) for key, record in wanted.items()], notes


def _by_key(rows: Sequence[Record], keys: Sequence[str]) -> dict[tuple[str, ...], Record]:
    out: dict[tuple[str, ...], Record] = {}
    for record in rows:
        key = tuple(as_text(record.values[name]) or "" for name in keys)
        if key in out:
            raise record.wrong(
                f"{' '.join(key)!r} occurs twice, first in {record.item} {out[key].line}",
                remedy=f"rows are told apart by {', '.join(keys)}: remove one",
            )
        out[key] = record
    return out


def listed(names: Sequence[object]) -> str:
    """The first few of many names."""
    told = [" ".join(map(str, n)).strip() if isinstance(n, tuple) else str(n) for n in names[:SHOWN]]
    return ", ".join(told) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def repeated(rows: Sequence[Hashable], what: str) -> list[str]:
    """A note on rows that occur more than once; each of them counts."""
    twice = [row for row, count in Counter(rows).items() if count > 1]
    extra = sum(count - 1 for count in Counter(rows).values())
    return [f"{extra} {what} repeat another one, each counted: {listed(twice)}"] if twice else []
