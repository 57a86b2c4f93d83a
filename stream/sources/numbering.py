"""What the names of a folder's pictures say: which series they belong to, and the number of each."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from mellm.stream.errors import UsageError

_DIGITS = re.compile(r"(\d+)")
_MAIN_SHARE = 0.9


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key by which ``img2`` comes before ``img10``."""
    parts = _DIGITS.split(name.lower())
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts if p)


@dataclass(frozen=True, slots=True)
class Series:
    """Pictures in order.

    :param numbers: of each, as its name says, or its place where names hold no number
    :param numbered: whether the names do
    :param remarks: what was found out about the names and should be told
    """

    files: tuple[Path, ...]
    numbers: tuple[int, ...]
    numbered: bool
    remarks: tuple[str, ...] = ()


def series_of(folder: str, files: Sequence[Path]) -> Series:
    """Order the pictures of a folder.

    The names of a series are alike but for one number, which is the picture's; where several numbers change, it is the
    last of them if the others are constant for it, else the names say an order only.

    :param files: pictures, at least one
    :raises UsageError: the folder holds several series, or two pictures of one number
    """
    groups: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    for file in files:
        groups[tuple(part.lower() for part in _DIGITS.split(file.stem)[::2])].append(file)
    key, main = max(groups.items(), key=lambda item: (len(item[1]), item[0]))
    strays = [file for other, members in groups.items() if other != key for file in members]
    if strays and (len(main) < _MAIN_SHARE * len(files) or len(key) < 2):
        if any(len(other) > 1 for other in groups):
            raise UsageError(
                f"{folder}: pictures of {len(groups)} series ({_examples(groups)})",
                remedy="give each series its own folder",
            )
        main, strays = list(files), []  # names without numbers
    ordered = sorted(main, key=lambda file: natural_key(file.name))
    remarks = [f"not read, since their names do not fit the others: {_names(strays)}"] if strays else []
    fields = [[int(n) for n in _DIGITS.findall(file.stem)] for file in ordered]
    changing = [i for i in range(len(fields[0])) if len({f[i] for f in fields}) > 1]
    if len(ordered) == 1 or len(changing) != 1:
        if len(ordered) > 1:
            why = "hold no number" if not changing else f"hold {len(changing)} numbers that change"
            remarks.append(f"file names {why}: pictures are taken as consecutive")
        return Series(tuple(ordered), tuple(range(len(ordered))), False, tuple(remarks))
    numbered = sorted(zip((f[changing[0]] for f in fields), ordered, strict=True), key=lambda pair: pair[0])
    numbers = [n for n, _ in numbered]
    twice = next((i for i in range(1, len(numbers)) if numbers[i] == numbers[i - 1]), None)
    if twice is not None:
        raise UsageError(
            f"{folder}: {numbered[twice - 1][1].name} and {numbered[twice][1].name} have the same number",
            remedy="keep one of them",
        )
    steps = {b - a for a, b in pairwise(numbers)}
    if min(steps) > 1:
        remarks.append(
            f"numbers go in steps of at least {min(steps)}: the number is the time, so pictures are as far apart as "
            f"{min(steps)} frames at --fps"
        )
    return Series(tuple(f for _, f in numbered), tuple(numbers), True, tuple(remarks))


def _examples(groups: dict[tuple[str, ...], list[Path]]) -> str:
    return ", ".join(members[0].name for members in list(groups.values())[:4])


def _names(files: Sequence[Path]) -> str:
    return ", ".join(f.name for f in files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
