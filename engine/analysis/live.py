"""Follows live sources: one worker thread for each, one describe queue for all, events to one sink.

Media time decides what is found; wall time only tells how late it was told.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import cv2
import numpy as np

from mellm.engine.analysis.describe_queue import DescribeQueue, Job, QueueStats
from mellm.engine.analysis.pipeline import (
    CHAIN_DROPS,
    Chain,
    FaceAppeared,
    FaceLost,
    Output,
    PictureChanged,
    Scored,
    Spotted,
)
from mellm.engine.analysis.spool import Spool
from mellm.engine.analysis.watchdog import Watchdog
from mellm.engine.describe.base import DescribeContext, Describer
from mellm.engine.results.expressions import event_data, final_record, spotted_record
from mellm.engine.types import Outcome
from mellm.stream.capture.runner import SourceRunner, SourceStatus
from mellm.stream.errors import MellmError
from mellm.stream.frames import Frame, Gap
from mellm.stream.protocol.client_messages import Shown
from mellm.stream.protocol.events import (
    EXPRESSION_SPOTTED,
    FACE_APPEARED,
    FACE_LOST,
    SCORE,
    SOURCE_GAP,
    SOURCE_PICTURE,
    STATS,
    media_time,
)

logger = logging.getLogger(__name__)

STATS_EVERY_S = 1.0
SCORE_EVERY_NS = 100_000_000
"""Scores are for displays: ten a second of media time are plenty."""

WORKER_LIMIT_S = 2.5
"""Between two looks at a source: a frame takes milliseconds to analyse, an expression's evidence tens of them."""

WITHDRAWAL_S = 30.0
"""How long a source that must be silent is waited for."""

LATENCIES_KEPT = 6000
"""Two minutes of grid steps."""


class Sink(Protocol):
    """Where events go. Called from any thread; must not block for long."""

    def publish(self, kind: str, source: str, data: dict[str, Any], t_ns: int | None = None) -> None:
        """One event; ``t_ns`` is its media time."""
        ...

    @property
    def keeps_faces(self) -> bool:
        """Whether somebody asked for the faces to be kept; otherwise none leave the chain."""
        ...

    def evidence(self, expression: str, png: bytes, shown: Shown = "motion") -> None:
        """A picture of an expression, before its ``expression.spotted``."""
        ...


@dataclass(frozen=True, slots=True)
class SourceCounts:
    """``captured == analysed + sum(dropped) + waiting`` at every moment between two frames."""

    captured: int
    analysed: int
    dropped: dict[str, int]
    waiting: int
    spotted: int
    fps: float
    score_p50_ms: float
    score_p95_ms: float


class LiveEngine:
    """Several live sources and what they have in common.

    :param make_chain: source id → chain with scores
    :param sink: gets every event
    :param spool: keeps jobs over a crash
    :param watchdog: is told that the sources' threads go on
    :param on_frame: sees each frame before it is analysed, on its source's thread
    """

    def __init__(
        self,
        runners: Sequence[SourceRunner],
        make_chain: Callable[[str], Chain],
        describer: Describer,
        sink: Sink,
        *,
        capacity: int = 64,
        workers: int = 1,
        deadline_s: float = 10.0,
        spool: Spool | None = None,
        watchdog: Watchdog | None = None,
        on_frame: Callable[[Frame], None] | None = None,
    ) -> None:
        self._sink = sink
        self._spool = spool
        self._describer = describer
        self._numbers = itertools.count()
        self._queue = DescribeQueue(
            describer,
            self._described,
            policy="live",
            capacity=capacity,
            workers=workers,
            deadline_s=deadline_s,
        )
        self.sources = {
            r.id: LiveSource(r, make_chain, sink, self._prepare, self._queue.submit, watchdog, on_frame)
            for r in runners
        }

    def start(self) -> None:
        """Start all sources. They may be down; they are tried again."""
        for source in self.sources.values():
            source.start()

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

    def withdraw(self, source: str) -> None:
        """Stop this source for good and end its jobs; the others go on. Waits until nothing more of it will be said,
        half a minute at the most."""
        if source in self.sources:
            self.sources[source].stop(WITHDRAWAL_S)
        self._queue.withdraw(source)

    def drain(self, timeout_s: float | None = None) -> bool:
        """Wait for pending descriptions."""
        return self._queue.drain(timeout_s)

    def described(self) -> QueueStats:
        """Counts of the describe queue."""
        return self._queue.stats()

    def _prepare(self, spotted: Spotted) -> Job:
        """The job, safe from a crash before anybody hears of the expression."""
        expression = spotted.expression
        context = DescribeContext(expression.id, spotted.duration_ms, expression.aus, score=expression.score)
        job = Job(next(self._numbers), expression, spotted.evidence, context)
        if self._spool is not None:
            self._spool.put(job)
        return job

    def _described(self, job: Job, outcome: Outcome) -> None:
        expression = job.expression
        record = final_record(expression, outcome, None, job.evidence.regions)
        data = event_data(expression, record)
        self._sink.publish(f"expression.{outcome.state}", expression.source, data, expression.offset.pts_ns)
        if self._spool is not None:
            self._spool.remove(expression.id)


class LiveSource:
    """One source's worker thread: runner → chain → sink and describe queue."""

    def __init__(
        self,
        runner: SourceRunner,
        make_chain: Callable[[str], Chain],
        sink: Sink,
        prepare: Callable[[Spotted], Job],
        submit: Callable[[Job], None],
        watchdog: Watchdog | None = None,
        on_frame: Callable[[Frame], None] | None = None,
    ) -> None:
        self._runner = runner
        self._make_chain = make_chain
        self._sink = sink
        self._prepare = prepare
        self._submit = submit
        self._watchdog = watchdog
        self._on_frame = on_frame
        self._chain: Chain | None = None
        self._stopping = threading.Event()
        self._latencies: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._scored_ns: dict[int, int] = {}
        self._told = 0.0
        self._ended: SourceStatus | None = None
        self.failure: MellmError | None = None
        self._thread = threading.Thread(target=self._work, name=f"mellm-{runner.id}", daemon=True)
        runner.on_status = self._status

    def start(self) -> None:
        """Start reading and analysing."""
        self._runner.start()
        self._thread.start()

    def stop(self, wait_s: float = 2.0) -> None:
        """Stop both; returns within about a second, and after ``wait_s`` if the thread stands still."""
        self._stopping.set()
        self._runner.stop()
        if self._thread.is_alive():
            self._thread.join(wait_s)

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""
        return not self._thread.is_alive() and self._thread.ident is not None

    def counts(self) -> SourceCounts:
        """Both sides of the sum, and how late scores were."""
        chain = self._chain
        seen = self._runner.counts()
        late = np.array(self._latencies or [0.0])
        analysed = chain.counts.analysed if chain else 0
        dropped = dict(seen.dropped)
        if chain is not None:
            dropped |= {s: chain.counts.dropped[s] for s in CHAIN_DROPS if s in chain.counts.dropped}
        return SourceCounts(
            captured=seen.captured,
            analysed=analysed,
            dropped=dropped,
            waiting=seen.captured - analysed - sum(dropped.values()),
            spotted=chain.counts.spotted if chain else 0,
            fps=chain.rate() if chain else 0.0,
            score_p50_ms=float(np.percentile(late, 50)),
            score_p95_ms=float(np.percentile(late, 95)),
        )

    def _status(self, status: SourceStatus) -> None:
        if status.state == "ended" and not self.finished:
            self._ended = status  # told once the last frames have had their say
            return
        self._publish(status)

    def _publish(self, status: SourceStatus) -> None:
        self._sink.publish(f"source.{status.state}", self._runner.id, status.data())

    def _work(self) -> None:
        try:
            chain = self._chain = self._make_chain(self._runner.id)
            while not self._stopping.is_set():
                if self._watchdog is not None:
                    self._watchdog.beat(self._runner.id, WORKER_LIMIT_S)
                item = self._runner.get(0.25)
                if item is None:
                    if self._runner.finished:
                        break
                    continue
                if isinstance(item, Gap):
                    self._gap(item)
                elif self._on_frame is not None:
                    self._on_frame(item)
                for output in chain.push(item):
                    self._take(output)
                self._stats()
            for output in chain.finish():
                self._take(output)
            self.failure = self._runner.failure
        except MellmError as error:
            self.failure = error
            logger.error("%s: %s", self._runner.id, error)
        finally:
            if self._watchdog is not None:
                self._watchdog.drop(self._runner.id)
            self._runner.stop()
            self._stats(last=True)
            if self._ended is not None:
                self._publish(self._ended)

    def _gap(self, gap: Gap) -> None:
        data = {
            **media_time("from", gap.from_ns),
            **media_time("to", gap.to_ns),
            "reason": gap.reason,
            "frames": gap.frames,
        }
        self._sink.publish(SOURCE_GAP, self._runner.id, data, gap.from_ns)

    def _take(self, output: Output) -> None:
        source = self._runner.id
        if isinstance(output, Spotted):
            expression = output.expression
            ok, png = cv2.imencode(".png", output.evidence.motion_map)
            if ok:
                self._sink.evidence(expression.id, png.tobytes())
            if output.pair is not None and self._sink.keeps_faces:
                ok, png = cv2.imencode(".png", np.hstack((output.pair.onset_gray, output.pair.apex_gray)))
                if ok:
                    self._sink.evidence(expression.id, png.tobytes(), "faces")
            data = event_data(expression, spotted_record(expression, output.evidence.regions))
            job = self._prepare(output)
            self._sink.publish(EXPRESSION_SPOTTED, source, data, expression.offset.pts_ns)
            self._submit(job)
        elif isinstance(output, FaceAppeared):
            box = [round(v, 1) for v in output.box]
            self._sink.publish(FACE_APPEARED, source, {"track": output.track, "box": box}, output.t_ns)
        elif isinstance(output, FaceLost):
            self._scored_ns.pop(output.track, None)
            self._sink.publish(FACE_LOST, source, {"track": output.track}, output.t_ns)
        elif isinstance(output, PictureChanged):
            state = output.still or "live"
            log = logger.info if output.still is None else logger.warning
            log("%s: the picture is %s", source, state)
            data = {"state": state, **media_time("at", output.t_ns)}
            self._sink.publish(SOURCE_PICTURE, source, data, output.t_ns)
        elif isinstance(output, Scored):
            self._score(output)

    def _score(self, scored: Scored) -> None:
        # from the moment the camera showed it: the network's look-ahead counts
        self._latencies.append((time.monotonic_ns() - scored.wall_ns + scored.lag_ns) / 1e6)
        score = scored.score
        if score.t_ns - self._scored_ns.get(scored.track, -SCORE_EVERY_NS) < SCORE_EVERY_NS:
            return
        self._scored_ns[scored.track] = score.t_ns
        data = {
            "track": scored.track,
            "me": round(score.me, 3),
            "apex": round(score.apex, 3),
            "macro": round(score.macro, 3),
            "box": [round(v, 1) for v in scored.face.box],
            "landmarks": np.rint(scored.face.landmarks).astype(int).tolist(),
        }
        self._sink.publish(SCORE, self._runner.id, data, score.t_ns)

    def _stats(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if not last and now - self._told < STATS_EVERY_S:
            return
        self._told = now
        counts = self.counts()
        data = {
            "captured": counts.captured,
            "analysed": counts.analysed,
            "dropped": counts.dropped,
            "waiting": counts.waiting,
            "spotted": counts.spotted,
            "fps": round(counts.fps, 2),
            "score_p95_ms": round(counts.score_p95_ms, 1),
        }
        self._sink.publish(STATS, self._runner.id, data)
