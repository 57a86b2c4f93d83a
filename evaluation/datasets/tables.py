"""Finds the annotation files of a release, the sheet that holds the clips, and its columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mellm.evaluation.datasets.errors import DatasetError, SheetError
from mellm.evaluation.datasets.folders import Tree
from mellm.evaluation.datasets.rows import Repair
from mellm.evaluation.datasets.sheets import SUFFIXES, Header, Sheet, blank, find_header
from mellm.evaluation.datasets.specs import Spec


def annotation(spec: Spec, tree: Tree, repairs: list[Repair]) -> list[Path]:
    """The first file that fits a pattern, or one for each pattern."""
    here = tree.files(SUFFIXES)
    chosen: list[Path] = []
    for pattern in spec.files:
        fitting = [p for p in here if re.search(pattern, p.name, re.IGNORECASE) and p not in chosen]
        # a spreadsheet is closer to the release than a text file somebody made of it
        fitting.sort(key=lambda p: (p.suffix.lower() not in (".xlsx", ".xls", ".csv"), len(p.parts)))
        if fitting:
            chosen.append(fitting[0])
            repairs += [
                Repair("annotation-choice", p.name, was=str(p.relative_to(tree.root)), became=fitting[0].name)
                for p in fitting[1:]
            ]
            if not spec.every:
                break
    if not chosen:
        raise DatasetError(
            f"no annotation file of {spec.title} below {tree.root} (name patterns: {', '.join(spec.files)})",
            remedy="put the spreadsheet of the release into that folder",
        )
    return chosen


def table(spec: Spec, source: Path, book: tuple[Sheet, ...], repairs: list[Repair]) -> tuple[Sheet, Header]:
    """The sheet with the clips and where its columns are."""
    if not book:
        raise SheetError("holds no cell", sheet=source.name)
    order = sorted(book, key=lambda s: not (spec.sheets and re.search(spec.sheets, s.title, re.IGNORECASE)))
    error: SheetError | None = None
    for sheet in order:
        try:
            header = find_header(sheet, spec.aliases, spec.required) or _by_position(spec, sheet)
        except SheetError as problem:
            error = error or problem
            continue
        if header is None:
            continue
        repairs += [Repair("encoding", sheet.name, was=note) for note in sheet.notes]
        if header.row < 0:
            repairs.append(Repair("no-heading", sheet.name))
        repairs += _absent(spec, sheet, header)
        return sheet, header
    raise error or SheetError(
        "neither headings nor columns in the usual order",
        sheet=book[0].name,
        row=1,
        column=spec.aliases[spec.required[0]][0],
        remedy=f"headings that are needed: {', '.join(spec.required)}",
    )


def _absent(spec: Spec, sheet: Sheet, header: Header) -> Iterator[Repair]:
    """Columns that this release may have and this sheet has not; half of a pair is no sheet to be read."""
    for role, names in spec.aliases.items():
        if role in header.columns:
            continue
        twin = re.sub("^(on|off)set", lambda m: {"on": "offset", "off": "onset"}[m[1]], role)
        if twin != role and twin in header.columns and role[-1].isdigit():
            raise SheetError(
                f"no column {role} beside {twin}", sheet=sheet.name, row=header.row + 1, column=names[0]
            )
        if not role[-1].isdigit() and role not in ("part", "fps"):  # of these every row tells
            yield Repair("column-absent", sheet.name, header.row + 1, names[0])


def _by_position(spec: Spec, sheet: Sheet) -> Header | None:
    """Columns by their place, believed where at least half of the rows that hold numbers have the right shape.

    Places count from the first column in which such a row holds anything.
    """
    filled = [row for row in sheet.rows if sum(not blank(cell) for cell in row) > len(spec.required) // 2]
    if not spec.positions or not filled:
        return None
    first = min(c for row in filled for c, cell in enumerate(row) if not blank(cell))
    width = len(sheet.rows[0])
    columns = {role: first + c for role, c in spec.positions.items() if first + c < width}
    if any(role not in columns for role in spec.required):
        return None
    shaped = [
        row
        for row in filled
        if all(
            re.search(s, str(row[columns[role]] or "").strip(), re.IGNORECASE)
            for role, s in spec.shapes.items()
        )
    ]
    return Header(-1, columns) if shaped and 2 * len(shaped) >= len(filled) else None


def codes(book: tuple[Sheet, ...]) -> dict[str, str]:
    """Pairs of the small sheets of CAS(ME)^2, both ways: word of a video → its code, number → subject."""
    codes: dict[str, str] = {}
    for sheet in book[1:]:
        for row in sheet.rows:
            texts = [str(cell).strip() for cell in row if not blank(cell)]
            if len(texts) >= 2 and re.fullmatch(r"\d{3,4}", texts[-2]):
                codes[texts[-1].casefold()] = texts[-2].zfill(4)
            elif len(texts) >= 2 and re.fullmatch(r"s\d+", texts[-2], re.IGNORECASE):
                codes[f"subject {int(float(texts[-1]))}"] = texts[-2]
    return codes


def flag_columns(sheet: Sheet, header: Header) -> dict[int, int]:
    """Unit → column, for releases with a column for each action unit."""
    if header.row < 0:
        return {}
    matches = (
        (c, re.fullmatch(r"\s*AU\s*(\d+)\s*", str(cell), re.IGNORECASE))
        for c, cell in enumerate(sheet.rows[header.row])
    )
    return {int(match[1]): c for c, match in matches if match}
