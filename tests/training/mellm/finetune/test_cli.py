"""``mellm train mellm`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mellm.clients.cli import run


def main(arguments: list[str]) -> int:
    return run(["train", "mellm", *arguments])


def written(root: Path, more: str = "", **keys: str) -> Path:
    path = root / "run.toml"
    path.write_text(
        f"""
base = "{root}/base"
out = "{root}/out"
name = "tiny"
[data]
train = "{root}/train.jsonl"
held_out = "{root}/test.jsonl"
[strategy]
kind = "lora"
[fit]
batch = 6
max_steps = 2
checkpointing = false
[evaluation]
max_tokens = 4
{more}"""
    )
    return path


def test_a_run_from_a_file(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(written(root))]) == 0
    out, err = capfd.readouterr()
    result = json.loads(out)
    assert result["steps"] == 2
    assert result["held_out"]["records"] == 9
    assert "loss" in err
    model = Path(result["model"])
    assert "# tiny" in (model / "README.md").read_text()
    assert (model / "adapter" / "adapter_model.safetensors").exists()
    assert str(root) not in (model / "adapter" / "adapter_config.json").read_text()
    assert len((root / "out" / "held_out.jsonl").read_text().splitlines()) == 9
    assert main(["--config", str(root / "run.toml")]) == 6, "the folder holds a run"
    assert main(["--config", str(root / "run.toml"), "--resume"]) == 0, (
        "nothing is left to fit; it is written again"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ([], 2, "--config"),
        (["--config", "/nowhere.toml"], 2, "cannot be read"),
        (["--wrong"], 2, "No such option"),
    ],
)
def test_what_cannot_be_obeyed(
    arguments: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    assert told in capsys.readouterr().err


def test_broken_data_end_in_one_sentence(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(root)
    (root / "train.jsonl").write_text("{\n")
    assert main(["--config", str(path)]) == 3
    err = capsys.readouterr().err
    assert "train.jsonl:1" in err
    assert "Traceback" not in err


def test_recipes_are_listed_with_their_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--recipes"]) == 0
    out = capsys.readouterr().out
    assert "hiermeqa" in out
    assert "Not published, ours" in out
