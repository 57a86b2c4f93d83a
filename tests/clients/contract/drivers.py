"""The clients under one contract: each behind the same operations, whatever it is written in."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from mellm.clients.client import FINAL_CODES, Session
from mellm.stream.errors import MellmError, ProtocolError
from mellm.stream.protocol.events import Position
from tests import PATIENCE_S, REPO
from tests.clients.browser import chromium

HERE = Path(__file__).parent


class Driver(Protocol):
    """One client."""

    def do(self, operation: str, *facts: Any) -> Any:
        """Carry out an operation of ``driver.js``; its answer as JSON."""
        ...


class Python:
    """``mellm.clients.client`` on a loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="python-client")
        self._thread.start()
        self._session: Session | None = None
        self._reader: asyncio.Task[None] | None = None
        self.seen: list[list[Any]] = []
        self.notices: list[str] = []
        self.failed: MellmError | None = None
        self._queue: asyncio.Queue[int] = asyncio.Queue()

    def do(self, operation: str, *facts: Any) -> Any:
        found = getattr(self, f"_{operation}")(*facts)
        return self._run(found) if asyncio.iscoroutine(found) else found

    def end(self) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    async def _open(self, url: str, given: dict[str, Any] | None = None) -> None:
        await self._close()
        given = given or {}
        self.seen, self.notices, self.failed = [], [], None
        self._queue = asyncio.Queue()  # what an earlier session left is not this one's
        self._session = session = Session(url, token=given.get("token"), backoff_s=0.05)
        try:
            await session.__aenter__()
        except ProtocolError as error:
            self.failed = error
            return
        after = given.get("after")
        stream = session.events(
            types=given.get("types"),
            sources=given.get("sources"),
            min_score=given.get("min_score"),
            after=Position(**after) if isinstance(after, dict) else after,
        )

        async def read() -> None:
            try:
                async for event in stream:
                    if event.seq is None:
                        self.notices.append(event.type)
                    else:
                        self.seen.append([event.seq, event.type, event.source])
                        self._queue.put_nowait(event.seq)
            except MellmError as error:
                self.failed = error

        self._reader = asyncio.create_task(read())

    async def _close(self) -> None:
        if self._session is not None:
            await self._session.close()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        self._session = self._reader = None

    def _seen(self) -> list[list[Any]]:
        return list(self.seen)

    def _notices(self) -> list[str]:
        return list(self.notices)

    def _ready(self) -> dict[str, Any]:
        return {"value": True} if self.failed is None else {"error": str(self.failed)}

    def _position(self) -> dict[str, Any] | None:
        at = self._session.position if self._session else None
        return None if at is None else {"epoch": at.epoch, "seq": at.seq}

    def _reconnects(self) -> int:
        return 0 if self._session is None else self._session.reconnects

    def _final(self) -> bool:
        return isinstance(self.failed, ProtocolError) and self.failed.close_code in FINAL_CODES

    async def _evidence(self, id: str, shown: str = "motion") -> dict[str, Any]:
        assert self._session is not None

        async def ask() -> list[int] | None:
            png = await self._session.evidence(id, shown=shown)  # type: ignore[union-attr, arg-type]
            return None if png is None else list(png)

        return await _settled(ask)

    async def _marker(self, label: str, source: str, time_ns: str | None = None) -> bool:
        assert self._session is not None
        await self._session.add_marker(
            label, source=source, time_ns=None if time_ns is None else int(time_ns)
        )
        return True

    async def _withdraw(self, source: str) -> dict[str, Any]:
        assert self._session is not None
        return await _settled(lambda: self._session.withdraw(source))  # type: ignore[union-attr]

    async def _agree(self, source: str, sha256: str) -> dict[str, Any]:
        assert self._session is not None
        return await _settled(lambda: self._session.agree(source, sha256))  # type: ignore[union-attr]

    async def _begin(self, source: str) -> dict[str, Any]:
        assert self._session is not None
        return await _settled(lambda: self._session.begin(source))  # type: ignore[union-attr]

    async def _save(self, source: str) -> dict[str, Any]:
        assert self._session is not None

        async def ask() -> list[Any]:
            return list(await self._session.save(source))  # type: ignore[union-attr]

        return await _settled(ask)

    async def _iterated(self, count: int) -> list[int]:
        return [await self._queue.get() for _ in range(count)]


async def _settled(ask: Callable[[], Coroutine[Any, Any, Any]]) -> dict[str, Any]:
    try:
        return {"value": await ask()}
    except MellmError as error:
        return {"error": str(error)}


class Node:
    """``protocol.js`` in Node; versions before 22 have a WebSocket behind a flag."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def do(self, operation: str, *facts: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([operation, facts]) + "\n")
        self._process.stdin.flush()
        line = self._line()
        assert line, "Node has ended"
        return json.loads(line)


@contextmanager
def node() -> Iterator[Node]:
    found = shutil.which("node")
    if found is None:
        pytest.skip("no Node is installed")
    version = int(
        subprocess.run([found, "-p", "process.versions.node.split('.')[0]"], capture_output=True).stdout
    )
    if version < 20:
        pytest.skip(f"Node {version} has no WebSocket")
    flag = [] if version >= 22 else ["--experimental-websocket"]
    client = (REPO / "clients" / "web" / "protocol.js").as_uri()
    environment = {**os.environ, "NODE_NO_WARNINGS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(
        [found, *flag, str(HERE / "node.mjs"), client], env=environment, **pipes
    ) as process:
        try:
            yield Node(process)
        finally:
            process.kill()


class Chromium:
    """``protocol.js`` as the server serves it, in a page of the same origin."""

    def __init__(self, page: Any) -> None:
        self._page = page

    def do(self, operation: str, *facts: Any) -> Any:
        if operation == "open":
            address = facts[0].replace("ws://", "http://").replace("/v1/stream", "")
            self._page.open(f"{address}/icon.svg")
            text = (HERE / "driver.js").read_text()
            self._page.js(
                "(async () => { const { Client } = await import('/protocol.js');"
                f" window.driver = (() => {{ {text}; return makeDriver; }})()(Client); }})()"
            )
        called = ", ".join(json.dumps(each) for each in facts)
        return self._page.js(f"(async () => (await driver.{operation}({called})) ?? null)()")


@contextmanager
def python() -> Iterator[Python]:
    one = Python()
    try:
        yield one
    finally:
        one.end()


@contextmanager
def in_chromium(folder: Path) -> Iterator[Chromium]:
    with chromium(folder) as page:
        yield Chromium(page)
