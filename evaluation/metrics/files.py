"""JSON, JSON lines and CSV as rows that know their place, and cells that are what they should be."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mellm.evaluation.metrics.errors import MetricsError, RowError

_TEXT_ENDINGS: Final = (".csv", ".tsv", ".txt")


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a CSV file, line of a JSON-lines file or item of a JSON list.

    :param line: counts from 1; of a CSV file the header is line 1
    :param item: what ``line`` counts: ``line`` or ``item``
    """

    file: str
    line: int
    values: Mapping[str, Any]
    item: str = "line"

    def wrong(self, message: str, remedy: str = "") -> RowError:
        """An error at this place."""
        return RowError(message, file=self.file, line=self.line, item=self.item, remedy=remedy)

    def first(self, *names: str) -> Any:
        """The value of the first of these names that is there and not empty; ``None`` if there is none."""
        for name in names:
            value = self.values.get(name)
            if value is not None and value != "":
                return value
        return None

    def has(self, *names: str) -> bool:
        """Whether one of these names is a column, empty or not."""
        return any(name in self.values for name in names)

    def text(self, *names: str) -> str:
        """A value that must be there, as text.

        :raises RowError: it is not
        """
        found = as_text(self.first(*names))
        if found is None:
            known = ", ".join(map(str, self.values)) or "nothing"
            raise self.wrong(f"no {' or '.join(map(repr, names))}; there is {known}")
        return found

    def frame(self, *names: str) -> int:
        """A frame number that must be there.

        :raises RowError: it is missing, NaN, or no whole number
        """
        return frame(self.first(*names), self, names[0])


def frame(value: Any, place: Record, name: str) -> int:
    """A whole number out of a cell. ``45.0`` and ``"45"`` are whole; ``NaN``, ``45.5`` and nothing are not.

    :raises RowError: it is none
    """
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or not number.is_integer():
        shown = "nothing" if value is None or value == "" else repr(value)
        raise place.wrong(f"{name} is {shown}, no frame number")
    return int(number)


def interval(onset: Any, offset: Any, place: Record) -> tuple[int, int]:
    """Two frame numbers in order.

    :raises RowError: one is none, or the interval ends before it begins
    """
    first, last = frame(onset, place, "onset"), frame(offset, place, "offset")
    if last < first:
        raise place.wrong(f"interval {first}–{last} ends before it begins", remedy="swap or correct its ends")
    return first, last


def as_text(value: Any) -> str | None:
    """A cell as text; ``None`` for nothing, blanks and NaN. Whole floats lose their ``.0``, as spreadsheets add it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    return text if text and text.lower() != "nan" else None


def load(path: Path) -> Any:
    """A JSON document, or a list of :class:`Record` for CSV, TSV and JSON lines.

    :raises MetricsError: the file cannot be read, or is empty
    :raises RowError: broken JSON or CSV, with its line
    """
    text = _read(path)
    if not text.strip():
        raise MetricsError(f"{path} is empty", remedy="name a file with rows; an empty JSON list is []")
    ending = path.suffix.lower()
    if ending == ".jsonl" or (ending == ".json" and _is_lines(text)):
        return [
            Record(str(path), number, _object(path, number, line))
            for number, line in enumerate(text.split("\n"), 1)
            if line.strip()
        ]
    if ending in _TEXT_ENDINGS or (ending != ".json" and text.lstrip()[0] not in "{["):
        return list(_table(path, text))
    return _parse(path, text)


def records(document: Any, path: Path, *lists: str) -> list[Record]:
    """Rows of a document: a list of objects, or one under one of the names ``lists``.

    :raises MetricsError: there are no rows in it
    :raises RowError: an item is no object
    """
    if isinstance(document, Mapping):
        found = next((document[name] for name in lists if name in document), None)
        if found is None:
            told = " or ".join(map(repr, lists))
            raise MetricsError(f"{path} has no list {told}", remedy="see docs/metrics.md for its shape")
        document = found
    if not isinstance(document, Sequence) or isinstance(document, str):
        raise MetricsError(f"{path} holds no list of rows", remedy="see docs/metrics.md for its shape")
    out = []
    for number, item in enumerate(document, 1):
        if isinstance(item, Record):
            out.append(item)
        elif isinstance(item, Mapping):
            out.append(Record(str(path), number, item, "item"))
        else:
            raise RowError(f"{item!r:.40} is not a row with names", file=str(path), line=number, item="item")
    return out


def _read(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise MetricsError(
            f"{path} cannot be read: {error.strerror or error}", remedy="name a file that is there"
        ) from error
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise RowError(
            "this is no UTF-8 text", file=str(path), line=line, remedy="save it as UTF-8"
        ) from error


def _is_lines(text: str) -> bool:
    """Several objects, one a line, under a name that ends in .json."""
    lines = [line for line in text.split("\n") if line.strip()]
    return len(lines) > 1 and all(
        line.lstrip().startswith("{") and line.rstrip().endswith("}") for line in lines
    )


def _object(path: Path, number: int, line: str) -> Mapping[str, Any]:
    found = _parse(path, line, number)
    if not isinstance(found, Mapping):
        raise RowError("this is no JSON object", file=str(path), line=number)
    return found


def _parse(path: Path, text: str, number: int = 1) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(pairs)
        if len(out) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise MetricsError(f"{path}: the name {twice!r} occurs twice in one object", remedy="rename one")
        return out

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        line = number + error.lineno - 1
        raise RowError(f"this is no JSON: {error.msg}", file=str(path), line=line) from error
    except (RecursionError, ValueError) as error:
        raise MetricsError(f"{path} is no JSON that can be read: {error}", remedy="see its shape") from error


def _table(path: Path, text: str) -> Iterator[Record]:
    head = text.split("\n", 1)[0]
    delimiter = max("\t;,", key=head.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    names: list[str] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not names:
                names = [cell.strip().lower() for cell in cells]
                _check_header(path, names)
                continue
            record = Record(
                str(path), reader.line_num, dict(zip(names, (c.strip() for c in cells), strict=False))
            )
            if len(cells) != len(names):
                raise record.wrong(f"{len(cells)} cells under {len(names)} headings")
            yield record
    except csv.Error as error:
        raise RowError(f"this is no CSV: {error}", file=str(path), line=reader.line_num) from error


def _check_header(path: Path, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RowError(f"heading {twice[0]!r} occurs twice", file=str(path), line=1)
    if all(as_text(name) is None or name.lstrip("-").replace(".", "", 1).isdecimal() for name in names):
        raise RowError("there are numbers where headings should be", file=str(path), line=1)
