"""The role ``camera``: follows the cameras whose leases it holds, and puts what it finds on the bus."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from mellm.engine.analysis.pipeline_factory import runner
from mellm.engine.analysis.wire_events import end_of
from mellm.engine.bus.base import Bus, word
from mellm.engine.evidence.store import EvidenceStore
from mellm.engine.governance.withdrawal import WithdrawalFailed, Withdraws
from mellm.engine.results.expressions import ExpressionRecord, FieldInvalid
from mellm.engine.roles.bus_describer import BusDescriber
from mellm.engine.roles.leases import Leases
from mellm.engine.roles.membership import Membership, tasks
from mellm.engine.roles.messages import Answer, Control, Told, camera_of
from mellm.engine.roles.outbox import Outbox
from mellm.engine.server.app import Parts
from mellm.engine.types import Outcome
from mellm.stream.errors import BusError, MessageInvalid
from mellm.stream.log.journal import Journal
from mellm.stream.protocol.events import (
    EXPRESSION_ENDS,
    EXPRESSION_SPOTTED,
    LOSSY,
    SOURCE_GAP,
    media_time,
)

logger = logging.getLogger(__name__)

SEGMENTS: Final = 1 << 20
"""Segments of one lease: those of the next are above, so that no id of an expression comes twice."""

ORDERS: Final = "bus:control"
DRAIN_S: Final = 5.0
AWAY_S: Final = 0.5
TAKEOVER: Final = "takeover"
"""Reason of a gap where another node goes on, and of an expression that nobody answered for meanwhile."""


class CameraNode:
    """See :class:`mellm.engine.server.app.Joins`.

    :param node: name of this node; unique on the bus
    :param spool: folder of jobs that wait
    :param wanted: cameras that it takes at once, see :class:`~mellm.engine.roles.leases.Leases`
    """

    def __init__(
        self, bus: Bus, node: str, describer: BusDescriber, *, spool: Path, wanted: int | None = None
    ) -> None:
        self._bus = bus
        self._node = node
        self._wanted = wanted
        self.describer = describer
        self.spool: Path | None = spool
        self._parts: Parts | None = None
        self._leases: Leases | None = None
        self._outbox: Outbox | None = None
        self._orphans: set[asyncio.Task[None]] = set()

    def evidence(self, folder: Path | None, journal: Journal) -> EvidenceStore:
        """As on one machine."""
        return EvidenceStore(folder)

    def withdrawal(self, parts: Parts) -> Withdraws:
        """A client of this node withdraws at the node; the gateways hear of it over the bus."""
        return parts.withdraw

    def facts(self) -> Mapping[str, float]:
        """See :class:`mellm.engine.server.app.Joins`."""
        outbox, leases = self._outbox, self._leases
        if outbox is None or leases is None:
            return {}
        return {
            "bus_outbox_events": outbox.waiting,
            "bus_accepted": outbox.published + outbox.fenced,
            "bus_published": outbox.published,
            "bus_fenced": outbox.fenced,
            "bus_asked": self.describer.asked,
            "bus_answered": self.describer.answered,
            "bus_leases": len(leases.held),
        }

    @asynccontextmanager
    async def joined(self, parts: Parts) -> AsyncIterator[None]:
        """See :class:`mellm.engine.server.app.Joins`."""
        self._parts = parts
        cameras = [source.id for source in parts.sources]
        leases = self._leases = Leases(self._bus, self._node, cameras, self, parts.audit, wanted=self._wanted)
        for camera in cameras:
            parts.hub.stamp(camera, lambda camera=camera: leases.stamp(camera))  # type: ignore[misc]
        outbox = self._outbox = await asyncio.to_thread(Outbox, self._bus, parts.journal, leases.claims.get)
        parts.hub.observe(self._lossy)
        loop = asyncio.get_running_loop()
        self._live: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(256)
        self._loop = loop
        membership = Membership(self._bus, self._node, "camera", self._told)
        parts.audit("bus.joined", {"node": self._node, "role": "camera", "cameras": cameras})
        async with tasks(self.describer.run, self._obey, leases.run, outbox.run, self._speak, membership.run):
            try:
                yield
            finally:
                for camera in list(leases.held):
                    await self.lose(camera)
                await asyncio.to_thread(parts.engine.drain, DRAIN_S)
                await asyncio.to_thread(parts.journal.flush)
                await outbox.drain(DRAIN_S)
                await leases.give_back()
                parts.audit("bus.left", {"node": self._node, "waiting": outbox.waiting})

    # -- leases ---------------------------------------------------------------------------------------

    async def take(self, camera: str, epoch: int, before: str) -> None:
        """See :class:`~mellm.engine.roles.leases.Follows`."""
        parts = self._p
        if epoch > 1:
            orphans = asyncio.create_task(self._adopt(camera, epoch, before))
            self._orphans.add(orphans)
            orphans.add_done_callback(self._orphans.discard)
        source = next(source for source in parts.sources if source.id == camera)
        parts.engine.follow(runner(source, first_segment=epoch * SEGMENTS), source.priority)

    async def lose(self, camera: str) -> None:
        """See :class:`~mellm.engine.roles.leases.Follows`."""
        await asyncio.to_thread(self._p.engine.leave, camera)

    async def _adopt(self, camera: str, epoch: int, before: str) -> None:
        """Say that another node goes on, and end what the one before has left open."""
        parts, open_, last_ns, at = self._p, {}, 0, 0
        while True:
            try:
                message = await self._bus.read(f"event.{word(camera)}.>", at)
            except BusError:
                await asyncio.sleep(AWAY_S)
                continue
            if message is None:
                break
            at = message.seq
            try:
                told = Told.unpack(message.body)
            except MessageInvalid as error:
                logger.warning("%s: %s", message.subject, error)
                continue
            if told.epoch >= epoch:
                continue
            stamp = told.data.get("t_ns")
            last_ns = int(stamp) if isinstance(stamp, str) and stamp.isdigit() else last_ns
            if told.type == EXPRESSION_SPOTTED:
                open_[told.id] = told
            elif told.type in EXPRESSION_ENDS:
                open_.pop(told.id, None)
        gap = {**media_time("from", last_ns), **media_time("to", last_ns), "reason": TAKEOVER, "frames": 0}
        parts.hub.post(SOURCE_GAP, camera, {**gap, "node": self._node, "before": before}, last_ns)
        logger.warning(
            "%s: taken over from %s, %d expressions are open", camera, before or "nobody", len(open_)
        )
        for told in open_.values():
            await self._finish(told)

    async def _finish(self, told: Told) -> None:
        """End an expression of another node: with its answer, or as dropped once its time is over."""
        until = time.monotonic() + self._p.settings.describer.deadline_s
        outcome = Outcome("dropped", TAKEOVER, None)
        while time.monotonic() < until:
            try:
                found = await self._bus.last(f"result.{word(told.source)}.{told.id}")
                if found is not None:
                    outcome = Answer.unpack(found.body).outcome
                    break
            except BusError as error:
                logger.info("%s: %s", told.id, error)
            await asyncio.sleep(AWAY_S)
        try:
            record = ExpressionRecord.from_json(told.data)
        except FieldInvalid as error:
            logger.error("%s cannot be ended: %s", told.id, error)
            return
        event = end_of(record.ended(outcome))
        self._p.hub.post(event.type, told.source, event.data, event.t_ns)

    # -- orders ---------------------------------------------------------------------------------------

    async def _obey(self) -> None:
        """Orders that outlive whoever gave them: those of a time when this node was down come first."""
        parts, leases = self._p, self._leases
        assert leases is not None
        at = int(parts.journal.note(ORDERS) or 0)
        while True:
            try:
                message = await self._bus.read("control.>", at, 1.0)
            except BusError:
                await asyncio.sleep(AWAY_S)
                continue
            if message is None:
                continue
            at = message.seq
            try:
                order = Control.unpack(message.body)
            except MessageInvalid as error:
                logger.warning("%s: %s", message.subject, error)
                continue
            camera = camera_of(message)
            if order.order == "withdraw" and camera in leases.claims:
                held = leases.claims[camera].owned
                leases.bar(camera)
                try:
                    gone = await asyncio.to_thread(parts.withdraw, camera, order.by)
                except WithdrawalFailed as error:
                    logger.error("%s", error)
                    continue
                parts.audit("bus.withdrawn", {"source": camera, "by": order.by, **gone.as_dict()})
                done = Control("stopped", camera, self._node)
                if held:
                    last, outbox = parts.journal.last_seq, self._outbox
                    assert outbox is not None
                    while outbox.at < last:  # noqa: ASYNC110 - what it still says is purged, too
                        await asyncio.sleep(AWAY_S)
                    await self._say(done.subject, done.pack(), f"stopped {self._node} {message.seq}")
            parts.journal.note(ORDERS, str(at))

    async def _say(self, subject: str, body: bytes, id: str) -> None:
        while True:
            try:
                await self._bus.append(subject, body, id=id)
                return
            except BusError as error:
                logger.info("%s waits: %s", subject, error)
                await asyncio.sleep(AWAY_S)

    # -- what may be lost -----------------------------------------------------------------------------

    def _lossy(self, type: str, source: str, data: Mapping[str, object]) -> None:
        if type in LOSSY and source:
            body = json.dumps({"type": type, "source": source, "data": data}).encode()
            self._loop.call_soon_threadsafe(self._queue, f"{word(source)}.{type}", body)

    def _queue(self, subject: str, body: bytes) -> None:
        if not self._live.full():
            self._live.put_nowait((subject, body))

    async def _speak(self) -> None:
        while True:
            subject, body = await self._live.get()
            try:
                await self._bus.tell(subject, body)
            except BusError:
                pass

    def _told(self) -> dict[str, object]:
        return {"cameras": self._leases.held if self._leases else {}, "counts": dict(self.facts())}

    @property
    def _p(self) -> Parts:
        assert self._parts is not None
        return self._parts
