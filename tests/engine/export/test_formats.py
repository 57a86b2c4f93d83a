"""``mellm export``: where files go, and what is refused."""

import pytest

from mellm.clients.cli import run
from mellm.engine.export.formats import NAMES
from tests.engine.export.made import run_folder


@pytest.fixture
def two(tmp_path):
    return run_folder(tmp_path / "run", sources=("left", "right"))


def test_without_out_the_text_goes_to_standard_output(folder, capsys):
    assert run(["export", str(folder), "--to", "vtt"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("WEBVTT")
    assert not err


@pytest.mark.parametrize(
    ("to", "names"),
    [("csv", ["expressions.csv"]), ("eaf", ["left.eaf", "right.eaf"]), ("srt", ["left.srt", "right.srt"])],
)
def test_a_folder_gets_a_file_for_each_recording_where_needed(two, tmp_path, to, names):
    assert run(["export", str(two), "--to", to, "--out", f"{tmp_path / 'out'}/"]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names


@pytest.mark.parametrize("to", ["eaf", "vtt", "srt"])
def test_one_file_for_two_recordings_is_refused(two, tmp_path, capsys, to):
    assert run(["export", str(two), "--to", to, "--out", str(tmp_path / "x")]) == 2
    assert "--source" in capsys.readouterr().err
    assert run(["export", str(two), "--to", to, "--source", "left", "--out", str(tmp_path / "x")]) == 0


def test_markers_are_exported(folder, tmp_path, capsys):
    table = tmp_path / "questions.csv"
    table.write_text("time_s,label\n12,Why did you leave?\n")
    assert run(["export", str(folder), "--to", "srt", "--markers", str(table)]) == 0
    assert "00:00:12,000 --> 00:00:15,000\n▸ Why did you leave?" in capsys.readouterr().out


def test_a_place_that_cannot_be_written_is_told(folder, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert run(["export", str(folder), "--to", "csv", "--out", str(tmp_path / "file" / "x.csv")]) == 6
    assert "cannot be written" in capsys.readouterr().err


def test_formats_are_those_of_the_help(capsys):
    run(["export", "--help"])
    said = capsys.readouterr().out
    assert all(f"\n  {name} " in said for name in NAMES)
