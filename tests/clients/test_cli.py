"""The command itself: help, codes, purposes, settings, pipes."""

import json
import subprocess
import sys

import pytest

from mellm.clients.cli import VERBS, run
from tests import PATIENCE_S
from tests.clients.processes import REPO, mellm, start

HELPS = [
    [],
    *[[verb] for verb in VERBS],
    *[["models", verb] for verb in ("pull", "list", "verify")],
    ["audit", "verify"],
]

LIGHT = """
import sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.bind"):
        raise SystemExit(f"help used the network: {event} {arguments}")
sys.addaudithook(watch)
from mellm.clients.cli import run
for arguments in %r:
    assert run([*arguments, "--help"]) == 0
heavy = {"numpy", "cv2", "av", "onnxruntime", "torch", "pydantic", "websockets"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize("arguments", HELPS, ids=lambda a: " ".join(a) or "mellm")
def test_every_verb_explains_itself(arguments, capsys):
    assert run([*arguments, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Usage: mellm")
    assert not err


def test_help_loads_nothing_heavy_and_asks_nobody():
    done = subprocess.run(
        [sys.executable, "-c", LIGHT % HELPS], capture_output=True, text=True, timeout=PATIENCE_S, cwd=REPO
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "--help"),
        (["analyse", "clip.mp4"], "did you mean 'analyze'?"),
        (["analyze"], "PATH"),
        (["analyze", "clip.mp4"], "--out"),
        (["analyze", "clip.mp4", "--out", "run", "--consent", " "], "--consent: a consent reference"),
        (["analyze", "clip.mp4", "--out", "run", "--thresh", "0.5"], "--threshold"),
        (["analyze", "clip.mp4", "--out", "run", "--threshold", "2"], "spotting.threshold"),
        (["watch", "0", "--describer", "openai"], "--base-url"),
        (["serve", "--purpose", "research"], "--source ID=URI"),
        (["serve", "--purpose", "research", "--source", "cam"], "ID=URI"),
        (["serve", "--source", "cam=synthetic:"], "--purpose"),
        (["serve", "--purpose", "research", "--source", "a=synthetic:", "--mirrored", "b"], "--mirrored"),
        (["serve", "--purpose", "research", "--source", "a=synthetic:", "--host", "0.0.0.0"], "--insecure"),
        (["listen", "ftp://127.0.0.1"], "ws://"),
        (["probe", "clip.mp4", "--seconds", "0"], "--seconds"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert err.startswith("mellm: error: ")
    assert err.count("\n") == 1
    assert said in err
    assert not out


@pytest.mark.parametrize("arguments", [[], ["models"]])
def test_without_arguments_help_is_shown(arguments, capsys):
    assert run(arguments) == 2
    assert capsys.readouterr().err.startswith("Usage: mellm")


@pytest.mark.parametrize("purpose", ["workplace", "education", "recruitment", "curiosity"])
@pytest.mark.parametrize("verb", ["analyze", "watch", "serve"])
def test_a_purpose_that_is_not_served(verb, purpose, capsys, tmp_path):
    arguments = {
        "analyze": ["analyze", "clip.mp4", "--out", str(tmp_path / "run")],
        "watch": ["watch", "synthetic:"],
        "serve": ["serve", "--source", "a=synthetic:"],
    }[verb]
    assert run([*arguments, "--purpose", purpose]) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert purpose in err
    assert not out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("purpose", ["workplace", "education", "recruitment"])
def test_a_medical_or_safety_ground_opens_it(purpose, capsys, tmp_path):
    arguments = ["analyze", str(tmp_path / "none.mp4"), "--out", str(tmp_path / "run"), "--purpose", purpose]
    arguments += ["--medical-or-safety-basis", "ethics board 12/7"]
    assert run(arguments) == 2
    assert "--consent REF" in capsys.readouterr().err
    assert run([*arguments, "--consent", "board-12/p-1"]) == 3
    assert "no such file" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["purpose"] == purpose


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[describer]\nknd = 'rules'\n", ("'describer.knd'", "'kind'")),
        ("colour = 1\n", ("'colour'",)),
        ("[server]\nretention_days = 0\n", ("server.retention_days",)),
        ("[[sources]]\nid = 'a'\nurl = 'x'\n", ("'sources[1].url'", "'uri'")),
        ("not toml", ("not TOML",)),
    ],
)
def test_settings_that_are_not_known(text, said, capsys, tmp_path):
    config = tmp_path / "mellm.toml"
    config.write_text(text)
    assert run(["analyze", "clip.mp4", "--out", str(tmp_path / "run"), "--config", str(config)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    for part in (str(config), *said):
        assert part in err


def test_a_settings_file_that_is_not_there(capsys, tmp_path):
    assert run(["watch", "synthetic:", "--config", str(tmp_path / "none.toml")]) == 2
    assert "none.toml cannot be read" in capsys.readouterr().err


def test_models_are_listed_and_verified(models, capsys):
    assert run(["models", "list", "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"face_detector", "face_landmarks"} <= {row["name"] for row in listed}
    assert all(len(row["sha256"]) == 64 and row["licence"] and row["source"] for row in listed)
    assert run(["models", "verify", "--json"]) == 0
    assert run(["models", "list"]) == 0
    assert "face_detector" in capsys.readouterr().out


def test_an_empty_cache_is_code_4(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MELLM_CACHE", str(tmp_path))
    assert run(["models", "verify", "--json"]) == 4
    assert run(["watch", "synthetic:?seconds=1"]) == 4
    assert "mellm models pull" in capsys.readouterr().err
    assert run(["doctor", "--json"]) == 4


def test_doctor(models, capsys):
    run(["doctor", "--json"])
    found = {row["what"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert found["mellm-live"]["state"] == "ok"
    assert found["device"]["said"].startswith("auto: ")
    assert run(["doctor", "--device", "cuda", "--json"]) in (0, 4)


@pytest.mark.parametrize("arguments", [["--help"], ["probe", "synthetic:?seconds=1", "--json"]])
def test_a_reader_that_has_gone_is_no_failure(arguments):
    with start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (0, b"")


def test_probe_measures(capsys):
    assert run(["probe", "synthetic:?fps=25&seconds=3", "--seconds", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["width"], report["height"], report["gaps"]) == (640, 480, 0)
    assert report["measured_fps"] == pytest.approx(25)
    assert run(["probe", "synthetic:?fps=25&seconds=1"]) == 0
    assert "measured fps" in capsys.readouterr().out


def test_the_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mellm, version ")


def test_a_missing_file_as_a_process():
    done = mellm("probe", "/nowhere/clip.mp4")
    assert done.code == 3
    assert done.err == "mellm: error: /nowhere/clip.mp4: there is no such file — check the path\n"
