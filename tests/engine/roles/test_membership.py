from __future__ import annotations

import asyncio

import pytest

from mellm.engine.bus.memory import MemoryBus
from mellm.engine.roles import membership
from mellm.engine.roles.membership import Membership, members, tasks
from tests import PATIENCE_S


async def test_who_is_there_says_so_and_takes_it_back() -> None:
    bus = MemoryBus()
    async with tasks(Membership(bus, "ward.1", "camera", lambda: {"cameras": {"a": 1}}).run):
        async with asyncio.timeout(PATIENCE_S):
            while not (found := await members(bus)):  # noqa: ASYNC110 - keys tell nobody
                await asyncio.sleep(0.01)
    assert found["ward.1"]["role"] == "camera"
    assert found["ward.1"]["cameras"] == {"a": 1}
    assert await members(bus) == {}


async def test_a_part_that_fails_is_begun_again_and_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(membership, "AGAIN_S", 0.0)
    runs = 0
    again = asyncio.Event()

    async def body() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise ValueError("nobody foresaw it")
        again.set()
        await asyncio.Event().wait()

    async with tasks(body):
        async with asyncio.timeout(PATIENCE_S):
            await again.wait()
    assert runs == 3
    assert caplog.text.count("has failed; it is begun again") == 2
