from __future__ import annotations

import asyncio
import json

from mellm.engine.bus.base import Facts
from mellm.engine.bus.memory import MemoryBus
from mellm.engine.describe.scripted import ScriptedDescriber
from mellm.engine.governance.purpose import log_audit
from mellm.engine.roles import checkup
from mellm.engine.roles.checkup import Found, examine
from mellm.engine.roles.describe import DescribeNode
from mellm.engine.roles.messages import Told


async def tell(bus: MemoryBus, type: str, id: str, **data: object) -> None:
    told = Told(type, "door", id, {"id": id, **data}, 1, True)
    await bus.append(told.subject, told.pack(), id=f"{type} {id}")


async def look(bus: MemoryBus) -> dict[str, Found]:
    return {found.what: found async for found in examine(bus)}


async def test_both_sides_of_the_sum_and_a_picture_through_to_an_answer() -> None:
    bus = MemoryBus()
    for number in range(4):
        await tell(bus, "expression.spotted", f"e{number}")
    await tell(bus, "expression.described", "e0")
    await tell(bus, "expression.dropped", "e1", reason="deadline")
    await tell(bus, "expression.described", "e1")  # a node that came back: the first end counts
    await bus.put(
        "node",
        "camera-1",
        json.dumps(
            {"role": "camera", "version": "1", "cameras": {"door": 1}, "counts": {"bus_published": 4}}
        ).encode(),
        None,
    )
    node = DescribeNode(bus, "d1", ScriptedDescriber(), log_audit)
    async with node.running():
        while len(await bus.keys("node")) < 2:  # noqa: ASYNC110 - keys tell nobody
            await asyncio.sleep(0.01)
        found = await look(bus)
    assert found["expressions on the bus"].said == ("4 spotted = 1 described + 1 dropped (deadline) + 2 open")
    assert found["expressions on the bus"].state == "ok"
    assert found["expressions at the nodes"].state == "ok"
    assert found["a picture"].state == "ok"
    assert "described by d1" in found["a picture"].said
    assert "cameras door" in found["node camera-1"].said
    assert found["gateway"].state == "warning"


async def test_a_node_that_is_away_and_a_spotting_twice_are_told() -> None:
    bus = MemoryBus()
    await tell(bus, "expression.spotted", "e0")
    told = Told("expression.spotted", "door", "e0", {"id": "e0"}, 1, True)
    await bus.append(told.subject, told.pack(), id="again")
    monkey, checkup.ANSWER_S = checkup.ANSWER_S, 0.1  # type: ignore[misc]
    try:
        found = await look(bus)
    finally:
        checkup.ANSWER_S = monkey  # type: ignore[misc]
    assert found["expressions on the bus"].state == "error"
    assert found["expressions at the nodes"].state == "warning"
    assert found["a picture"].state == "error"


def test_a_broker_that_acknowledges_too_early_is_an_error() -> None:
    states = {synced: checkup._disk(Facts("nats", synced, {}, {})).state for synced in (True, None, False)}
    assert states == {True: "ok", None: "warning", False: "error"}
