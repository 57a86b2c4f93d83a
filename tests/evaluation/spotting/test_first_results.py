from __future__ import annotations

from pathlib import Path

from mellm.evaluation.spotting.first_results import Row, analyse, table


def test_rows_and_sums() -> None:
    rows = [
        Row("a.mp4", 300, 30.0, 150, {"face_small": 3}, 1, 2, 1, 10.0, 2.5, 250.4),
        Row("b.mp4", 0, None, 0, {}, 0, 0, 0, 0, 0, 0, error="mellm: error: no video"),
    ]
    text = table(rows)
    assert "| a.mp4 | 300 | 30.0 | 50 % | face_small 3 | 1 | 2 | 1 | 12.0 | 2.5 | 250 |" in text
    assert "mellm: error: no video" in text
    assert "2 recordings, 10 s, 2 found, 12.0 a minute." in text


def test_a_recording_that_cannot_be_read_is_a_row_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_text("not a video")
    row = analyse(tmp_path / "bad.mp4", tmp_path / "run")
    assert "bad.mp4" in row.error
    assert len(row.cells()) == 11
