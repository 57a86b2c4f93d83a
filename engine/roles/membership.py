"""Who is there: each node says it every few seconds under a key that runs out by itself."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from mellm.engine.bus.base import Bus, name_of, word
from mellm.engine.provenance import versions
from mellm.stream.errors import BusError

logger = logging.getLogger(__name__)

EVERY_S: Final = 2.0
AGAIN_S: Final = 1.0


class Membership:
    """One node's word about itself.

    :param told: facts of this moment
    """

    def __init__(self, bus: Bus, node: str, role: str, told: Callable[[], Mapping[str, Any]]) -> None:
        self._bus = bus
        self._node = node
        self._told = told
        self._fixed = {"role": role, "version": versions()["mellm"]}

    async def run(self) -> None:
        """Say it until cancelled, and take it back then."""
        try:
            while True:
                try:
                    value = json.dumps({**self._fixed, **self._told()}).encode()
                    await self._bus.put("node", word(self._node), value, None)
                except BusError as error:
                    logger.info("%s cannot be told: %s", self._node, error)
                await asyncio.sleep(EVERY_S)
        finally:
            try:
                async with asyncio.timeout(1.0):
                    await self._bus.forget("node", word(self._node))
            except (BusError, TimeoutError):
                pass


async def members(bus: Bus) -> dict[str, dict[str, Any]]:
    """Who is there, by name.

    :raises BusError: the bus is away
    """
    found = {}
    for name, entry in (await bus.keys("node")).items():
        try:
            told = json.loads(entry.value)
        except ValueError:
            continue
        if isinstance(told, dict):
            found[name_of(name)] = told
    return found


@asynccontextmanager
async def tasks(*work: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run these beside the body, and end them with it. One that fails is logged and begun again after a while."""

    async def kept(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                return await body()
            except Exception:  # whatever it is, the others need this part of the node
                logger.exception("%s has failed; it is begun again", body.__qualname__)
                await asyncio.sleep(AGAIN_S)

    running = [asyncio.create_task(kept(each)) for each in work]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
