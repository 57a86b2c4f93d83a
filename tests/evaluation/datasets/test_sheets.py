from __future__ import annotations

from pathlib import Path

import pytest

from mellm.evaluation.datasets import SheetError
from mellm.evaluation.datasets.sheets import Header, Sheet, find_header, letter, read_workbook
from mellm.evaluation.datasets.specs import COMMON
from tests.evaluation.datasets.made import book

TEXT = "１,anger\n２,café\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gb18030"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_text_files_of_any_encoding_and_delimiter(tmp_path: Path, encoding: str, delimiter: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(TEXT.replace(",", delimiter).encode(encoding))

    (sheet,) = read_workbook(path)

    assert sheet.rows == (("１", "anger"), ("２", "café"))
    assert bool(sheet.notes) == (not encoding.startswith("utf-8"))


def test_an_empty_file_has_no_sheet(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").touch()

    assert read_workbook(tmp_path / "labels.csv") == ()
    assert read_workbook(book(tmp_path / "labels.xlsx", [[None]])) == ()


def test_a_text_cut_in_the_middle_of_a_sign_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes("a,b".encode("utf-16")[:-1])

    with pytest.raises(SheetError, match="none of the encodings"):
        read_workbook(tmp_path / "labels.csv")


def test_columns_are_named_as_spreadsheets_do() -> None:
    assert [letter(c) for c in (0, 25, 26, 701, 702)] == ["A", "Z", "AA", "ZZ", "AAA"]


def test_headings_are_found_in_any_row_order_and_spelling() -> None:
    rows = (("legend", None, None), (" OFFSET frame", "subject_ID", "Onset"), (9, "1", 5))

    header = find_header(Sheet("s", rows), COMMON, ["subject", "onset", "offset"])

    assert header == Header(1, {"subject": 1, "onset": 2, "offset": 0})


@pytest.mark.parametrize(
    ("heads", "column", "said"),
    [
        (("Subject", "Onset", "Onset", "Offset"), "C", "a second column for the onset"),
        (("Subject", "Filename", "Onset", "AU"), "offsetframe", "no column for the offset"),
    ],
)
def test_headings_that_leave_a_doubt_are_refused(heads: tuple[str, ...], column: str, said: str) -> None:
    with pytest.raises(SheetError, match=said) as caught:
        find_header(Sheet("s", (("legend",), heads)), COMMON, ["subject", "onset", "offset"])

    assert (caught.value.sheet, caught.value.row, caught.value.column) == ("s", 2, column)


def test_prose_is_no_heading() -> None:
    assert find_header(Sheet("s", (("subject to change",), (1, 2, 3))), COMMON, ["subject", "onset"]) is None
