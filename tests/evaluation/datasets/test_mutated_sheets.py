"""B5: annotation sheets as people's spreadsheet programs leave them: read right, or refused with the place."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from openpyxl import Workbook

from evaluation.datasets import SheetError, load
from evaluation.datasets.clips import Clip
from tests.evaluation.datasets import made
from tests.evaluation.datasets.made import Rows
from tests.reliability.figures import record

HEAD_ROW = 0
ONSETS = {str(row[3]) for row in made.CASME2[1:]}


@dataclass
class Draft:
    """A sheet on its way to disk.

    :ivar keeps: whether a reader could still tell what it says
    """

    rows: Rows
    merges: list[tuple[int, int, int, int]]
    suffix: str = ".xlsx"
    encoding: str = "utf-8"
    keeps: bool = True


def shuffled_columns(draft: Draft, draw: random.Random) -> None:
    order = list(range(len(draft.rows[HEAD_ROW])))
    draw.shuffle(order)
    draft.rows = [[row[c] for c in order] for row in draft.rows]


def moved_header(draft: Draft, draw: random.Random) -> None:
    above: Rows = [[f"remark {k}"] if draw.random() < 0.7 else [] for k in range(draw.randint(1, 12))]
    draft.rows = [*above, *draft.rows]


def moved_right(draft: Draft, draw: random.Random) -> None:
    by = draw.randint(1, 3)
    draft.rows = [[None] * by + list(row) if row else row for row in draft.rows]


def another_spelling(draft: Draft, draw: random.Random) -> None:
    spell = draw.choice(
        [str.upper, str.lower, lambda s: f" {s} ", lambda s: s.replace(" ", "_"), lambda s: s + ":"]
    )
    draft.rows = [
        [
            spell(cell) if isinstance(cell, str) and "remark" not in cell and head(row) else cell
            for cell in row
        ]
        for row in draft.rows
    ]


def head(row: list[object]) -> bool:
    return any(isinstance(cell, str) and cell.strip().casefold().startswith("onset") for cell in row)


def numbers_as_text(draft: Draft, draw: random.Random) -> None:
    form = draw.choice(
        [str, lambda n: f"{n}.0", lambda n: f" {n}", lambda n: chr(0xFF10 + n % 10) if n < 10 else str(n)]
    )
    draft.rows = [[form(cell) if isinstance(cell, int) else cell for cell in row] for row in draft.rows]


def numbers_as_floats(draft: Draft, draw: random.Random) -> None:
    draft.rows = [[float(cell) if isinstance(cell, int) else cell for cell in row] for row in draft.rows]


def merged_subjects(draft: Draft, draw: random.Random) -> None:
    if draft.suffix != ".xlsx":
        return
    heads = [r for r, row in enumerate(draft.rows) if head(row)]
    if not heads:
        return
    column = next(
        (
            c
            for c, cell in enumerate(draft.rows[heads[0]])
            if str(cell).strip().casefold().startswith("subject")
        ),
        None,
    )
    if column is None:
        return
    r = heads[0] + 1
    while r + 1 < len(draft.rows):
        if draft.rows[r] and draft.rows[r][column : column + 1] == draft.rows[r + 1][column : column + 1]:
            draft.merges.append((r, column, r + 1, column))
            r += 1
        r += 1


def as_text_file(draft: Draft, draw: random.Random) -> None:
    draft.suffix = ".csv"
    draft.merges.clear()
    draft.encoding = draw.choice(["utf-8", "utf-8-sig", "utf-16", "gb18030", "cp1252"])


def blank_rows(draft: Draft, draw: random.Random) -> None:
    for _ in range(draw.randint(1, 4)):
        draft.rows.insert(draw.randint(1, len(draft.rows)), [])
    draft.merges.clear()


def a_lost_heading(draft: Draft, draw: random.Random) -> None:
    for row in draft.rows:
        if head(row):
            filled = [c for c, cell in enumerate(row) if cell]
            row[draw.choice(filled)] = draw.choice([None, "Column1", "OnsetFrame"])
    draft.keeps = False


def a_broken_number(draft: Draft, draw: random.Random) -> None:
    """In the column of onsets, the fourth with the columns of this release."""
    cells = [
        (row, c)
        for row in draft.rows
        for c, cell in enumerate(row)
        if not isinstance(cell, bool) and str(cell).strip().removesuffix(".0") in ONSETS
    ]
    if cells:
        row, column = draw.choice(cells)
        row[column] = draw.choice(["4b6", "12,5", "#REF!", "1e3", True])
        draft.keeps = False


def a_lost_name(draft: Draft, draw: random.Random) -> None:
    body = [row for row in draft.rows if any(isinstance(cell, str) and cell.startswith("EP") for cell in row)]
    row = draw.choice(body)
    row[next(c for c, cell in enumerate(row) if isinstance(cell, str) and cell.startswith("EP"))] = None
    draft.keeps = False


MUTATIONS: list[Callable[[Draft, random.Random], None]] = [
    shuffled_columns,
    moved_header,
    moved_right,
    another_spelling,
    numbers_as_text,
    numbers_as_floats,
    merged_subjects,
    as_text_file,
    blank_rows,
    a_lost_heading,
    a_broken_number,
    a_lost_name,
]


def write(draft: Draft, folder: Path) -> None:
    path = folder / f"CASME2-coding{draft.suffix}"
    if draft.suffix == ".csv":
        with path.open("w", encoding=draft.encoding, newline="", errors="replace") as file:
            csv.writer(file).writerows(draft.rows)
        return
    workbook = Workbook()
    tab = workbook.active
    assert tab is not None
    for row in draft.rows:
        tab.append(row)
    for top, left, bottom, right in draft.merges:
        tab.merge_cells(start_row=top + 1, start_column=left + 1, end_row=bottom + 1, end_column=right + 1)
    workbook.save(path)


def told(clips: tuple[Clip, ...]) -> list[tuple[object, ...]]:
    return [(c.subject, c.id, c.onset, c.apex, c.offset, str(c.action_units), c.emotion) for c in clips]


def mutate(seed: int, folder: Path) -> str:
    """How one mutated sheet ends: right, typed, or (without an error) wrong."""
    draw = random.Random(seed)
    draft = Draft([list(row) for row in made.CASME2], [])
    chosen = draw.sample(MUTATIONS, draw.randint(1, 3))
    chosen.sort(key=MUTATIONS.index)
    for each in chosen:
        each(draft, draw)
    folder.mkdir()
    write(draft, folder)
    reference = folder / "reference"
    reference.mkdir()
    write(Draft([list(row) for row in made.CASME2], []), reference)
    right = told(load("casme2", reference).clips)
    (reference / "CASME2-coding.xlsx").unlink()
    names = "+".join(each.__name__ for each in chosen)
    refused: SheetError | None = None
    try:
        found = told(load("casme2", folder).clips)
    except SheetError as error:
        refused = error
    if refused is not None:
        assert refused.sheet.startswith("CASME2-coding")
        whole = "cannot be read" in str(refused) or "no clip" in str(refused)
        assert refused.row or refused.column or whole, f"seed {seed}: {names}: {refused}"
        return "kept, refused" if draft.keeps else "spoilt, refused"
    if found == right:
        return "kept, right" if draft.keeps else "spoilt, right all the same"
    assert not draft.keeps, f"seed {seed}: {names}: read wrong without a word: {found}"
    return "spoilt, read otherwise"


def _many(folder: Path, seeds: range, tier: str) -> None:
    ends: dict[str, int] = {}
    for seed in seeds:
        end = mutate(seed, folder / str(seed))
        ends[end] = ends.get(end, 0) + 1
    kept = ends.get("kept, right", 0) + ends.get("kept, refused", 0)
    share = ends.get("kept, right", 0) / kept
    record("B5", tier, sheets=len(seeds), ends=dict(sorted(ends.items())), right_of_kept=round(share, 3))
    assert share >= 0.6


def test_b5_mutated_sheets(tmp_path: Path) -> None:
    _many(tmp_path, range(60), "C")


@pytest.mark.slow
def test_b5_five_hundred_mutated_sheets(tmp_path: Path) -> None:
    _many(tmp_path, range(1000, 1500), "N")
