from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mellm.engine.bus.base import Entry
from mellm.engine.bus.lease import Claim, Lease, Step
from mellm.engine.bus.memory import MemoryBus
from mellm.engine.roles.outbox import Outbox
from mellm.stream.log.journal import Journal
from tests import PATIENCE_S


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.db") as made:
        yield made


def spot(journal: Journal, number: int, *, epoch: int = 1, owned: bool = True, source: str = "door") -> None:
    data = {"id": f"e{number}", "lease": {"epoch": epoch, "owned": owned}}
    journal.append("expression.spotted", source, data, time=number, id=f"e{number}")


async def on_the_bus(bus: MemoryBus) -> list[tuple[str, str]]:
    found, at = [], 0
    while (message := await bus.read("event.>", at)) is not None:
        at = message.seq
        found.append((message.subject, message.id.rpartition(":")[2]))
    return found


@asynccontextmanager
async def pumped(outbox: Outbox, *, wait: bool = True) -> Any:
    running = asyncio.create_task(outbox.run())
    try:
        yield
        if wait:
            assert await outbox.drain(PATIENCE_S)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def held(node: str = "n", epoch: int = 1, now: float = float("inf")) -> Claim:
    """A claim that is certain until ``now``."""
    claim = Claim(node)
    claim.wrote(Step("take", Lease(node, epoch), 0), 1, now)
    return claim


async def test_events_go_out_once_and_in_order_and_the_lease_stays_here(journal: Journal) -> None:
    bus, claim = MemoryBus(), held()
    for number in range(1, 6):
        spot(journal, number)
    journal.append("server.worker", "", {"worker": "w", "state": "died"}, time=1)
    async with pumped(Outbox(bus, journal, {"door": claim}.get)):
        pass
    assert await on_the_bus(bus) == [("event.door.1", str(n)) for n in range(1, 6)]
    newest = await bus.last("event.door.1")
    assert newest is not None
    assert b"lease" not in newest.body


async def test_an_hour_without_a_broker_costs_nothing_but_the_hour(journal: Journal) -> None:
    bus, claim = MemoryBus(), held()
    outbox = Outbox(bus, journal, {"door": claim}.get)
    bus.away = True
    async with pumped(outbox):
        for number in range(1, 4):
            spot(journal, number)
        spot(journal, 4, owned=False)  # the lease has not been renewed since, and nobody has taken it
        await asyncio.sleep(0.1)
        assert outbox.waiting == 4
        bus.away = False
    assert [n for _, n in await on_the_bus(bus)] == ["1", "2", "3", "4"]
    assert (outbox.published, outbox.fenced) == (4, 0)


async def test_what_was_published_before_a_crash_is_not_published_again(journal: Journal) -> None:
    """Although nothing was noted, and long after the broker has forgotten the ids."""
    bus, claim = MemoryBus(), held()
    for number in range(1, 4):
        spot(journal, number)
    async with pumped(Outbox(bus, journal, {"door": claim}.get)):
        pass
    bus._ids.clear()
    journal.note("bus:published", "0")
    spot(journal, 4)
    outbox = Outbox(bus, journal, {"door": claim}.get)
    async with pumped(outbox):
        pass
    assert [n for _, n in await on_the_bus(bus)] == ["1", "2", "3", "4"]


async def test_what_was_found_under_somebody_elses_lease_is_fenced_off(journal: Journal) -> None:
    bus, claim = MemoryBus(), held(now=0.0)
    spot(journal, 1)
    spot(journal, 2, owned=False)
    outbox = Outbox(bus, journal, {"door": claim}.get)
    async with pumped(outbox):
        await asyncio.sleep(0.1)
        assert outbox.waiting == 1, "whose it was is not known yet"
        claim.saw(Entry(Lease("other", 2).encode(), 7), 100.0)
    assert [n for _, n in await on_the_bus(bus)] == ["1"]
    assert (outbox.published, outbox.fenced) == (1, 1)


async def test_the_end_of_what_was_told_is_told_whoever_has_the_camera(journal: Journal) -> None:
    """A node stood still between finding an expression and telling it, and another has gone on since."""
    bus, claim = MemoryBus(), held(now=0.0)
    claim.saw(Entry(Lease("other", 2).encode(), 7), 100.0)
    spot(journal, 1)
    spot(journal, 2, owned=False)
    for number in (1, 2):
        data = {"id": f"e{number}", "lease": {"epoch": 1, "owned": False}}
        journal.append("expression.described", "door", data, time=number, id=f"e{number}")
    outbox = Outbox(bus, journal, {"door": claim}.get)
    async with pumped(outbox):
        pass
    assert [n for _, n in await on_the_bus(bus)] == ["1", "3"], (
        "e1 and its end; e2 was not ours, nor is its end"
    )
    assert (outbox.published, outbox.fenced) == (1, 1)


async def test_a_message_that_arrived_late_is_found_and_not_repeated(journal: Journal) -> None:
    """The answer of the broker was lost: the message is there, and the outbox does not know."""
    bus, claim = MemoryBus(), held()
    outbox = Outbox(bus, journal, {"door": claim}.get)
    spot(journal, 1)
    async with pumped(outbox):
        pass
    await bus.append("event.door.1", b"late", id=f"{journal.epoch}:2", expect=1)
    spot(journal, 2)
    spot(journal, 3)
    async with pumped(outbox):
        pass
    assert [n for _, n in await on_the_bus(bus)] == ["1", "2", "3"]
