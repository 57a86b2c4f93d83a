from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
from mellm.clients.cli import run
from mellm.stream.errors import ModelMissing
from mellm.training.mellm import cli, nano, store


def test_pairs_are_drawn_for_every_split_and_photographs_may_be_missing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    drawn: list[tuple[str, str, int]] = []

    def build(root: Path, source: str, split: str, count: int, first: int, workers: int) -> int:
        if source == "stills":
            raise ModelMissing("the folder of real pictures and recordings is not here")
        drawn.append((source, split, count))
        return count

    monkeypatch.setattr(store, "build", build)
    cli.draw(nano.NanoOptions(pairs=tmp_path), rendered=5, stills=3, workers=1)
    assert drawn == [("rendered", "train", 5), ("rendered", "val", 25), ("rendered", "test", 40)]
    assert "no photographs" in caplog.text


def test_a_missing_face_model_ends_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def build(*_: Any) -> int:
        raise ModelMissing("no face model at x", remedy="set MELLM_FACE_MODEL")

    monkeypatch.setattr(store, "build", build)
    assert (
        run(["train", "nano", "--run", str(tmp_path), "--pairs", str(tmp_path / "pairs")])
        == ModelMissing("").exit_code
    )
    assert "no face model at x" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
