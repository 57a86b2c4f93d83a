"""The verb on one drawn person and one axis."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mellm.clients.cli import run


@pytest.mark.usefixtures("models")
def test_one_person_one_axis(tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "eval",
        "robustness",
        "--set",
        "rendered",
        "--axis",
        "jpeg",
        "--people",
        "1",
        "--out",
        str(tmp_path),
    ]
    assert run([*command, "--json", "--draws", "10"]) == 0
    curves = json.loads(capsys.readouterr().out)
    assert {curve["reader"] for curve in curves} == {"nano", "rules"}
    nano = next(curve for curve in curves if curve["reader"] == "nano")
    assert [point["level"] for point in nano["points"]] == [0, 80, 50, 30, 10]
    assert nano["points"][0]["items"] == 5
    assert 0 <= nano["points"][0]["values"]["f1"][0] <= 1
    before = (tmp_path / "describe.jsonl").read_bytes()
    assert run([*command, "--draws", "10"]) == 0
    assert "JPEG compression" in capsys.readouterr().out
    assert (tmp_path / "describe.jsonl").read_bytes() == before


def test_wrong_axes_and_missing_clips_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["eval", "robustness", "--axis", "rain", "--out", str(tmp_path)]) == 2
    assert "no axis 'rain'" in capsys.readouterr().err
    command = ["eval", "robustness", "--of", "spot", "--clips", str(tmp_path), "--out", str(tmp_path)]
    assert run(command) == 2
    assert "mellm.training.synth.clips" in capsys.readouterr().err
