"""Rule 7: consent withdrawn at a gateway reaches the camera, every stream and every outbox, down to the bytes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mellm.clients.client import connect
from mellm.engine.bus import open_bus
from mellm.engine.bus.base import STREAMS, BusOptions
from mellm.engine.roles.gateway import PERSONAL
from tests.cluster.harness import Client, Process, cameras, following, start, until
from tests.cluster.servers import Broker, Nats, Redis, missing

pytestmark = pytest.mark.cluster
MARK = "REF-0b5c6d2e"
"""The consent reference of the one who withdraws: it stands in all that is personal."""


def holding(folder: Path, mark: bytes) -> list[str]:
    """Files that hold these bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path.relative_to(folder)) for path in files if mark in path.read_bytes()]


@pytest.mark.parametrize("kind", ["nats", "redis"])
async def test_nothing_of_whoever_withdrew_is_left(tmp_path: Path, kind: str) -> None:
    if why := missing(kind):
        pytest.skip(why)
    server: Broker = Nats(tmp_path / "broker") if kind == "nats" else Redis(tmp_path / "broker")
    stand_in = {"every": 5, "describe_s": 0.02}
    with server as broker:
        consents = ["--consent", "stays=OTHER-1", "--consent", f"goes={MARK}"]
        nodes = [
            Process(tmp_path, "describe", "d-1", broker, stand_in=stand_in),
            Process(tmp_path, "gateway", "g-1", broker, stand_in=stand_in),
            Process(tmp_path, "gateway", "g-2", broker, stand_in=stand_in),
            Process(
                tmp_path, "camera", "c-1", broker, *cameras(["stays", "goes"]), *consents, stand_in=stand_in
            ),
        ]
        clients = [Client(node.url, node.name) for node in nodes[1:3]]
        bus = open_bus(BusOptions(broker.url))
        try:
            await start(nodes)
            await bus.open()
            async with following(clients):
                await until(lambda: all(len(c.ends) >= 8 for c in clients), "expressions")
                assert holding(tmp_path / "broker", MARK.encode()) != []
                assert holding(tmp_path / "g-2", MARK.encode()) != []
                async with connect(nodes[1].url) as session:
                    await session.withdraw("goes")

                def silent() -> bool:
                    return all(
                        any(e.type == "source.offline" and e.source == "goes" for e in c.seen)
                        for c in clients
                    )

                await until(silent, "every gateway says so")

                async def left() -> list[str]:
                    found = [f"{s}" for s in PERSONAL if await bus.read(f"{s}.goes.>", 0) is not None]
                    return found + await asyncio.to_thread(holding, tmp_path / "broker", MARK.encode())

                async with asyncio.timeout(30):
                    while await left():  # noqa: ASYNC110 - disks tell nobody
                        await asyncio.sleep(0.2)
                before = len(clients[0].spotted)
                await until(lambda: len(clients[0].spotted) >= before + 3, "the other camera goes on")
                assert {e.source for e in list(clients[0].spotted.values())[before:]} == {"stays"}
                assert await left() == []
            assert set(PERSONAL) < set(STREAMS)
        finally:
            await bus.close()
            for node in nodes:
                await asyncio.to_thread(node.end)
    for node in nodes:
        left_at = [
            name for name in holding(node.folder, MARK.encode()) if "audit" not in name and name != "log"
        ]
        if node.role == "camera":  # that it was withdrawn, and what must not start again, is written down
            left_at = [name for name in left_at if not name.startswith("journal.db")]
        assert left_at == [], node.name
