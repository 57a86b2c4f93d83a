"""Follows live sources: each with its workers, one describe queue for all, events to one sink.

Media time decides what is found; wall time only tells how late it was told.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from mellm.engine.analysis.describe_queue import DescribeQueue, Job, QueueStats
from mellm.engine.analysis.live_source import INTERNAL, LiveSource, SourceCounts, Tap
from mellm.engine.analysis.overload import Overload
from mellm.engine.analysis.pipeline import SourcePipeline, Spotted
from mellm.engine.analysis.spool import Spool
from mellm.engine.analysis.telling import Sink, Teller
from mellm.engine.analysis.watchdog import Watchdog
from mellm.engine.analysis.wire_events import end_of, events_of
from mellm.engine.describe.base import DescribeContext, Describer
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.types import Outcome
from mellm.stream.capture.runner import SourceRunner
from mellm.stream.errors import MellmError
from mellm.stream.frames import Frame

__all__ = ["LiveEngine", "LiveSource", "Sink", "SourceCounts", "Tap"]

WITHDRAWAL_S = 30.0
"""How long a source that must be silent is waited for."""


class LiveEngine:
    """Several live sources and what they have in common.

    :param make_pipeline: source id → chain with scores
    :param sink: gets every event
    :param spool: keeps jobs over a crash
    :param watchdog: watches the workers; without one the engine has its own
    :param on_frame: sees each frame before it is analysed, on its source's thread
    :param on_loaded: called on a source's thread when its networks have been loaded
    :param priorities: source → how important it is; 0 where it is not named, and of equals the first ones are kept
        when a machine cannot carry all
    :param tap: sees frames and outputs of all sources, on their threads
    :param remake: source id → a fresh runner, for sources that :meth:`begin` starts once more
    """

    def __init__(
        self,
        runners: Sequence[SourceRunner],
        make_pipeline: Callable[[str], SourcePipeline],
        describer: Describer,
        sink: Sink,
        *,
        capacity: int = 64,
        workers: int = 1,
        deadline_s: float = 10.0,
        spool: Spool | None = None,
        watchdog: Watchdog | None = None,
        on_frame: Callable[[Frame], None] | None = None,
        on_loaded: Callable[[], None] = lambda: None,
        priorities: Mapping[str, int] | None = None,
        tap: Tap | None = None,
        remake: Callable[[str], SourceRunner] | None = None,
    ) -> None:
        self._sink = sink
        self._spool = spool
        self._describer = describer
        self._numbers = itertools.count()
        self._own = Watchdog() if watchdog is None else None
        vitals = watchdog or self._own
        assert vitals is not None
        self._queue = DescribeQueue(
            describer,
            self._described,
            policy="live",
            capacity=capacity,
            workers=workers,
            deadline_s=deadline_s,
            vitals=vitals,
        )
        self._overload = Overload({r.id: (priorities or {}).get(r.id, 0) for r in runners})
        self._remake = remake

        def follow(runner: SourceRunner) -> LiveSource:
            teller = Teller(runner.id, sink, self._prepare, self._queue.submit, self._lost, vitals)
            return LiveSource(
                runner, make_pipeline, sink, teller, vitals, on_frame, on_loaded, tap, self._overload
            )

        self._follow = follow
        self.sources: dict[str, LiveSource] = {runner.id: follow(runner) for runner in runners}

    def start(self, only: Collection[str] | None = None) -> None:
        """Start all sources, or ``only`` these. They may be down; they are tried again."""
        if self._own is not None:
            self._own.start()
        for name, source in self.sources.items():
            if only is None or name in only:
                source.start()

    def begin(self, source: str) -> None:
        """Start a source that was not started yet, or that :meth:`rest` has stopped.

        :raises ValueError: it is running
        """
        found = self.sources[source]
        if found.started:
            if not found.resting or self._remake is None:
                raise ValueError(f"{source} is running")
            found = self.sources[source] = self._follow(self._remake(source))
        found.start()

    def rest(self, source: str) -> None:
        """Stop a source until :meth:`begin`; its descriptions that are under way go on."""
        self.sources[source].stop(WITHDRAWAL_S)

    def follow(self, runner: SourceRunner, priority: int = 0) -> None:
        """Follow one more source from now on. From the owner's thread."""
        self._overload.add(runner.id, priority)
        source = self._follow(runner)
        self.sources = {**self.sources, runner.id: source}
        source.start()

    def leave(self, source: str, wait_s: float = 2.0) -> None:
        """Follow this source no longer; what was found there is still described. From the owner's thread."""
        gone = self.sources.get(source)
        self.sources = {id: each for id, each in self.sources.items() if id != source}
        if gone is not None:
            gone.stop(wait_s)

    def resume(self, jobs: Sequence[Job]) -> None:
        """Describe what a process before this one left open; its ``expression.spotted`` is in the journal."""
        for job in jobs:
            self._queue.submit(replace(job, number=next(self._numbers)))

    @property
    def finished(self) -> bool:
        """Whether every source has ended for good."""
        return all(source.finished for source in self.sources.values())

    @property
    def failure(self) -> MellmError | None:
        """The error that ended a source for good, if one did."""
        return next((s.failure for s in self.sources.values() if s.failure is not None), None)

    def stop(self, drain_s: float = 10.0) -> None:
        """Stop sources, give pending descriptions ``drain_s``, drop the rest with a reason."""
        for source in self.sources.values():
            source.stop()
        self._queue.drain(drain_s)
        self._queue.close()
        if self._own is not None:
            self._own.stop()

    def withdraw(self, source: str) -> None:
        """Stop this source for good and end its jobs; the others go on. Waits until nothing more of it will be said,
        half a minute at the most."""
        if source in self.sources:
            self.sources[source].stop(WITHDRAWAL_S)
        self._queue.withdraw(source)

    @property
    def describer(self) -> Describer:
        """Who describes."""
        return self._describer

    def drain(self, timeout_s: float | None = None) -> bool:
        """Wait for pending descriptions."""
        return self._queue.drain(timeout_s)

    def described(self) -> QueueStats:
        """Counts of the describe queue."""
        return self._queue.stats()

    def _prepare(self, spotted: Spotted) -> Job:
        """The job, safe from a crash before anybody hears of the expression."""
        expression = spotted.expression
        context = DescribeContext(
            expression.id,
            spotted.duration_ms,
            expression.aus,
            score=expression.score,
            source=expression.source,
        )
        job = Job(next(self._numbers), expression, spotted.evidence, context)
        if self._spool is not None:
            self._spool.put(job)
        return job

    def _lost(self, spotted: Spotted, told: bool) -> None:
        """An expression that could not be handed on ends here, told in both its stages."""
        expression = spotted.expression
        for event in () if told else events_of(spotted):
            self._sink.publish(event.type, expression.source, event.data, event.t_ns)
        context = DescribeContext(expression.id)
        self._described(Job(0, expression, spotted.evidence, context), Outcome("dropped", INTERNAL, None))

    def _described(self, job: Job, outcome: Outcome) -> None:
        expression = job.expression
        event = end_of(ExpressionRecord.of(expression, job.evidence.regions).ended(outcome))
        self._sink.publish(event.type, expression.source, event.data, event.t_ns)
        if self._spool is not None:
            self._spool.remove(expression.id)
