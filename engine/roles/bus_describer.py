"""A describer that asks over the bus: evidence out, an answer back, whoever gave it."""

from __future__ import annotations

import asyncio
import logging
from typing import ClassVar, Final

from mellm.engine.bus.base import Bus
from mellm.engine.describe.base import DescribeContext, Recipe
from mellm.engine.roles.messages import Answer, Asked
from mellm.engine.types import Description, Evidence
from mellm.stream.errors import (
    AnswerInvalid,
    BusConflict,
    BusError,
    BusUnavailable,
    DescriberError,
    DescriberRejected,
    DescriberTimeout,
    DescriberUnavailable,
    MessageInvalid,
)

logger = logging.getLogger(__name__)

SPARE_S: Final = 0.3
"""Of a deadline, for the way back."""

AWAY_S: Final = 0.3
"""Before a broker that was away is asked again."""


class DeadlinePassed(DescriberTimeout):
    """Nobody answered in time: the node ends the expression itself."""

    code: ClassVar[str] = "deadline"


class BusDescriber:
    """See :class:`mellm.engine.describe.base.Describer`. :meth:`run` belongs to the loop of the bus,
    ``describe`` to any other thread.

    :param recipe: of the evidence that the describers on the bus read
    :ivar asked: pieces of evidence on the bus
    :ivar answered: answers that somebody waited for
    """

    name = "bus"
    profile = "bus-1"

    def __init__(self, bus: Bus, loop: asyncio.AbstractEventLoop, recipe: Recipe = "live") -> None:
        self._bus = bus
        self._loop = loop
        self.recipe: Recipe = recipe
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self.asked = self.answered = 0

    def describe(self, evidence: Evidence, context: DescribeContext) -> Description:
        """Ask, and wait for an answer until the deadline.

        :raises DeadlinePassed: there was none
        :raises DescriberUnavailable: the bus is away; nobody was asked
        :raises DescriberError: what the describer said instead of an answer
        """
        asking = asyncio.run_coroutine_threadsafe(self._ask(evidence, context), self._loop)
        try:
            answer = asking.result(context.deadline_s + SPARE_S)
        except TimeoutError:
            asking.cancel()
            raise DeadlinePassed("no describer answered in time") from None
        if answer.outcome.state == "dropped" or answer.outcome.description is None:
            raise refusal(answer.outcome.reason or "describer", answer.by)
        return answer.outcome.description

    def close(self) -> None:
        """Nothing is held here."""

    async def run(self) -> None:
        """Hand answers to whoever waits for them, until cancelled."""
        at: int | None = None
        while True:
            try:
                if at is None:
                    at = await self._bus.end("result")
                message = await self._bus.read("result.>", at, 1.0)
            except BusError as error:
                logger.info("results cannot be read: %s", error)
                await asyncio.sleep(AWAY_S)
                continue
            if message is None:
                continue
            at = message.seq
            waiting = self._waiting.get(message.subject.rpartition(".")[2])
            if waiting is not None and not waiting.done():
                try:
                    waiting.set_result(Answer.unpack(message.body))
                except MessageInvalid as error:
                    logger.warning("%s: %s", message.subject, error)

    async def _ask(self, evidence: Evidence, context: DescribeContext) -> Answer:
        asked = Asked(evidence, context, max(0.0, context.deadline_s - SPARE_S))
        waiting = self._waiting[context.expression] = self._loop.create_future()
        try:
            await self._bus.append(asked.subject, asked.pack(), id=context.expression, expect=None)
            self.asked += 1
            # it may have been answered before a process of this node ended, or while the bus was away
            subject = asked.subject.replace("evidence.", "result.", 1)
            known = await self._bus.last(subject)
            while known is None and not waiting.done():
                await asyncio.wait({waiting}, timeout=2.0)
                known = None if waiting.done() else await self._bus.last(subject)
            answer = waiting.result() if waiting.done() else Answer.unpack(known.body if known else b"")
            self.answered += 1
            return answer
        except (BusUnavailable, BusConflict) as error:
            raise DescriberUnavailable(str(error), retry_after=AWAY_S) from error
        except MessageInvalid as error:
            raise AnswerInvalid(error.message) from error
        except BusError as error:
            raise DescriberRejected(error.message) from error
        finally:
            self._waiting.pop(context.expression, None)


def refusal(code: str, by: str) -> DescriberError:
    """The error that a describer elsewhere ended with, by its code."""
    known: tuple[type[DescriberError], ...] = (
        DescriberRejected,
        AnswerInvalid,
        DeadlinePassed,
        DescriberTimeout,
    )
    made = next((kind for kind in known if kind.code == code), None)
    if made is not None:
        return made(f"{by} ended with {code}")
    # it has been asked as often as may be: not again
    return DescriberUnavailable(f"{by} ended with {code}", reached=True)
