"""An installation of several processes on this machine, and an account of what became of every expression."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from mellm.clients.client import connect
from mellm.stream.log.journal import Journal
from mellm.stream.protocol.events import EXPRESSION_ENDS, EXPRESSION_SPOTTED, Event
from tests import PATIENCE_S, REPO
from tests.cluster.servers import Nats, free_port


class Process:
    """One role. :meth:`kill` and :meth:`start` as often as wanted: its folder and port stay.

    :param stand_in: options of :mod:`tests.cluster.node`; without them the command itself runs
    """

    def __init__(
        self,
        folder: Path,
        role: str,
        name: str,
        broker: Nats,
        *arguments: str,
        stand_in: Mapping[str, float] | None = None,
        bus: str | None = None,
    ) -> None:
        self.folder = folder / name
        self.name = name
        self.role = role
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        begin = [sys.executable, "-m", "mellm.clients.cli"]
        if stand_in is not None:
            begin = [sys.executable, "-m", "tests.cluster.node", json.dumps(dict(stand_in))]
        url = bus or broker.url
        monitor = ["--bus-monitor", broker.monitor] if isinstance(broker, Nats) else []
        self.command = [
            *begin,
            *("-v", "serve", "--role", role, "--bus", url, *monitor, "--node", name, "--purpose", "self-use"),
            *("--port", str(self.port), "--journal", str(self.folder / "journal.db"), *arguments),
        ]
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, cwd=REPO, env=environment)

    async def ready(self) -> None:
        """Until it answers."""
        async with asyncio.timeout(PATIENCE_S), httpx.AsyncClient(trust_env=False) as http:
            while True:
                assert self.process is not None
                assert self.process.poll() is None, f"{self.name} ended:\n{self.log[-3000:]}"
                try:
                    await http.get(f"http://127.0.0.1:{self.port}/healthz")
                    return
                except httpx.HTTPError:
                    await asyncio.sleep(0.1)

    async def metrics(self) -> dict[str, float]:
        """Numbers without labels, by name."""
        async with httpx.AsyncClient(trust_env=False) as http:
            text = (await http.get(f"http://127.0.0.1:{self.port}/metrics")).text
        found = (line.rpartition(" ") for line in text.splitlines() if line and line[0] != "#")
        return {name: float(value) for name, _, value in found if "{" not in name}

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def end(self) -> None:
        """In order; what does not end is killed."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.kill()


@dataclass
class Client:
    """One client of one gateway, and all that it was told."""

    url: str
    name: str
    seen: list[Event] = field(default_factory=list)
    at: dict[tuple[str, str], float] = field(default_factory=dict)

    async def follow(self) -> None:
        while True:
            try:
                async with connect(self.url, backoff_s=0.05, max_backoff_s=0.3) as session:
                    async for event in session.events(types=["expression.*", "source.*"], after="start"):
                        self.seen.append(event)
                        self.at.setdefault((event.id, event.type), time.monotonic())
            except OSError:  # not there yet; once connected, the session comes back by itself
                await asyncio.sleep(0.1)

    @property
    def spotted(self) -> dict[str, Event]:
        return {event.id: event for event in self.seen if event.type == EXPRESSION_SPOTTED}

    @property
    def ends(self) -> dict[str, Event]:
        return {event.id: event for event in self.seen if event.type in EXPRESSION_ENDS}


async def start(nodes: Iterable[Process]) -> None:
    """Start them all, and wait until each is ready."""
    nodes = list(nodes)
    for node in nodes:
        node.start()
    await asyncio.gather(*(node.ready() for node in nodes))


@asynccontextmanager
async def following(clients: Sequence[Client]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(client.follow()) for client in clients]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(true: Callable[[], bool], what: str, limit_s: float | None = None) -> float:
    """Wait for what is sure to come; seconds it took."""
    limit_s = PATIENCE_S if limit_s is None else limit_s
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < limit_s, f"waited {limit_s} s in vain: {what}"
        await asyncio.sleep(0.05)
    return time.monotonic() - started


@dataclass
class Account:
    """What became of all expressions; see :func:`account`."""

    accepted: int = 0
    fenced: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        return [
            *(f"lost: {each}" for each in self.lost),
            *(f"repeated: {each}" for each in self.repeated),
            *(f"without an end: {each}" for each in self.open),
            *(f"out of order: {each}" for each in self.disordered),
        ]


def accepted(folders: Sequence[Path]) -> tuple[dict[str, str], dict[str, str]]:
    """Expressions in the journals of camera nodes, which have ended: those of a certain lease, and the others; each
    with its camera."""
    sure: dict[str, str] = {}
    unsure: dict[str, str] = {}
    for folder in folders:
        with Journal(folder / "journal.db") as journal:
            for record in journal.replay():
                if record.type == EXPRESSION_SPOTTED:
                    lease = record.event.data["lease"]
                    (sure if lease["owned"] else unsure)[record.id] = record.source
    return sure, unsure


def account(nodes: Sequence[Path], clients: Sequence[Client]) -> Account:
    """Hold what clients saw against what the camera nodes accepted.

    :param nodes: folders of camera nodes that have ended
    """
    sure, unsure = accepted(nodes)
    found = Account(accepted=len(sure))
    for client in clients:
        spotted, ends = client.spotted, client.ends
        found.lost += [
            f"{id} of {camera} at {client.name}" for id, camera in sure.items() if id not in spotted
        ]
        stages = Counter(
            (event.id, "end" if event.type in EXPRESSION_ENDS else event.type)
            for event in client.seen
            if event.type.startswith("expression.")
        )
        found.repeated += [f"{key} × {times} at {client.name}" for key, times in stages.items() if times > 1]
        found.open += [f"{id} at {client.name}" for id in spotted if id not in ends]
        numbers = [event.seq or 0 for event in client.seen]
        if numbers != sorted(set(numbers)):
            found.disordered.append(f"numbers at {client.name}")
        by_lease: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
        for event in spotted.values():
            segment = int(event.data["segment"])
            by_lease[event.source, segment >> 20].append((segment, int(event.data["onset_ns"])))
        found.disordered += [
            f"{camera} under lease {epoch} at {client.name}"
            for (camera, epoch), places in by_lease.items()
            if places != sorted(places)
        ]
    shown = set().union(*(client.spotted for client in clients)) if clients else set()
    found.fenced = len([id for id in unsure if id not in shown])
    for client in clients[:1]:
        found.ends = Counter(
            " ".join(filter(None, (e.type.removeprefix("expression."), e.data.get("reason"))))
            for e in client.ends.values()
        )
    return found


async def settle(clients: Sequence[Client], quiet_s: float = 1.5) -> None:
    """Until every expression that a client has seen has an end at all of them, and nothing new comes."""

    def complete() -> bool:
        known = [client.spotted.keys() for client in clients]
        return all(ids == known[0] for ids in known) and all(
            client.ends.keys() == client.spotted.keys() for client in clients
        )

    while True:
        await until(complete, "every expression ends at every client")
        before = sum(len(client.seen) for client in clients)
        await asyncio.sleep(quiet_s)
        if complete() and before == sum(len(client.seen) for client in clients):
            return


def cameras(names: Sequence[str], uri: str = "rtsp://stand-in") -> list[str]:
    """Arguments that name them."""
    return [part for name in names for part in ("--source", f"{name}={uri}")]


def show(found: Account) -> dict[str, Any]:
    """For people and for records."""
    return {
        "accepted": found.accepted,
        "lost": len(found.lost),
        "repeated": len(found.repeated),
        "without_an_end": len(found.open),
        "fenced": found.fenced,
        "ends": dict(found.ends),
    }
