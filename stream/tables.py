"""Tables as other people's programs save them: any separator, decimal commas, byte order marks, times on a clock."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mellm.stream.errors import UsageError

MAX_BYTES: Final = 64 << 20
"""Larger files are no tables that a person made."""

_CLOCK: Final = re.compile(r"(?:(\d+):)?(\d+):(\d{1,2}(?:[.,]\d+)?)")
_THOUSANDS: Final = re.compile(r"[+-]?\d{1,3}(?:[ '’]\d{3})+(?:[.,]\d+)?")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings.

    :param rows: number of the line in the file, and heading → cell, stripped
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]


def decode(data: bytes, name: str) -> str:
    """Bytes as text, whatever the byte order mark says; UTF-8 without one.

    :raises UsageError: it is neither UTF-8 nor UTF-16
    """
    utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        return data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(
            f"{name}, line {line}: not UTF-8 ({error.reason})",
            remedy="save the table as UTF-8 (Excel: CSV UTF-8)",
        ) from error


def read_text(path: Path) -> str:
    """A file that a person made, as text.

    :raises UsageError: it cannot be read, or is too large
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} is larger than {MAX_BYTES >> 20} MiB", remedy="give a table")
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror or error})", remedy="check the path"
        ) from error
    return decode(data, str(path))


def read_table(path: Path) -> Table:
    """Read a ``.csv``, ``.tsv`` or ``.txt`` table with headings.

    :raises UsageError: it cannot be read, or is no table
    """
    text = read_text(path)
    first, _, rest = text.partition("\n")
    skipped = 0
    named = re.fullmatch(
        r'"?sep=(.|\\t)"?', first.strip("\r") if first.strip() != "sep=" else "sep=\t", re.IGNORECASE
    )
    if named:  # what spreadsheets write to tell each other the separator
        mark = "\t" if named[1] in ("\\t", "\t") else named[1]
        text, skipped = rest, 1
    else:
        mark = separator(text.lstrip("\r\n").partition("\n")[0])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
    columns: tuple[str, ...] = ()
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = tuple(cell.strip() for cell in cells)
                continue
            if any(cell.strip() for cell in cells[len(columns) :]):
                raise UsageError(
                    f"{path}, line {reader.line_num + skipped} has {len(cells)} cells, "
                    f"more cells than headings ({len(columns)})",
                    remedy=f"put a cell that holds the separator {mark!r} between quotation marks",
                )
            filled = [cell.strip() for cell in cells] + [""] * (len(columns) - len(cells))
            rows.append((reader.line_num + skipped, dict(zip(columns, filled, strict=False))))
    except csv.Error as error:
        raise UsageError(f"{path} is not a table ({error})", remedy="save it as CSV") from error
    return Table(str(path), columns, tuple(rows))


def separator(line: str) -> str:
    """Tab, semicolon or comma: the first of them by number that a heading holds."""
    return max("\t;,", key=line.count) if any(mark in line for mark in "\t;,") else ","


def find(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of ``names`` among the columns, without regard to case, spaces and signs."""
    folded = {re.sub(r"[\W_]+", "", column.casefold()): column for column in reversed(columns)}
    return next(
        (folded[key] for name in names if (key := re.sub(r"[\W_]+", "", name.casefold())) in folded), None
    )


def number(text: str) -> float:
    """A number with a decimal point or comma, and with any of the marks that part thousands.

    >>> number("20,5"), number("1.234,5"), number("1,234.5"), number("1 234,5")
    (20.5, 1234.5, 1234.5, 1234.5)

    :raises ValueError: it is no finite number
    """
    plain = text.strip().replace("\u00a0", " ").replace("\u202f", " ").replace("−", "-")
    if _THOUSANDS.fullmatch(plain):
        plain = re.sub(r"[ '’]", "", plain)
    if "," in plain and "." in plain:
        thousands, decimal = (",", ".") if plain.rindex(".") > plain.rindex(",") else (".", ",")
        plain = plain.replace(thousands, "").replace(decimal, ".")
    elif plain.count(",") == 1:
        plain = plain.replace(",", ".")
    value = float(plain)
    if not abs(value) < 1e15:
        raise ValueError(f"{text!r} is not a finite number")
    return value


def milliseconds(text: str, unit_ms: float = 1000.0) -> float:
    """A time as a number of ``unit_ms``, or on a clock: ``00:05``, ``0:00:05.250``, ``1:02:03,5``.

    >>> milliseconds("20,5"), milliseconds("00:05"), milliseconds("0:00:05.250"), milliseconds("2400", 1.0)
    (20500.0, 5000.0, 5250.0, 2400.0)

    :raises ValueError: it is no time
    """
    clock = _CLOCK.fullmatch(text.strip())
    if clock is None:
        return round(number(text) * unit_ms, 6)
    hours, minutes, seconds = int(clock[1] or 0), int(clock[2]), number(clock[3])
    if seconds >= 60 or (clock[1] is not None and minutes >= 60):
        raise ValueError(f"{text!r} is not a time")
    return round(1000 * (3600 * hours + 60 * minutes + seconds), 6)


def lines(table: Table) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows with where they stand, for messages."""
    for line, row in table.rows:
        yield f"{table.name}, line {line}", row
