"""Several endpoints that serve the same model: the least busy is asked, each has a breaker of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from mellm.engine.describe.base import DescribeContext, Describer, Recipe
from mellm.engine.describe.breaker import State
from mellm.engine.types import Description, Evidence
from mellm.stream.errors import DescriberUnavailable, UsageError


class Endpoint(Describer, Protocol):
    """One of them, such as :class:`mellm.engine.describe.openai.OpenAIDescriber`."""

    @property
    def state(self) -> State:
        """Of its breaker."""
        ...


class PoolDescriber:
    """See :class:`mellm.engine.describe.base.Describer`. Nothing is asked twice here: an endpoint that certainly did
    not begin on a request passes it to the next one, any other error is told.

    :raises UsageError: they read different evidence
    """

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        if len({each.recipe for each in endpoints}) != 1:
            raise UsageError("these endpoints read different evidence", remedy="give all the same --profile")
        self._endpoints = tuple(endpoints)
        self._lock = threading.Lock()
        self._busy = [0] * len(endpoints)
        self._turns = 0

    @property
    def name(self) -> str:
        """The model's name, which they share."""
        return self._endpoints[0].name

    @property
    def profile(self) -> str:
        """As of each."""
        return self._endpoints[0].profile

    @property
    def recipe(self) -> Recipe:
        """As of each."""
        return self._endpoints[0].recipe

    @property
    def busy(self) -> tuple[int, ...]:
        """Requests under way, by endpoint."""
        with self._lock:
            return tuple(self._busy)

    def describe(self, evidence: Evidence, context: DescribeContext) -> Description:
        """Ask the least busy endpoint that is not left alone; of equals, each in its turn.

        :raises DescriberError: of the last one that was asked
        """
        until = time.monotonic() + context.deadline_s
        tried: set[int] = set()
        while True:
            chosen = self._choose(tried)
            tried.add(chosen)
            try:
                left = replace(context, deadline_s=until - time.monotonic())
                return self._endpoints[chosen].describe(evidence, left)
            except DescriberUnavailable as error:
                if error.reached or len(tried) == len(self._endpoints) or time.monotonic() >= until:
                    raise
            finally:
                with self._lock:
                    self._busy[chosen] -= 1

    def _choose(self, tried: set[int]) -> int:
        with self._lock:
            self._turns += 1
            places = [n for n in range(len(self._endpoints)) if n not in tried]

            def order(place: int) -> tuple[bool, int, int]:
                turn = (place - self._turns) % len(self._endpoints)
                return self._endpoints[place].state == "open", self._busy[place], turn

            chosen = min(places, key=order)
            self._busy[chosen] += 1
            return chosen

    def close(self) -> None:
        """Close all."""
        for each in self._endpoints:
            each.close()
