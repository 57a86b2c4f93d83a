"""Long-lived threads that cannot die or stand still unseen.

A :class:`Worker` runs a body for good. Whatever the body raises is logged, told, and the body is run again after the
common back-off (:mod:`mellm.stream.capture.reconnect`). The body *beats* where it passes by; whoever watches
(:class:`Vitals`) sees a worker that stands still, and one that stands still for too long is *abandoned*: its thread
cannot be ended, so another takes its place, and the old one ends as soon as it beats again. From a death on the worker
is at fault until work flows again, which the body says with :meth:`Turn.worked`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final, Protocol

from mellm.stream.capture.reconnect import Backoff
from mellm.stream.clock import NS_PER_S, Clock, MonotonicClock
from mellm.stream.errors import InternalError, MellmError

logger = logging.getLogger(__name__)

LIMIT_S: Final = 2.5
"""Between two beats of a body that gives no other limit."""

START_S: Final = 60.0
"""Until the first beat: a body may load networks."""

STABLE_NS: Final = NS_PER_S
"""A body that worked for less has not recovered: its back-off goes on."""


class Abandoned(BaseException):
    """Raised by :meth:`Turn.heartbeat` in a thread that was replaced. Not an ``Exception``: nothing may swallow it."""


class Vitals(Protocol):
    """Whoever watches workers. Called from their threads; must not block."""

    def add(self, worker: Worker) -> None:
        """From now on this one goes on, or is at fault."""
        ...

    def remove(self, worker: Worker) -> None:
        """It has ended as it should."""
        ...

    def died(self, worker: Worker, error: MellmError) -> None:
        """Its body raised, or stood still; it is run again."""
        ...

    def recovered(self, worker: Worker) -> None:
        """Work flows again."""
        ...


class Turn:
    """One thread's right to run the body. For that thread alone."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.beat_ns = 0
        self.limit_ns: int | None = None
        self.worked_ns: int | None = None

    @property
    def over(self) -> bool:
        """Whether the body should return: the worker was stopped."""
        return self._worker.stopping.is_set()

    def heartbeat(self, limit_s: float | None = None) -> None:
        """The body goes on and will be here again within ``limit_s`` (by default the worker's limit).

        :raises Abandoned: another thread has taken this one's place
        """
        self._worker.note(self, self._worker.limit_s if limit_s is None else limit_s)

    def rest(self) -> None:
        """The body waits for what may never come, and stands still by right until it beats again.

        :raises Abandoned: another thread has taken this one's place
        """
        self._worker.note(self, None)

    def wait(self, seconds: float) -> bool:
        """Rest for so long, or until the worker is stopped; whether it was.

        :raises Abandoned: another thread has taken this one's place
        """
        self.rest()
        stopped = self._worker.pause(seconds)
        self.heartbeat()
        return stopped

    def worked(self) -> None:
        """Work went through: whatever was wrong is over."""
        self._worker.flowed(self)

    def failed(self, error: MellmError) -> None:
        """What this body looks after has died, and is started again by it: the worker is at fault until it works."""
        self.worked_ns = None
        self._worker.blame(error)


class Worker:
    """A thread that is always there. :meth:`start`, :meth:`stop` and :meth:`join` belong to its owner; the rest may be
    called from any thread.

    :param body: runs until ``turn.over``, beats, and says when it has worked; returning ends the worker
    :param on_death: called with the error on the worker's thread before the back-off
    :param vitals: who watches, set before the start; without one nobody notices that it stands still
    :param limit_s: longest time between two beats
    :param abandon_s: after so long its place is taken by another
        thread, ``None`` for never (it owns something that only one may have, such as a file)
    """

    def __init__(
        self,
        name: str,
        body: Callable[[Turn], None],
        *,
        on_death: Callable[[MellmError], None] = lambda error: None,
        vitals: Vitals | None = None,
        limit_s: float = LIMIT_S,
        abandon_s: float | None = None,
        backoff: Backoff | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.limit_s = limit_s
        self.stopping = threading.Event()
        self.fault: MellmError | None = None
        """Why it died last; ``None`` once work flows again."""
        self._body = body
        self._on_death = on_death
        self.vitals = vitals
        self._abandon_s = abandon_s
        self._backoff = backoff or Backoff()
        self._clock: Clock = clock or MonotonicClock()
        self._lock = threading.Lock()
        self._turn: Turn | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self.attempt = 0
        """Deaths in a row."""
        self._logged = ""

    def start(self) -> None:
        """Run the body from now on. Once."""
        if self.vitals is not None:
            self.vitals.add(self)
        with self._lock:
            self._launch(None)

    def stop(self) -> None:
        """Ask the body to return. Safe to call twice, and before :meth:`start`."""
        self.stopping.set()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until the body has returned.

        :returns: whether it has (also if it was never started)
        """
        if self._thread is None or self._thread is threading.current_thread():
            return self._thread is None
        return self._ended.wait(timeout_s)

    @property
    def started(self) -> bool:
        """Whether :meth:`start` was called."""
        return self._thread is not None

    @property
    def alive(self) -> bool:
        """Whether it was started and has not ended for good."""
        return self._thread is not None and not self._ended.is_set()

    @property
    def stall_s(self) -> float | None:
        """For how long it has stood still, if that is over its limit."""
        with self._lock:
            turn = self._turn
            if turn is None or turn.limit_ns is None:
                return None
            age = self._clock.now_ns() - turn.beat_ns
            return age / NS_PER_S if age > turn.limit_ns else None

    def check(self) -> None:
        """For whoever watches: if it has stood still for too long, another thread takes its place."""
        if self._abandon_s is None:
            return
        with self._lock:
            turn = self._turn
            if turn is None or turn.limit_ns is None or self.stopping.is_set():
                return
            age = self._clock.now_ns() - turn.beat_ns
            if age <= turn.limit_ns - round(self.limit_s * NS_PER_S) + round(self._abandon_s * NS_PER_S):
                return
            error = InternalError(f"{self.name} stood still for {age / NS_PER_S:.1f} s")
            self._count(turn, error)
            self._launch(error)  # it tells of the death itself: whoever watches must not wait

    # -- the thread -----------------------------------------------------------------------------------

    def note(self, turn: Turn, limit_s: float | None) -> None:
        """See :meth:`Turn.heartbeat`."""
        with self._lock:
            if turn is not self._turn:
                raise Abandoned
            turn.beat_ns = self._clock.now_ns()
            turn.limit_ns = None if limit_s is None else round(limit_s * NS_PER_S)

    def pause(self, seconds: float) -> bool:
        """See :meth:`Turn.wait`."""
        return self._clock.wait(self.stopping, seconds)

    def flowed(self, turn: Turn) -> None:
        """See :meth:`Turn.worked`."""
        self.note(turn, self.limit_s)
        if turn.worked_ns is None:
            turn.worked_ns = turn.beat_ns
        if self.fault is not None:
            self.fault = None
            self._logged = ""
            logger.warning("%s recovered", self.name)
            if self.vitals is not None:
                self.vitals.recovered(self)

    def blame(self, error: MellmError) -> None:
        """See :meth:`Turn.failed`."""
        self.fault = error
        if self.vitals is not None:
            self.vitals.died(self, error)

    def _launch(self, died: MellmError | None) -> None:
        turn = self._turn = Turn(self)
        turn.beat_ns, turn.limit_ns = self._clock.now_ns(), round(START_S * NS_PER_S)
        self._thread = threading.Thread(
            target=self._run, args=(turn, died), name=f"mellm-{self.name}", daemon=True
        )
        self._thread.start()

    def _run(self, turn: Turn, died: MellmError | None) -> None:
        try:
            while True:
                if died is not None:
                    self._tell(died)
                    turn.rest()
                    if self._clock.wait(self.stopping, self._delay_s(died)):
                        break
                try:
                    turn.heartbeat(START_S)
                    self._body(turn)
                    break
                except Abandoned:
                    raise
                except BaseException as error:  # whatever it is, it is told, and the worker goes on
                    died = self._fell(turn, error)
        except Abandoned:
            return
        with self._lock:
            if turn is not self._turn:
                return
            self._turn = None
        if self.vitals is not None:
            self.vitals.remove(self)
        self._ended.set()

    def _fell(self, turn: Turn, error: BaseException) -> MellmError:
        told = error if isinstance(error, MellmError) else InternalError.of(self.name, error)
        with self._lock:
            if turn is not self._turn:
                raise Abandoned
            self._count(turn, told)
            turn.worked_ns = None
        return told

    def _count(self, turn: Turn, error: MellmError) -> None:
        if turn.worked_ns is not None and self._clock.now_ns() - turn.worked_ns >= STABLE_NS:
            self.attempt = 0
        self.attempt += 1
        self.fault = error

    def _delay_s(self, error: MellmError) -> float:
        # what only a person can mend, such as a missing file, is not asked for often
        hopeless = not (error.retryable or isinstance(error, InternalError))
        return self._backoff.delay_s(self.attempt, "refused" if hopeless else "lost")

    def _tell(self, error: MellmError) -> None:
        try:
            # the trace once, and not with each try
            trace = error.__cause__ if self._logged != str(error) else None
            self._logged = str(error)
            logger.error("%s failed (try %d): %s", self.name, self.attempt, error, exc_info=trace)
            self._on_death(error)
            if self.vitals is not None:
                self.vitals.died(self, error)
        except Exception:
            logger.exception("%s: its death could not be told", self.name)
