"""A run folder on the live page: clients get its events as from a camera."""

from __future__ import annotations

import asyncio
import threading

import mellm
from mellm.clients.cli import run as command
from mellm.engine.export.replay import events
from mellm.engine.results.run_reader import read_run
from mellm.engine.server.replayed import replayed
from tests import PATIENCE_S, REPO

FORMAT_1 = REPO / "tests" / "golden" / "run-format-1"


async def test_a_client_gets_the_events_of_the_run() -> None:
    run = read_run(FORMAT_1)
    wanted = [(e.type, e.source, e.id, e.data) for e in events(run)]
    found = []
    async with asyncio.timeout(60), replayed(run, speed=0) as server, mellm.connect(server.url) as session:
        async for event in session.events(types=["expression.*", "face.*"], after="start"):
            found.append((event.type, event.source, event.id, event.data))
            if len(found) == len(wanted):
                break
    assert [each[:2] for each in found] == [each[:2] for each in wanted]
    assert found == wanted


async def test_stopping_does_not_wait_for_the_end() -> None:
    before = set(threading.enumerate())
    async with asyncio.timeout(PATIENCE_S), replayed(read_run(FORMAT_1), speed=0.001) as server:
        assert server.url.startswith("ws://")
    left = {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}
    assert left <= before, "who plays the run at a thousandth of its pace was ended"


def test_flags_that_do_not_apply(capsys) -> None:  # type: ignore[no-untyped-def]
    assert command(["replay", str(FORMAT_1), "--port", "1"]) == 2
    assert command(["replay", str(FORMAT_1), "--serve", "--json"]) == 2
    assert "--port is about --serve" in capsys.readouterr().err
