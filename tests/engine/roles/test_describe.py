from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from mellm.engine.bus.base import ACK_WAIT_S
from mellm.engine.bus.memory import MemoryBus
from mellm.engine.describe.base import DescribeContext
from mellm.engine.describe.scripted import DEFAULT, ScriptedDescriber
from mellm.engine.governance.purpose import log_audit
from mellm.engine.roles.describe import DescribeNode
from mellm.engine.roles.messages import Answer, Asked
from mellm.stream.errors import DescriberRejected, DescriberUnavailable
from tests import PATIENCE_S
from tests.cluster.stand_in import evidence


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def ask(bus: MemoryBus, number: int, left_s: float = 10.0) -> None:
    context = DescribeContext(f"e{number}", 100.0, source="door")
    asked = Asked(evidence(1), context, left_s)
    await bus.append(asked.subject, asked.pack(), id=f"e{number}")


async def answer(bus: MemoryBus, number: int) -> Answer:
    async with asyncio.timeout(PATIENCE_S):
        while (found := await bus.last(f"result.door.e{number}")) is None:  # noqa: ASYNC110 - as below
            await asyncio.sleep(0.01)
    return Answer.unpack(found.body)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110 - counters tell nobody
            await asyncio.sleep(0.01)


@asynccontextmanager
async def node(bus: MemoryBus, describer: Any, name: str = "d1", **more: Any) -> Any:
    made = DescribeNode(bus, name, describer, log_audit, **more)
    async with made.running():
        yield made


async def test_evidence_is_answered() -> None:
    bus = MemoryBus()
    async with node(bus, ScriptedDescriber()) as made:
        await ask(bus, 1)
        told = await answer(bus, 1)
    assert (told.outcome.state, told.by, told.source) == ("described", "d1", "door")
    assert made.counts == {"described": 1}


@pytest.mark.parametrize(
    ("steps", "state", "reason"),
    [
        ([DescriberRejected("no")], "dropped", "describer_rejected"),
        ([replace(DEFAULT, abstained="unsure")], "abstained", "unsure"),
        ([DescriberUnavailable("busy", retry_after=0.01), DEFAULT], "described", None),
    ],
)
async def test_how_a_describer_ends_is_how_the_expression_ends(
    steps: list[Any], state: str, reason: str | None
) -> None:
    bus = MemoryBus()
    async with node(bus, ScriptedDescriber(steps)):
        await ask(bus, 1)
        told = await answer(bus, 1)
    assert (told.outcome.state, told.outcome.reason) == (state, reason)


async def test_a_model_that_brings_its_describers_down_is_asked_twice_and_no_more() -> None:
    """Each process that dies has asked once; the evidence comes back after each, and after an outage once more."""
    clock = Time()
    bus = MemoryBus(clock)
    asked = ScriptedDescriber()
    made = DescribeNode(bus, "d1", asked, log_audit)
    await ask(bus, 1, left_s=1000.0)
    for _ in range(2):
        taken = await bus.take("evidence", 0.0)
        assert taken is not None
        assert await made._mark("e1") is None  # and then the process is killed
        clock.now += ACK_WAIT_S + 1
    assert await bus.take("evidence", 0.0) is None
    bus._ids.clear()  # the outbox publishes it once more, after the broker has forgotten its id
    await ask(bus, 1, left_s=1000.0)
    taken = await bus.take("evidence", 0.0)
    assert taken is not None
    await made.one(taken)
    assert asked.calls == []
    assert (await answer(bus, 1)).outcome.reason == "asked_twice"


async def test_an_answer_is_given_once_whoever_was_slower() -> None:
    bus = MemoryBus()
    first, second = (DescribeNode(bus, name, ScriptedDescriber(), log_audit) for name in ("d1", "d2"))
    await ask(bus, 1)
    taken = await bus.take("evidence", 0.0)
    assert taken is not None
    await first.one(taken)
    await second.one(taken)
    assert (first.counts, second.counts) == ({"described": 1}, {"known": 1})
    assert (await answer(bus, 1)).by == "d1"
    assert await bus.end("result") == 1


async def test_what_cannot_be_answered_in_time_is_passed_over() -> None:
    clock = Time()
    bus, describer = MemoryBus(clock), ScriptedDescriber()
    await ask(bus, 1, left_s=5.0)
    clock.now += 6.0
    await ask(bus, 2, left_s=5.0)
    async with node(bus, describer) as made:
        await answer(bus, 2)
    assert [context.expression for context in describer.calls] == ["e2"]
    assert made.counts == {"late": 1, "described": 1}


async def test_a_slow_describer_leaves_the_work_to_the_others() -> None:
    bus = MemoryBus()
    async with (
        node(bus, ScriptedDescriber(delay_s=1.0), "slow") as slow,
        node(bus, ScriptedDescriber(), "quick") as quick,
    ):
        for number in range(20):
            await ask(bus, number)
        await until(lambda: sum((slow.counts + quick.counts).values()) == 20)
    assert slow.counts["described"] <= 2
    assert slow.counts["described"] + quick.counts["described"] == 20


async def test_evidence_by_another_recipe_and_what_is_no_evidence_end_at_once() -> None:
    bus = MemoryBus()
    await bus.append("evidence.door.e0", b"no message", id="e0")
    other = replace(evidence(1), recipe="mellm-v1")
    context = DescribeContext("e1", 100.0, source="door")
    await bus.append("evidence.door.e1", Asked(other, context, 10.0).pack(), id="e1")
    async with node(bus, ScriptedDescriber()) as made:
        told = await answer(bus, 1)
    assert told.outcome.reason == "recipe_mismatch"
    assert made.counts["unreadable"] == 1


async def test_a_broker_that_goes_away_for_a_while_loses_no_answer() -> None:
    bus = MemoryBus()
    describer = ScriptedDescriber(delay_s=0.3)
    async with node(bus, describer) as made:
        await ask(bus, 1)
        await until(lambda: bool(describer.calls))
        bus.away = True
        await asyncio.sleep(0.6)
        bus.away = False
        assert (await answer(bus, 1)).outcome.state == "described"
        await until(lambda: made.counts["described"] == 1)
