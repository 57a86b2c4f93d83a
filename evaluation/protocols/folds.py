"""Folds over anything that names its subject and its data set (clips, recordings, rows).

The engine is never trained on these data. A fold matters all the same as soon as something is chosen, such as a
threshold: it is chosen on ``train`` and judged on ``test``, and the counts of all folds are pooled.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mellm.evaluation.datasets.errors import DatasetError


class Person(Protocol):
    """What a fold is told from. Subjects of two data sets are two people, whatever they are called."""

    @property
    def dataset(self) -> str: ...

    @property
    def subject(self) -> str: ...


Someone = TypeVar("Someone", bound=Person)
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Fold:
    """Places in the sequence that was split.

    :param name: what is tested
    :param train: empty where there is nothing else
    """

    name: str
    train: tuple[int, ...]
    test: tuple[int, ...]


def leave_one_out(items: Sequence[Item], group: Callable[[Item], Hashable]) -> tuple[Fold, ...]:
    """One fold for each group, in the order of their first items: it is tested, all others are trained on."""
    groups: dict[Hashable, list[int]] = {}
    for k, item in enumerate(items):
        groups.setdefault(group(item), []).append(k)
    return tuple(
        Fold(
            "/".join(map(str, key)) if isinstance(key, tuple) else str(key),
            tuple(k for k in range(len(items)) if group(items[k]) != key),
            tuple(test),
        )
        for key, test in groups.items()
    )


def leave_one_subject_out(items: Sequence[Someone]) -> tuple[Fold, ...]:
    """LOSO: each person of each data set once."""
    return leave_one_out(items, lambda item: (item.dataset, item.subject))


def leave_one_dataset_out(items: Sequence[Someone]) -> tuple[Fold, ...]:
    """LODO: each data set once.

    :raises DatasetError: there are fewer than two
    """
    folds = leave_one_out(items, lambda item: item.dataset)
    if len(folds) < 2:
        raise DatasetError(
            "leaving one data set out needs two", remedy="name another data set, or leave one subject out"
        )
    return folds


def official(items: Sequence[Item], split: Callable[[Item], str], train: str = "train") -> tuple[Fold, ...]:
    """The release's own split: one fold for each part that is not ``train``, all of them trained on that part.

    :raises DatasetError: an item belongs to no part, or there is nothing to test on
    """
    parts: dict[str, list[int]] = {}
    for k, item in enumerate(items):
        parts.setdefault(split(item), []).append(k)
    if "" in parts:
        raise DatasetError(
            f"{len(parts[''])} of {len(items)} items belong to no part of an official split",
            remedy="only DFME comes with one (train, test A, test B); leave one subject out instead",
        )
    learned = tuple(parts.pop(train, []))
    if not parts:
        raise DatasetError("an official split without a part to test on", remedy="add the test annotation")
    return tuple(Fold(name, learned, tuple(test)) for name, test in sorted(parts.items()))
