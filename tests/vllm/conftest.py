"""One vLLM for all tests of this folder: run by ``make test-vllm``, left out of every other selection."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mellm.engine.describe import profiles
from mellm.engine.describe.openai import OpenAIDescriber
from mellm.engine.vllm import environment as vllm_environment
from mellm.engine.vllm import model as served_model
from mellm.engine.vllm.server import ModelServer, ModelServerOptions, ServerCommand, command
from mellm.stream.errors import UsageError
from tests.engine.serving import free_port

KEY = "key-of-the-vllm-tests"
KEY_VARIABLE = "MELLM_API_KEY"
START_S = 300.0

measured: dict[str, str] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "vllm" in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("vllm")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("vllm")]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if measured:
        terminalreporter.section("measured")
        for what, value in measured.items():
            terminalreporter.write_line(f"{what}: {value}")


class Endpoint:
    """A vLLM server that can be killed and started again, and how to ask it."""

    def __init__(self, line: ServerCommand, profile: str, log: Path) -> None:
        self.line = line
        self.profile = profile
        self.log = log
        self.server = ModelServer(line)

    def start(self) -> float:
        """Start it and wait until it answers; the seconds that took."""
        began = time.monotonic()
        with self.log.open("ab") as log:
            self.server = ModelServer(self.line, log=log)
            self.server.start()
        try:
            self.server.wait_ready(START_S)
        except BaseException:
            self.server.stop()
            raise
        return time.monotonic() - began

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {KEY}"}

    @property
    def root(self) -> str:
        """The server's address without ``/v1``."""
        return self.line.base_url.removesuffix("/v1")

    def describer(self, **changes: object) -> OpenAIDescriber:
        settings = {"profile": self.profile, "api_key": KEY, "timeout_s": 60.0, **changes}
        return OpenAIDescriber(self.line.base_url, str(settings.pop("model", self.line.name)), **settings)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """What is served, and the profile to ask it with: mellm-nano, or a model of its kind that knows nothing."""
    try:
        profiles.get("nano")
    except UsageError:
        pass
    else:
        if (served_model.NANO / "config.json").is_file():
            return "nano", "nano"
    pytest.importorskip("transformers", reason="making a model needs the extra `train`")
    from tests.vllm.random_model import build

    return str(build(tmp_path_factory.mktemp("model") / "random")), "generic"


@pytest.fixture(scope="session")
def endpoint(model: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """vLLM on the CPU, up and serving."""
    environment = vllm_environment.find()
    if environment.build != "cpu":
        pytest.fail(f"no CPU build of vLLM for {environment.python} (run `make test-vllm`)")
    what, profile = model
    options = ModelServerOptions(port=free_port(), api_key=KEY, api_key_env=KEY_VARIABLE)
    line = command(served_model.find(what), options, environment.python)
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    one = Endpoint(line, profile, log)
    try:
        measured["model, profile"] = f"{line.name}, {profile}"
        measured["vLLM up after"] = f"{one.start():.0f} s"
        yield one
    finally:
        one.server.stop()
        if os.environ.get("MELLM_VLLM_LOG"):
            Path(os.environ["MELLM_VLLM_LOG"]).write_bytes(log.read_bytes())
