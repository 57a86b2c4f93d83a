"""Real servers on loopback, and a client that knows nothing of the product's client."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from mellm.engine.governance.purpose import Audit, log_audit, require
from mellm.engine.governance.withdrawal import Withdraws, nothing_to_withdraw
from mellm.engine.server.catalog import Catalog
from mellm.engine.server.connection import Connection, Timing
from mellm.engine.server.options import ServerOptions
from mellm.engine.server.run_control import Runs
from mellm.engine.server.server import Server
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal
from mellm.stream.log.subscriber import HubLimits
from mellm.stream.sources.push import PushInlet
from tests import PATIENCE_S
from tests.stream.spoken import problems

TOKEN = "0123456789abcdef-token"


async def until(condition: Callable[[], object], seconds: float = PATIENCE_S) -> None:
    """Wait for something that nobody announces."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


def options(**changes: Any) -> ServerOptions:
    quick = Timing(auth=0.3, write=0.5, grace=0.3)
    return ServerOptions(require("self-use"), **{"port": 0, "timing": quick, "drain_s": 1.0, **changes})


@asynccontextmanager
async def running(
    *,
    journal: Journal | None = None,
    limits: HubLimits | None = None,
    sources: tuple[str, ...] = (),
    previews: tuple[str, ...] = (),
    inlets: Mapping[str, PushInlet] | None = None,
    pages: Path | None = None,
    checked: bool = True,
    audit: Audit = log_audit,
    withdrawal: Withdraws = nothing_to_withdraw,
    runs: Runs | None = None,
    **changes: Any,
) -> AsyncIterator[Server]:
    """A server; each of its messages is held against the schema, unless time is measured."""
    hub = Hub(journal or Journal(), limits=limits)
    wrong: list[str] = []
    send = Connection._send

    async def hold_up(connection: Connection, payload: bytes, *, text: bool = True) -> None:
        wrong.extend(problems(payload, text=text))
        await send(connection, payload, text=text)

    try:
        with patch.object(Connection, "_send", hold_up if checked else send):
            catalog = Catalog(sources, previews=previews, pushes=inlets or ())
            parts = {
                "catalog": catalog,
                "inlets": inlets or {},
                "audit": audit,
                "withdrawal": withdrawal,
                "runs": runs,
            }
            async with Server(options(**changes), hub=hub, **parts, pages=pages) as server:
                yield server
    finally:
        hub.journal.close()
    assert wrong == []


class Peer:
    """Speaks JSON over a plain WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def say(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def hear(self, type: str | None = None) -> dict[str, Any]:
        """The next message, or the next of a type."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message: dict[str, Any] = json.loads(await self.socket.recv())
                if type in (None, message["type"]):
                    return message

    async def numbers(self, until: int) -> list[int]:
        """Numbers of events, up to ``until``."""
        seen: list[int] = []
        while not seen or seen[-1] < until:
            message = await self.hear()
            if message["seq"] is not None:
                seen.append(message["seq"])
        return seen

    async def ends(self) -> int | None:
        """Wait for the connection to end; the close code."""
        async with asyncio.timeout(PATIENCE_S):
            await self.socket.wait_closed()
        return self.socket.close_code


@asynccontextmanager
async def peer(server: Server, *, greeted: bool = True, **changes: Any) -> AsyncIterator[Peer]:
    settings: dict[str, Any] = {"subprotocols": [Subprotocol("mellm.v1")], "proxy": None, **changes}
    async with connect(server.url, **settings) as socket:
        one = Peer(socket)
        if greeted:
            await one.hear("session.created")
        yield one


async def deaf_peer(server: Server, subscribe: dict[str, Any]) -> socket.socket:
    """A client that completes the handshake, subscribes, and never reads again; its buffers are small."""
    loop = asyncio.get_running_loop()
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.setblocking(False)
    await loop.sock_connect(deaf, ("127.0.0.1", server.port))
    request = (
        f"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mellm.v1\r\n\r\n"
    )
    await loop.sock_sendall(deaf, request.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += await loop.sock_recv(deaf, 512)
    payload = json.dumps({"type": "subscribe", **subscribe}).encode()
    assert len(payload) < 126
    # a client's frame: final text, masked with zeros
    await loop.sock_sendall(deaf, bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
    return deaf
