from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mellm.engine.bus.memory import MemoryBus
from mellm.engine.describe.base import DescribeContext
from mellm.engine.describe.scripted import DEFAULT
from mellm.engine.roles.bus_describer import BusDescriber, DeadlinePassed, refusal
from mellm.engine.roles.membership import tasks
from mellm.engine.roles.messages import Answer, Asked
from mellm.engine.types import Description, Outcome
from mellm.stream.errors import (
    AnswerInvalid,
    DescriberError,
    DescriberRejected,
    DescriberTimeout,
    DescriberUnavailable,
)
from tests.cluster.stand_in import evidence

CONTEXT = DescribeContext("e1", 100.0, source="door", deadline_s=20.0)


@asynccontextmanager
async def asking(bus: MemoryBus) -> AsyncIterator[BusDescriber]:
    describer = BusDescriber(bus, asyncio.get_running_loop())
    async with tasks(describer.run):
        yield describer


async def answered(bus: MemoryBus, outcome: Outcome) -> None:
    answer = Answer("door", "e1", outcome, "d1")
    await bus.append(answer.subject, answer.pack(), id="e1:d1", expect=0)


def ask(describer: BusDescriber, context: DescribeContext = CONTEXT) -> asyncio.Task[Description]:
    return asyncio.create_task(asyncio.to_thread(describer.describe, evidence(1), context))


async def test_evidence_goes_out_and_the_answer_comes_back() -> None:
    bus = MemoryBus()
    async with asking(bus) as describer:
        waiting = ask(describer)
        message = await bus.read("evidence.>", 0, 10.0)
        assert message is not None
        assert 15 < Asked.unpack(message.body).left_s < 20
        await answered(bus, Outcome("described", None, DEFAULT))
        assert (await waiting).text == DEFAULT.text
    assert (describer.asked, describer.answered) == (1, 1)


async def test_an_answer_of_before_a_crash_is_found() -> None:
    bus = MemoryBus()
    await answered(bus, Outcome("described", None, DEFAULT))
    async with asking(bus) as describer:
        assert (await ask(describer)).text == DEFAULT.text


async def test_nobody_answers_until_the_deadline_and_the_expression_ends() -> None:
    bus = MemoryBus()
    hurried = DescribeContext("e1", 100.0, source="door", deadline_s=0.2)
    async with asking(bus) as describer:
        started = time.monotonic()
        with pytest.raises(DeadlinePassed) as told:
            await ask(describer, hurried)
    assert told.value.code == "deadline"
    assert time.monotonic() - started < 10


async def test_a_bus_that_is_away_is_asked_again_and_counts_as_not_asked() -> None:
    bus = MemoryBus()
    async with asking(bus) as describer:
        bus.away = True
        with pytest.raises(DescriberUnavailable) as told:
            await ask(describer)
        assert not told.value.reached
        bus.away = False


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("describer_rejected", DescriberRejected),
        ("answer_invalid", AnswerInvalid),
        ("describer_timeout", DescriberTimeout),
        ("deadline", DeadlinePassed),
        ("describer_unavailable", DescriberUnavailable),
    ],
)
def test_what_a_describer_ended_with_is_what_the_queue_hears(code: str, kind: type[DescriberError]) -> None:
    made = refusal(code, "d1")
    assert type(made) is kind
    assert made.code == code
    if isinstance(made, DescriberUnavailable):
        assert made.reached, "it is not asked for ever"


def test_an_unknown_end_is_not_asked_for_ever() -> None:
    made = refusal("asked_twice", "d1")
    assert isinstance(made, DescriberUnavailable)
    assert made.reached
