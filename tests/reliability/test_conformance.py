"""B2: WebSocket conformance by the cases of the Autobahn suite: the product's own listener with an echo behind it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as listen
from websockets.exceptions import ConnectionClosed

from mellm.engine.server import server as product
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal
from mellm.stream.protocol import wire
from tests.engine.servers import options
from tests.reliability.figures import record

ROOM = 20 << 20
"""Bytes of a message, for the cases on limits; the product takes 64 KiB."""

BY_DESIGN = {
    "7.1.5": "a close between two fragments ends the connection at once",
    **dict.fromkeys(
        ("9.3.1", "9.3.2", "9.4.1", "9.4.2"), "1009: four megabytes in fragments of 64 or 256 bytes"
    ),
}
"""Cases that the websockets library fails on purpose: it bounds the number of fragments of a message."""


class Echo(product.Server):
    """The product's listener, handshake and limits; behind them, a mirror. It exists in this test only."""

    async def _handle(self, socket: ServerConnection) -> None:
        try:
            async for message in socket:
                await socket.send(message)
        except ConnectionClosed:
            pass


def _without_subprotocol(*arguments: Any, **settings: Any) -> listen:
    """The cases offer no subprotocol; the product insists on its own."""
    return listen(*arguments, **{**settings, "subprotocols": None})


async def _cases(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, str]:
    """Case → behaviour."""
    pytest.importorskip("kosoku", reason="the Autobahn cases need kosoku (extra dev)")
    monkeypatch.setattr(product, "listen", _without_subprotocol)
    hub = Hub(Journal())
    async with Echo(options(), hub=hub) as server:
        process = await asyncio.create_subprocess_exec(
            *(
                str(Path(sys.executable).with_name("kosoku")),
                "-m",
                "fuzzingclient",
                "-o",
                str(folder),
                *arguments,
            ),
            f"127.0.0.1:{server.port}",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
    hub.journal.close()
    report = folder / "index.json"
    assert report.exists(), said.decode()[-2000:]
    (cases,) = json.loads(report.read_text()).values()
    return {case: facts["behavior"] for case, facts in cases.items()}


def _judge(found: dict[str, str], tier: str, at_least: int) -> None:
    how = Counter(found.values())
    failed = sorted(case for case, behaviour in found.items() if behaviour == "FAILED")
    record("B2", tier, run="Autobahn cases", cases=len(found), behaviours=dict(how), failed_by_design=failed)
    assert len(found) >= at_least
    assert set(failed) <= set(BY_DESIGN)
    assert set(how) <= {"OK", "NON-STRICT", "INFORMATIONAL", "FAILED"}
    assert how["OK"] >= 0.9 * len(found)


async def test_b2_autobahn_cases_but_the_long_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await _cases(tmp_path, monkeypatch, "-p", "2", "-x", "9.*", "-x", "12.*", "-x", "13.*")
    _judge(found, "C", 240)


@pytest.mark.slow
async def test_b2_autobahn_cases_on_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_CLIENT_BYTES", ROOM)
    found = await _cases(tmp_path, monkeypatch, "-p", "2", "-x", "12.*", "-x", "13.*")
    _judge(found, "N", 300)
