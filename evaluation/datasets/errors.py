"""Errors of the data-set loaders, each naming the place that has to be looked at."""

from __future__ import annotations

from mellm.stream.errors import MellmError


class DatasetError(MellmError):
    """A data set that is unknown, not where it should be, or not what it should be."""

    code = "dataset"
    exit_code = 3


class SheetError(DatasetError):
    """An annotation file holds something that cannot be read without guessing.

    :param sheet: file and sheet, as ``labels.xlsx[Sheet1]``
    :param row: 1-based as a spreadsheet shows it, 0 where the whole sheet is meant
    :param column: heading or letter, ``""`` where the whole row is meant
    """

    code = "dataset_sheet"

    def __init__(self, message: str, *, sheet: str, row: int = 0, column: str = "", remedy: str = "") -> None:
        where = sheet + (f", row {row}" if row else "") + (f", column {column!r}" if column else "")
        super().__init__(
            f"{where}: {message}", remedy=remedy or "correct the cell or the heading and run again"
        )
        self.sheet = sheet
        self.row = row
        self.column = column
