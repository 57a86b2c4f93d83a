"""Annotation sheets as people's spreadsheet programs leave them."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from openpyxl import Workbook

from tests.evaluation.datasets import made
from tests.evaluation.datasets.made import Rows


@dataclass(frozen=True)
class Release:
    """The rows of a small release and how its file is called.

    :param headed: whether columns are told by headings; without them an order that changes is a loss
    """

    name: str
    file: str
    rows: Rows
    headed: bool = True


_HEAD: list[object] = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Emotion"]
RELEASES = [
    Release("casme2", "CASME2-coding", made.CASME2),
    Release("samm", "SAMM_Micro_FACS_Codes_v2", made.SAMM),
    Release(
        "smic-hs",
        "SMIC-HS-E_annotation",
        [
            ["Subject", "Filename", "OnsetF", "OffsetF", "Onset2F", "Offset2F", "Emotion", "FirstF", "LastF"],
            [1, "s01_ne_01", 110, 140, None, None, "negative", 100, 150],
            [1, "s01_po_03", 205, 220, 230, 240, "positive", 200, 250],
            [2, "s02_sur_01", 301, 330, None, None, "surprise", 290, 340],
        ],
    ),
    Release(
        "cas(me)^3-a",
        "cas(me)3_part_A_ME_label_JpgIndex_v2",
        [
            [*_HEAD[:6], "Expression type", "Objective class", "emotion"],
            ["spNO.1", "a", 116, 120, 125, "4", "Micro-expression", "IV", "disgust"],
            ["spNO.1", "b", 40, 45, 70, "R12+4", "Macro-expression", "I", "happy"],
            ["spNO.10", "J", 16, 20, 0, "1，2", "Micro-expression", "II", "Others"],
        ],
    ),
    Release(
        "cas(me)^3-c",
        "CAS(ME)3_part_C_ME",
        [
            ["sub", "count", "onset", "offset", "au", "emotion"],
            [7, 1, 200, 210, "14", "others"],
            [7, 2, 300, 311, "4,7", "negative"],
            [12, 1, 44, 55, "12", "positive"],
        ],
    ),
    Release(
        "mmew",
        "MMEW_Micro_Exp",
        [
            [
                "Subject",
                "Filename",
                "OnsetFrame",
                "ApexFrame",
                "OffsetFrame",
                "Action Units",
                "Estimated Emotion",
            ],
            ["S01", "S01-01-001", 11, 18, 25, "4", "disgust"],
            ["S01", "S01-01-002", 35, 39, 50, "1+2", "surprise"],
            ["S03", "S03-02-001", 61, 70, 77, "L14", "happiness"],
        ],
    ),
    Release(
        "dfme",
        "training_full_with_AU",
        [
            ["Subject", "Filename", "Part", *_HEAD[2:]],
            ["sub0001", "sub0001_01", "A", 10, 40, 90, "12", "happiness"],
            ["sub0001", "sub0001_02", "A", 15, 44, 95, "4+7", "anger"],
            ["sub0103", "sub0103_01", "C", 3, 30, 61, "1+2", "surprise"],
        ],
    ),
    Release(
        "4dme",
        "4DME_Labelling_Micro_release v1",
        [
            ["sub_ID", "fold_name", "Emotion", "Onset", "Apex", "Offset", "AUs", "AU4", "AU12"],
            [3, "03_m_1", "Negative", 13, 15, 19, "4", 1, 0],
            [3, "03_m_2", "Positive, Surprise", 32, 35, 39, "12", 0, 1],
            [5, "05_m_1", "Repression", 21, 27, 29, "4+12", 1, 1],
        ],
    ),
    Release(
        "samm-lv",
        "SAMM_LongVideos_V3_Release",
        [
            ["SAMM Long Videos"],
            [6, "006_1_2", 1, 562, 588, 632, 71, "Micro - 1/2", "4+7", None],
            [6, "006_1_8", 1, 700, 760, 1000, 301, "Macro", "12", None],
            [7, "007_3_1", 3, 50, -1, 90, 41, "Micro - 1/2", "2", None],
        ],
        headed=False,
    ),
    Release(
        "cas(me)^2",
        "CAS(ME)^2code_final(Updated)",
        [
            [1, "anger1_1", 557, 572, 608, "4+7", "negative", "macro-expression", "anger"],
            [1, "happy2_2", 20, 22, 27, "12", "positive", "micro-expression", "happyiness"],
            [2, "happy2_1", 1, 3, 0, "6+12", "positive", "macro-expression", "happiness"],
        ],
        headed=False,
    ),
]


@dataclass
class Draft:
    """A sheet on its way to disk.

    :ivar keeps: whether a reader could still tell what it says
    """

    release: Release
    rows: Rows
    merges: list[tuple[int, int, int, int]] = field(default_factory=list)
    suffix: str = ".xlsx"
    encoding: str = "utf-8"
    delimiter: str = ","
    keeps: bool = True

    @classmethod
    def of(cls, release: Release) -> Draft:
        return cls(release, [list(row) for row in release.rows])

    def head(self) -> list[object] | None:
        return next((row for row in self.rows if is_head(row)), None)

    def body(self) -> Rows:
        """The rows that hold a clip."""
        return [row for row in self.rows if sum(cell is not None for cell in row) > 4 and not is_head(row)]

    def column(self, *beginnings: str) -> int | None:
        """The place of a heading with one of the beginnings."""
        named = [(c, str(cell).strip().casefold()) for c, cell in enumerate(self.head() or [])]
        return next((c for begin in beginnings for c, name in named if name.startswith(begin)), None)


def is_head(row: list[object]) -> bool:
    words = [str(cell).strip().casefold() for cell in row if isinstance(cell, str)]
    return any(word.startswith("onset") for word in words) or any(word.startswith("offset") for word in words)


def shuffled_columns(draft: Draft, draw: random.Random) -> None:
    width = max(len(row) for row in draft.rows)
    order = list(range(width))
    draw.shuffle(order)
    wide = [[*row, *[None] * (width - len(row))] for row in draft.rows]
    draft.rows = [[row[c] for c in order] for row in wide]
    draft.keeps &= draft.release.headed


def moved_header(draft: Draft, draw: random.Random) -> None:
    above: Rows = [[f"remark {k}"] if draw.random() < 0.7 else [] for k in range(draw.randint(1, 12))]
    draft.rows = [*above, *draft.rows]


def moved_right(draft: Draft, draw: random.Random) -> None:
    by = draw.randint(1, 3)
    draft.rows = [[None] * by + list(row) if row else row for row in draft.rows]


def a_further_column(draft: Draft, draw: random.Random) -> None:
    # without headings, nobody can see a column that was put behind the last one that has a shape of its own
    last = min(len(row) for row in draft.body()) if draft.release.headed else 7
    at = draw.randint(0, last)
    for row in draft.rows:
        if is_head(row):
            row.insert(at, draw.choice(["remarks", "Duration", "checked by", None]))
        elif row in draft.body():
            row.insert(at, draw.choice(["ok", None, 31, "see video"]))
    draft.keeps &= draft.release.headed


def another_spelling(draft: Draft, draw: random.Random) -> None:
    spell = draw.choice(
        [str.upper, str.lower, lambda s: f" {s} ", lambda s: s.replace(" ", "_"), lambda s: s + ":"]
    )
    for row in filter(is_head, draft.rows):
        row[:] = [spell(cell) if isinstance(cell, str) else cell for cell in row]


def numbers_as_text(draft: Draft, draw: random.Random) -> None:
    wide = str.maketrans({str(k): chr(0xFF10 + k) for k in range(10)})
    form = draw.choice([str, lambda n: f"{n}.0", lambda n: f" {n}", lambda n: str(n).translate(wide)])
    draft.rows = [[form(cell) if isinstance(cell, int) else cell for cell in row] for row in draft.rows]


def numbers_as_floats(draft: Draft, draw: random.Random) -> None:
    draft.rows = [[float(cell) if isinstance(cell, int) else cell for cell in row] for row in draft.rows]


def merged_subjects(draft: Draft, draw: random.Random) -> None:
    column = draft.column("sub") if draft.release.headed else None
    if draft.suffix != ".xlsx" or column is None:
        return
    for r, (upper, lower) in enumerate(zip(draft.rows, draft.rows[1:], strict=False)):
        both = upper in draft.body() and lower in draft.body() and upper[column] == lower[column]
        if both and not (draft.merges and draft.merges[-1][2] == r):
            draft.merges.append((r, column, r + 1, column))


def merged_title(draft: Draft, draw: random.Random) -> None:
    draft.rows = [["remark: annotation"], *draft.rows]
    draft.merges = [(a + 1, b, c + 1, d) for a, b, c, d in draft.merges]
    if draft.suffix == ".xlsx":
        draft.merges.append((0, 0, 0, max(len(row) for row in draft.rows) - 1))


def as_text_file(draft: Draft, draw: random.Random) -> None:
    draft.suffix = ".csv"
    draft.merges.clear()
    draft.delimiter = draw.choice(",;\t")
    text = str(draft.rows)
    can = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030"]
    draft.encoding = draw.choice([*can, "cp1252"] if text.isascii() else can)


def blank_rows(draft: Draft, draw: random.Random) -> None:
    for _ in range(draw.randint(1, 4)):
        draft.rows.insert(draw.randint(1, len(draft.rows)), [])
    draft.merges.clear()


def a_footer(draft: Draft, draw: random.Random) -> None:
    draft.rows += [[], [draw.choice(["Labels count from 1.", "* by two coders", "Total", "see paper"])]]


def a_lost_heading(draft: Draft, draw: random.Random) -> None:
    if row := draft.head():
        filled = [c for c, cell in enumerate(row) if cell]
        row[draw.choice(filled)] = draw.choice([None, "Column1", "OnsetFrame"])
        draft.keeps = False


def a_broken_number(draft: Draft, draw: random.Random) -> None:
    column = draft.column("onset")
    if column is not None:
        draw.choice(draft.body())[column] = draw.choice(["4b6", "12,5", "#REF!", "1e3", "46²", True, 7.5])
        draft.keeps = False


def a_lost_name(draft: Draft, draw: random.Random) -> None:
    column = draft.column("filename", "fold", "count")
    if column is not None:
        draw.choice(draft.body())[column] = None
        draft.keeps = False


MUTATIONS: list[Callable[[Draft, random.Random], None]] = [
    shuffled_columns,
    a_further_column,
    moved_header,
    moved_right,
    another_spelling,
    numbers_as_floats,
    numbers_as_text,
    merged_subjects,
    merged_title,
    as_text_file,
    a_footer,
    blank_rows,
    a_lost_heading,
    a_broken_number,
    a_lost_name,
]
"""In the order in which they are applied."""


def write(draft: Draft, folder: Path) -> None:
    folder.mkdir(parents=True)
    path = folder / f"{draft.release.file}{draft.suffix}"
    if draft.suffix == ".csv":
        with path.open("w", encoding=draft.encoding, newline="") as file:
            csv.writer(file, delimiter=draft.delimiter).writerows(draft.rows)
        return
    workbook = Workbook()
    tab = workbook.active
    assert tab is not None
    for row in draft.rows:
        tab.append(row)
    for top, left, bottom, right in draft.merges:
        tab.merge_cells(start_row=top + 1, start_column=left + 1, end_row=bottom + 1, end_column=right + 1)
    workbook.save(path)
