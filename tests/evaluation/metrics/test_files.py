from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.evaluation.metrics.errors import MetricsError, RowError
from mellm.evaluation.metrics.files import Record, as_text, frame, interval, load, records

PLACE = Record("rows.csv", 7, {})


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_csv_rows_know_their_line(tmp_path: Path) -> None:
    text = '\ufeffSubject;Video;note\r\n1;a;"two\nlines"\r\n\r\n2;b;\r\n'
    rows = records(load(write(tmp_path, "rows.csv", text)), tmp_path)
    assert [(r.line, r.values["subject"], r.values["note"]) for r in rows] == [
        (3, "1", "two\nlines"),
        (5, "2", ""),
    ]
    assert rows[1].first("note", "video") == "b"
    with pytest.raises(
        RowError, match=r"rows\.csv, line 5: no 'emotion' or 'label'; there is subject, video, note"
    ):
        rows[1].text("emotion", "label")


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_json_lines(tmp_path: Path, name: str) -> None:
    rows = records(load(write(tmp_path, name, '{"a": 1}\n\n{"a": 2}\n')), tmp_path)
    assert [(r.line, r.values["a"]) for r in rows] == [(1, 1), (3, 2)]


def test_json_lists_and_other_names(tmp_path: Path) -> None:
    assert load(write(tmp_path, "truth", '[{"a": 1}]')) == [{"a": 1}]
    assert load(write(tmp_path, "table", "a,b\n1,2\n"))[0].values == {"a": "1", "b": "2"}
    path = write(tmp_path, "rows.json", '{"rows": [{"a": 1}, 5]}')
    with pytest.raises(RowError, match="item 2: 5 is not a row"):
        records(load(path), path, "rows")
    with pytest.raises(MetricsError, match="no list 'gt' or 'rows'"):
        records({}, path, "gt", "rows")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "", "is empty"),
        ("a.json", '{"a": [1,\n2,,]}', "line 2: this is no JSON"),
        ("a.json", '{"a": 1, "a": 2}', "'a' occurs twice"),
        ("a.json", "[" * 100_000, "no JSON"),
        ("a.jsonl", '{"a": 1}\n[1]\n', "line 2: this is no JSON object"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', "line 2: this is no JSON"),
        ("a.csv", "a,b\n1,2,3\n", "line 2: 3 cells under 2 headings"),
        ("a.csv", "a,a\n1,2\n", "line 1: heading 'a' occurs twice"),
        ("a.csv", "1,20,30\n2,30,40\n", "line 1: there are numbers where headings should be"),
        ("a.csv", 'a,b\n1,"2\n', "this is no CSV"),
        ("a.csv", b"a,b\n1,\xff\n", "line 2: this is no UTF-8"),
    ],
)
def test_broken_files_are_told_with_their_place(
    tmp_path: Path, name: str, text: str | bytes, said: str
) -> None:
    with pytest.raises(MetricsError, match=said):
        load(write(tmp_path, name, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MetricsError, match=r"gone\.csv cannot be read"):
        load(tmp_path / "gone.csv")
    with pytest.raises(MetricsError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize("value", [45, 45.0, "45", " 45.0 "])
def test_frame_numbers(value: object) -> None:
    assert frame(value, PLACE, "onset") == 45


@pytest.mark.parametrize("value", [None, "", "x", 4.5, float("nan"), float("inf"), "NaN", True, [1], 10**400])
def test_what_is_no_frame_number(value: object) -> None:
    with pytest.raises(RowError, match=r"rows\.csv, line 7: onset is .*, no frame number"):
        frame(value, PLACE, "onset")


def test_intervals_are_in_order() -> None:
    assert interval("3", 3.0, PLACE) == (3, 3)
    with pytest.raises(RowError, match="interval 5–3 ends before it begins"):
        interval(5, 3, PLACE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("", None),
        ("  ", None),
        ("nan", None),
        (float("nan"), None),
        (1.0, "1"),
        (" a ", "a"),
        (0, "0"),
    ],
)
def test_cells_as_text(value: object, text: str | None) -> None:
    assert as_text(value) == text


@given(st.binary(max_size=60), st.sampled_from(["a.json", "a.jsonl", "a.csv", "a"]))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, name: str
) -> None:
    path = write(tmp_path_factory.mktemp("x"), name, raw)
    said = str(path)
    try:
        records(load(path), path, "rows")
    except MetricsError as error:
        said = error.message
    assert str(path) in said
