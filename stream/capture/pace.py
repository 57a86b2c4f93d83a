"""Plays a recording at the rate of its time stamps, as if a camera were showing it."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Final

from mellm.stream.clock import Clock
from mellm.stream.frames import Frame, Item

_LONGEST_WAIT_NS: Final = 10_000_000_000


class Pace:
    """Holds the items of a recording back until their time has come."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._zero_ns: int | None = None

    def hold(self, item: Item, abandoned: threading.Event) -> Item | None:
        """The item at its time, a frame stamped with that arrival; ``None`` if abandoned meanwhile."""
        if not isinstance(item, Frame):
            return item
        now = self._clock.now_ns()
        if self._zero_ns is None:
            self._zero_ns = now - item.pts_ns
        due = self._zero_ns + item.pts_ns
        if due - now > _LONGEST_WAIT_NS:  # a hole of an hour in the recording is not waited for
            self._zero_ns, due = now - item.pts_ns, now
        if due > now and self._clock.wait(abandoned, (due - now) / 1e9):
            return None
        return replace(item, wall_ns=self._clock.now_ns())
