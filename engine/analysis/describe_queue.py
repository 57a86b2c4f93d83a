"""The bounded queue between spotting and describing. Every job ends in exactly one terminal state.

What happens when room or time is short is the policy's (:mod:`mellm.engine.analysis.queue_policy`), who is asked again
is :mod:`mellm.engine.describe.retry`'s. While the model cannot be reached jobs are held and the describer is left alone
until it is worth another try.

An exception anywhere in a job, in the describer or in whoever is told of its end, ends that job as
``dropped(internal)`` and nothing else. A call that does not come back ends its job, too, and another thread takes the
place of the one that waits for it; where several calls hang, no more are made until they return.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from mellm.engine.analysis.queue_policy import POLICIES, Job, Policy, QueuePolicy
from mellm.engine.describe import retry
from mellm.engine.describe.base import Describer
from mellm.engine.types import Outcome
from mellm.stream.errors import DescriberError, DescriberUnavailable, MellmError
from mellm.stream.worker import LIMIT_S, Abandoned, Turn, Vitals, Worker

__all__ = ["DescribeQueue", "Job", "Policy", "QueueStats"]

logger = logging.getLogger(__name__)

WITHDRAWN: Final = "withdrawn"
"""Reason of a job whose source's consent was withdrawn."""

INTERNAL: Final = Outcome("dropped", "internal", None)

GRACE_S: Final = 0.5

MOST_HANGING: Final = 4
"""Calls that were given up and have not returned: a describer that has so many of them is not called, for each holds a
thread, and each job would wait for its whole deadline."""

HANGS: Final = Outcome("dropped", "describer_timeout", None)
"""A call that is over its time by this stands still; by twice this, it will not come back."""


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Counts; ``submitted == described + abstained + dropped + pending`` at every moment."""

    submitted: int
    described: int
    abstained: int
    dropped: dict[str, int]
    pending: int
    held: bool = False
    """The describer cannot be reached; what waits is kept as long as its deadline allows."""


class DescribeQueue:
    """Runs a describer on workers. All methods may be called from any thread.

    :param on_done: called once for every job, on a worker's or the submitter's thread, outside all locks; if it fails
        it is called once more with ``dropped(internal)``
    :param capacity: jobs that may wait
    :param workers: 0 for none: somebody calls :meth:`step`
    :param deadline_s: live: longest age of a job when its answer arrives; offline: longest single call
    :param clock_ns: monotonic nanoseconds
    :param vitals: watches the workers
    """

    def __init__(
        self,
        describer: Describer,
        on_done: Callable[[Job, Outcome], None],
        *,
        policy: Policy,
        capacity: int = 64,
        workers: int = 1,
        deadline_s: float = 10.0,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        vitals: Vitals | None = None,
    ) -> None:
        if capacity < 1 or workers < 0 or not deadline_s > 0:
            raise ValueError(
                f"capacity, workers and deadline must be positive: {capacity}, {workers}, {deadline_s}"
            )
        self._describer = describer
        self._on_done = on_done
        self._policy: QueuePolicy = POLICIES[policy](int(deadline_s * 1e9))
        self._capacity = capacity
        self._longest_hold_ns = int(deadline_s * 1e9)
        self._clock_ns = clock_ns
        self._waiting: list[Job] = []
        self._running: dict[Job, int] = {}  # and which worker has it in hand
        self._ending: dict[Job, Outcome] = {}
        self._calls: set[Job] = (
            set()
        )  # that the describer has not answered, also if nobody waits for it any more
        self._telling: dict[int, Job] = {}  # worker → the job whose end it tells
        self._withdrawn: set[str] = set()
        self._closing = False
        self._changed = threading.Condition()
        self._submitted = self._described = self._abstained = 0
        self._dropped: dict[str, int] = {}
        self._failing: str | None = None
        self._held_until_ns = 0
        self._gone_since_ns: int | None = None
        self._workers = [self._worker(i, vitals) for i in range(workers)]
        for worker in self._workers:
            worker.start()

    def _worker(self, number: int, vitals: Vitals | None) -> Worker:
        return Worker(
            f"describe-{number}",
            lambda turn: self._work(number, turn),
            on_death=lambda error: self._died(number, error),
            vitals=vitals,
            abandon_s=LIMIT_S + GRACE_S,
        )

    def submit(self, job: Job) -> None:
        """Queue a job. Live: never waits. Offline: waits while the queue is full."""
        job = replace(job, born_ns=self._clock_ns())
        victim: Job | None = None
        refused = "shutdown"
        with self._changed:
            self._submitted += 1
            if self._policy.waits_for_room:
                self._changed.wait_for(lambda: len(self._waiting) < self._capacity or self._closing)
            if job.expression.source in self._withdrawn:
                victim, refused = job, WITHDRAWN
            elif self._closing:
                victim = job
            else:
                self._waiting.append(job)
                if len(self._waiting) > self._capacity:
                    victim, refused = self._policy.victim(self._waiting), "overflow"
                    self._waiting.remove(victim)
                self._changed.notify_all()
            if victim is not None:
                self._ending[victim] = Outcome("dropped", refused, None)
        if victim is not None:
            self._finish(victim)

    def withdraw(self, source: str) -> None:
        """End all jobs of this source, now and from now on (reason ``withdrawn``). Nobody hears what a call that runs
        will answer; ends that are being told are waited for."""
        with self._changed:
            self._withdrawn.add(source)
            ended = [job for job in (*self._waiting, *self._running) if job.expression.source == source]
            self._waiting = [job for job in self._waiting if job.expression.source != source]
            for job in ended:
                self._running.pop(job, None)
                self._ending[job] = Outcome("dropped", WITHDRAWN, None)
            self._changed.notify_all()
        for job in ended:
            self._finish(job)
        with self._changed:
            self._changed.wait_for(lambda: all(job.expression.source != source for job in self._ending))

    def stats(self) -> QueueStats:
        """A consistent snapshot of the counts."""
        with self._changed:
            done = self._described + self._abstained + sum(self._dropped.values())
            return QueueStats(
                self._submitted,
                self._described,
                self._abstained,
                dict(self._dropped),
                self._submitted - done,
                self._gone_since_ns is not None,
            )

    def drain(self, timeout_s: float | None = None) -> bool:
        """Wait until every job has ended.

        :returns: whether that happened in time
        """
        with self._changed:
            return self._changed.wait_for(self._idle, timeout_s)

    def close(self, timeout_s: float = 10.0) -> None:
        """Drop what waits (reason ``shutdown``), let running calls end, stop the workers."""
        for worker in self._workers:
            worker.stop()
        with self._changed:
            self._closing = True
            left, self._waiting = self._waiting, []
            self._ending |= dict.fromkeys(left, Outcome("dropped", "shutdown", None))
            self._changed.notify_all()
        for job in left:
            self._finish(job)
        until = time.monotonic() + timeout_s
        for worker in self._workers:
            worker.join(max(0.0, until - time.monotonic()))
        self._describer.close()

    def step(self) -> bool:
        """Take the next job that is due and end it, or hold it for another try, on this thread. Never waits for one.

        :returns: whether there was one
        """
        return self._step(-1, None)

    def _idle(self) -> bool:
        done = self._described + self._abstained + sum(self._dropped.values())
        return done == self._submitted and not self._running and not self._ending

    # -- workers --------------------------------------------------------------------------------------

    def _work(self, number: int, turn: Turn) -> None:
        while True:
            if self._step(number, turn):
                turn.worked()
                continue
            with self._changed:
                if self._closing:
                    return
                turn.rest()
                if self._due(self._clock_ns()) is None:
                    self._changed.wait(self._patience_s(self._clock_ns()))

    def _step(self, number: int, turn: Turn | None) -> bool:
        with self._changed:
            now = self._clock_ns()
            found = self._due(now)
            if found is None:
                return False
            job, late = found
            self._waiting.remove(job)
            self._running[job] = number
            hangs = len(self._calls - self._running.keys()) >= MOST_HANGING
            self._changed.notify_all()
        left_ns = self._policy.left_ns(job, now)
        if turn is not None:
            turn.heartbeat(left_ns / 1e9 + GRACE_S)
        if late or hangs:
            outcome: Outcome | None = Outcome("dropped", "deadline", None) if late else HANGS
        else:
            outcome = self._run(job, left_ns)
        if outcome is not None and self._claim(job, outcome):
            self._telling[number] = job
            self._finish(job)
        with self._changed:
            self._changed.notify_all()
        return True

    def _died(self, number: int, error: MellmError) -> None:
        """What a worker had in hand when it died or stopped answering."""
        with self._changed:
            held = [job for job, worker in self._running.items() if worker == number]
            told = self._telling.pop(number, None)
            if told is not None and told in self._ending:  # whether it was heard is unknown: not again
                self._count(self._ending.pop(told))
                self._changed.notify_all()
        for job in held:
            if self._claim(job, INTERNAL):
                self._finish(job)

    def _claim(self, job: Job, outcome: Outcome) -> bool:
        """Whether it is for this thread to end the job: :meth:`withdraw` may have done so, or another worker."""
        with self._changed:
            if self._running.pop(job, None) is None:
                return False
            self._ending[job] = outcome
            return True

    def _due(self, now: int) -> tuple[Job, bool] | None:
        """With the lock held: a job whose time is over, else the next to describe, if it is time to.

        :returns: the job and whether its time is over
        """
        for job in self._waiting:
            end = self._policy.end_ns(job)
            if end is not None and now >= end:
                return job, True
        held = now < self._held_until_ns and not self._policy.given_up(self._gone_since_ns, now)
        return None if held or not self._waiting else (self._policy.first(self._waiting), False)

    def _patience_s(self, now: int) -> float | None:
        """Until something is due: the hold ends, or the first deadline passes. ``None`` when nothing waits."""
        if not self._waiting:
            return None
        ends = [end for job in self._waiting if (end := self._policy.end_ns(job)) is not None]
        return max(0.001, (min([self._held_until_ns, *ends]) - now) / 1e9)

    # -- one job --------------------------------------------------------------------------------------

    def _run(self, job: Job, left_ns: int) -> Outcome | None:
        """Ask the describer.

        :returns: how the job ended; ``None`` when it is held for another try
        """
        if job.evidence.refused is not None:
            return Outcome("abstained", job.evidence.refused, None)
        try:
            context = replace(job.context, deadline_s=left_ns / 1e9)
            with self._called(job):
                description = self._describer.describe(job.evidence, context)
        except DescriberError as error:
            if isinstance(error, DescriberUnavailable) and self._hold(job, error):
                return None
            # the operator must hear of it, once, and not of every expression that shares its fate
            known, self._failing = self._failing == error.code, error.code
            logger.log(logging.INFO if known else logging.ERROR, "%s: %s", job.expression.id, error)
            return Outcome("dropped", error.code, None)
        except Abandoned:
            raise
        except BaseException:
            logger.exception("%s: the describer failed", job.expression.id)
            return INTERNAL
        self._failing = None
        with self._changed:
            self._held_until_ns, self._gone_since_ns = 0, None
        if description.abstained is not None:
            return Outcome("abstained", description.abstained, description)
        return Outcome("described", None, description)

    @contextmanager
    def _called(self, job: Job) -> Iterator[None]:
        with self._changed:
            self._calls.add(job)
        try:
            yield
        finally:
            with self._changed:
                self._calls.discard(job)

    def _hold(self, job: Job, error: DescriberUnavailable) -> bool:
        """Keep the job for another try if its time allows; everybody waits until the describer may be asked again."""
        pause_s = retry.pause_s(error, job.asked)
        with self._changed:
            now = self._clock_ns()
            if self._gone_since_ns is None:
                self._gone_since_ns = now
            hold_ns = int((error.retry_after or retry.PAUSE_S) * 1e9)
            self._held_until_ns = max(self._held_until_ns, now + min(hold_ns, self._longest_hold_ns))
            if pause_s is None or self._closing:
                return False
            if now + pause_s * 1e9 >= self._policy.held_until_ns(job, self._gone_since_ns):
                return False
            if self._running.pop(job, None) is None:
                return False  # it has been withdrawn
            self._waiting.append(replace(job, asked=job.asked + error.reached))
            self._changed.notify_all()
            return True

    def _finish(self, job: Job) -> None:
        """Tell the end of a job that is in :attr:`_ending`, and count it."""
        outcome = self._ending.get(job, INTERNAL)
        try:
            self._on_done(job, outcome)
        except Abandoned:
            raise
        except BaseException:
            logger.exception("%s: its end could not be told", job.expression.id)
            outcome = INTERNAL
            try:
                self._on_done(job, outcome)
            except Exception:
                logger.exception("%s: nobody could be told of its end", job.expression.id)
        with self._changed:
            if self._ending.pop(job, None) is not None:
                self._count(outcome)
            self._changed.notify_all()

    def _count(self, outcome: Outcome) -> None:
        if outcome.state == "described":
            self._described += 1
        elif outcome.state == "abstained":
            self._abstained += 1
        else:
            reason = outcome.reason or "unknown"
            self._dropped[reason] = self._dropped.get(reason, 0) + 1
