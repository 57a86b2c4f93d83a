"""Spreadsheet and SPSS file, read back by pandas, openpyxl and pyreadstat."""

import pytest

from mellm.engine.export import workbook
from mellm.engine.results import corrections
from mellm.engine.results.about import About
from mellm.engine.results.corrections import Correction, Corrections
from mellm.engine.results.run_reader import read_run
from tests.engine.export.made import HOSTILE, facts_of_now, run_folder

WHEN = "2026-11-29T10:00:00Z"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs")
    found = []
    for n, records in enumerate((None, ())):
        folder = run_folder(path / f"run{n}", *([] if records is None else [records]), sources=(f"talk{n}",))
        facts_of_now(folder, About(f"p-{n}", "1", "calm"))
        found.append(folder)
    decided = Correction("correct", "ann", WHEN, "a" * 16, units=frozenset({(4, "left")}), comment="=1+1")
    corrections.write(found[0] / corrections.FILE, Corrections((decided,)))
    return [read_run(folder) for folder in found]


@pytest.fixture(scope="module")
def book(runs, tmp_path_factory):
    pytest.importorskip("openpyxl")
    path = tmp_path_factory.mktemp("book") / "run.xlsx"
    workbook.write_xlsx(runs, path)
    return path


def test_the_sheets_hold_recordings_expressions_units_and_quality(book):
    pandas = pytest.importorskip("pandas")
    sheets = pandas.read_excel(book, sheet_name=None)
    assert list(sheets) == ["recordings", "expressions", "units long", "quality"]
    assert sheets["recordings"]["subject"].tolist() == ["p-0", "p-1"]
    assert sheets["recordings"]["expressions"].tolist() == [5, 0]
    assert len(sheets["expressions"]) == 5
    units = sheets["units long"]
    assert units[units["id"] == "a" * 16][["au", "side", "coded_by"]].values.tolist() == [[4, "left", "ann"]]
    assert set(units["coded_by"]) == {"ann", "engine"}
    told = sheets["quality"]
    assert told[told["what"] == "gap"]["seconds"].tolist() == [1.2, 1.2]
    assert told[told["reason"] == "yaw_high"]["frames"].tolist() == [12, 12]


def test_a_spreadsheet_runs_nothing(book):
    openpyxl = pytest.importorskip("openpyxl")
    sheet = openpyxl.load_workbook(book)["expressions"]
    kinds = {cell.data_type for row in sheet.iter_rows() for cell in row}
    assert "f" not in kinds
    texts = {cell.value for row in sheet.iter_rows() for cell in row}
    assert {"=1+1", HOSTILE} <= texts


def test_spss_reads_variables_with_labels_and_codes(runs, tmp_path):
    pyreadstat = pytest.importorskip("pyreadstat")
    path = tmp_path / "e.sav"
    workbook.write_sav(runs, path)
    frame, meta = pyreadstat.read_sav(str(path))
    assert frame["subject"].tolist() == ["p-0"] * 5
    assert meta.column_names_to_labels["AU12"] == "AU 12, lip corner puller: score, 0 not named"
    assert meta.variable_value_labels["emotion"] == {
        1.0: "negative",
        2.0: "positive",
        3.0: "surprise",
        4.0: "other",
    }
    assert frame["emotion"].tolist()[:2] == [3.0, 2.0]
    assert frame["counted"].tolist() == [1.0] * 5
    assert frame["onset_ms"].tolist()[0] == pytest.approx(runs[0].expressions[0].onset_ms)
    assert frame["verdict"].tolist()[0] == 3.0


def test_a_run_without_finds_has_the_same_variables(runs, tmp_path):
    pyreadstat = pytest.importorskip("pyreadstat")
    for name, some in (("all.sav", runs), ("none.sav", runs[1:])):
        workbook.write_sav(some, tmp_path / name)
    full, none = (pyreadstat.read_sav(str(tmp_path / name))[1] for name in ("all.sav", "none.sav"))
    assert full.column_names == none.column_names
    assert full.original_variable_types.keys() == none.original_variable_types.keys()
