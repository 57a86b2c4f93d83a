"""The role ``describe``: takes evidence from the bus, one piece for each free hand, and answers.

A request that may have reached a model is made twice at the most, whoever makes it: a mark is set before each. What is
too old to be answered in time is passed over; its node ends it. An answer is given once: the second one is refused by
the broker.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from mellm.engine.bus.base import ACK_WAIT_S, Bus, Delivery, word
from mellm.engine.describe import retry
from mellm.engine.describe.base import Describer
from mellm.engine.governance.purpose import Audit
from mellm.engine.roles.membership import Membership, tasks
from mellm.engine.roles.messages import Answer, Asked, camera_of
from mellm.engine.types import Outcome
from mellm.stream.errors import BusConflict, BusError, DescriberError, MessageInvalid

logger = logging.getLogger(__name__)

AWAY_S: Final = 0.3
TAKE_S: Final = 2.0
MOST_ASKED: Final = 2
"""Times that one expression may reach a model."""

KEPT: Final = 50
"""Last calls, for how long one takes."""


class DescribeNode:
    """One node that answers. Everything belongs to one loop; the describer is asked on threads.

    :param hands: pieces of evidence that it has in hand at once
    :ivar counts: what became of what it took: ``described``, ``abstained``, ``dropped``, ``late``, ``known``,
        ``unreadable``
    """

    def __init__(
        self,
        bus: Bus,
        node: str,
        describer: Describer,
        audit: Audit,
        *,
        hands: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._node = node
        self._describer = describer
        self._audit = audit
        self._hands = asyncio.Semaphore(hands)
        self._clock = clock
        self._took_s: deque[float] = deque(maxlen=KEPT)
        self._busy: set[asyncio.Task[None]] = set()
        self.counts: Counter[str] = Counter()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take and answer until left; what is in hand then is answered first."""
        membership = Membership(self._bus, self._node, "describe", self._told)
        self._audit("bus.joined", {"node": self._node, "role": "describe", "describer": self._describer.name})
        async with tasks(self.run, membership.run):
            yield
        if self._busy:
            await asyncio.wait(self._busy, timeout=10.0)
        self._audit("bus.left", {"node": self._node, **self.counts})

    def facts(self) -> Mapping[str, float]:
        """Numbers for ``/metrics``."""
        return {
            **{f"bus_taken_{name}": float(count) for name, count in self.counts.items()},
            "bus_in_hand": float(len(self._busy)),
            "bus_answer_p90_seconds": self.usual_s(),
        }

    def usual_s(self) -> float:
        """What nine of ten calls have taken at the most; 0 before the first."""
        done = sorted(self._took_s)
        return done[int(0.9 * (len(done) - 1))] if done else 0.0

    async def run(self) -> None:
        """Take whenever a hand is free, until cancelled."""
        while True:
            await self._hands.acquire()
            taken = None
            try:
                taken = await self._bus.take("evidence", TAKE_S)
            except BusError as error:
                logger.info("nothing can be taken: %s", error)
                await asyncio.sleep(AWAY_S)
            finally:
                if taken is None:
                    self._hands.release()
            if taken is not None:
                task = asyncio.create_task(self._hold(taken))
                self._busy.add(task)
                task.add_done_callback(self._busy.discard)

    async def _hold(self, taken: Delivery) -> None:
        beating = asyncio.create_task(self._beat(taken))
        try:
            await self.one(taken)
        except BusError as error:
            # nothing is lost: it is given out again, and its node ends it in any case
            logger.warning("%s: %s", taken.message.subject, error)
        except Exception:
            logger.exception("%s has failed", taken.message.subject)
        finally:
            beating.cancel()
            self._hands.release()

    async def _beat(self, taken: Delivery) -> None:
        while True:
            await asyncio.sleep(ACK_WAIT_S / 3)
            try:
                await self._bus.busy(taken)
            except BusError:
                pass

    async def one(self, taken: Delivery) -> None:
        """What is done with one piece of evidence.

        :raises BusError: the bus is away
        """
        started = self._clock()
        try:
            asked = Asked.unpack(taken.message.body)
        except MessageInvalid as error:
            logger.warning("%s: %s", taken.message.subject, error)
            self.counts["unreadable"] += 1
            await self._bus.done(taken)
            return
        camera, expression = camera_of(taken.message), asked.context.expression
        asked = replace(asked, context=replace(asked.context, source=camera))
        left_s = asked.left_s - taken.age_s
        if left_s <= self.usual_s():
            self.counts["late"] += 1
            await self._bus.done(taken)
            return
        if taken.tries > 1 and await self._bus.last(f"result.{word(camera)}.{expression}") is not None:
            self.counts["known"] += 1
            await self._bus.done(taken)
            return
        outcome = await self._mark(expression)
        if outcome is None:
            outcome = await asyncio.to_thread(self._ask, asked, left_s - (self._clock() - started))
        answer = Answer(camera, expression, outcome, self._node)
        while True:
            try:
                await self._bus.append(
                    answer.subject, answer.pack(), id=f"{expression}:{self._node}", expect=0
                )
                self.counts[outcome.state] += 1
                break
            except BusConflict:
                self.counts["known"] += 1  # somebody else was first
                break
            except BusError:
                if self._clock() - started > left_s:
                    raise
                await asyncio.sleep(AWAY_S)
        self._took_s.append(self._clock() - started)
        await self._bus.done(taken)

    async def _mark(self, expression: str) -> Outcome | None:
        """Say that it is asked now.

        :returns: how it ends if it was asked as often as may be
        """
        while True:
            known = await self._bus.get("asked", expression)
            times = int(known.value) if known else 0
            if times >= MOST_ASKED:
                return Outcome("dropped", "asked_twice", None)
            try:
                await self._bus.put(
                    "asked", expression, str(times + 1).encode(), known.revision if known else 0
                )
                return None
            except BusConflict:
                continue

    def _ask(self, asked: Asked, left_s: float) -> Outcome:
        """On a thread."""
        if asked.evidence.recipe != self._describer.recipe:
            logger.error(
                "evidence by %s, and %s reads %s",
                asked.evidence.recipe,
                self._describer.name,
                self._describer.recipe,
            )
            return Outcome("dropped", "recipe_mismatch", None)
        context = replace(asked.context, deadline_s=max(0.05, left_s))
        try:
            description = retry.ask(self._describer, asked.evidence, context)
        except DescriberError as error:
            logger.info("%s: %s", asked.context.expression, error)
            return Outcome("dropped", error.code, None)
        except Exception:
            logger.exception("%s: the describer failed", asked.context.expression)
            return Outcome("dropped", "internal", None)
        if description.abstained is not None:
            return Outcome("abstained", description.abstained, description)
        return Outcome("described", None, description)

    def _told(self) -> dict[str, object]:
        return {"describer": self._describer.name, "counts": dict(self.counts)}
