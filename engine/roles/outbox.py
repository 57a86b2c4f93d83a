"""From a node's journal to the bus: in order, each event once, later if the bus is away now.

The journal is the outbox. Each camera's events of one lease go to a subject of their own, which only this node writes;
before it is written to again, the last message there says how far it has come, whatever ended the process or the
broker. What was found while the lease was not certainly ours waits until it is known whose it was; if somebody else had
it, it is fenced off: it stays in this journal and goes nowhere. The end of an expression that was told is told
whoever has the camera by then: a node that stood still may tell what it found before, and nobody else could end that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from mellm.engine.bus.base import Bus
from mellm.engine.bus.lease import Claim
from mellm.engine.roles.messages import Told
from mellm.stream.errors import BusConflict, BusError, MessageInvalid
from mellm.stream.log.journal import Journal, Record
from mellm.stream.protocol.events import EVENTS_ERASED, EXPRESSION_ENDS, EXPRESSION_SPOTTED, Filter

logger = logging.getLogger(__name__)

PLACE: Final = "bus:published"
FENCED: Final = "bus:fenced"
POLL_S: Final = 0.02
AWAY_S: Final = 0.3
NOTE_S: Final = 1.0


class Outbox:
    """One journal's. :meth:`run` belongs to the loop of the bus.

    :param claim: of a camera, ``None`` for one that this node has never heard of
    :ivar at: number up to which everything is on the bus or fenced off
    :ivar accepted: expressions in the journal
    :ivar fenced: of them, those that were not ours
    """

    def __init__(self, bus: Bus, journal: Journal, claim: Callable[[str], Claim | None]) -> None:
        self._bus = bus
        self._journal = journal
        self._claim = claim
        self._last: dict[str, tuple[int, int]] = {}  # subject → its last message there, and our number of it
        self._open: set[str] = set()  # expressions told and not ended
        self._noted_at = 0.0
        self.at = int(journal.note(PLACE) or 0)
        self.fenced = int(journal.note(FENCED) or 0)
        spotted = Filter(types=frozenset({EXPRESSION_SPOTTED}))
        self.published = sum(1 for _ in self._spotted(0, self.at, spotted)) - self.fenced

    def _spotted(self, after: int, upto: int, wanted: Filter) -> list[Record]:
        return [r for r in self._journal.replay(after, wanted=wanted) if (r.seq or 0) <= upto]

    @property
    def waiting(self) -> int:
        """Events that are in the journal only."""
        return max(0, self._journal.last_seq - self.at)

    async def run(self) -> None:
        """Publish what comes, until cancelled."""
        while True:
            if self._journal.last_seq <= self.at:
                self._note(idle=True)
                await asyncio.sleep(POLL_S)
                continue
            page = await asyncio.to_thread(self._journal.read, self.at, limit=100)
            if not page:
                self.at = self._journal.last_seq
            for record in page:
                while not await self._publish(record):  # noqa: ASYNC110 - nor does a broker that is away
                    await asyncio.sleep(AWAY_S)
                self.at = record.seq or self.at
                self._note()

    async def drain(self, wait_s: float) -> bool:
        """Wait until everything is on the bus; whether it is."""
        until = time.monotonic() + wait_s
        while self.waiting and time.monotonic() < until:  # noqa: ASYNC110 - the journal knows no loop
            await asyncio.sleep(POLL_S)
        self._note(idle=True, force=True)
        return not self.waiting

    def _note(self, *, idle: bool = False, force: bool = False) -> None:
        """How far it has come; a guess that is too low costs a look at the bus, no more."""
        now = time.monotonic()
        if force or now - self._noted_at > (NOTE_S if not idle else 5 * NOTE_S):
            self._noted_at = now
            self._journal.note(PLACE, str(self.at))
            self._journal.note(FENCED, str(self.fenced))

    async def _publish(self, record: Record) -> bool:
        """Whether it is on the bus, or need not be."""
        event = record.event
        data = dict(event.data)
        lease: Any = data.pop("lease", None)
        if not event.source or event.type == EVENTS_ERASED or not isinstance(lease, dict):
            return True
        epoch, owned = int(lease["epoch"]), bool(lease["owned"])
        if not owned and event.id not in self._open:
            mine = self._mine(event.source, epoch)
            if mine is None:
                return False
            if not mine:
                self.fenced += event.type == EXPRESSION_SPOTTED
                return True
        told = Told(event.type, event.source, event.id, data, epoch, True)
        try:
            await self._append(told, record.seq or 0)
        except BusConflict:
            self._last.pop(told.subject, None)  # ours of before, which came late: look again
            return False
        except MessageInvalid as error:
            logger.error("%s cannot be published: %s", event.id, error)
            return True
        except BusError as error:
            logger.info("%s waits: %s", event.id, error)
            self._last.pop(told.subject, None)
            return False
        if event.type == EXPRESSION_SPOTTED:
            self.published += 1
            self._open.add(event.id)
        elif event.type in EXPRESSION_ENDS:
            self._open.discard(event.id)
        return True

    def _mine(self, camera: str, epoch: int) -> bool | None:
        """Whether the lease of that epoch was ours after all; ``None`` while that is not known."""
        claim = self._claim(camera)
        if claim is None or claim.epoch != epoch or (claim.other is not None and claim.other.epoch > epoch):
            return False
        if claim.owned and claim.certain(time.monotonic()):
            return True
        return None if claim.owned else False

    async def _append(self, told: Told, seq: int) -> None:
        known = self._last.get(told.subject)
        if known is None:
            last = await self._bus.last(told.subject)
            epoch, _, number = (last.id if last else "").rpartition(":")
            known = (last.seq if last else 0, int(number) if last and epoch == self._journal.epoch else 0)
        if known[1] < seq:
            id = f"{self._journal.epoch}:{seq}"
            known = (await self._bus.append(told.subject, told.pack(), id=id, expect=known[0]), seq)
        self._last[told.subject] = known
