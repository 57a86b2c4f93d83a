"""Spreadsheets and CSV files as rows of cells, headings found by name."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from mellm.evaluation.datasets.errors import SheetError
from mellm.stream.errors import MissingExtra

Cell = str | int | float | bool | None | object
SUFFIXES: Final = (".xlsx", ".xlsm", ".xls", ".csv", ".tsv", ".txt")
HEADER_DEPTH: Final = 60
"""Rows from the top within which a heading is looked for."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table.

    :param name: file and sheet, for messages
    :param rows: cells as they are; ragged rows are filled with ``None``
    :param merged: 0-based (row, column) of cells that got the value of a merged range
    """

    name: str
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    merged: frozenset[tuple[int, int]] = frozenset()
    notes: tuple[str, ...] = field(default=())


def folded(text: object) -> str:
    """A heading or name without case, width, spaces and signs: ``"Onset Frame "`` → ``onsetframe``."""
    plain = unicodedata.normalize("NFKC", str(text)).casefold()
    return re.sub(r"[\W_]+", "", plain)


def read_workbook(path: Path) -> tuple[Sheet, ...]:
    """All sheets of a file that hold at least one cell.

    :raises SheetError: the file is damaged, or in no encoding that is known
    :raises MissingExtra: the library for this kind of file is not installed
    """
    suffix = path.suffix.lower()
    try:
        if suffix in (".xlsx", ".xlsm"):
            sheets = _read_xlsx(path)
        elif suffix == ".xls":
            sheets = _read_xls(path)
        else:
            sheets = [_read_csv(path)]
    except (ImportError, SheetError) as error:
        if isinstance(error, SheetError):
            raise
        raise MissingExtra(
            f"reading {path.name} needs {error.name}", remedy="pip install 'mellm-live[eval]'"
        ) from error
    except Exception as error:  # the libraries raise whatever a damaged archive makes them raise
        raise SheetError(
            f"cannot be read ({type(error).__name__}: {error})",
            sheet=path.name,
            remedy="open it in a spreadsheet program and save it again",
        ) from error
    return tuple(sheet for sheet in sheets if sheet.rows)


def _sheet(path: Path, title: str, rows: Sequence[Sequence[Cell]], **more: Any) -> Sheet:
    width = max((len(row) for row in rows), default=0)
    filled = [tuple(row) + (None,) * (width - len(row)) for row in rows]
    while filled and all(blank(cell) for cell in filled[-1]):
        filled.pop()
    return Sheet(f"{path.name}[{title}]" if title else path.name, tuple(filled), title, **more)


def _read_xlsx(path: Path) -> list[Sheet]:
    book = import_module("openpyxl").load_workbook(path, data_only=True)
    sheets = []
    for tab in book.worksheets:
        rows = [list(row) for row in tab.iter_rows(values_only=True)]
        merged: set[tuple[int, int]] = set()
        for area in tab.merged_cells.ranges:
            value = rows[area.min_row - 1][area.min_col - 1]
            for r in range(area.min_row - 1, min(area.max_row, len(rows))):
                for c in range(area.min_col - 1, area.max_col):
                    # a range over columns is a title or a heading: its words belong to the first column only
                    if rows[r][c] is None and c == area.min_col - 1:
                        rows[r][c] = value
                        merged.add((r, c))
        sheets.append(_sheet(path, tab.title, rows, merged=frozenset(merged)))
    book.close()
    return sheets


def _read_xls(path: Path) -> list[Sheet]:
    xlrd = import_module("xlrd")
    with xlrd.open_workbook(str(path), on_demand=True, logfile=io.StringIO()) as book:
        sheets = []
        for tab in book.sheets():
            rows = [[_xls_cell(xlrd, cell) for cell in tab.row(r)] for r in range(tab.nrows)]
            sheets.append(_sheet(path, tab.name, rows))
    return sheets


def _xls_cell(xlrd: Any, cell: Any) -> Cell:
    if cell.ctype == xlrd.XL_CELL_NUMBER:
        return int(cell.value) if float(cell.value).is_integer() else float(cell.value)
    if cell.ctype in (xlrd.XL_CELL_EMPTY, xlrd.XL_CELL_BLANK):
        return None
    if cell.ctype == xlrd.XL_CELL_ERROR:
        return f"#error {cell.value}"
    return f"date {cell.value}" if cell.ctype == xlrd.XL_CELL_DATE else cell.value


def _read_csv(path: Path) -> Sheet:
    text, encoding = _decode(path)
    head = "\n".join(text.splitlines()[:HEADER_DEPTH])
    delimiter = max("\t;,", key=head.count) if any(sign in head for sign in "\t;,") else ","
    rows: list[list[Cell]] = [
        [cell if cell.strip() else None for cell in row]
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    ]
    notes = () if encoding in ("utf-8-sig", "ascii") else (f"decoded as {encoding}",)
    return _sheet(path, "", rows, notes=notes)


def _decode(path: Path) -> tuple[str, str]:
    data = path.read_bytes()
    encodings = ["utf-8-sig", "gb18030", "cp1252", "latin-1"]
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings = ["utf-16"]
    elif b"\0" in data[:400]:  # plain text in UTF-16 has a zero beside nearly every letter
        encodings = ["utf-16-le" if data[1:400:2].count(0) > data[:400:2].count(0) else "utf-16-be"]
    for encoding in encodings:
        try:
            return data.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    raise SheetError(f"is in none of the encodings {', '.join(encodings)}", sheet=path.name)


def blank(cell: Cell) -> bool:
    """Whether a cell holds nothing but space."""
    return cell is None or (isinstance(cell, str) and not cell.strip())


def letter(column: int) -> str:
    """The name a spreadsheet gives to a 0-based column: 0 → A, 26 → AA."""
    name = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        name = chr(65 + rest) + name
    return name


@dataclass(frozen=True, slots=True)
class Header:
    """Where a table's headings are.

    :param row: 0-based row of the headings, -1 where there are none and the columns were told by position
    :param columns: role → 0-based column
    """

    row: int
    columns: Mapping[str, int]


def find_header(sheet: Sheet, aliases: Mapping[str, Sequence[str]], required: Sequence[str]) -> Header | None:
    """The row whose cells name all required columns; of several the one that names most.

    :param aliases: role → folded headings, best first; one that ends in ``*`` takes any heading with that beginning
    :raises SheetError: two columns claim one role with the same heading, or a required heading is missing in a row that
        is a heading otherwise
    """
    best: tuple[int, int, dict[str, int]] = (0, 0, {})
    for r, row in enumerate(sheet.rows[:HEADER_DEPTH]):
        names = [folded(cell) if isinstance(cell, str) else "" for cell in row]
        columns = _roles(sheet, r, names, aliases, required)
        if len(columns) > best[0]:
            best = (len(columns), r, columns)
    count, r, columns = best
    lacking = [role for role in required if role not in columns]
    if not lacking:
        return Header(r, columns)
    if count >= max(3, (len(required) + 1) // 2):
        role = lacking[0]
        raise SheetError(
            f"no column for the {role.replace('_', ' ')}",
            sheet=sheet.name,
            row=r + 1,
            column=aliases[role][0].rstrip("*"),
            remedy=f"headings that are understood: {', '.join(a.rstrip('*') for a in aliases[role])}",
        )
    return None


def _roles(
    sheet: Sheet, r: int, names: Sequence[str], aliases: Mapping[str, Sequence[str]], required: Sequence[str]
) -> dict[str, int]:
    found: dict[str, int] = {}
    twice: dict[str, int] = {}
    for role, spellings in aliases.items():
        for spelling in spellings:
            stem = spelling.rstrip("*")
            wild = spelling.endswith("*")
            hits = [
                c
                for c, name in enumerate(names)
                if name and (name == stem or (wild and name.startswith(stem)))
            ]
            hits = [c for c in hits if c not in found.values()]
            if hits:
                found[role] = hits[0]
                if len(hits) > 1 and not wild:
                    twice[role] = hits[1]
                break
    if twice and all(role in found for role in required):
        role, column = next(iter(twice.items()))
        raise SheetError(
            f"a second column for the {role.replace('_', ' ')}",
            sheet=sheet.name,
            row=r + 1,
            column=letter(column),
            remedy="delete or rename one of them",
        )
    return found
