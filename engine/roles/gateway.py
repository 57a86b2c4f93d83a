"""The role ``gateway``: copies what the camera nodes say into a journal of its own, and serves clients from there.

Whatever is on the bus comes into the journal once: its events are known by their ids, however often they are read. So
every client of this gateway gets each event once, and goes on where it was when the gateway comes back.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from mellm.engine.bus import wire
from mellm.engine.bus.base import Bus, Message, word
from mellm.engine.describe.base import Describer
from mellm.engine.describe.scripted import ScriptedDescriber
from mellm.engine.evidence.store import EvidenceStore
from mellm.engine.governance.erase import ErasureReport
from mellm.engine.governance.withdrawal import WithdrawalFailed, Withdraws
from mellm.engine.roles.membership import Membership, tasks
from mellm.engine.roles.messages import Control, Told, camera_of
from mellm.engine.server.app import Parts
from mellm.stream.errors import BusError, MessageInvalid
from mellm.stream.log.journal import Journal
from mellm.stream.protocol.client_messages import EvidenceKind
from mellm.stream.protocol.events import EVENTS_ERASED, EXPRESSION_ENDS, LOSSY

logger = logging.getLogger(__name__)

PLACE: Final = "bus:read"
ORDERS: Final = "bus:control"
AWAY_S: Final = 0.3
NOTE_EVERY: Final = 50
PICTURE_S: Final = 3.0
PERSONAL: Final = ("event", "evidence", "result")
"""Streams that hold what belongs to somebody."""


class BusEvidence(EvidenceStore):
    """Motion maps: in memory, else from the bus as long as it keeps them. ``get`` may be called from any thread but the
    loop's."""

    def __init__(
        self, folder: Path | None, bus: Bus, journal: Journal, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(folder)
        self._bus = bus
        self._journal = journal
        self._loop = loop

    def get(self, id: str, shown: EvidenceKind = "motion") -> bytes | None:
        """See :meth:`mellm.engine.evidence.store.EvidenceStore.get`."""
        found = super().get(id, shown)
        if found is not None or shown != "motion" or not id.isalnum():
            return found
        camera = next((record.source for record in self._journal.about(id, limit=1)), None)
        if camera is None:
            return None
        asking = asyncio.run_coroutine_threadsafe(self._bus.last(f"evidence.{word(camera)}.{id}"), self._loop)
        try:
            message = asking.result(PICTURE_S)
            png = None if message is None else wire.unpack(message.body, "evidence")[1]
        except (BusError, TimeoutError) as error:
            logger.info("no motion map of %s: %s", id, error)
            return None
        if png:
            self.put(id, png)
        return png


class Gateway:
    """See :class:`mellm.engine.server.app.Joins`.

    :ivar counts: messages by what became of them: ``taken``, ``repeated``, ``fenced``, ``withdrawn``, ``unreadable``
    """

    def __init__(self, bus: Bus, node: str) -> None:
        self._bus = bus
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._parts: Parts | None = None
        self._epochs: Counter[str] = Counter()
        self._at = 0
        self._withdrawn: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.describer: Describer = ScriptedDescriber()  # nobody asks it: there is no camera here
        self.spool: Path | None = None

    def evidence(self, folder: Path | None, journal: Journal) -> EvidenceStore:
        """See :class:`mellm.engine.server.app.Joins`."""
        return BusEvidence(folder, self._bus, journal, self._loop)

    def withdrawal(self, parts: Parts) -> Withdraws:
        """Order it over the bus, and obey here."""

        def withdraw(source: str, by: str) -> ErasureReport:
            order = Control("withdraw", source, by)
            saying = self._bus.append(
                order.subject, order.pack(), id=f"withdraw {source} {by} {self._node} {self._at}"
            )
            try:
                asyncio.run_coroutine_threadsafe(saying, self._loop).result(10.0)
            except (BusError, TimeoutError) as error:
                raise WithdrawalFailed(
                    f"{source} could not be stopped: the bus is away ({error})", remedy="try again"
                ) from error
            self._withdrawn.add(source)
            return parts.withdraw(source, by)

        return withdraw

    def facts(self) -> Mapping[str, float]:
        """See :class:`mellm.engine.server.app.Joins`."""
        return {**{f"bus_{name}": float(n) for name, n in self.counts.items()}, "bus_place": float(self._at)}

    @asynccontextmanager
    async def joined(self, parts: Parts) -> AsyncIterator[None]:
        """See :class:`mellm.engine.server.app.Joins`."""
        self._parts = parts
        self._at = int(parts.journal.note(PLACE) or 0)
        membership = Membership(self._bus, self._node, "gateway", self._told)
        parts.audit("bus.joined", {"node": self._node, "role": "gateway"})
        async with tasks(self.feed, self._obey, self._listen, membership.run):
            yield
        parts.journal.note(PLACE, str(self._at))
        parts.audit("bus.left", {"node": self._node})

    # -- events ---------------------------------------------------------------------------------------

    async def feed(self) -> None:
        """From the bus into the journal, until cancelled."""
        since = 0
        while True:
            try:
                message = await self._bus.read("event.>", self._at, 1.0)
            except BusError as error:
                logger.info("events cannot be read: %s", error)
                await asyncio.sleep(AWAY_S)
                continue
            if message is not None:
                while not await asyncio.to_thread(self._take, message):  # noqa: ASYNC110 - a disk tells nobody
                    await asyncio.sleep(AWAY_S)
                self._at = message.seq
                since += 1
            if since >= NOTE_EVERY or (since and message is None):
                since = 0
                # a place that is too old costs a look at each event after it, no more
                await asyncio.to_thread(self._p.journal.note, PLACE, str(self._at))

    def _take(self, message: Message) -> bool:
        """On a thread: whether it is in the journal, or need not be."""
        try:
            told = Told.unpack(message.body)
            if told.source != camera_of(message):
                raise MessageInvalid(f"an event of {told.source!r:.80} under the subject of another camera")
        except MessageInvalid as error:
            logger.warning("%s: %s", message.subject, error)
            self.counts["unreadable"] += 1
            return True
        if told.type in LOSSY or told.type == EVENTS_ERASED:
            self.counts["unreadable"] += 1
            return True
        if told.source in self._withdrawn:  # that it stopped, too, names the consent
            self.counts["withdrawn"] += 1
            return True
        self._epochs[told.source] = max(self._epochs[told.source], told.epoch)
        if not told.owned and told.epoch < self._epochs[told.source]:
            self.counts["fenced"] += 1
            return True
        id = told.id if told.type.startswith("expression.") else message.id
        if self._known(told.type, id):
            self.counts["repeated"] += 1
            return True
        if self._p.hub.publish_threadsafe(told.type, told.source, told.data, id=id) is None:
            return False  # a full disk: it is tried again
        self.counts["taken"] += 1
        return True

    def _known(self, type: str, id: str) -> bool:
        """Whether the journal has it. Of the ends of an expression the first counts: a node that comes back may tell
        another."""
        had = {record.type for record in self._p.journal.about(id)}
        return bool(had & EXPRESSION_ENDS) if type in EXPRESSION_ENDS else type in had

    async def _listen(self) -> None:
        """What may be lost: scores and counts for whoever looks now."""
        while True:
            try:
                async for _, body in self._bus.hear(">"):
                    told = json.loads(body)
                    if told["type"] in LOSSY:
                        self._p.hub.post(told["type"], str(told["source"]), dict(told["data"]))
            except BusError:
                await asyncio.sleep(AWAY_S)
            except (ValueError, KeyError, TypeError) as error:
                logger.info("something unreadable was told: %s", error)

    # -- orders ---------------------------------------------------------------------------------------

    async def _obey(self) -> None:
        """A withdrawal is carried out here, and at the bus: now, and once more when the camera has stopped."""
        parts = self._p
        at = int(parts.journal.note(ORDERS) or 0)
        while True:
            try:
                message = await self._bus.read("control.>", at, 1.0)
                if message is None:
                    continue
                order = Control.unpack(message.body)
                camera = camera_of(message)
                if order.order == "withdraw":
                    self._withdrawn.add(camera)
                    await asyncio.to_thread(parts.withdraw, camera, order.by)
                gone = {stream: await self._bus.purge(f"{stream}.{word(camera)}.>") for stream in PERSONAL}
                parts.audit("bus.purged", {"source": camera, "by": order.by, **gone})
            except MessageInvalid as error:
                logger.warning("an order that cannot be read: %s", error)
            except (BusError, WithdrawalFailed) as error:
                logger.warning("an order waits: %s", error)
                await asyncio.sleep(AWAY_S)
                continue
            if message is not None:
                at = message.seq
                await asyncio.to_thread(parts.journal.note, ORDERS, str(at))

    def _told(self) -> dict[str, object]:
        return {"counts": dict(self.counts), "place": self._at}

    @property
    def _p(self) -> Parts:
        assert self._parts is not None
        return self._parts
