"""Notices that something which should go on has stopped: the event loop, a camera's worker, a describer.

Whoever must not stand still *beats*; a thread of its own looks at the ages. It reports each stall once, with the stack
of every thread (so that the cause is in the log), and once when it is over. ``/healthz`` answers 503 meanwhile, as far
as the event loop can still answer; a supervisor that sees neither restarts the process. A worker that died is told in
the same places until work flows through it again; the supervisor is not asked to restart the process for it, because
the worker is started again by itself.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from mellm.stream.clock import Clock, MonotonicClock
from mellm.stream.errors import InternalError, MellmError
from mellm.stream.worker import Turn, Worker

logger = logging.getLogger(__name__)

LOOP = "event loop"
LOOP_LIMIT_S = 2.0
TICK_S = 0.5
STACK_LINES = 60
"""A process has few threads; more lines than this hide the cause."""

LIMIT_S, ABANDON_S = 2.5, 10.0
"""Of the watchdog itself; the event loop looks at it."""

WorkerState: TypeAlias = Literal["failed", "recovered"]
OnChange: TypeAlias = Callable[[str, WorkerState, MellmError | None], None]
"""Name of a worker, what happened to it, and why."""


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

    def heartbeat(self, name: str, now: float, limit_s: float) -> None:
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
    """The thread that looks; the :class:`~mellm.stream.worker.Vitals` of all workers of a process. Use as a context
    manager.

    :param on_alive: called at each look that finds nothing standing still, such as a supervisor's keep-alive
    :ivar on_change: is called with what happens to workers, on their threads
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        tick_s: float = TICK_S,
        on_alive: Callable[[], None] = lambda: None,
    ) -> None:
        self.on_change: OnChange = lambda name, state, error: None
        self._heartbeats = Heartbeats()
        self._clock: Clock = clock or MonotonicClock()
        self._tick_s = tick_s
        self._on_alive = on_alive
        self._known: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._workers: dict[Worker, None] = {}
        self._own = Worker(
            "watchdog", self._work, vitals=self, limit_s=LIMIT_S, abandon_s=ABANDON_S, clock=self._clock
        )

    def heartbeat(self, name: str, limit_s: float) -> None:
        """``name`` is alive and will be again within ``limit_s`` seconds. From any thread."""
        self._heartbeats.heartbeat(name, self._now(), limit_s)

    def drop(self, name: str) -> None:
        """``name`` has ended as it should."""
        self._heartbeats.drop(name)

    def add(self, worker: Worker) -> None:
        """See :class:`~mellm.stream.worker.Vitals`."""
        with self._lock:
            self._workers[worker] = None

    def remove(self, worker: Worker) -> None:
        """See :class:`~mellm.stream.worker.Vitals`."""
        with self._lock:
            self._workers.pop(worker, None)

    def died(self, worker: Worker, error: MellmError) -> None:
        """See :class:`~mellm.stream.worker.Vitals`."""
        self.on_change(worker.name, "failed", error)

    def recovered(self, worker: Worker) -> None:
        """See :class:`~mellm.stream.worker.Vitals`."""
        self.on_change(worker.name, "recovered", None)

    @property
    def unhealthy(self) -> str | None:
        """What stands still, or has failed for no reason that anybody foresaw; ``None`` when nothing has."""
        return self._ill(lambda error: isinstance(error, InternalError))

    @property
    def unready(self) -> str | None:
        """As :attr:`unhealthy`, and what cannot work until somebody mends the cause, such as missing models."""
        return self._ill(lambda error: True)

    def _ill(self, counts: Callable[[MellmError], bool]) -> str | None:
        faults = [str(w.fault) for w in self._all() if w.fault is not None and counts(w.fault)]
        return "; ".join([*map(str, self.stalls()), *dict.fromkeys(faults)]) or None

    def stalls(self) -> list[Stall]:
        """What stands still now, the longest first."""
        found = self._heartbeats.stalls(self._now())
        found += [Stall(w.name, age) for w in self._all() if (age := w.stall_s) is not None]
        return sorted(found, key=lambda stall: -stall.seconds)

    def _all(self) -> list[Worker]:
        with self._lock:
            return list(self._workers)

    def _now(self) -> float:
        return self._clock.now_ns() / 1e9

    def start(self) -> None:
        """Begin to look."""
        self._own.start()

    def stop(self) -> None:
        """Stop looking. Safe to call twice."""
        self._own.stop()
        self._own.join(2.0)

    async def follow_loop(self) -> None:
        """Beat for the running event loop until cancelled."""
        try:
            while True:
                self.heartbeat(LOOP, LOOP_LIMIT_S)
                self._own.check()  # nobody else watches the watchdog
                await asyncio.sleep(self._tick_s / 2)
        finally:
            self.drop(LOOP)

    def __enter__(self) -> Watchdog:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def check(self) -> list[Stall]:
        """One look: log what is new and what is over, have others take the place of what stood still for too long."""
        stalls = self.stalls()
        names = frozenset(stall.name for stall in stalls)
        fresh = [stall for stall in stalls if stall.name not in self._known]
        if fresh:
            logger.error("%s\n%s", "; ".join(map(str, fresh)), stacks())
        for name in sorted(self._known - names):
            logger.warning("%s recovered", name)
        self._known = names
        for worker in self._all():
            worker.check()
        if not stalls:
            self._on_alive()
        return stalls

    def _work(self, turn: Turn) -> None:
        while not self._clock.wait(self._own.stopping, self._tick_s):
            self.check()
            turn.worked()


def stacks() -> str:
    """Where every thread is; the main thread first, for the end of a long list is cut."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    main = threading.main_thread().ident
    lines: list[str] = []
    for ident, frame in sorted(sys._current_frames().items(), key=lambda item: item[0] != main):
        lines.append(f"thread {names.get(ident, ident)}:")
        lines += "".join(traceback.format_stack(frame, limit=6)).splitlines()
    return "\n".join(lines[:STACK_LINES])
