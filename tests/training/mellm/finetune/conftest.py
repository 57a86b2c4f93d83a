from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from mellm.training.mellm.finetune.cli import quiet  # noqa: E402
from tests.training.mellm.finetune import tiny  # noqa: E402  # after the question whether it can be imported


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Small models are slower on two threads of a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    quiet()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base model, a training file and a held-out file; not to be written to."""
    root = tmp_path_factory.mktemp("made")
    tiny.model_folder(root / "base")
    tiny.data_file(root / "train.jsonl", 12)
    tiny.data_file(root / "test.jsonl", 9, "b", first=50)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of it for one test."""
    copytree(made, tmp_path / "root")
    return tmp_path / "root"
