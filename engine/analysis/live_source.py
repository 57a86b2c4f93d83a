"""One live source: a worker that analyses its frames, and a teller for what is found.

An exception in a frame, a missing model or a call that never returns ends neither: the frame in hand is dropped with
the reason ``internal``, the source is told as offline with the code, and a fresh chain goes on with the next frame.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from mellm.detectors.sensitivity import JudgedTime
from mellm.detectors.windows import STEP_NS
from mellm.engine.analysis.overload import FULL, Load, Overload, Service, ServiceChanged
from mellm.engine.analysis.pipeline import (
    CHAIN_DROPS,
    ChainCounts,
    FaceAppeared,
    FaceLost,
    Output,
    PictureChanged,
    Scored,
    SourcePipeline,
    Spotted,
)
from mellm.engine.analysis.telling import Sink, Teller
from mellm.engine.analysis.wire_events import events_of
from mellm.stream.capture.runner import SourceRunner, SourceStatus
from mellm.stream.errors import MellmError
from mellm.stream.frames import Frame, Gap, Item, SourceInfo
from mellm.stream.protocol.events import STATS
from mellm.stream.worker import Turn, Vitals, Worker

logger = logging.getLogger(__name__)

STATS_EVERY_S: Final = 1.0
LOOK_EVERY_S: Final = 0.05
"""Between two looks at whether the analysis keeps up."""

SCORE_EVERY_NS: Final = 100_000_000
"""Scores are for displays: ten a second of media time are plenty."""

LIMIT_S: Final = 2.5
"""Between two looks at a source: a frame takes milliseconds to analyse."""

ABANDON_S: Final = 10.0
"""A frame that takes longer is given up, and its thread with it."""

LOADING_S: Final = 30.0

LATENCIES_KEPT: Final = 6000
"""Two minutes of grid steps."""

INTERNAL: Final = "internal"


class Tap(Protocol):
    """Sees what a source's pipeline takes and makes, on the source's thread; must not block."""

    def frame(self, frame: Frame) -> None:
        """A frame, before it is analysed."""
        ...

    def output(self, source: str, output: Output | Gap) -> None:
        """What was found, every score included."""
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


class LiveSource:
    """Runner → chain → teller. :meth:`start` and :meth:`stop` belong to the owner, :meth:`counts` to anybody.

    :param make_pipeline: a fresh chain; called again after each death
    :param sink: gets what may be late or lost; everything else goes through ``teller``
    :param on_frame: sees each frame before it is analysed, on this source's thread
    :param on_loaded: called there when the networks have been loaded
    :param tap: sees frames and outputs
    :param overload: decides what is left out when there is too much, for all sources together
    :ivar failure: why it has ended for good, if it was an error
    """

    def __init__(
        self,
        runner: SourceRunner,
        make_pipeline: Callable[[str], SourcePipeline],
        sink: Sink,
        teller: Teller,
        vitals: Vitals,
        on_frame: Callable[[Frame], None] | None = None,
        on_loaded: Callable[[], None] = lambda: None,
        tap: Tap | None = None,
        overload: Overload | None = None,
    ) -> None:
        self._tap = tap
        self._gone: list[ChainCounts] = []  # of chains that have died
        self._runner = runner
        self._make_chain = make_pipeline
        self._sink = sink
        self._teller = teller
        self._vitals = vitals
        self._on_frame = on_frame
        self._on_loaded = on_loaded
        self._overload = overload or Overload({runner.id: 0})
        self._service = FULL
        self._effort = _Effort()
        self._at_ns = 0  # media time of the last frame
        self._worker = Worker(
            runner.id,
            self._analyse,
            on_death=self._died,
            vitals=vitals,
            limit_s=LIMIT_S,
            abandon_s=ABANDON_S,
        )
        self._lock = threading.Lock()
        self._chain: SourcePipeline | None = None
        self._hand: tuple[Item, int] | None = (
            None  # what is analysed now, and what the chain had settled before
        )
        self._past: Counter[str] = (
            Counter()
        )  # of chains that are gone: frames analysed, and dropped by reason
        self._spotted = 0
        self._judged = JudgedTime(STEP_NS / 1e9)  # of all chains
        self._faces: dict[int, int] = {}  # track → media time of its last word
        self._away = False
        self._latencies: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._scored_ns: dict[int, int] = {}
        self._told = 0.0
        self._ended: SourceStatus | None = None
        self.failure: MellmError | None = None
        runner.on_status = self._status

    def start(self) -> None:
        """Start reading, analysing and telling."""
        self._teller.start()
        self._runner.start(self._vitals)
        self._worker.start()

    def stop(self, wait_s: float = 2.0) -> None:
        """Stop all three; returns within about a second, and after ``wait_s`` if a thread stands still."""
        self._worker.stop()
        self._runner.stop()
        until = time.monotonic() + wait_s
        self._worker.join(wait_s)
        self._teller.stop(max(0.1, until - time.monotonic()))

    @property
    def started(self) -> bool:
        """Whether it was ever started."""
        return self._worker.started

    @property
    def resting(self) -> bool:
        """Whether it was started and has come to an end."""
        return self._ran_out

    @property
    def finished(self) -> bool:
        """Whether nothing more will come, and everything was told."""
        return self._ran_out and self._teller.idle

    @property
    def _ran_out(self) -> bool:
        return self._worker.started and not self._worker.alive

    def counts(self) -> SourceCounts:
        """Both sides of the sum, and how late scores were."""
        with self._lock:
            chain, total = self._chain, Counter(self._past)
            if chain is not None:
                total.update(_settled(chain))
        seen = self._runner.counts()
        late = np.array(self._latencies or [0.0])
        analysed = total.pop("analysed", 0)
        dropped = {**seen.dropped, **total}
        return SourceCounts(
            captured=seen.captured,
            analysed=analysed,
            dropped=dropped,
            waiting=seen.captured - analysed - sum(dropped.values()),
            spotted=self._spotted,
            fps=chain.rate() if chain else 0.0,
            score_p50_ms=float(np.percentile(late, 50)),
            score_p95_ms=float(np.percentile(late, 95)),
        )

    @property
    def info(self) -> SourceInfo | None:
        """Facts of the source as it was opened last."""
        return self._runner.info

    @property
    def providers(self) -> dict[str, str]:
        """Network → execution provider in use; empty before the networks are loaded."""
        chain = self._chain
        return {} if chain is None else chain.providers

    def totals(self) -> dict[str, Any]:
        """Counts as ``run.json`` has them; they only grow."""
        seen = self.counts()
        with self._lock:
            chains = [*self._gone, *([] if self._chain is None else [self._chain.counts])]
        refused: Counter[str] = sum((c.faces_refused for c in chains), Counter())
        return {
            "captured": seen.captured,
            "analysed": seen.analysed,
            "frames_dropped": seen.dropped,
            "gaps": dict(sum((c.gaps for c in chains), Counter())),
            "repaired_stamps": self._runner.counts().repaired,
            "frames_with_face": sum(c.frames_with_face for c in chains),
            "faces_refused": dict(refused),
            "tracks": sum(c.tracks for c in chains),
        }

    # -- the runner's threads -------------------------------------------------------------------------

    def _status(self, status: SourceStatus) -> None:
        if status.state == "ended" and not self._ran_out:
            self._ended = status  # told once the last frames have had their say
            return
        if status.state == "online":
            self._away = False
        self._publish(status)

    def _publish(self, status: SourceStatus) -> None:
        self._teller.say(f"source.{status.state}", status.data())

    # -- the worker -----------------------------------------------------------------------------------

    def _analyse(self, turn: Turn) -> None:
        try:
            chain = self._make_chain(self._runner.id)
        except MellmError as error:
            if not self._runner.must_open:
                raise
            self.failure = error  # somebody waits for it: it is not tried again
            logger.error("%s: %s", self._runner.id, error)
            return self._end()
        turn.heartbeat(LOADING_S)
        self._on_loaded()
        turn.heartbeat()
        with self._lock:
            self._chain = chain
        chain.limit_faces(self._service.faces)
        if self._service == FULL:  # of a chain before this one, what it was lowered to holds
            self._overload.begins(self._runner.id)
        while not turn.over:
            turn.heartbeat()
            self._keep_up(turn, chain)
            item = self._runner.get(0.25)
            if item is not None:
                self._one(turn, chain, item)
            elif self._runner.finished:
                break
            self._stats()
        for output in chain.finish():
            turn.heartbeat()
            self._take(output, turn)
        self.failure = self._runner.failure
        self._end()

    def _keep_up(self, turn: Turn, chain: SourcePipeline) -> None:
        """Look whether the analysis keeps up, and take less, or more again."""
        now = time.monotonic()
        if not self._runner.drops or not self._effort.due(now):
            return
        seen = self._runner.counts()
        busy, starved = self._effort.shares(now)
        load = Load(seen.lag_s, seen.fps, busy, starved, len(self._faces), seen.dropped.get("overflow", 0))
        service = self._overload.look(self._runner.id, load, now)
        if service != self._service:
            before, self._service = self._service, service
            self._serve(before, service, turn, chain)
            self._take(ServiceChanged(before, service, seen.fps, self._at_ns), turn)

    def _serve(self, before: Service, service: Service, turn: Turn, chain: SourcePipeline) -> None:
        self._runner.lower(service.keep_every if service.on else 0)
        chain.limit_faces(service.faces)
        if before.on and not service.on:
            for output in chain.finish():
                self._take(output, turn)

    def _end(self) -> None:
        self._overload.ended(self._runner.id)
        self._runner.stop()
        self._stats(last=True)
        if self._ended is not None:
            self._publish(self._ended)

    def _one(self, turn: Turn, chain: SourcePipeline, item: Item) -> None:
        with self._lock:
            self._hand = item, _settled(chain).total()
        self._at_ns = item.to_ns if isinstance(item, Gap) else item.pts_ns
        if isinstance(item, Gap):
            self._say(item, turn)
            if self._tap is not None:
                self._tap.output(self._runner.id, item)
        else:
            if self._on_frame is not None:
                self._on_frame(item)
            if self._tap is not None:
                self._tap.frame(item)
        with self._effort:
            outputs = chain.push(item)
        with self._lock:
            turn.heartbeat()  # if it took too long, another thread has given this frame up
            self._hand = None
        for output in outputs:
            self._take(output, turn)
        if isinstance(item, Frame):
            turn.worked()
            if self._away and self._runner.info is not None:
                self._away = False
                self._publish(SourceStatus(self._runner.id, "online", item.segment, info=self._runner.info))

    def _died(self, error: MellmError) -> None:
        with self._lock:
            chain, self._chain = self._chain, None
            hand, self._hand = self._hand, None
            if chain is not None:
                settled = _settled(chain)
                self._past.update(settled)
                self._gone.append(chain.counts)
                if hand is not None and isinstance(hand[0], Frame) and settled.total() == hand[1]:
                    self._past[INTERNAL] += 1
        for track, t_ns in self._faces.items():
            self._say(FaceLost(track, t_ns))
        self._faces.clear()
        self._scored_ns.clear()
        self._away = True
        self._publish(SourceStatus(self._runner.id, "offline", error=error))
        self._stats(last=True)

    def _take(self, output: Output, turn: Turn) -> None:
        if self._tap is not None:
            self._tap.output(self._runner.id, output)
        if isinstance(output, Spotted):
            self._spotted += 1
            self._teller.spotted(output, turn)
            return
        if isinstance(output, Scored):
            self._score(output)
            return
        if isinstance(output, FaceAppeared):
            self._faces[output.track] = output.t_ns
        elif isinstance(output, FaceLost):
            self._faces.pop(output.track, None)
            self._scored_ns.pop(output.track, None)
        elif isinstance(output, PictureChanged):
            log = logger.info if output.still is None else logger.warning
            log("%s: the picture is %s", self._runner.id, output.still or "live")
        self._say(output, turn)

    def _say(self, output: Output | Gap, turn: Turn | None = None) -> None:
        for event in events_of(output):
            self._teller.say(event.type, event.data, event.t_ns, turn)

    def _score(self, scored: Scored) -> None:
        # from the moment the camera showed it: the network's look-ahead counts
        self._latencies.append((time.monotonic_ns() - scored.wall_ns + scored.lag_ns) / 1e6)
        at = scored.score.t_ns
        self._judged.add(scored.score.sensitivity)
        if scored.track in self._faces:
            self._faces[scored.track] = at
        if at - self._scored_ns.get(scored.track, -SCORE_EVERY_NS) < SCORE_EVERY_NS:
            return
        self._scored_ns[scored.track] = at
        for event in events_of(scored):
            self._sink.publish(event.type, self._runner.id, event.data, event.t_ns)

    def _stats(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if not last and now - self._told < STATS_EVERY_S:
            return
        self._told = now
        counts = self.counts()
        data: dict[str, Any] = {
            "captured": counts.captured,
            "analysed": counts.analysed,
            "dropped": counts.dropped,
            "waiting": counts.waiting,
            "spotted": counts.spotted,
            "fps": round(counts.fps, 2),
            "score_p95_ms": round(counts.score_p95_ms, 1),
            "judged": self._judged.record(),
            **({} if self._chain is None else {"setup": self._chain.setup.report(counts.fps)}),
        }
        self._sink.publish(STATS, self._runner.id, data)


class _Effort:
    """How much of its time a thread works, and how much of that it waits for a processor; over a second or so."""

    WINDOW_S: Final = 1.0

    def __init__(self) -> None:
        self._looked = self._began = self._since = 0.0
        self._cpu = self._worked = self._used = 0.0
        self._last = (0.0, 0.0)

    def __enter__(self) -> None:
        self._began, self._cpu = time.monotonic(), time.thread_time()

    def __exit__(self, *exception: object) -> None:
        self._worked += time.monotonic() - self._began
        self._used += time.thread_time() - self._cpu

    def due(self, now: float) -> bool:
        """Whether it is time for another look."""
        if now - self._looked < LOOK_EVERY_S:
            return False
        self._looked = now
        return True

    def shares(self, now: float) -> tuple[float, float]:
        """Of the time, of the work."""
        if now - self._since >= self.WINDOW_S:
            busy = self._worked / (now - self._since)
            self._last = busy, 1 - self._used / self._worked if self._worked else 0.0
            self._since, self._worked, self._used = now, 0.0, 0.0
        return self._last


def _settled(chain: SourcePipeline) -> Counter[str]:
    """What became of the frames that a chain has taken."""
    counts = chain.counts
    drops = {reason: counts.dropped[reason] for reason in CHAIN_DROPS if counts.dropped[reason]}
    return Counter({"analysed": counts.analysed, **drops})
