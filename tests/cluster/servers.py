"""Real brokers for tests and for the demo, started from what is installed; where there is none, why."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
NATS_CONFIG = ROOT / "docs" / "deploy" / "nats.conf"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str) -> str | None:
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


class Broker:
    """A server in a folder of its own. :meth:`kill` and :meth:`start` may be called as often as wanted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def command(self) -> list[str]:
        raise NotImplementedError

    @property
    def url(self) -> str:
        raise NotImplementedError

    def start(self) -> Self:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, cwd=self.folder)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise RuntimeError(f"the broker ended: {(self.folder / 'server.log').read_text()[-2000:]}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return self
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the broker did not come up")

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """As a machine that loses its power ends a process: at once."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


class Nats(Broker):
    """nats-server with the configuration that ships, on free ports."""

    program = "nats-server"

    def __init__(self, folder: Path, *, config: Path = NATS_CONFIG) -> None:
        super().__init__(folder)
        self.monitor_port = free_port()
        self.config = config

    def command(self) -> list[str]:
        exe = program(self.program)
        assert exe is not None
        where = ["-a", "127.0.0.1", "-p", str(self.port), "-m", str(self.monitor_port)]
        here = self.folder / "nats.conf"
        shipped = self.config.read_text(encoding="utf-8")
        # streams reserve their room; every test makes its own
        mine = shipped.replace("/var/lib/nats", str(self.folder / "store")).replace("16GB", "900GB")
        here.write_text(mine, encoding="utf-8")
        return [exe, "-c", str(here), *where]

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def monitor(self) -> str:
        return f"http://127.0.0.1:{self.monitor_port}"


class Redis(Broker):
    """redis-server as the documentation has it: everything on disk before it is acknowledged."""

    program = "redis-server"

    def command(self) -> list[str]:
        exe = program(self.program)
        assert exe is not None
        kept = [
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--save",
            "",
            "--aof-use-rdb-preamble",
            "no",
            "--dir",
            str(self.folder),
        ]
        return [exe, "--bind", "127.0.0.1", "--port", str(self.port), *kept]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"


BROKERS: dict[str, type[Broker]] = {"nats": Nats, "redis": Redis}


def missing(name: str) -> str | None:
    """Why there is no such broker here; ``None`` when there is one."""
    if program(BROKERS[name].program) is None:
        return f"no {BROKERS[name].program} on this machine"
    if os.name != "posix":
        return "brokers are started on POSIX systems only"
    return None
