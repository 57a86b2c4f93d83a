"""Checkpoints that are whole or not there. The last good one stays when writing the next fails.

A checkpoint is a folder ``step-00000200`` with the trained weights, the optimiser's state and ``progress.json``, which
also lists the sizes of the other two. It is written under another name, flushed to the disk, and renamed.
"""

from __future__ import annotations

import errno
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from mellm.stream.errors import ConfigError, RunError
from mellm.stream.files import flush

log = logging.getLogger(__name__)

WEIGHTS, OPTIMISER, PROGRESS = "weights.safetensors", "optimiser.pt", "progress.json"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come.

    :param stage: index of the stage it is in
    :param step: steps done in it
    :param total: steps done in all
    :param loss: running mean
    :param fingerprint: of everything that must be the same to go on
    """

    stage: int
    step: int
    total: int
    loss: float
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint on disk."""

    folder: Path
    progress: Progress

    def weights(self) -> dict[str, torch.Tensor]:
        """Trained weights by name, on the CPU."""
        return load_file(self.folder / WEIGHTS)

    def optimiser(self) -> dict[str, Any]:
        """State of the optimiser."""
        state: dict[str, Any] = torch.load(self.folder / OPTIMISER, weights_only=True, map_location="cpu")
        return state


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A folder to write into, which becomes ``target`` when all went well and is removed when not.

    :raises RunError: it cannot be written; what was at ``target`` is still there
    """
    part = target.with_name(f".{target.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        for file in part.rglob("*"):
            if file.is_file():
                flush(file)
        old = target.with_name(f".{target.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        part.rename(target)
        flush(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    except Exception as error:
        shutil.rmtree(part, ignore_errors=True)
        raise _failed(error, target) or error from error


def _failed(error: BaseException, target: Path) -> RunError | None:
    """What a failed write is called. safetensors and torch wrap the system's error in kinds of their own."""
    told = str(error)
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if full or any(f"os error {code}" in told for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)):
        return RunError(f"no room left on the disk for {target}", remedy="make room and go on with --resume")
    writing = ("PytorchStreamWriter", "I/O error", "unexpected pos", "write failed")
    if isinstance(error, OSError) or any(words in told for words in writing):
        return RunError(f"{target} cannot be written ({told})", remedy="make room and go on with --resume")
    return None


def save(
    root: Path,
    progress: Progress,
    weights: Mapping[str, torch.Tensor],
    optimiser: Mapping[str, Any],
    keep: int,
) -> Saved:
    """Write a checkpoint, then remove those older than the last ``keep``.

    :raises RunError: it cannot be written; those already there stay
    """
    target = root / f"step-{progress.total:08d}"
    with replacing(target) as part:
        save_file({name: t.contiguous() for name, t in weights.items()}, part / WEIGHTS)
        torch.save(dict(optimiser), part / OPTIMISER)
        sizes = {name: (part / name).stat().st_size for name in (WEIGHTS, OPTIMISER)}
        (part / PROGRESS).write_text(json.dumps({**asdict(progress), "sizes": sizes}), encoding="utf-8")
    for old in _folders(root)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return Saved(target, progress)


def newest(root: Path, fingerprint: str | None = None) -> Saved | None:
    """The last good checkpoint; damaged ones are passed over with a warning.

    :raises ConfigError: the last good one belongs to another configuration or other data
    """
    for folder in _folders(root):
        saved = _read(folder)
        if saved is None:
            log.warning("checkpoint %s is damaged; trying an older one", folder.name)
            continue
        if fingerprint is not None and saved.progress.fingerprint != fingerprint:
            raise ConfigError(
                f"{folder} was written with another configuration, base model or data",
                remedy="give those back, or another out",
            )
        return saved
    return None


def _read(folder: Path) -> Saved | None:
    try:
        data = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
        sizes = data.pop("sizes")
        progress = Progress(**data)
        whole = all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Saved(folder, progress) if whole else None


def _folders(root: Path) -> list[Path]:
    """Folders of checkpoints, the newest first."""
    return sorted(root.glob("step-*"), reverse=True)
