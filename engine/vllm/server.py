"""vLLM as a server for describers: which command, with which flags, and how it is started, watched and stopped.

:func:`command` is pure: model, options and interpreter in, arguments and environment out. :class:`ModelServer` runs
such a command in a process group of its own, because vLLM's helpers outlive a killed parent.

The flags are chosen so that a server on a shared machine is safe: it fetches no pictures for clients, sends no usage
statistics, asks no hub for files, bounds its memory, its queue and its stopping time, and loads no code from model
folders. Why each is there is said beside it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Literal, Self

import httpx

from mellm.engine.server.auth import is_loopback
from mellm.engine.vllm.model import ServedModel
from mellm.stream.errors import ModelError, UsageError

logger = logging.getLogger(__name__)

Device = Literal["cpu", "cuda"]
DTypes = Literal["float32", "bfloat16", "float16"]

BESIDE_CPU: Final = Path(__file__).with_name("beside_cpu")
"""A folder whose ``sitecustomize`` lets torchvision be imported beside a CPU build of torch, in helpers as well."""

LAUNCHER: Final = Path(__file__).with_name("launcher.py")
MAX_CONTEXT: Final = 8192
"""Tokens per request unless asked for more: the longest question of the profiles has about 4000."""

SEQUENCES: Final = {"cpu": 8, "cuda": 32}
"""Requests that run at once."""

QUEUED: Final = 64
"""Requests that may wait; more are refused with 503, which the describer takes as "try again"."""

KV_STEP: Final = 64 << 20
SHUTDOWN_S: Final = 5
"""How long requests in flight may take when the server stops. With vLLM's default of 0 their clients hang."""

IMAGES: Final = 2
"""Pictures per request."""

KEY_VARIABLE: Final = "VLLM_API_KEY"
"""Where vLLM reads its key; an argument would show in the list of processes."""


@dataclass(frozen=True, slots=True)
class ModelServerOptions:
    """How to serve.

    :param device: ``cpu`` has its own build of vLLM and its own flags
    :param max_model_len: tokens of a request, question and answer; default: the model's own, at most 8192
    :param gpu_memory_utilization: share of the GPU's memory that vLLM takes (``cuda`` only)
    :param dtype: default: ``float32`` on the CPU, which gives the answers of the embedded model, else ``bfloat16``
    :param api_key: asked of every client when set
    :param api_key_env: the variable it came from, named where the command is shown
    :param threads: OpenMP threads (``cpu`` only); idle ones spin and slow everything else on a busy machine
    :raises UsageError: a value out of range, or a bind that strangers could use
    """

    host: str = "127.0.0.1"
    port: int = 8000
    device: Device = "cpu"
    max_model_len: int | None = None
    gpu_memory_utilization: float | None = None
    dtype: DTypes | None = None
    api_key: str | None = field(default=None, repr=False)
    api_key_env: str = "MELLM_API_KEY"
    threads: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise UsageError(f"port {self.port} is not between 1 and 65535")
        if self.max_model_len is not None and self.max_model_len < 64:
            raise UsageError(f"{self.max_model_len} tokens hold no question and answer")
        share = self.gpu_memory_utilization
        if share is not None and self.device == "cpu":
            raise UsageError(
                "--gpu-memory-utilization is for CUDA machines",
                remedy="leave it out, or choose --device cuda",
            )
        if share is not None and not 0.05 <= share <= 0.98:
            raise UsageError(f"a share of {share} of the GPU's memory is not between 0.05 and 0.98")
        if self.threads < 1:
            raise UsageError(f"--threads must be at least 1, not {self.threads}")
        if not is_loopback(self.host) and not self.api_key:
            raise UsageError(
                f"refusing to listen on {self.host or 'all addresses'} without an API key",
                remedy=f"bind 127.0.0.1, or put a key into {self.api_key_env}",
            )


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """What to run.

    :param environment: set on top of the caller's; the API key is not in it
    :param name: the model's, as clients ask for it
    :param base_url: where they ask, up to ``/v1``
    :param api_key_env: the variable that the key came from
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    name: str
    base_url: str
    api_key: str | None = field(default=None, repr=False)
    api_key_env: str = "MELLM_API_KEY"

    def shown(self) -> str:
        """The command for a shell; the API key by the variable it comes from."""
        given = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        if self.api_key:
            given.append(f'{KEY_VARIABLE}="${self.api_key_env}"')
        return " ".join((*given, shlex.join(self.arguments)))

    def full_environment(self, outer: Mapping[str, str]) -> dict[str, str]:
        """The caller's environment with this command's on top."""
        kept = {name: value for name, value in outer.items() if name != KEY_VARIABLE}
        return {**kept, **self.environment, **({KEY_VARIABLE: self.api_key} if self.api_key else {})}


def command(model: ServedModel, options: ModelServerOptions, python: Path) -> ServerCommand:
    """The command that serves a model.

    :param python: interpreter of the environment that vLLM is installed in
    :raises UsageError: the model cannot be served that way
    """
    length = min(options.max_model_len or MAX_CONTEXT, model.context)
    if options.max_model_len is not None and options.max_model_len > model.context:
        raise UsageError(
            f"{model.name} was made for {model.context} tokens, not {options.max_model_len}",
            remedy="give --max-model-len that or less",
        )
    environment = {
        "HF_HUB_OFFLINE": "1",  # everything is in the folder: a missing file is an error, not a download
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONSAFEPATH": "1",  # vLLM starts helpers with -m, which would import from the current folder
        "PYTHONNOUSERSITE": "1",
    }
    arguments = [
        *(str(python), "-P", str(LAUNCHER), "serve", str(model.folder)),
        *("--served-model-name", model.name),
        *("--host", options.host, "--port", str(options.port)),
        *("--max-model-len", str(length)),
        *("--max-num-seqs", str(SEQUENCES[options.device])),
        *("--max-num-queued-reqs", str(QUEUED)),
        *("--shutdown-timeout", str(SHUTDOWN_S)),
        # xgrammar lets raw control characters into bounded strings, and any backend left to itself babbles
        # white space between tokens until the limit
        *("--structured-outputs-config", '{"backend": "guidance", "disable_any_whitespace": true}'),
    ]
    if model.vision:
        arguments += ["--limit-mm-per-prompt", f'{{"image": {IMAGES}}}']
    # pictures come as data URLs; a server that fetches addresses for its clients can be sent anywhere
    arguments += ["--allowed-media-domains", "none.invalid"]
    if options.device == "cpu":
        environment |= _cpu_environment(options)
        arguments += _cpu_arguments(model, options, length)
    else:
        arguments += ["--dtype", options.dtype or "bfloat16"]
        arguments += ["--gpu-memory-utilization", f"{options.gpu_memory_utilization or 0.9:g}"]
    host = f"[{options.host}]" if ":" in options.host else options.host
    reached = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    return ServerCommand(
        tuple(arguments),
        environment,
        model.name,
        f"http://{reached}:{options.port}/v1",
        options.api_key,
        options.api_key_env,
    )


def _cpu_environment(options: ModelServerOptions) -> dict[str, str]:
    return {
        # one process instead of three: half the memory, half the start
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "PYTHONPATH": str(BESIDE_CPU),
        "OMP_NUM_THREADS": str(options.threads),
    }


def _cpu_arguments(model: ServedModel, options: ModelServerOptions, length: int) -> list[str]:
    wanted = model.kv_bytes * length * SEQUENCES["cpu"]
    return [
        *("--dtype", options.dtype or "float32"),
        "--enforce-eager",  # compiling takes a minute and a C++ compiler, and gains a fifth
        *("--distributed-executor-backend", "uni"),
        # room for every request at its longest, so that none is ever pushed out
        *("--kv-cache-memory-bytes", str(-(-wanted // KV_STEP) * KV_STEP)),
    ]


class ModelServer:
    """A running server. Use as a context manager, or :meth:`start` and :meth:`stop`.

    The process and its helpers form one group (and session): a terminal's Ctrl-C does not reach them, and stopping
    ends all of them.

    :param log: where its output goes; ``None`` for our standard error
    """

    def __init__(self, command: ServerCommand, *, log: IO[bytes] | None = None) -> None:
        self.command = command
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; :meth:`wait_ready` tells when it answers.

        It ends by itself when this process is gone.

        :raises UsageError: the port is taken
        :raises ModelError: the interpreter cannot be run
        """
        url = httpx.URL(self.command.base_url)
        check_free(url.host, url.port or 80)
        environment = self.command.full_environment(os.environ)
        environment["MELLM_DIE_WITH_PARENT"] = str(os.getpid())
        try:
            self._process = subprocess.Popen(
                self.command.arguments,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=self._log or 2,  # our standard output is for data
                stderr=self._log or 2,
                start_new_session=True,
            )
        except OSError as error:
            raise ModelError(f"{self.command.arguments[0]} cannot be run ({error.strerror})") from error

    @property
    def pid(self) -> int:
        """The process, which is also its group."""
        if self._process is None:
            raise RuntimeError("the server has not been started")
        return self._process.pid

    def exit_code(self) -> int | None:
        """How it ended; ``None`` while it runs."""
        return None if self._process is None else self._process.poll()

    def wait_ready(self, timeout_s: float = 300.0) -> None:
        """Wait until it serves the model.

        :raises ModelError: it ended, or is not ready in time
        """
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            code = self.exit_code()
            if code is not None:
                raise ModelError(
                    f"vLLM ended with code {code} while starting", remedy="its last lines say why"
                )
            if self.serves():
                return
            time.sleep(0.25)
        raise ModelError(
            f"vLLM was not ready after {timeout_s:.0f} s",
            remedy="a model of this size may need more time or memory than there is",
        )

    def serves(self) -> bool:
        """Whether it answers and has the model."""
        key = self.command.api_key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            answer = httpx.get(
                f"{self.command.base_url}/models", headers=headers, timeout=2.0, trust_env=False
            )
            names = [entry["id"] for entry in answer.json()["data"]] if answer.status_code == 200 else []
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return False
        return self.command.name in names

    def ask_to_stop(self) -> None:
        """SIGTERM to the server alone: it finishes what runs; its helpers must live until then."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for its end; ``None`` when it still runs after that time."""
        if self._process is None:
            return None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """SIGKILL to the whole group: nothing of it is left."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self, grace_s: float = SHUTDOWN_S + 10.0) -> None:
        """Ask, wait, then kill what is left. Safe to call twice."""
        try:
            self.ask_to_stop()
            if self.wait(grace_s) is None and self._process is not None:
                logger.warning("vLLM did not stop within %.0f s", grace_s)
        finally:  # also when a second Ctrl-C cuts the waiting short
            self.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def check_free(host: str, port: int) -> None:
    """Find out before a minute of starting that the port cannot be had.

    :raises UsageError: somebody listens there, or it may not be bound
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            raise UsageError(
                f"cannot listen on {host}:{port}: {error.strerror or error}",
                remedy="choose another --port, or stop what listens there",
            ) from error
