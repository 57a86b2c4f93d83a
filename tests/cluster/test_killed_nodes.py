"""Whole installations of processes on a real broker: one of each is killed, and every expression is accounted for."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.harness import (
    Client,
    Process,
    account,
    cameras,
    following,
    settle,
    show,
    start,
    until,
)
from tests.cluster.servers import Nats, missing
from tests.reliability.figures import record

pytestmark = pytest.mark.cluster
CAMERAS = ["a", "b", "c", "d"]


@dataclass
class Installation:
    broker: Nats
    nodes: dict[str, Process]
    clients: list[Client]

    @property
    def camera_folders(self) -> list[Path]:
        return [node.folder for node in self.nodes.values() if node.role == "camera"]

    async def again(self, name: str) -> None:
        """Killed, and started again as its service manager would."""
        self.nodes[name].kill()
        await asyncio.sleep(0.3)
        self.nodes[name].start()
        await self.nodes[name].ready()

    def told(self) -> int:
        return min(len(client.ends) for client in self.clients)

    async def more(self, number: int) -> None:
        """Until so many more expressions have ended at every client."""
        wanted = self.told() + number
        await until(lambda: self.told() >= wanted, f"{number} more ends")

    async def finish(self) -> None:
        """Stop the cameras, and wait for the rest."""
        for node in self.nodes.values():
            if node.role == "camera":
                await asyncio.to_thread(node.end)
        await settle(self.clients)


@asynccontextmanager
async def installation(folder: Path, **stand_in: float) -> AsyncIterator[Installation]:
    if why := missing("nats"):
        pytest.skip(why)
    options = {"every": 5, "describe_s": 0.05, **stand_in}
    with Nats(folder / "broker") as broker:
        nodes = {
            name: Process(folder, role, name, broker, *more, stand_in=options)
            for role, name, *more in (
                ("describe", "describe-1"),
                ("describe", "describe-2"),
                ("gateway", "gateway-1"),
                ("gateway", "gateway-2"),
                ("camera", "camera-1", "--cameras", "2", *cameras(CAMERAS)),
                ("camera", "camera-2", "--cameras", "2", *cameras(CAMERAS)),
            )
        }
        clients = [Client(nodes[f"gateway-{n}"].url, f"{n}.{i}") for n in (1, 2) for i in range(2)]
        try:
            await start(nodes.values())
            async with following(clients):
                yield Installation(broker, nodes, clients)
        finally:
            for node in nodes.values():
                node.kill()


async def test_f10_one_of_each_and_the_broker_are_killed(tmp_path: Path) -> None:
    async with installation(tmp_path) as here:
        await here.more(10)
        for name in ("describe-1", "gateway-1"):
            await here.again(name)
            await here.more(5)
        here.broker.kill()
        await asyncio.sleep(1.0)
        here.broker.start()
        await here.more(5)

        here.nodes["camera-1"].kill()
        owned = {facts["source"] for facts in audited(here.nodes["camera-1"], "lease.taken")}
        before = [len(client.seen) for client in here.clients]

        def taken_over() -> bool:
            return all(
                {e.source for e in client.seen[n:] if e.data.get("reason") == "takeover"} >= owned
                for client, n in zip(here.clients, before, strict=True)
            )

        takeover_s = await until(taken_over, "the other node takes over")
        await here.more(10)
        await here.again("camera-1")  # what only its journal had is told now
        await here.more(5)
        await here.finish()
        found = account(here.camera_folders, here.clients)
        record("F10", "K", takeover_s=round(takeover_s, 1), **show(found))
    assert found.faults == []
    assert found.accepted >= 40
    assert owned
    assert takeover_s <= 12.0 + 3.0, "more than the lease's time, and what a busy machine adds"


def audited(node: Process, action: str) -> list[dict[str, Any]]:
    lines = (node.folder / "journal.audit.jsonl").read_bytes().splitlines(keepends=True)
    entries = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return [entry["facts"] for entry in entries if entry["action"] == action]


async def test_f9_random_roles_are_killed(tmp_path: Path) -> None:
    rng = random.Random(20)
    async with installation(tmp_path) as here:
        await here.more(5)
        names = [*here.nodes, "broker"]
        for name in rng.sample(names, 3):
            if name == "broker":
                here.broker.kill()
                await asyncio.sleep(rng.uniform(0.1, 1.0))
                here.broker.start()
            else:
                await here.again(name)
            await here.more(3)
        await here.finish()
        found = account(here.camera_folders, here.clients)
    assert found.faults == []


async def test_a_paused_camera_node_is_fenced_off(tmp_path: Path) -> None:
    """Both sides alive: a node stands still for longer than its leases last, and goes on."""
    async with installation(tmp_path) as here:
        await here.more(5)
        here.nodes["camera-1"].send(signal.SIGSTOP)
        await until(
            lambda: any(e.data.get("reason") == "takeover" for e in here.clients[0].seen), "a takeover"
        )
        await here.more(5)
        here.nodes["camera-1"].send(signal.SIGCONT)
        await until(lambda: audited(here.nodes["camera-1"], "lease.lost") != [], "it notices")
        await here.more(5)
        await here.finish()
        found = account(here.camera_folders, here.clients)
    assert found.faults == []
