"""What holds faces or events is its owner's only, under the umask that most machines have."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from mellm.engine.analysis.spool import Spool
from mellm.engine.evidence.store import EvidenceStore
from mellm.engine.governance.audit import AuditLog
from mellm.stream.log.journal import Journal
from mellm.stream.protocol.events import MARKER
from tests.engine.analysis.test_describe_queue import job


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): stat.S_IMODE(p.stat().st_mode) for p in sorted(folder.rglob("*"))}


def use(folder: Path) -> None:
    """What `mellm serve --journal … --keep-evidence …` writes."""
    state = folder / "state" / "mellm-live"
    evidence = EvidenceStore(folder / "kept" / "evidence")
    evidence.put("e1", b"png")
    evidence.put("e1", b"png", "faces")
    Spool(folder / "kept" / "evidence" / "open").put(job(1))
    with Journal(state / "journal.db") as journal:
        with AuditLog(state / "journal.audit.jsonl") as audit:
            audit("server.started", {})
        journal.append(MARKER, "a", {"label": "x"}, time=0)
        found = modes(folder)
    assert {name for name in found if "." in Path(name).name} >= {
        "state/mellm-live/journal.db",
        "state/mellm-live/journal.db-wal",
        "state/mellm-live/journal.db-shm",
        "state/mellm-live/journal.db.lock",
        "state/mellm-live/journal.audit.jsonl",
        "state/mellm-live/journal.audit.jsonl.head",
        "kept/evidence/e1.png",
        "kept/evidence/e1.faces.png",
        "kept/evidence/open/e1.npz",
    }
    for name, mode in found.items():
        assert mode == (0o700 if (folder / name).is_dir() else 0o600), (name, oct(mode))


def test_new_files_and_folders(tmp_path: Path) -> None:
    use(tmp_path)


def test_files_of_an_older_version_are_closed_to_others(tmp_path: Path) -> None:
    use(tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            path.chmod(0o644)
    use(tmp_path)


def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    with Journal(shared / "log.db"):
        assert modes(tmp_path)["shared"] == 0o755
        assert modes(tmp_path)["shared/log.db"] == 0o600
