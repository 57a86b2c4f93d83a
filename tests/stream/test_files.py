from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mellm.stream.files import append_line, json_lines, replacing, write


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "new" / "report.json"
    assert write(path, "old", durable=durable) == path
    write(path, b"new", durable=durable)
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["report.json"]
    write(path, "half a pair: \ud800")
    assert path.read_text() == "half a pair: ?"


def test_what_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "kept.npz"
    write(path, b"old")

    def fail() -> None:
        with replacing(path) as part:
            np.savez(part, a=np.zeros(3))
            assert part.exists(), "the writer added no suffix of its own"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["kept.npz"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write(tmp_path / "file" / "below", "x")


def test_a_last_line_that_was_cut_is_not_read_and_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "rows" / "rows.jsonl"
    assert list(json_lines(path)) == []
    append_line(path, b'{"a": 1}\n')
    with path.open("ab") as stream:
        stream.write(b'{"a": 2')
    assert list(json_lines(path)) == [({"a": 1}, 9)]
    append_line(path, b'{"a": 3}\n', durable=True)
    assert [row for row, _ in json_lines(path)] == [{"a": 1}, {"a": 3}]
    assert [end for _, end in json_lines(path)][-1] == path.stat().st_size


@pytest.mark.parametrize(
    ("line", "said"), [("[1]", "no JSON object"), ("{x}", "no JSON ("), ("[" * 100_000, "no JSON (")]
)
def test_a_line_that_is_no_object_is_told_by_its_number(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"a": 1}}\n\n{line}\n{{"a": 2}}\n')
    with pytest.raises(ValueError, match="line 3: ") as failed:
        list(json_lines(path, lambda number, problem: ValueError(f"line {number}: {problem}")))
    assert said in str(failed.value)
    assert [row["a"] for row, _ in json_lines(path)] == [1, 2]
