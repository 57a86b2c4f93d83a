"""Notices that something which should go on has stopped: the event loop, a camera's worker, a describer.

Whoever must not stand still *beats*; a thread of its own looks at the ages. It reports each stall once, with the stack
of every thread (so that the cause is in the log), and once when it is over. ``/healthz`` answers 503 meanwhile, as far
as the event loop can still answer; a supervisor that sees neither restarts the process.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger(__name__)

LOOP = "event loop"
LOOP_LIMIT_S = 2.0
TICK_S = 0.5
STACK_LINES = 60
"""A process has few threads; more lines than this hide the cause."""


@dataclass(frozen=True, slots=True)
class Stall:
    """What stands still, and for how many seconds."""

    name: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.name} has stood still for {self.seconds:.1f} s"


class Heartbeats:
    """Ages of what should go on. Thread-safe, without a clock of its own.

    A name is watched from its first beat until it is dropped.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._beats: dict[str, tuple[float, float]] = {}  # name → last beat, limit

    def beat(self, name: str, now: float, limit_s: float) -> None:
        """``name`` is alive and will be again within ``limit_s``."""
        with self._lock:
            self._beats[name] = (now, limit_s)

    def drop(self, name: str) -> None:
        """``name`` has ended as it should."""
        with self._lock:
            self._beats.pop(name, None)

    def stalls(self, now: float) -> list[Stall]:
        """What is over its limit, the longest first."""
        with self._lock:
            over = [Stall(name, now - at) for name, (at, limit) in self._beats.items() if now - at > limit]
        return sorted(over, key=lambda stall: -stall.seconds)


class Watchdog:
    """The thread that looks. Use as a context manager.

    :param on_alive: called at each look that finds nothing, such as a supervisor's keep-alive
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        tick_s: float = TICK_S,
        on_alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._heartbeats = Heartbeats()
        self._clock = clock
        self._tick_s = tick_s
        self._on_alive = on_alive
        self._told: frozenset[str] = frozenset()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mellm-watchdog", daemon=True)

    def beat(self, name: str, limit_s: float) -> None:
        """``name`` is alive and will be again within ``limit_s`` seconds. From any thread."""
        self._heartbeats.beat(name, self._clock(), limit_s)

    def drop(self, name: str) -> None:
        """``name`` has ended as it should."""
        self._heartbeats.drop(name)

    @property
    def unhealthy(self) -> str | None:
        """What stands still now; ``None`` when nothing does."""
        return "; ".join(map(str, self._heartbeats.stalls(self._clock()))) or None

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking. Safe to call twice."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    async def follow_loop(self) -> None:
        """Beat for the running event loop until cancelled."""
        try:
            while True:
                self.beat(LOOP, LOOP_LIMIT_S)
                await asyncio.sleep(self._tick_s / 2)
        finally:
            self.drop(LOOP)

    def __enter__(self) -> Watchdog:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def look(self) -> list[Stall]:
        """One look: log what is new and what is over."""
        stalls = self._heartbeats.stalls(self._clock())
        names = frozenset(stall.name for stall in stalls)
        fresh = [stall for stall in stalls if stall.name not in self._told]
        if fresh:
            logger.error("%s\n%s", "; ".join(map(str, fresh)), _stacks())
        for name in sorted(self._told - names):
            logger.warning("%s goes on", name)
        self._told = names
        if not stalls:
            self._on_alive()
        return stalls

    def _work(self) -> None:
        while not self._stop.wait(self._tick_s):
            self.look()


def _stacks() -> str:
    """Where every thread is; the main thread first, for the end of a long list is cut."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    main = threading.main_thread().ident
    lines: list[str] = []
    for ident, frame in sorted(sys._current_frames().items(), key=lambda item: item[0] != main):
        lines.append(f"thread {names.get(ident, ident)}:")
        lines += "".join(traceback.format_stack(frame, limit=6)).splitlines()
    return "\n".join(lines[:STACK_LINES])
