from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from mellm.stream.errors import ConfigError, RunError
from mellm.training.mellm.finetune import checkpoints
from mellm.training.mellm.finetune.checkpoints import Progress, newest, replacing, save


def progress(total: int, fingerprint: str = "f") -> Progress:
    return Progress(0, total, total, 1.0, fingerprint)


def kept(root: Path, total: int, size: int = 4, keep: int = 2) -> None:
    save(root, progress(total), {"w": torch.full((size,), float(total))}, {"state": {}}, keep)


def test_the_last_ones_are_kept_and_the_newest_is_read(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    for total in (10, 20, 30):
        kept(tmp_path, total)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000020", "step-00000030"]
    saved = newest(tmp_path, "f")
    assert saved is not None
    assert saved.progress.total == 30
    assert saved.weights()["w"].tolist() == [30.0] * 4
    assert saved.optimiser() == {"state": {}}
    with pytest.raises(ConfigError, match="another configuration"):
        newest(tmp_path, "other")


@pytest.mark.parametrize("harm", ["cut weights", "no progress", "bad progress"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, harm: str) -> None:
    kept(tmp_path, 10)
    kept(tmp_path, 20)
    last = tmp_path / "step-00000020"
    if harm == "cut weights":
        (last / "weights.safetensors").write_bytes(b"x")
    elif harm == "no progress":
        (last / "progress.json").unlink()
    else:
        (last / "progress.json").write_text("[]")
    saved = newest(tmp_path, "f")
    assert saved is not None
    assert saved.progress.total == 10


@pytest.mark.parametrize("limit", [1000, 40_000, 90_000])
def test_a_disk_that_fills_up_leaves_the_last_good_one(tmp_path: Path, limit: int) -> None:
    """The operating system refuses to write past a size, wherever in the checkpoint that falls."""
    kept(tmp_path, 10)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(RunError, match=r"step-00000020") as caught:
            save(
                tmp_path,
                progress(20),
                {"w": torch.ones(16_000)},
                {"state": {0: torch.ones(32_000)}},
                keep=1,
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "--resume" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000010"]
    saved = newest(tmp_path, "f")
    assert saved is not None
    assert saved.weights()["w"].tolist() == [10.0] * 4


def test_what_was_half_written_when_the_machine_went_down_is_not_taken(tmp_path: Path) -> None:
    kept(tmp_path, 10)
    (tmp_path / ".step-00000020.part").mkdir()
    (tmp_path / ".step-00000020.part" / "weights.safetensors").write_bytes(b"half")
    saved = newest(tmp_path, "f")
    assert saved is not None
    assert saved.progress.total == 10
    kept(tmp_path, 20)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000010", "step-00000020"]


def test_a_folder_is_replaced_or_left(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with replacing(target) as part:
        (part / "a").write_text("1")
    with pytest.raises(ValueError, match="mistake"), replacing(target) as part:
        _fail(part)
    assert (target / "a").read_text() == "1"
    with replacing(target) as part:
        (part / "a").write_text("3")
    assert (target / "a").read_text() == "3"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def _fail(part: Path) -> None:
    (part / "a").write_text("2")
    raise ValueError("a mistake of the program is not called a full disk")


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        kept(tmp_path / "file" / "checkpoints", 1)
    assert checkpoints.newest(tmp_path / "file" / "checkpoints") is None
