"""Commands are checked as data; the runner runs small servers of Python's own in vLLM's place."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.engine.vllm.model import ServedModel, inspect
from mellm.engine.vllm.server import (
    KV_STEP,
    LAUNCHER,
    ModelServer,
    ModelServerOptions,
    ServerCommand,
    command,
)
from mellm.stream.errors import ModelError, UsageError
from tests.engine.serving import NANO, QWEN, SERVER, ended, folder, free_port

PYTHON = Path("/venv/bin/python")


@pytest.fixture
def nano(tmp_path: Path) -> ServedModel:
    return inspect(folder(tmp_path, NANO), "mellm-nano")


@pytest.fixture
def qwen(tmp_path: Path) -> ServedModel:
    return inspect(folder(tmp_path, QWEN, "MELLM-7B"))


def flag(line: ServerCommand, name: str) -> str:
    return line.arguments[line.arguments.index(name) + 1]


def test_the_cpu_command_is_safe_and_lean(nano):
    line = command(nano, ModelServerOptions(port=8123), PYTHON)
    assert line.arguments[:2] == ("/venv/bin/python", "-P")
    assert line.arguments[2] == str(LAUNCHER)
    assert line.arguments[3:5] == ("serve", str(nano.folder))
    assert (line.name, line.base_url) == ("mellm-nano", "http://127.0.0.1:8123/v1")
    assert flag(line, "--max-model-len") == "1024"
    assert flag(line, "--dtype") == "float32"
    assert flag(line, "--allowed-media-domains").endswith(".invalid")
    assert int(flag(line, "--shutdown-timeout")) > 0
    assert "--enforce-eager" in line.arguments
    assert json.loads(flag(line, "--limit-mm-per-prompt"))["image"] >= 1
    assert json.loads(flag(line, "--structured-outputs-config"))["disable_any_whitespace"] is True
    assert line.environment["OMP_NUM_THREADS"] == "1"
    assert line.environment["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert line.environment["HF_HUB_OFFLINE"] == line.environment["VLLM_NO_USAGE_STATS"] == "1"
    assert not any("trust" in argument for argument in line.arguments)


def test_the_cuda_command_has_the_flags_of_a_gpu(qwen):
    line = command(qwen, ModelServerOptions(device="cuda", gpu_memory_utilization=0.5), PYTHON)
    assert flag(line, "--gpu-memory-utilization") == "0.5"
    assert flag(line, "--dtype") == "bfloat16"
    assert flag(line, "--max-model-len") == "8192"
    assert "--enforce-eager" not in line.arguments
    assert "OMP_NUM_THREADS" not in line.environment
    given = ModelServerOptions(device="cuda", max_model_len=32768, dtype="float16")
    assert flag(command(qwen, given, PYTHON), "--max-model-len") == "32768"
    assert flag(command(qwen, given, PYTHON), "--dtype") == "float16"


def test_a_model_without_eyes_is_not_limited_in_pictures(tmp_path):
    config = {key: value for key, value in QWEN.items() if key != "vision_config"} | {"model_type": "qwen3"}
    line = command(inspect(folder(tmp_path, config)), ModelServerOptions(), PYTHON)
    assert "--limit-mm-per-prompt" not in line.arguments


def test_what_cannot_be_served_is_refused(nano):
    with pytest.raises(UsageError, match="made for 1024 tokens"):
        command(nano, ModelServerOptions(max_model_len=4096), PYTHON)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"host": "0.0.0.0"}, "without an API key"),
        ({"host": ""}, "all addresses"),
        ({"port": 0}, "port 0"),
        ({"max_model_len": 10}, "10 tokens"),
        ({"gpu_memory_utilization": 0.5}, "CUDA machines"),
        ({"device": "cuda", "gpu_memory_utilization": 1.5}, "1.5"),
        ({"threads": 0}, "at least 1, not 0"),
    ],
)
def test_options_out_of_range(changes, said):
    with pytest.raises(UsageError, match=said):
        ModelServerOptions(**changes)


def test_a_key_opens_the_bind_and_is_never_shown(nano):
    options = ModelServerOptions(host="0.0.0.0", api_key="s3cret-key", api_key_env="KEY")
    line = command(nano, options, PYTHON)
    assert line.base_url == "http://127.0.0.1:8000/v1"
    assert 'VLLM_API_KEY="$KEY"' in line.shown()
    for told in (line.shown(), repr(line), repr(options), " ".join(line.arguments)):
        assert "s3cret" not in told
    assert line.full_environment({"A": "1"})["VLLM_API_KEY"] == "s3cret-key"


def test_a_key_of_the_callers_own_vllm_is_not_inherited(nano):
    line = command(nano, ModelServerOptions(), PYTHON)
    assert "VLLM_API_KEY" not in line.full_environment({"VLLM_API_KEY": "theirs"})


@given(
    st.integers(64, 40_000), st.integers(1, 64), st.integers(1, 64), st.integers(1, 16).map(lambda n: 8 * n)
)
def test_there_is_memory_for_every_request_at_its_longest(context, layers, heads, width):
    model = ServedModel(Path("m"), "m", "idefics3", True, context, 8 * layers * heads * width)
    line = command(model, ModelServerOptions(), PYTHON)
    room = int(flag(line, "--kv-cache-memory-bytes"))
    assert room % KV_STEP == 0
    tokens = int(flag(line, "--max-model-len")) * int(flag(line, "--max-num-seqs"))
    assert 0 <= room - tokens * model.kv_bytes < KV_STEP


def test_the_shown_command_is_what_a_shell_runs(nano):
    line = command(nano, ModelServerOptions(), Path(sys.executable))
    tell = "import json, os, sys; print(json.dumps([sys.argv, os.environ['OMP_NUM_THREADS']]))"
    shown = line.shown().replace(str(LAUNCHER), "/dev/stdin")
    told = subprocess.run(["sh", "-c", shown], input=tell, capture_output=True, text=True, check=True).stdout
    assert json.loads(told) == [["/dev/stdin", *line.arguments[3:]], "1"]


def small_server(helper: Path, name: str = "small", key: str | None = None) -> ServerCommand:
    port = free_port()
    arguments = (sys.executable, "-c", SERVER, str(port), str(helper))
    return ServerCommand(arguments, {}, name, f"http://127.0.0.1:{port}/v1", key)


@pytest.mark.parametrize("key", [None, "key-of-16-letters"])
def test_start_serve_stop_and_nothing_is_left(tmp_path, key):
    helper = tmp_path / "helper"
    with ModelServer(small_server(helper, key=key)) as server:
        server.wait_ready(20)
        assert server.exit_code() is None
        assert os.getpgid(server.pid) == server.pid != os.getpgid(0)
        child = int(helper.read_text())
    assert server.exit_code() == 0
    assert ended(child)


def test_another_model_at_that_address_is_not_ours(tmp_path):
    server = ModelServer(small_server(tmp_path / "helper", name="large"))
    server.start()
    try:
        with pytest.raises(ModelError, match="not ready"):
            server.wait_ready(1.5)
    finally:
        server.stop()


def test_a_server_that_will_not_stop_is_killed_with_its_helpers(tmp_path):
    line = small_server(tmp_path / "helper")
    deaf = line.arguments[2].replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")
    server = ModelServer(
        ServerCommand((sys.executable, "-c", deaf, *line.arguments[3:]), {}, "small", line.base_url)
    )
    server.start()
    server.wait_ready(20)
    server.stop(grace_s=0.2)
    assert server.exit_code() == -signal.SIGKILL
    assert ended(int((tmp_path / "helper").read_text()))
    server.stop()


def test_a_server_that_ends_while_starting_is_an_error():
    arguments = (sys.executable, "-c", "raise SystemExit(3)")
    line = ServerCommand(arguments, {}, "small", f"http://127.0.0.1:{free_port()}/v1")
    with ModelServer(line) as server, pytest.raises(ModelError, match="code 3"):
        server.wait_ready(20)


def test_a_taken_port_and_a_missing_interpreter_are_found_out_at_once():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"http://127.0.0.1:{other.getsockname()[1]}/v1"
        with pytest.raises(UsageError, match="another --port"):
            ModelServer(ServerCommand(("/bin/true",), {}, "small", taken)).start()
    line = ServerCommand(("/no/such/python",), {}, "small", f"http://127.0.0.1:{free_port()}/v1")
    with pytest.raises(ModelError, match="cannot be run"):
        ModelServer(line).start()
