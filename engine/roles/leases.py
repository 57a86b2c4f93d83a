"""Follows the cameras whose leases this node holds: the shell around :mod:`mellm.engine.bus.lease`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from mellm.engine.bus.base import Bus, word
from mellm.engine.bus.lease import Claim, Step
from mellm.engine.governance.purpose import Audit
from mellm.stream.errors import BusConflict, BusError

logger = logging.getLogger(__name__)

POLL_S: Final = 0.5


class Follows(Protocol):
    """Whoever follows cameras for this node."""

    async def take(self, camera: str, epoch: int, before: str) -> None:
        """Follow this camera from now on.

        :param before: who had it, empty for nobody
        """
        ...

    async def lose(self, camera: str) -> None:
        """Follow it no longer."""
        ...


class Leases:
    """This node's claims. :meth:`run` and :meth:`give_back` belong to one loop; :meth:`stamp` may be called from any
    thread.

    :param wanted: how many cameras this node takes at once; beyond that only those that nobody else takes, or whose
        node has died
    """

    def __init__(
        self,
        bus: Bus,
        node: str,
        cameras: Sequence[str],
        follows: Follows,
        audit: Audit,
        *,
        wanted: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._node = node
        self._follows = follows
        self._audit = audit
        self._clock = clock
        self._wanted = len(cameras) if wanted is None else wanted
        self.claims: dict[str, Claim] = {camera: Claim(node) for camera in cameras}
        self._barred: set[str] = set()

    @property
    def held(self) -> dict[str, int]:
        """Camera → epoch of our lease."""
        return {camera: claim.epoch for camera, claim in self.claims.items() if claim.owned}

    def stamp(self, camera: str) -> Mapping[str, Any]:
        """What stands in a journalled event: epoch of the lease, and whether it is certainly ours."""
        claim = self.claims[camera]
        return {"lease": {"epoch": claim.epoch, "owned": claim.certain(self._clock())}}

    def bar(self, camera: str) -> None:
        """Never take this one again: consent was withdrawn."""
        self._barred.add(camera)

    async def run(self) -> None:
        """Take, renew and lose leases until cancelled."""
        while True:
            for camera in self.claims:
                try:
                    await self.look(camera)
                except BusConflict:
                    pass  # somebody was first; the next look shows who
                except BusError as error:
                    logger.info("the lease of %s cannot be looked at: %s", camera, error)
                    break
            await asyncio.sleep(POLL_S)

    async def look(self, camera: str) -> None:
        """One look at one lease, and what follows of it.

        :raises BusError: the bus is away, or somebody was first
        """
        claim = self.claims[camera]
        if camera in self._barred:
            if claim.owned:
                await self._give(camera)
            return
        if not claim.owned or claim.step(self._clock(), eager=False) is not None:
            entry = await self._bus.get("lease", word(camera))
            if claim.saw(entry, self._clock()):
                self._audit("lease.lost", {"source": camera, "node": self._node, "epoch": claim.epoch})
                logger.warning(
                    "%s is followed by %s now", camera, claim.other.owner if claim.other else "nobody"
                )
                await self._follows.lose(camera)
        before = claim.other.owner if claim.other else ""
        step = claim.step(self._clock(), eager=len(self.held) < self._wanted)
        if step is None:
            return
        await self._write(camera, step)
        if step.kind == "take":
            self._audit(
                "lease.taken",
                {"source": camera, "node": self._node, "epoch": claim.epoch, "from": before or None},
            )
            await self._follows.take(camera, claim.epoch, before)

    async def give_back(self) -> None:
        """Give all leases back, so that others need not wait for them to run out."""
        for camera in list(self.held):
            try:
                await self._give(camera)
            except BusError as error:
                logger.info("the lease of %s cannot be given back: %s", camera, error)

    async def _give(self, camera: str) -> None:
        step = self.claims[camera].give()
        if step is not None:
            await self._write(camera, step)

    async def _write(self, camera: str, step: Step) -> None:
        sent_at = self._clock()
        revision = await self._bus.put("lease", word(camera), step.lease.encode(), step.revision)
        self.claims[camera].wrote(step, revision, sent_at)
