"""``mellm eval spotting``: the whole command on records made by hand, and what it says when it cannot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="extra `cpu` is not installed")
pytest.importorskip("torch", reason="extra `train` is not installed")
pytest.importorskip("scipy", reason="extra `eval` is not installed")
pytest.importorskip("matplotlib", reason="extra `eval` is not installed")

from mellm.clients.cli import run
from mellm.detectors.stepmodel import SHIPPED
from mellm.training.spotter import records, sets
from mellm.training.spotter.people import video
from tests.evaluation.spotting.made import record, truth


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two clips of each of three sets, in a folder without networks of folds."""
    monkeypatch.chdir(tmp_path)
    for name in ("rendered50", "val-rendered", "talking"):
        for clip in sets.clips(name)[:2]:
            fold = video(clip.source).fold if clip.source else ""
            made = record([truth(2.5), truth(5.0, 4.0)], name=clip.name, subject=clip.name, fold=fold)
            records.save(made, tmp_path / "sets" / name / f"{clip.name}.npz")
    return tmp_path / "sets"


def _eval(*arguments: str | Path) -> int:
    return run(["eval", "spotting", "--no-build", *map(str, arguments)])


def test_help_tells_the_sets(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "spotting", "--help"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in (*sets.TEST_SETS, *sets.VALIDATION_SETS))


def test_a_table_and_a_folder(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _eval("--root", root, "--set", "rendered50", "--set", "talking", "--out", tmp_path / "out") == 0
    out = capsys.readouterr().out
    for told in ("rendered50 (4)", "shipped", "baseline (causal)", "baseline (whole video)", "false / min"):
        assert told in out
    assert "…" not in out
    whole = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [s["name"] for s in whole["sets"]] == ["rendered50", "talking"]
    assert whole["sets"][0]["facts"]["wanted"] == 24
    assert (tmp_path / "out" / "report.md").exists()
    assert (tmp_path / "out" / "precision-recall.png").exists()


def test_json_on_standard_output(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        _eval("--root", root, "--set", "rendered50", "--model", SHIPPED, "--before", SHIPPED, "--json") == 0
    )
    whole = json.loads(capsys.readouterr().out)
    results = whole["sets"][0]["results"]
    assert [r["spotter"] for r in results][:3] == ["shipped", "model", "before"]
    assert results[0]["score"] == results[1]["score"] == results[2]["score"]


def test_tuning_uses_validation_sets_alone(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _eval("--root", root, "--tune", "--set", "val-rendered", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["after"]) == {"val-rendered", "all"}
    assert 0 < told["options"]["threshold"] < 1
    assert _eval("--root", root, "--tune", "--set", "val-rendered") == 0
    assert "threshold" in capsys.readouterr().out
    assert _eval("--root", root, "--tune", "--set", "rendered50") == 2
    assert "rendered50 is a test set" in capsys.readouterr().err


def test_networks_of_folds_that_do_not_fit_are_left_aside(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folds = tmp_path / "runs" / "spotter" / "folds"
    folds.mkdir(parents=True)
    shutil.copy(SHIPPED, folds / "fold-A.onnx")
    (folds / "fold-A.json").write_text(json.dumps({"sha256": "0" * 64}))
    assert _eval("--root", root, "--set", "talking") == 0
    assert "ignored" in capsys.readouterr().err
    assert _eval("--root", root, "--set", "talking", "--folds", folds) == 4  # asked for, they must fit


def test_bad_input_is_one_line_with_a_remedy(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = root / "rendered30"
    bad = record(name=sets.clips("rendered30")[0].name)
    bad.features[50, 3] = np.nan
    records.save(bad, broken / f"{bad.name}.npz")
    other = tmp_path / "other.onnx"
    shutil.copy(SHIPPED, other)
    told = json.loads(SHIPPED.with_suffix(".json").read_text())
    other.with_suffix(".json").write_text(json.dumps(told | {"sha256": "0" * 64}))
    (tmp_path / "file").write_text("")
    cases = [
        (["--set", "nonsense"], 2, "no set 'nonsense'"),
        (["--set", "rates"], 2, "the set rates is not in"),
        (["--set", "rendered30"], 3, "are no numbers"),
        (["--set", "rendered50", "--model", str(tmp_path / "none.onnx")], 4, "no spotter model"),
        (["--set", "rendered50", "--model", str(other)], 4, "SHA-256"),
        (["--set", "rendered50", "--folds", str(tmp_path)], 4, "fold-*.onnx"),
        (["--set", "rendered50", "--out", str(tmp_path / "file")], 6, "cannot write"),
    ]
    for arguments, code, said in cases:
        assert _eval("--root", root, *arguments) == code, arguments
        err = capsys.readouterr().err
        assert said in err
        assert "—" in err.splitlines()[-1]
        assert "Traceback" not in err
