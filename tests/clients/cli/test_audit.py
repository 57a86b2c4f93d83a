"""``mellm audit verify``: what it says and how it exits."""

from pathlib import Path

import pytest

from mellm.clients.cli import run
from mellm.engine.governance.audit import AuditLog, head_path


def test_a_log_that_holds_together_and_one_that_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, copy = tmp_path / "audit.jsonl", tmp_path / "head"
    with AuditLog(path) as audit:
        for name in ("anna", "bert", "cleo"):
            audit("session.admitted", {"principal": name})
    copy.write_bytes(head_path(path).read_bytes())
    assert run(["audit", "verify", str(path), "--head", str(copy)]) == 0
    assert capsys.readouterr().out == f"{path}: 3 lines, chain intact\n"
    path.write_bytes(path.read_bytes().replace(b"anna", b"otto"))
    assert run(["audit", "verify", str(path)]) == 6
    assert "line 2: the line does not follow from line 1" in capsys.readouterr().err
    assert run(["audit", "verify", str(tmp_path / "none")]) == 6
