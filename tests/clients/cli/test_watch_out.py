"""``mellm watch --out``: a session that can be reported and exported like a recording."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mellm.clients.cli import run
from mellm.engine.results.run_reader import films, read_run
from tests.clients.processes import here


def test_a_session_is_exported_and_reported_like_a_recording(
    calm: Path, models: object, tmp_path: Path
) -> None:
    out = tmp_path / "s1"
    done = here("watch", calm, "--out", out, "--record", "--consent", "form-7", "--describer", "rules")
    assert done.code == 0, done.err
    session = read_run(out)
    assert f"{len(session.expressions)} expression" in done.err
    assert str(out / "expressions.jsonl") in done.err
    assert session.expressions
    assert [film.path.is_file() for film in films(session, "watch")] == [True]
    assert session.state["settings"]["consent"] == "form-7"
    for to in ("csv", "recordings", "jsonl", "vtt", "html"):
        written = here("export", out, "--to", to)
        assert written.code == 0, written.err
        assert "warning" not in written.err
    # the faces that the session kept stand in the report; nothing is read again
    assert written.out.count("Face at the apex") == len(session.expressions)
    assert here("purge", "--subject", "form-7", "--run", out).code == 0
    assert list(out.glob("video/*")) == []


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--record"], 2, "--out"),
        (["--out", "x", "--record"], None, "--consent REF"),
        (["--out", "x", "--open"], 2, "mellm serve"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_starts(
    flags: list[str],
    code: int | None,
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = run(["watch", "synthetic:?seconds=1", *flags])
    assert ended not in (0, 1)
    assert code is None or ended == code
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", [["--record"], ["--consent-text", "c.txt"]])
def test_sessions_of_a_server_need_a_folder(flag: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--source", "a=synthetic:", "--purpose", "self-use", *flag]) == 2
    assert "need runs" in capsys.readouterr().err


def test_a_server_keeps_no_video_without_consent(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    flags = ["--runs", str(tmp_path / "runs"), "--record", "--journal", ":memory:", "--port", "0"]
    assert run(["serve", "--source", "a=synthetic:", "--purpose", "self-use", *flags]) != 0
    assert "--consent a=REF" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_flags_of_a_log_are_refused_for_a_run_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "run.json").write_text(json.dumps({}))
    assert run(["export", str(tmp_path), "--to", "csv", "--from", "2026-11-29"]) == 2
    assert "about an event log" in capsys.readouterr().err
