"""The bounded queue between spotting and describing. Every job ends in exactly one terminal state.

Two policies. *live*: a full queue gives up its lowest-scored job, and a job older than its deadline is dropped
unasked, because an answer that late helps nobody. *offline*: a full queue makes the producer wait; nothing is
dropped for want of time or room.

While the model cannot be reached jobs are held and the describer is left alone until it is worth another try. Live,
a held job lives as long as its deadline; offline, as long as the describer has been gone for less than that. A job
whose request may have reached the model is asked again once only: it could be what brings the model down.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from mellm.detectors.types import Expression
from mellm.engine.describe.base import DescribeContext, Describer
from mellm.engine.types import Evidence, Outcome
from mellm.stream.errors import DescriberError, DescriberUnavailable

logger = logging.getLogger(__name__)

HOLD_S = 0.5
"""How long to wait before a job is tried again when the error does not say."""

WITHDRAWN = "withdrawn"
"""Reason of a job whose source's consent was withdrawn."""

Policy: TypeAlias = Literal["live", "offline"]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One expression that waits for words.

    :param number: its place in the order of spotting
    :param asked: calls that failed although the model may have begun on them
    """

    number: int
    expression: Expression
    evidence: Evidence
    context: DescribeContext
    born_ns: int = 0
    asked: int = 0


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
    """Runs a describer on worker threads.

    :param on_done: called once for every job, on a worker's or the submitter's thread, outside all locks
    :param capacity: jobs that may wait
    :param deadline_s: live: longest age of a job when its answer arrives; offline: longest single call
    :param clock_ns: monotonic nanoseconds
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
    ) -> None:
        if capacity < 1 or workers < 1 or not deadline_s > 0:
            raise ValueError(
                f"capacity, workers and deadline must be positive: {capacity}, {workers}, {deadline_s}"
            )
        self._describer = describer
        self._on_done = on_done
        self._policy = policy
        self._capacity = capacity
        self._deadline_ns = int(deadline_s * 1e9)
        self._clock_ns = clock_ns
        self._waiting: list[Job] = []
        self._running: set[Job] = set()
        self._ending: set[Job] = set()
        self._withdrawn: set[str] = set()
        self._closing = False
        self._changed = threading.Condition()
        self._submitted = self._described = self._abstained = 0
        self._dropped: dict[str, int] = {}
        self._failing: str | None = None
        self._held_until_ns = 0
        self._gone_since_ns: int | None = None
        self._threads = [
            threading.Thread(target=self._work, name=f"mellm-describe-{i}", daemon=True)
            for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job. Live: never waits. Offline: waits while the queue is full."""
        job = replace(job, born_ns=self._clock_ns())
        victim: Job | None = None
        refused = "shutdown"
        with self._changed:
            self._submitted += 1
            if self._policy == "offline":
                self._changed.wait_for(lambda: len(self._waiting) < self._capacity or self._closing)
            if job.expression.source in self._withdrawn:
                victim, refused = job, WITHDRAWN
            elif self._closing:
                victim = job
            else:
                self._waiting.append(job)
                if len(self._waiting) > self._capacity:
                    # ties: the oldest goes, its answer would be the least timely
                    victim = min(self._waiting, key=lambda j: (j.expression.score, j.number))
                    self._waiting.remove(victim)
                    refused = "overflow"
                self._changed.notify_all()
        if victim is not None:
            self._finish(victim, Outcome("dropped", refused, None))

    def withdraw(self, source: str) -> None:
        """End all jobs of this source, now and from now on (reason ``withdrawn``). Nobody hears what a call that runs
        will answer; ends that are being told are waited for."""
        with self._changed:
            self._withdrawn.add(source)
            ended = [job for job in (*self._waiting, *self._running) if job.expression.source == source]
            self._waiting = [job for job in self._waiting if job.expression.source != source]
            self._running.difference_update(ended)
            self._changed.notify_all()
        for job in ended:
            self._finish(job, Outcome("dropped", WITHDRAWN, None))
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
        with self._changed:
            self._closing = True
            left, self._waiting = self._waiting, []
            self._changed.notify_all()
        for job in left:
            self._finish(job, Outcome("dropped", "shutdown", None))
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._describer.close()

    def _idle(self) -> bool:
        done = self._described + self._abstained + sum(self._dropped.values())
        return done == self._submitted and not self._running and not self._ending

    def _work(self) -> None:
        while True:
            with self._changed:
                found = self._next()
                if found is None:
                    return
                job, late = found
                self._running.add(job)
                self._changed.notify_all()
            try:
                outcome = Outcome("dropped", "deadline", None) if late else self._run(job)
                if outcome is not None and self._claim(job):
                    self._finish(job, outcome)
            finally:
                with self._changed:
                    self._running.discard(job)
                    self._ending.discard(job)
                    self._changed.notify_all()

    def _claim(self, job: Job) -> bool:
        """Whether it is for this worker to end the job: :meth:`withdraw` may have done so."""
        with self._changed:
            if job not in self._running:
                return False
            self._running.remove(job)
            self._ending.add(job)
            return True

    def _next(self) -> tuple[Job, bool] | None:
        """Wait for a job, called with the lock held: one whose time is over, else the next to describe.

        :returns: the job and whether its time is over; ``None`` when the queue is closed and empty
        """
        while True:
            now = self._clock_ns()
            if self._policy == "live":
                for job in self._waiting:
                    if now - job.born_ns >= self._deadline_ns:
                        self._waiting.remove(job)
                        return job, True
            if self._waiting and (now >= self._held_until_ns or self._given_up(now)):
                return self._pick(), False
            if self._closing and not self._waiting:
                return None
            self._changed.wait(self._patience_s(now) if self._waiting else None)

    def _given_up(self, now: int) -> bool:
        """Offline: the describer has been gone so long that jobs are dropped as they come, without a wait for each."""
        gone = self._gone_since_ns
        return self._policy == "offline" and gone is not None and now - gone >= self._deadline_ns

    def _patience_s(self, now: int) -> float:
        """Until the hold ends or, live, until the first deadline passes."""
        until = self._held_until_ns
        if self._policy == "live":
            until = min(until, min(job.born_ns for job in self._waiting) + self._deadline_ns)
        return max(0.001, (until - now) / 1e9)

    def _pick(self) -> Job:
        """Live: the highest score first. Offline: the order of spotting."""
        if self._policy == "live":
            job = max(self._waiting, key=lambda j: (j.expression.score, -j.number))
        else:
            job = min(self._waiting, key=lambda j: j.number)
        self._waiting.remove(job)
        return job

    def _run(self, job: Job) -> Outcome | None:
        """Ask the describer.

        :returns: how the job ended; ``None`` when it is held for another try
        """
        if job.evidence.refused is not None:
            return Outcome("abstained", job.evidence.refused, None)
        left_ns = self._deadline_ns
        if self._policy == "live":
            left_ns -= self._clock_ns() - job.born_ns
        try:
            description = self._describer.describe(
                job.evidence, replace(job.context, deadline_s=left_ns / 1e9)
            )
        except DescriberError as error:
            if isinstance(error, DescriberUnavailable) and self._hold(job, error):
                return None
            # the operator must hear of it, once, and not of every expression that shares its fate
            known, self._failing = self._failing == error.code, error.code
            logger.log(logging.INFO if known else logging.ERROR, "%s: %s", job.expression.id, error)
            return Outcome("dropped", error.code, None)
        except Exception:
            # a bug in one describer must not leave its expressions without an end
            logger.exception("%s: the describer failed", job.expression.id)
            return Outcome("dropped", "describer_failed", None)
        self._failing = None
        with self._changed:
            self._held_until_ns, self._gone_since_ns = 0, None
        if description.abstained is not None:
            return Outcome("abstained", description.abstained, description)
        return Outcome("described", None, description)

    def _hold(self, job: Job, error: DescriberUnavailable) -> bool:
        """Keep the job for another try if its time allows; everybody waits until the describer may be asked again."""
        pause_ns = int((error.retry_after or HOLD_S) * 1e9)
        with self._changed:
            now = self._clock_ns()
            if self._gone_since_ns is None:
                self._gone_since_ns = now
            self._held_until_ns = max(self._held_until_ns, now + min(pause_ns, self._deadline_ns))
            since = job.born_ns if self._policy == "live" else self._gone_since_ns
            asked = job.asked + error.reached
            if job not in self._running:
                return False  # it has been withdrawn
            if self._closing or asked > 1 or now + pause_ns >= since + self._deadline_ns:
                return False
            self._running.remove(job)
            self._waiting.append(replace(job, asked=asked))
            self._changed.notify_all()
            return True

    def _finish(self, job: Job, outcome: Outcome) -> None:
        try:
            self._on_done(job, outcome)
        finally:
            with self._changed:
                if outcome.state == "described":
                    self._described += 1
                elif outcome.state == "abstained":
                    self._abstained += 1
                else:
                    reason = outcome.reason or "unknown"
                    self._dropped[reason] = self._dropped.get(reason, 0) + 1
                self._changed.notify_all()
