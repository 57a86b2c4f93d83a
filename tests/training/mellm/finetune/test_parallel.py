"""Two processes on the CPU do what one does. Each of these starts torch three times: nightly tier."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mellm.clients.cli import run
from mellm.training.mellm.finetune.parallel import World, number
from tests import REPO


def start(path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["-m", "mellm.clients.cli", "train", "mellm", "--config", str(path), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    return subprocess.run(
        command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=180, check=False
    )


def config_file(root: Path, out: str, strategy: str, steps: int, extra: str = "") -> Path:
    path = root / f"{out}.toml"
    path.write_text(
        f'base = "{root}/base"\nout = "{root}/{out}"\n[data]\ntrain = "{root}/train.jsonl"\n[strategy]\n{strategy}\n'
        f"[fit]\nepochs = 2\nbatch = 5\nmax_steps = {steps}\nrate = 1e-3\nschedule = 'constant'\ndevice = 'cpu'\n"
        f"checkpointing = true\n[keep]\nevery = 2\n{extra}"
    )
    return path


def weights(root: Path, out: str) -> dict[str, torch.Tensor]:
    return load_file(root / out / "model" / "model.safetensors")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "strategy", ['kind = "full"', 'kind = "lora"\nvision = "tuned"'], ids=["full", "lora"]
)
def test_two_processes_end_where_one_does(root: Path, strategy: str) -> None:
    """Also where a batch of five leaves one of them without a conversation, and where the run was stopped."""
    assert run(["train", "mellm", "--config", str(config_file(root, "one", strategy, 4))]) == 0
    first = start(config_file(root, "two", strategy, 4))
    assert first.returncode == 0, first.stderr
    before = load_file(root / "base" / "model.safetensors")
    moved = 0
    for name, value in weights(root, "one").items():
        torch.testing.assert_close(weights(root, "two")[name], value, rtol=1e-3, atol=2e-5)
        moved += not torch.equal(before[name], value)
    assert moved > 10
    for path in (root / "two" / "checkpoints").glob("step-00000004/*"):
        path.unlink()
    again = start(root / "two.toml", "--resume")
    assert again.returncode == 0, again.stderr
    assert "damaged" in again.stderr
    assert "going on after step 2" in again.stderr
    for name, value in weights(root, "one").items():
        torch.testing.assert_close(weights(root, "two")[name], value, rtol=1e-3, atol=2e-5)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_what_two_cannot_do_is_said_once_and_nobody_waits(root: Path) -> None:
    staged = start(config_file(root, "two", 'kind = "staged"', 2))
    assert staged.returncode != 0
    assert "a staged run takes one process" in staged.stderr
    (root / "full").mkdir()
    (root / "full" / "checkpoints").write_text("in the way")
    failed = start(config_file(root, "full", 'kind = "full"', 2))
    assert failed.returncode != 0
    assert "cannot be written" in failed.stderr


def test_alone_nothing_is_shared() -> None:
    world = World()
    assert world.alone
    assert world.first
    assert world.summed(2.5) == 2.5
    assert world.any(True)
    with pytest.raises(ValueError, match="own"), world.together("saving"):
        raise ValueError("its own error")
    assert number(torch.tensor(2.0)) == 2.0
