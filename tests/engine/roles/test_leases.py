from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mellm.engine.bus.lease import TTL_S
from mellm.engine.bus.memory import MemoryBus
from mellm.engine.roles.leases import Leases
from mellm.stream.errors import BusConflict, BusUnavailable


class Followed:
    """What a node was told to do, and what was written down."""

    def __init__(self) -> None:
        self.done: list[tuple[str, ...]] = []
        self.audited: list[str] = []

    async def take(self, camera: str, epoch: int, before: str) -> None:
        self.done.append(("take", camera, str(epoch), before))

    async def lose(self, camera: str) -> None:
        self.done.append(("lose", camera))

    def audit(self, action: str, facts: Any) -> None:
        self.audited.append(action)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def node(
    bus: MemoryBus, name: str, clock: Clock, cameras: str = "ab", **more: Any
) -> tuple[Leases, Followed]:
    followed = Followed()
    return Leases(bus, name, list(cameras), followed, followed.audit, clock=clock, **more), followed


async def turn(*nodes: Leases) -> None:
    for each in nodes:
        for camera in each.claims:
            try:
                await each.look(camera)
            except BusConflict:
                pass


async def test_two_nodes_share_cameras_and_each_follows_what_it_holds(clock: Clock) -> None:
    bus = MemoryBus(clock)
    (one, first), (two, second) = (node(bus, name, clock, wanted=1) for name in ("n1", "n2"))
    for _ in range(10):
        await turn(one, two)
        clock.now += 0.5
    assert (one.held, two.held) == ({"a": 1}, {"b": 1})
    assert first.done == [("take", "a", "1", "")]
    assert second.done == [("take", "b", "1", "")]
    assert one.stamp("a") == {"lease": {"epoch": 1, "owned": True}}


async def test_a_node_that_dies_is_followed_and_one_that_comes_back_is_told(clock: Clock) -> None:
    bus = MemoryBus(clock)
    (one, first), (two, second) = (node(bus, name, clock, "a") for name in ("n1", "n2"))
    await turn(one, two)
    stood_still = clock.now
    while not two.held:
        clock.now += 0.5
        await turn(two)
    assert clock.now - stood_still <= 12.0
    assert second.done == [("take", "a", "2", "n1")]
    assert one.stamp("a")["lease"] == {"epoch": 1, "owned": False}, "its own clock tells it so"
    await turn(one)
    assert first.done[-1] == ("lose", "a")
    assert first.audited == ["lease.taken", "lease.lost"]


async def test_a_broker_that_is_away_takes_no_camera_from_anybody(clock: Clock) -> None:
    bus = MemoryBus(clock)
    (one, first), (two, second) = (node(bus, name, clock, "a") for name in ("n1", "n2"))
    await turn(one, two)
    bus.away = True
    for _ in range(10):
        clock.now += 360.0
        for each in (one, two):
            with pytest.raises(BusUnavailable):
                await each.look("a")
    assert one.stamp("a")["lease"] == {"epoch": 1, "owned": False}
    bus.away = False
    await turn(one, two)
    assert one.stamp("a")["lease"] == {"epoch": 1, "owned": True}
    assert first.done == [("take", "a", "1", "")]
    assert second.done == []


async def test_what_is_given_back_is_taken_without_waiting(clock: Clock) -> None:
    bus = MemoryBus(clock)
    (one, _), (two, second) = (node(bus, name, clock, "a") for name in ("n1", "n2"))
    await turn(one, two)
    await one.give_back()
    await turn(two)
    assert second.done == [("take", "a", "2", "")]
    assert clock.now < TTL_S


async def test_a_camera_whose_consent_was_withdrawn_is_let_go_and_never_taken(clock: Clock) -> None:
    bus = MemoryBus(clock)
    one, first = node(bus, "n1", clock, "a")
    await turn(one)
    one.bar("a")
    for _ in range(50):
        clock.now += 0.5
        await turn(one)
    assert one.held == {}
    assert first.done == [("take", "a", "1", "")]


async def test_it_runs_until_it_is_cancelled(clock: Clock) -> None:
    one, followed = node(MemoryBus(clock), "n1", clock, "a")
    running = asyncio.create_task(one.run())
    while not followed.done:  # noqa: ASYNC110 - nobody announces it
        await asyncio.sleep(0.01)
    running.cancel()
    assert await asyncio.gather(running, return_exceptions=True)
    assert one.held == {"a": 1}
