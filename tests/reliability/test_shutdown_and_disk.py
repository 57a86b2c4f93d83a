"""F11, F12, F14: a disk that is full or read-only, no file descriptors left, an ordered stop under load."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect as dial
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from mellm.stream.log.journal import Journal
from tests import PATIENCE_S
from tests.engine.serving import free_port
from tests.reliability.figures import REPO, record


class Running:
    """The scripted server, with what it said on standard error."""

    def __init__(self, port: int, folder: Path, *, files: int | None = None) -> None:
        def limit() -> None:
            if files is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        self.port = port
        self._log = folder.parent / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.reliability.event_server", str(port), str(folder), "0"],
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=REPO,
                preexec_fn=limit,
            )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n", self._log.read_text()

    @property
    def said(self) -> str:
        return self._log.read_text()

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name
        )

    def status(self, page: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{page}", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    def goes_on(self) -> None:
        """Until another frame has been analysed."""
        before = self.metric("mellm_frames_analysed_total")
        start = time.monotonic()
        while self.metric("mellm_frames_analysed_total") <= before:
            assert time.monotonic() - start < PATIENCE_S, "the cameras stand still"
            time.sleep(0.05)

    def wait(self, condition: str, seconds: float = PATIENCE_S) -> float:
        """Until /readyz says so; how long it took."""
        start = time.monotonic()
        wanted = 200 if condition == "ready" else 503
        while self.status("readyz") != wanted:
            assert time.monotonic() - start < seconds, f"not {condition} in time"
            time.sleep(0.05)
        return time.monotonic() - start

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True
    ).returncode:
        pytest.skip("a small file system cannot be mounted here (needs root)")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_f11_a_full_disk_stops_no_camera_and_heals(small_disk: Path) -> None:
    server = Running(free_port(), small_disk)
    try:
        server.wait("ready")
        filler = small_disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        noticed = server.wait("unready")
        server.goes_on()
        assert server.status("healthz") == 200
        lost = server.metric("mellm_events_unjournalled")
        assert lost > 0
        filler.unlink()
        healed = server.wait("ready")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 0, server.said
    finally:
        server.close()
    with Journal(small_disk / "journal.db") as journal:
        numbers = [r.seq for r in journal.replay()]
        assert numbers == list(range(1, journal.last_seq + 1))
    record(
        "F11",
        "C",
        run="disk full",
        noticed_s=round(noticed, 2),
        healed_s=round(healed, 2),
        events_not_kept=lost,
    )
    assert server.said.count("event not published") <= 4, "the log is flooded"


def test_f11_no_descriptors_left_refuses_clients_and_heals(tmp_path: Path) -> None:
    """ulimit 64: the clients that are in stay in, new ones wait or are turned away, the cameras go on."""
    folder = tmp_path / "state"
    folder.mkdir()
    port = free_port()
    server = Running(port, folder, files=64)

    async def crowd() -> tuple[int, int]:
        url = f"ws://127.0.0.1:{port}/v1/stream"
        inside, refused = [], 0
        for _ in range(80):
            try:
                inside.append(
                    await dial(url, subprotocols=[Subprotocol("mellm.v1")], proxy=None, open_timeout=0.5)
                )
            except (OSError, TimeoutError, ConnectionClosed):
                refused += 1
                if refused > 5:
                    break
        frames = await asyncio.to_thread(_frames_from, inside[0])
        for client in inside:
            await client.close()
        return len(inside), frames

    def _frames_from(client: object) -> int:
        time.sleep(1.2)
        return len(os.listdir(f"/proc/{server.process.pid}/fd"))

    try:
        server.wait("ready")
        count, descriptors = asyncio.run(crowd())
        assert descriptors >= 60, "the limit was not reached"
        healed = server.wait("ready")
        server.goes_on()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 0, server.said
    finally:
        server.close()
    record("F11", "C", run="64 descriptors", clients_let_in=count, healed_s=round(healed, 2))
    assert count >= 10
    assert server.said.count("\n") < 200, "the log is flooded"


@pytest.mark.parametrize("clients", [20])
def test_f12_sigterm_under_load_tells_everybody_and_balances(tmp_path: Path, clients: int) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    port = free_port()
    server = Running(port, folder)

    async def crowd() -> tuple[list[int | None], float]:
        url = f"ws://127.0.0.1:{port}/v1/stream"
        sockets = [
            await dial(url, subprotocols=[Subprotocol("mellm.v1")], proxy=None) for _ in range(clients)
        ]
        for each in sockets:
            await each.send('{"type": "subscribe"}')

        async def read(each: object) -> int | None:
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await each.recv()  # type: ignore[attr-defined]
            return each.close_code  # type: ignore[attr-defined,no-any-return]

        readers = [asyncio.create_task(read(each)) for each in sockets]
        await asyncio.sleep(2.5)
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        codes = await asyncio.gather(*readers)
        await asyncio.to_thread(server.process.wait, PATIENCE_S)
        return codes, time.monotonic() - start

    try:
        codes, took = asyncio.run(crowd())
        assert server.process.returncode == 0, server.said  # it asserts that its own sums balance
    finally:
        server.close()
    with Journal(folder / "journal.db") as journal:
        assert journal.unfinished() == []
    record(
        "F12",
        "C",
        run="one signal",
        clients=clients,
        close_codes=sorted(map(str, {*codes})),
        took_s=round(took, 2),
    )
    assert set(codes) == {1001}


def test_f12_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    """``mellm serve`` itself, while its first stop still waits for the describer."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mellm.clients.cli", "serve", "--purpose", "self-use", "--port", "0"),
            *("--source", "s=synthetic:?seconds=0", "--journal", ":memory:", "--describer", "rules"),
        ],
        stderr=subprocess.PIPE,
        cwd=REPO,
    )
    try:
        assert process.stderr is not None
        while b"listening on" not in (line := process.stderr.readline()):
            assert line, "the server ended"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        start = time.monotonic()
        code = process.wait(PATIENCE_S)
        took = time.monotonic() - start
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stderr.close()
    record("F12", "C", run="two signals", took_s=round(took, 2), exit_code=code)
    assert code in (0, 130)
