from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mellm.engine.bus.base import Message
from mellm.engine.bus.memory import MemoryBus
from mellm.engine.roles.gateway import Gateway
from mellm.engine.roles.messages import Told
from mellm.engine.server.app import Parts
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal
from tests import PATIENCE_S


@asynccontextmanager
async def fed(bus: MemoryBus, folder: Path) -> AsyncIterator[tuple[Gateway, Journal]]:
    """A gateway without a server: bus in, journal out."""
    with Journal(folder / "journal.db") as journal:
        gateway = Gateway(bus, "g")
        gateway._parts = cast("Parts", SimpleNamespace(journal=journal, hub=Hub(journal)))
        gateway._at = int(journal.note("bus:read") or 0)
        feeding = asyncio.create_task(gateway.feed())
        try:
            yield gateway, journal
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)


async def put(bus: MemoryBus, told: Told, id: str) -> None:
    await bus.append(told.subject, told.pack(), id=id)


def told(type: str, id: str, epoch: int = 1, *, owned: bool = True, **data: Any) -> Told:
    return Told(type, "door", id, {"id": id, **data}, epoch, owned)


async def taken(gateway: Gateway, bus: MemoryBus) -> None:
    end = await bus.end("event")
    async with asyncio.timeout(PATIENCE_S):
        while gateway._at < end:  # noqa: ASYNC110 - places tell nobody
            await asyncio.sleep(0.01)


def held(journal: Journal) -> list[tuple[str, str]]:
    return [(record.type, record.id) for record in journal.replay()]


async def test_each_event_comes_into_the_journal_once_however_often_it_is_read(tmp_path: Path) -> None:
    bus = MemoryBus()
    for number in range(5):
        await put(bus, told("expression.spotted", f"e{number}"), f"j:{number}")
        await put(bus, told("source.gap", f"x{number}", reason="pts"), f"j:{number}+")
    async with fed(bus, tmp_path) as (gateway, journal):
        await taken(gateway, bus)
        before = held(journal)
        journal.note("bus:read", "0")  # it was killed before it could say how far it was
    async with fed(bus, tmp_path) as (gateway, journal):
        await taken(gateway, bus)
        assert held(journal) == before
        assert gateway.counts == {"repeated": 10}
    assert len(before) == 10


async def test_of_two_ends_the_first_counts(tmp_path: Path) -> None:
    bus = MemoryBus()
    await put(bus, told("expression.spotted", "e1"), "a:1")
    await put(bus, told("expression.dropped", "e1", 2, reason="takeover"), "b:1")
    await put(bus, told("expression.described", "e1"), "a:2")
    async with fed(bus, tmp_path) as (gateway, journal):
        await taken(gateway, bus)
        assert held(journal) == [("expression.spotted", "e1"), ("expression.dropped", "e1")]


async def test_an_older_lease_is_fenced_off_unless_it_held_then(tmp_path: Path) -> None:
    bus = MemoryBus()
    await put(bus, told("expression.spotted", "new", 2), "b:1")
    await put(bus, told("expression.spotted", "late", 1), "a:1")
    await put(bus, told("expression.spotted", "zombie", 1, owned=False), "a:2")
    async with fed(bus, tmp_path) as (gateway, journal):
        await taken(gateway, bus)
        assert [id for _, id in held(journal)] == ["new", "late"]
        assert gateway.counts["fenced"] == 1


@pytest.mark.parametrize(
    "message",
    [
        Message("event.door.1", 0, "1", b"no message"),
        Message("event.other.1", 0, "1", told("expression.spotted", "e1").pack()),
        Message("event.door.1", 0, "1", told("score", "e1").pack()),
        Message("event.door.1", 0, "1", told("events.erased", "e1").pack()),
    ],
)
async def test_what_no_camera_may_say_is_not_shown(tmp_path: Path, message: Message) -> None:
    bus = MemoryBus()
    await bus.append(message.subject, message.body, id=message.id)
    async with fed(bus, tmp_path) as (gateway, journal):
        await taken(gateway, bus)
        assert held(journal) == []
        assert gateway.counts == Counter(unreadable=1)


async def test_a_journal_that_cannot_be_written_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = MemoryBus()
    await put(bus, told("expression.spotted", "e1"), "a:1")
    full = [True, True, False]
    publish = Hub.publish_threadsafe

    def sometimes(self: Hub, *arguments: Any, **more: Any) -> Any:
        return None if full.pop(0) else publish(self, *arguments, **more)

    monkeypatch.setattr(Hub, "publish_threadsafe", sometimes)
    async with fed(bus, tmp_path) as (gateway, journal):
        await taken(gateway, bus)
        assert held(journal) == [("expression.spotted", "e1")]
    assert full == []
