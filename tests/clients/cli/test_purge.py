"""``mellm purge`` over a log, motion maps and run folders, with its line in the audit log."""

import json
import time
from pathlib import Path

import pytest

from mellm.clients.cli import run
from mellm.engine.governance.audit import verify
from mellm.stream.log.journal import Journal
from mellm.stream.protocol.events import EVENTS_ERASED, EXPRESSION_SPOTTED
from tests.engine.governance.test_erase import everything, make_run

SECRET = "smile-of-ann"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A server's folder after it has stopped."""
    maps = tmp_path / "maps"
    maps.mkdir()
    with Journal(tmp_path / "journal.db") as journal:
        for source in ("ann", "bob"):
            data = {
                "id": f"{source}0",
                "score": 0.5,
                "consent": f"ref-{source}",
                "text": f"smile-of-{source}" * 50,
            }
            journal.append(EXPRESSION_SPOTTED, source, data, time=time.time_ns(), id=data["id"])
            (maps / f"{source}0.png").write_text(f"map, smile-of-{source}")
    (tmp_path / "mellm.toml").write_text(
        f'[server]\njournal = "{tmp_path}/journal.db"\nkeep_evidence = "{maps}"\n'
    )
    return tmp_path


@pytest.mark.parametrize("chosen", [["--source", "ann"], ["--subject", "ref-ann"], ["--expression", "ann0"]])
def test_what_is_chosen_is_gone_and_the_audit_log_says_so(
    log: Path, chosen: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(log / "run", consent="ref-ann")
    arguments = ["purge", "--config", str(log / "mellm.toml"), "--run", str(folder), *chosen]
    before = everything(log)
    assert run([*arguments, "--dry-run"]) == 0
    assert "would erase 1 events, 1 motion maps" in capsys.readouterr().out
    assert everything(log) == before
    assert run([*arguments, "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert next((line["place"], line["files"]) for line in told) == (str(log / "journal.db"), 1)
    left = everything(log)
    assert SECRET.encode() not in left
    assert b"smile-of-bob" in left
    assert b"words on ann0" not in left
    with Journal(log / "journal.db") as journal:
        assert [record.type for record in journal.replay()] == [EVENTS_ERASED, EXPRESSION_SPOTTED]
    (line,) = map(json.loads, (log / "journal.audit.jsonl").read_text().splitlines())
    assert line["action"] == "data.erased"
    assert line["facts"]["chosen"] == {chosen[0].removeprefix("--").replace("subject", "consent"): chosen[1]}
    assert len(line["facts"]["places"]) == 2
    assert verify(log / "journal.audit.jsonl").intact


def test_by_age(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["purge", "--config", str(log / "mellm.toml")]
    assert run([*arguments, "--older-than", "1h"]) == 0
    assert "erased 0 events" in capsys.readouterr().out
    for path in (log / "maps").iterdir():
        path.touch()
    assert SECRET.encode() in everything(log)


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        ([], "--source, --subject, --older-than or --expression", 2),
        (["--older-than", "month"], "not an age such as 30d", 2),
        (["--older-than", "0d"], "not an age such as 30d", 2),
        (["--source", "ann", "--journal", "none.db"], "there is no event log none.db", 2),
        (["--source", "ann", "--run", "nowhere"], "holds no run", 6),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_made(
    arguments: list[str],
    said: str,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert run(["purge", "--dry-run", *arguments]) == code
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_log_of_a_running_server_is_refused(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Journal(log / "journal.db"):
        assert run(["purge", "--config", str(log / "mellm.toml"), "--source", "ann"]) == 6
    assert "in use by another process" in capsys.readouterr().err
    assert SECRET.encode() in everything(log)


def test_another_program_that_keeps_old_bytes_is_told(
    log: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mellm.stream.log.erasure.wipe", lambda db, vacuum: False)
    assert run(["purge", "--config", str(log / "mellm.toml"), "--source", "ann"]) == 6
    out, err = capsys.readouterr()
    assert "erased 1 events" in out
    assert "another program has it open" in err
