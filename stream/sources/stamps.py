"""``--stamps``: a table that says when each picture of a folder or raw stream was taken."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mellm.stream.errors import UsageError
from mellm.stream.tables import find, lines, milliseconds, read_table

FRAME: Final = ("frame", "frame number", "number", "index", "file", "filename", "image", "picture")
TIMES: Final[tuple[tuple[tuple[str, ...], float], ...]] = (
    (("time_ms", "timestamp_ms", "ms", "t_ms", "milliseconds"), 1.0),
    (("time_s", "timestamp_s", "seconds", "t_s", "s"), 1000.0),
    (("time_us", "timestamp_us", "microseconds"), 1e-3),
    (("time_ns", "timestamp_ns", "nanoseconds"), 1e-6),
    (("time", "timestamp"), 1000.0),
)
"""Headings of the time, with milliseconds per unit."""


@dataclass(frozen=True, slots=True)
class StampTable:
    """Times by what the table calls ``frame``, nanoseconds.

    :param by_number: where ``frame`` is a number
    :param by_name: where it is the name of a file
    """

    path: str
    by_number: dict[int, int]
    by_name: dict[str, int]

    @property
    def first(self) -> int:
        """The lowest number: that of a stream's first picture."""
        return min(self.by_number, default=0)


def read_stamps(path: str) -> StampTable:
    """Read the table; its columns are ``frame`` (number in the file's name, place in a stream, or a file's name) and
    ``time_ms`` or ``time_s``.

    :raises UsageError: it cannot be read, a cell is no time, or times do not rise with the numbers
    """
    table = read_table(Path(path))
    frame = find(table.columns, FRAME)
    when = next(((c, unit) for names, unit in TIMES if (c := find(table.columns, names))), None)
    if frame is None or when is None:
        raise UsageError(
            f"{path} has no column {'frame' if frame is None else 'time_ms'}",
            remedy=f"its columns: {', '.join(table.columns) or 'none'}; needed: frame and time_ms (or time_s)",
        )
    numbers: dict[int, int] = {}
    names: dict[str, int] = {}
    for where, row in lines(table):
        name = row[frame]
        try:
            at = round(1e6 * milliseconds(row[when[0]], when[1]))
        except ValueError:
            raise UsageError(
                f"{where}: {row[when[0]]!r} is not a valid time", remedy="write milliseconds, such as 2400"
            ) from None
        into: dict[int, int] | dict[str, int] = numbers if name.isdecimal() else names
        key = int(name) if name.isdecimal() else name
        if key in into:
            raise UsageError(f"{where}: frame {name!r} is there twice", remedy="keep one line for each frame")
        into[key] = at  # type: ignore[index]
    if not numbers and not names:
        raise UsageError(f"{path} holds no times", remedy="give one line for each frame")
    ordered = [numbers[key] for key in sorted(numbers)]
    late = next((i for i in range(1, len(ordered)) if ordered[i] <= ordered[i - 1]), None)
    if late is not None:
        raise UsageError(
            f"{path}: frame {sorted(numbers)[late]} is not later than the one before it",
            remedy="times must rise with the frame numbers",
        )
    return StampTable(path, numbers, names)
