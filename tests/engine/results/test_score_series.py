"""The series beside a run: compact, written as it goes, read back whole."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mellm.detectors.spotting import Score
from mellm.detectors.types import Sensitivity
from mellm.detectors.windows import STEP_NS
from mellm.engine.results.score_series import STEPS, ScoreWriter, forget, path_of, read_series
from mellm.stream.errors import RunError


def score(k: int, said: Sensitivity | None = None) -> Score:
    return Score(k * STEP_NS, k % 10 / 10, 0.25, 0.125, said)


def write(path: Path, steps: list[tuple[int, int]]) -> None:
    writer = ScoreWriter(path)
    for track, k in steps:
        writer.add(track, score(k, Sensitivity(1.234, 5.678)))
    writer.close()


@settings(max_examples=25)
@given(st.lists(st.integers(0, 400), min_size=1, unique=True), st.integers(1, 3))
def test_what_is_written_comes_back(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], tracks: int
) -> None:
    run = tmp_path_factory.mktemp("run")
    write(path_of(run, "s"), [(track, k) for k in sorted(steps) for track in range(tracks)])
    for track in range(tracks):
        parts = [p for p in read_series(run, "s") if p.track == track]
        assert [t for p in parts for t in p.times_ms()] == [20.0 * k for k in sorted(steps)]
        assert all(len(p.times_ms()) <= STEPS for p in parts)
        assert {v for p in parts for v in p.curves["upper"]} == {1.23}
        assert [v for p in parts for v in p.curves["me"]] == [k % 10 / 10 for k in sorted(steps)]


def test_nothing_known_is_null(tmp_path: Path) -> None:
    writer = ScoreWriter(path_of(tmp_path, "s"))
    writer.add(1, score(0))
    writer.close()
    (line,) = path_of(tmp_path, "s").read_text().splitlines()
    assert json.loads(line)["upper"] == [None]


def test_memory_holds_less_than_a_second_of_each_face(tmp_path: Path) -> None:
    writer = ScoreWriter(path_of(tmp_path, "s"))
    for k in range(10 * STEPS + 7):
        writer.add(1, score(k))
        assert sum(len(line.values["me"]) for line in writer._open.values()) <= STEPS
    writer.close()
    assert sum(len(p.times_ms()) for p in read_series(tmp_path, "s")) == 10 * STEPS + 7


def test_a_second_and_face_is_at_most_fifteen_hundred_bytes(tmp_path: Path) -> None:
    write(path_of(tmp_path, "s"), [(1, k) for k in range(10 * STEPS)])
    assert path_of(tmp_path, "s").stat().st_size < 10 * 1500


def test_a_face_that_is_lost_is_on_disk_and_no_file_is_made_of_nothing(tmp_path: Path) -> None:
    writer = ScoreWriter(path_of(tmp_path, "s"))
    writer.end(1)
    writer.close()
    assert not path_of(tmp_path, "s").exists()


def test_it_is_its_owners_only(tmp_path: Path) -> None:
    write(path_of(tmp_path, "s"), [(1, 0)])
    assert stat.S_IMODE(path_of(tmp_path, "s").stat().st_mode) == 0o600


def test_a_cut_last_line_is_passed_over(tmp_path: Path) -> None:
    write(path_of(tmp_path, "s"), [(1, k) for k in range(2 * STEPS)])
    whole = path_of(tmp_path, "s").read_bytes()
    path_of(tmp_path, "s").write_bytes(whole[:-20] + b"\n" + b'{"track": 1}\n[]\nnull\n')
    assert len(list(read_series(tmp_path, "s"))) == 1
    assert list(read_series(tmp_path, "nobody")) == []


def test_seconds_can_be_forgotten(tmp_path: Path) -> None:
    path = path_of(tmp_path, "s")
    write(path, [(1, k) for k in range(5 * STEPS)])
    assert forget(path, [(7000.0, 8000.0)]) is None
    left = forget(path, [(1500.0, 2100.0)])
    assert left is not None
    path.write_bytes(left)
    assert [p.t_ms for p in read_series(tmp_path, "s")] == [0.0, 3000.0, 4000.0]
    assert forget(path_of(tmp_path, "nobody"), [(0.0, 1.0)]) is None


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "scores").write_text("a file where a folder should be")
    with pytest.raises(RunError, match="cannot be written"):
        write(path_of(tmp_path, "s"), [(1, 0)])
