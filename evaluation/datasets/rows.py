"""Reads the cells of one annotated row and keeps a record of everything that was not taken as written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mellm.evaluation.datasets.errors import SheetError
from mellm.evaluation.datasets.sheets import Header, Sheet, blank, letter
from mellm.evaluation.datasets.text import fold

RULES: Final[dict[str, str]] = {
    "annotation-choice": "several annotation files fit; the first in order of preference is read",
    "no-heading": "the sheet has no headings; columns are told by position and checked by shape",
    "column-absent": "the sheet has no such column: unknown, or what the release says of all its clips",
    "encoding": "the text is not UTF-8",
    "note-row": "a row of remarks within or below the table is not a clip",
    "merged-cells": "a merged cell counts for every row it covers",
    "number-as-text": "a number stored as text is a number",
    "onset-unknown": "no onset, or 0 where labels count from 1: unknown",
    "apex-unknown": "no apex, or a sign for none ('/', -1, 0): unknown",
    "offset-unknown": "no offset, or 0: unknown",
    "first-unknown": "no label for the first picture: labels are taken as the numbers of the files",
    "offset-before-onset": "an offset before the onset is unknown",
    "apex-outside": "an apex before the onset or after the offset is unknown",
    "apex-at-an-end": "the apex equals onset or offset: kept, a motion between them is empty",
    "longer-than-half-a-second": "a micro-expression longer than 0.5 s: kept",
    "emotion-spelling": "another spelling of an emotion",
    "emotion-strange": "a word for an emotion that no release is known to use: kept, no coarse class",
    "units-unread": "text beside the action units that names none",
    "units-differ": "text and columns of action units differ: units that only one of them has are possible",
    "subject-from-name": "no subject; it is told from the file name",
    "duplicate-id": "a second clip of the same name gets a number",
    "folder-choice": "several folders fit; the preferred one is read",
    "frame-rate-unknown": "the release does not say at how many frames per second it was taken",
    "emotion-joined": "the emotion is taken from the release that has it",
    "apex-filled": "an unknown apex was filled by the policy asked for",
    "offset-filled": "an unknown offset was filled by the policy asked for",
}
"""What is done with an oddity, by the name of its rule."""

NOTHING: Final = frozenset(
    {"", "/", "\\", "-", "--", "–", "?", "nan", "none", "null", "n/a", "na", "unknown"}
)


@dataclass(frozen=True, slots=True)
class Repair:
    """One oddity and what became of it.

    :param rule: a key of :data:`RULES`
    :param row: 1-based as a spreadsheet shows it, 0 where no row is meant
    """

    rule: str
    sheet: str
    row: int = 0
    column: str = ""
    was: str = ""
    became: str = ""


class Row:
    """One row of a table, read by role."""

    def __init__(self, sheet: Sheet, header: Header, index: int, repairs: list[Repair]) -> None:
        self.sheet = sheet
        self.header = header
        self.index = index
        self.repairs = repairs

    def has(self, role: str) -> bool:
        """Whether the table has such a column."""
        return role in self.header.columns

    def cell(self, role: str) -> object:
        """The raw cell, ``None`` where the table has no such column."""
        return self.sheet.rows[self.index][self.header.columns[role]] if self.has(role) else None

    def heading(self, role: str) -> str:
        """The column's heading, or its letter where there is none."""
        if not self.has(role):
            return role
        column = self.header.columns[role]
        text = self.sheet.rows[self.header.row][column] if self.header.row >= 0 else None
        return letter(column) if blank(text) else str(text).strip()

    def note(self, rule: str, role: str = "", was: object = "", became: object = "") -> None:
        """Record that a rule was used."""
        column = self.heading(role) if role else ""
        self.repairs.append(
            Repair(
                rule, self.sheet.name, self.index + 1, column, str(was), "" if became is None else str(became)
            )
        )

    def error(self, message: str, role: str) -> SheetError:
        """An error at this row."""
        return SheetError(message, sheet=self.sheet.name, row=self.index + 1, column=self.heading(role))

    def text(self, role: str) -> str:
        """A cell as text: folded to plain signs, without space around; a whole number has no decimals."""
        cell = self.cell(role)
        text = "" if cell is None else fold(str(cell)).strip()
        # a text file may hold 1.0 where the release has 1
        whole = re.fullmatch(r"(-?\d+)\.0+", text)
        return whole[1] if whole else text

    def frame(self, role: str, rule: str = "") -> int | None:
        """A label that counts from 1, ``None`` where it is unknown.

        :param rule: the moment after which the rule is called, where it is not the role's name
        :raises SheetError: the cell is neither a whole number nor a known sign for none
        """
        if not self.has(role):
            return None
        cell, text = self.cell(role), self.text(role)
        if isinstance(cell, bool) or (isinstance(cell, float) and not cell.is_integer() and cell == cell):
            raise self.error(f"{cell!r} is not a frame number", role)
        if text.casefold() in NOTHING:
            self.note(f"{rule or role}-unknown", role, text or "empty")
            return None
        match = re.fullmatch(r"(-?\d+)(?:\.0*)?", text)
        if match is None:
            raise self.error(f"{text!r} is not a frame number", role)
        if isinstance(cell, str):
            self.note("number-as-text", role, repr(cell), match[1])
        number = int(match[1])
        if number < 1:
            self.note(f"{rule or role}-unknown", role, number)
            return None
        return number

    def is_remark(self, roles: tuple[str, ...]) -> bool:
        """Whether at most two of the columns hold anything and no frame column holds a number."""
        filled = [role for role in roles if self.has(role) and not blank(self.cell(role))]
        frames = [role for role in ("onset", "apex", "offset") if re.search(r"\d", self.text(role))]
        return len(filled) <= 2 and not frames

    def words(self) -> str:
        """All that the row holds, for a message."""
        return " | ".join(str(cell).strip() for cell in self.sheet.rows[self.index] if not blank(cell))

    def flags(self, columns: Mapping[int, int]) -> frozenset[int]:
        """Units whose own column (unit → column) holds something other than 0."""
        row = self.sheet.rows[self.index]
        return frozenset(
            unit
            for unit, c in columns.items()
            if fold(str(row[c] or "0")).strip() not in ("0", "0.0", "", "-")
        )
