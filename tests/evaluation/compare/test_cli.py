"""`mellm compare` from the file to the folder: dry run, run, resume, Ctrl-C, records, history."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from mellm.evaluation.compare import cli
from mellm.evaluation.compare.types import RunResult
from mellm.stream.errors import ConfigError, UsageError
from tests import PATIENCE_S
from tests.evaluation.compare.fakes import FakeTask
from tests.evaluation.compare.stand_in import StandIn, status

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8) + (280).to_bytes(4, "big") + (56).to_bytes(4, "big")
KEY = "key-of-the-compare-tests"


@pytest.fixture(autouse=True)
def fake_parts(monkeypatch):
    """A task and a report that know nothing; the true ones have tests of their own."""
    written: list[RunResult] = []

    def write(results: RunResult, folder: Path) -> list[Path]:
        written.append(results)
        return []

    monkeypatch.setattr(cli, "load_tasks", lambda settings: [FakeTask(count=6, images=(PNG,))])
    monkeypatch.setattr(cli, "write_report", write)
    monkeypatch.setenv("COMPARE_TEST_KEY", KEY)
    return written


def file(folder: Path, *urls: str, more: str = "", extra: str = "") -> Path:
    text = "".join(
        f'[[systems]]\nkind = "openai"\nname = "model {n}"\nbase_url = "{url}"\nmodel = "m{n}"\n'
        f'api_key_env = "COMPARE_TEST_KEY"\nprice_in = 1.0\nprice_out = 2.0\nmax_tokens = 100\n{extra}\n'
        for n, url in enumerate(urls, 1)
    )
    path = folder / "c.toml"
    path.write_text(f'{text}\n{more}\n[[tasks]]\nkind = "qualitative"\nname = "numbers"\n')
    return path


PUBLISHED = '[[systems]]\nkind = "published"\nname = "GPT-4V"\nscores = { right = 0.5 }\nsource = "a paper"\n'


def test_a_run_writes_answers_history_and_a_summary(tmp_path, fake_parts, capsys):
    with StandIn() as server:
        path = file(tmp_path, server.url, more=PUBLISHED + '[[systems]]\nkind = "rules"\n')
        assert cli.run(path, tmp_path / "out") == 0
    out, err = capsys.readouterr()
    assert "model 1" in out
    assert "GPT-4V: published, not run" in out
    assert str(tmp_path / "out" / "answers.jsonl") in out
    assert not err
    (results,) = fake_parts
    model, rules = results.entries
    assert (model.measures.states["answered"], rules.measures.states["unsupported"]) == (6, 6)
    assert model.measures.cost == pytest.approx(6 * (20 * 1.0 + 5 * 2.0) / 1e6)
    assert [row.published for row in results.tasks[0].tables[0].rows] == [False, False, True]
    rows = [json.loads(line) for line in (tmp_path / "out" / "answers.jsonl").read_text().splitlines()]
    assert len(rows) == 12
    kept = b"".join(p.read_bytes() for p in (tmp_path / "out").iterdir())
    assert KEY.encode() not in kept + out.encode()
    assert (results.previous, results.changes) == (None, ())


def test_the_second_run_asks_nothing_and_the_change_is_told(tmp_path, fake_parts, capsys):
    with StandIn() as server:
        path = file(tmp_path, server.url)
        cli.run(path, tmp_path / "out")
        assert cli.run(path, tmp_path / "out") == 0
        assert len(server.requests) == 6
        path.write_text(path.read_text().replace('model = "m1"', 'model = "m2"'))
        server.steps = [status(400)]
        cli.run(path, tmp_path / "out")
    second, third = fake_parts[1:]
    assert (second.previous, second.changes) == (fake_parts[0].started, ())
    assert second.entries[0].measures.cost_now == 0
    assert second.entries[0].measures.cost > 0
    assert third.changes == ()  # it failed: that tells nothing of the model
    assert len((tmp_path / "out" / "history.jsonl").read_text().splitlines()) == 3
    assert "0 numbers changed since" in capsys.readouterr().out


def test_one_refused_key_is_a_code_and_the_others_go_on(tmp_path, fake_parts, capsys):
    with StandIn(status(401, {"message": "wrong key"})) as locked, StandIn() as server:
        assert cli.run(file(tmp_path, locked.url, server.url), tmp_path / "out", as_json=True) == 5
    said = json.loads(capsys.readouterr().out)
    assert [c["stopped"] for c in said["systems"]] == ["unauthorized", None]
    assert said["tasks"]["numbers"]["right"]["rows"] == {"model 1": [0.0], "model 2": [1.0]}
    assert said["systems"][0]["measures"]["reasons"] == {"unauthorized": 6}


def test_a_dry_run_sends_nothing_writes_nothing_and_needs_no_key(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("COMPARE_TEST_KEY")
    with StandIn() as server:
        path = file(tmp_path, server.url, more=PUBLISHED, extra="requests_per_minute = 2")
        assert cli.run(path, tmp_path / "out", dry=True) == 0
        assert not server.requests
    assert not (tmp_path / "out").exists()
    out = capsys.readouterr().out
    assert "questions: numbers 6" in out
    assert "COMPARE_TEST_KEY is NOT set" in out
    assert "would send 6 of 6 questions" in out
    assert "<png 280×56, 24 bytes>" in out
    assert "base64" not in out
    # "Number 0?" and a turn are 3 + 4 tokens, the picture 10 × 2
    assert f"{6 * 27} in, at most 600 out; at most 0.00 USD" in out
    assert "at least 3.0 min" in out
    assert "GPT-4V: is printed and not run" in out


def test_a_dry_run_knows_what_is_answered_already(tmp_path, capsys):
    with StandIn() as server:
        path = file(tmp_path, server.url)
        cli.run(path, tmp_path / "out")
        capsys.readouterr()
        cli.run(path, tmp_path / "out", dry=True, as_json=True)
    (plan,) = json.loads(capsys.readouterr().out)["plans"]
    assert (plan["questions"], plan["cached"], plan["send"], plan["example"]) == (6, 6, 0, None)
    assert KEY not in json.dumps(plan)


def test_without_sending_the_cache_has_to_do(tmp_path, fake_parts, monkeypatch):
    with StandIn() as server:
        path = file(tmp_path, server.url)
        cli.run(path, tmp_path / "out")
        monkeypatch.delenv("COMPARE_TEST_KEY")
        monkeypatch.setattr(cli, "load_tasks", lambda settings: [FakeTask(count=8, images=(PNG,))])
        assert cli.run(path, tmp_path / "out", send=False) == 0
        assert len(server.requests) == 6
    assert fake_parts[-1].interrupted
    assert fake_parts[-1].entries[0].measures.reasons == {"not_asked": 2}


def test_some_of_the_systems(tmp_path, fake_parts):
    with StandIn() as server:
        path = file(tmp_path, "http://127.0.0.1:1/v1", server.url)
        assert cli.run(path, tmp_path / "out", only=["model 2"]) == 0
        with pytest.raises(UsageError, match=r"no system 'model 3'.*model 1, model 2"):
            cli.run(path, tmp_path / "out", only=["model 3"])
    assert [entry.name for entry in fake_parts[0].entries] == ["model 2"]


def test_a_missing_key_is_said_before_anything_is_sent(tmp_path, monkeypatch):
    monkeypatch.delenv("COMPARE_TEST_KEY")
    with StandIn() as server:
        with pytest.raises(ConfigError, match="COMPARE_TEST_KEY is not set"):
            cli.run(file(tmp_path, server.url), tmp_path / "out")
        assert not server.requests


SLOW = """
import sys
from pathlib import Path
from mellm.evaluation.compare import cli
from tests.evaluation.compare.fakes import FakeTask
cli.load_tasks = lambda settings: [FakeTask(count=120)]
cli.write_report = lambda results, folder: []
sys.exit(cli.run(Path(sys.argv[1]), Path(sys.argv[2])))
"""


def killed(path: Path, out: Path, server: StandIn, sent: int, signals: Sequence[int]) -> tuple[int, str]:
    """Start a run, wait until the server has been asked so often, then send signals."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(path), str(out)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=os.environ,
    )
    deadline = threading.Event()
    while len(server.requests) < sent and process.poll() is None and not deadline.wait(0.01):
        pass
    for number in signals:
        process.send_signal(number)
        time.sleep(0.1)
    _, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_goes_on_where_it_stopped(tmp_path, number, monkeypatch, fake_parts):
    with StandIn(delay_s=0.05) as server:
        path, out = file(tmp_path, server.url, extra="concurrency = 2"), tmp_path / "out"
        code, err = killed(path, out, server, 10, [number])
        sent = len(server.requests)
        assert sent < 120
        if number == signal.SIGKILL:
            assert code == -signal.SIGKILL
        else:
            assert code == 130
            assert "the same command continues" in err
            line = json.loads((out / "history.jsonl").read_text())
            assert line["interrupted"]
            rows = [json.loads(row) for row in (out / "answers.jsonl").read_text().splitlines()]
            assert len(rows) == 120
        server.delay_s = 0.0
        monkeypatch.setattr(cli, "load_tasks", lambda settings: [FakeTask(count=120)])
        assert cli.run(path, out) == 0
        # nothing that was answered is asked again; what was under way is
        assert len(server.requests) <= 120 + 2
    assert fake_parts[0].entries[0].measures.states["answered"] == 120
    assert fake_parts[0].entries[0].measures.cached >= sent - 2
