"""F13: clients that reset, never finish their handshake, or vanish; and one that resumes where it was."""

from __future__ import annotations

import asyncio
import os
import socket
import struct

import pytest

from mellm.clients.client import connect
from mellm.engine.server.server import Server
from mellm.stream.log.journal import Journal
from mellm.stream.protocol.events import Position
from tests import PATIENCE_S
from tests.engine.servers import peer, running, until
from tests.reliability.figures import record


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def _reset(server: Server, *, greet: bool) -> None:
    """Connect, perhaps begin the handshake, and reset the connection."""
    loop = asyncio.get_running_loop()
    client = socket.socket()
    client.setblocking(False)
    # a linger time of zero turns close into a reset
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await loop.sock_connect(client, ("127.0.0.1", server.port))
    if greet:
        await loop.sock_sendall(client, b"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: web")
    client.close()


async def _half_open(server: Server, text: bytes) -> socket.socket:
    loop = asyncio.get_running_loop()
    client = socket.socket()
    client.setblocking(False)
    await loop.sock_connect(client, ("127.0.0.1", server.port))
    await loop.sock_sendall(client, text)
    return client


@pytest.mark.parametrize(("resets", "slow"), [(300, 60), pytest.param(1000, 200, marks=pytest.mark.slow)])
async def test_f13_descriptors_come_back(resets: int, slow: int) -> None:
    async with running(max_clients=20) as server:
        async with peer(server):
            pass
        await until(lambda: server.metrics.snapshot()["clients"] == 0)
        base = descriptors()
        for number in range(resets):
            await _reset(server, greet=number % 2 == 0)
        half = [await _half_open(server, b"GET /v1/stream HTTP/1.1\r\nHost: x\r\n") for _ in range(slow)]
        half += [await _half_open(server, b"") for _ in range(slow)]
        most = descriptors()
        # somebody who behaves gets in all the while
        async with peer(server) as good:
            await good.say(type="subscribe")
            await good.hear("subscribed")
        loop = asyncio.get_running_loop()
        start = loop.time()
        for client in half:
            async with asyncio.timeout(PATIENCE_S):
                while await loop.sock_recv(client, 4096):
                    pass
            client.close()
        turned_out = loop.time() - start
        await until(lambda: descriptors() <= base + 2)
        record(
            "F13",
            "C" if resets < 1000 else "N",
            run="resets and half-open handshakes",
            resets=resets,
            half_open=2 * slow,
            descriptors={"before": base, "most": most, "after": descriptors()},
            half_open_ended_after_s=round(turned_out, 1),
        )
        assert server.metrics.imbalances() == []


async def test_f13_a_thousand_events_are_there_after_a_break_each_once(tmp_path) -> None:  # type: ignore[no-untyped-def]
    journal = Journal(tmp_path / "journal.db")
    async with running(journal=journal) as server:

        def publish(count: int) -> None:
            for _ in range(count):
                server.hub.publish_threadsafe("marker", "", {"label": "m", "by": "test", "ref": None})

        publish(300)
        seen: list[int] = []
        async with connect(server.url, backoff_s=0.02, max_backoff_s=0.1) as session:
            async for event in session.events(types=["marker"], after=Position(journal.epoch, 100)):
                assert event.seq is not None
                seen.append(event.seq)
                if event.seq == 1200:
                    break
                if event.seq % 300 == 0:  # the connection breaks, and things happen meanwhile
                    for connection in list(server._connections):
                        connection._socket.transport.abort()
                    publish(300)
            assert session.reconnects == 3
    lost, repeated = 1100 - len(set(seen)), len(seen) - len(set(seen))
    record("F13", "C", run="resume", breaks=3, events=len(seen), lost=lost, repeated=repeated)
    assert seen == list(range(101, 1201))
