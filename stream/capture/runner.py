"""Keeps one source alive: reads it in a thread, notices when it stalls, brings it back.

Two workers. The *reader* opens the source and reads it; it may hang inside FFmpeg or a driver.
The *supervisor* watches the age of the last frame and never touches the source: a reader that hangs
is abandoned (whatever it still delivers is thrown away) and replaced, and so is one that fails in a way nobody foresaw.

A live source that just ends was lost; only recordings end.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

from mellm.stream.capture.buffer import MediaBuffer
from mellm.stream.capture.intake import Intake
from mellm.stream.capture.pace import Pace
from mellm.stream.capture.reconnect import Backoff, Outcome, judge
from mellm.stream.capture.status import RunnerCounts, RunnerOptions, SourceStatus
from mellm.stream.clock import Clock, MonotonicClock
from mellm.stream.errors import (
    InternalError,
    MellmError,
    SourceError,
    SourceTimeout,
    SourceUnreachable,
    UsageError,
)
from mellm.stream.frames import Frame, Gap, Item, SourceInfo
from mellm.stream.sources.addresses import redact
from mellm.stream.sources.base import EndReport, Source, SourceOptions
from mellm.stream.sources.opening import open_source
from mellm.stream.worker import Turn, Vitals, Worker

__all__ = ["RunnerCounts", "RunnerOptions", "SourceRunner", "SourceStatus"]

logger = logging.getLogger(__name__)

Opener: TypeAlias = Callable[[int], Source]
"""First segment number → an open source."""

_TICK_S: Final = 0.1
_LOG_EVERY_NS: Final = 10_000_000_000
_STABLE_NS: Final = 1_000_000_000
"""A source that was online for less has not recovered: its back-off goes on."""

ABANDON_S: Final = 10.0
"""A supervisor that stands still for longer is replaced."""

_LOCAL: Final = frozenset(("file", "images", "synthetic"))


class _Reading:
    """One opening of the source, and the thread that does it."""

    def __init__(self, now_ns: int) -> None:
        self.abandoned = threading.Event()
        self.done = threading.Event()
        self.beat_ns = now_ns
        self.waiting_for_source = True
        self.online_ns: int | None = None
        self.watched = True
        self.error: BaseException | None = None
        self.end: EndReport | None = None


class SourceRunner:
    """Reads one source for ever, or to its end.

    ::

        runner = SourceRunner("rtsp://…", id="door")
        runner.start()
        while not runner.finished:
            item = runner.get(0.25)      # Frame, Gap, or None when nothing came
        runner.stop()

    :param uri: see :func:`~mellm.stream.sources.open_source`
    :param on_status: called from the runner's threads; must not block
    :param first_segment: number of the first segment; whoever goes on after another process begins above its numbers
    :param opener: replaces :func:`~mellm.stream.sources.open_source` in tests
    """

    def __init__(
        self,
        uri: str,
        *,
        id: str,
        options: RunnerOptions | None = None,
        source_options: SourceOptions | None = None,
        fps: float | None = None,
        on_status: Callable[[SourceStatus], None] | None = None,
        clock: Clock | None = None,
        opener: Opener | None = None,
        first_segment: int = 0,
    ) -> None:
        self.id = id
        self.uri_redacted = redact(uri)
        self.on_status = on_status
        self._options = chosen = options or RunnerOptions()
        self._clock: Clock = clock or MonotonicClock()
        live = chosen.policy == "live"

        def default(segment: int) -> Source:
            return open_source(
                uri,
                id=id,
                live=True if live and "://" not in uri else None,
                fps=fps,
                options=source_options,
                first_segment=segment,
                clock=self._clock,
            )

        self._opener = opener or default
        self._buffer = MediaBuffer("newest" if live else "block", chosen.buffer)
        self._intake = Intake(id, self._buffer)
        self._backoff = Backoff(chosen.backoff, random.Random(chosen.seed))
        self._worker = Worker(
            f"watch-{id}",
            self._supervise,
            on_death=lambda error: self._tell(self._offline(error)),
            abandon_s=ABANDON_S,
            clock=self._clock,
        )
        self._stop = self._worker.stopping
        self._over = threading.Event()
        self._lock = threading.RLock()
        self._reading: _Reading | None = None
        self._info: SourceInfo | None = None
        self._failure: MellmError | None = None
        self._end: EndReport | None = None
        self._segment = first_segment - 1
        self._last: tuple[int, int] | None = None  # media time and arrival of the last frame
        self._captured = self._repaired = self._losses = 0
        self._dropped: Counter[str] = Counter()
        self._logged_ns: int | None = None

    # -- for the analysing thread ---------------------------------------------------------------------

    def start(self, vitals: Vitals | None = None) -> None:
        """Begin reading. The source may be down: it is tried again.

        :param vitals: sees whether the supervisor goes on
        """
        self._worker.vitals = vitals
        self._worker.start()

    def get(self, timeout_s: float | None = None) -> Item | None:
        """The next frame or gap; ``None`` when none came in time, or none will come (:attr:`finished`)."""
        return self._buffer.get(timeout_s)

    @property
    def finished(self) -> bool:
        """Whether the source has ended for good and everything of it was taken."""
        return self._over.is_set() and self._buffer.drained

    @property
    def must_open(self) -> bool:
        """Whether somebody waits for it, so that what fails at the start is not tried again."""
        return self._options.must_open

    @property
    def failure(self) -> MellmError | None:
        """The error that ended it for good, if one did."""
        return self._failure

    @property
    def end(self) -> EndReport | None:
        """How a recording ended."""
        return self._end

    @property
    def info(self) -> SourceInfo | None:
        """Facts of the last opening, ``None`` while it was never open."""
        return self._info

    @property
    def drops(self) -> bool:
        """Whether it drops what is not taken in time, as a live source does; otherwise its reader waits."""
        return self._options.policy == "live"

    def lower(self, keep_every: int) -> None:
        """From now on hand on one of every so many frames, see :class:`~mellm.stream.capture.intake.Intake`. From any
        thread; for sources that drop.

        :param keep_every: 1 for all, 0 for none
        """
        with self._lock:
            self._intake.lower(keep_every)

    def counts(self) -> RunnerCounts:
        """Both sides of the sum: captured = analysed + dropped + waiting (+ the one in the analyst's hand)."""
        with self._lock:
            dropped = {**self._dropped, **self._intake.dropped}
            overflow = self._buffer.overflowed
            if overflow:
                dropped["overflow"] = overflow
            return RunnerCounts(
                self._captured,
                dropped,
                len(self._buffer),
                self._repaired,
                self._losses,
                self._buffer.lag_s,
                self._intake.fps,
            )

    def stop(self) -> None:
        """End it within a second, whatever the source does; harmless when done twice."""
        self._stop.set()
        with self._lock:
            if self._reading is not None:
                self._reading.abandoned.set()
            discarded = self._buffer.close(discard=True)
            if discarded:
                self._dropped["stopped"] += discarded
        self._worker.join(0.9)
        self._over.set()

    # -- supervisor -----------------------------------------------------------------------------------

    def _supervise(self, turn: Turn) -> None:
        if self._reading is not None:  # of a supervisor before this one
            self._reading.abandoned.set()
        attempt = 0
        while not self._stop.is_set():
            turn.heartbeat()
            reading = self._launch()
            self._watch(reading, turn)
            if self._stop.is_set():
                break
            if reading.error is None and reading.end is not None:
                self._end = reading.end
                self._drain(turn)
                self._tell(SourceStatus(self.id, "ended", max(0, self._segment), end=reading.end))
                break
            error = _ours(reading.error, self.uri_redacted)
            was_online = reading.online_ns is not None
            outcome = self._judge(error, was_online)
            if outcome is None:
                self._give_up(error)
                break
            if isinstance(error, InternalError):
                turn.failed(error)
            if was_online and self._clock.now_ns() - (reading.online_ns or 0) >= _STABLE_NS:
                attempt = 0
            attempt += 1
            if was_online or attempt == 1:
                self._losses += was_online
                self._tell(self._offline(error))
            if self._options.max_attempts is not None and attempt > self._options.max_attempts:
                self._give_up(error)
                break
            turn.rest()
            self._pause(attempt, error, outcome)
        self._buffer.close()
        self._over.set()

    def _offline(self, error: MellmError) -> SourceStatus:
        return SourceStatus(self.id, "offline", max(0, self._segment), error=error)

    def _drain(self, turn: Turn) -> None:
        """A source has ended when its last frame was taken."""
        turn.rest()
        self._buffer.close()
        while not self._buffer.drained and not self._clock.wait(self._stop, _TICK_S / 5):
            pass

    def _launch(self) -> _Reading:
        with self._lock:
            reading = _Reading(self._clock.now_ns())
            first = self._segment + 1
            self._reading = reading
        if self._stop.is_set():
            reading.abandoned.set()
        # whether it stands still is for the supervisor to see, and its errors are results
        Worker(f"read-{self.id}", lambda turn: self._read(reading, first)).start()
        return reading

    def _watch(self, reading: _Reading, turn: Turn) -> None:
        """Return when the reader is done or was abandoned, with the reason in ``reading.error``."""
        while not self._clock.wait(reading.done, _TICK_S):
            if reading.online_ns is None:
                turn.heartbeat()
            else:
                turn.worked()
            if self._stop.is_set():
                reading.abandoned.set()
                return
            if not (reading.watched and reading.waiting_for_source):
                continue
            limit = self._options.stall_s if reading.online_ns is not None else self._options.open_s
            age = (self._clock.now_ns() - reading.beat_ns) / 1e9
            if age > limit:
                with self._lock:
                    reading.abandoned.set()
                if reading.done.is_set():
                    return
                doing = "no frame came" if reading.online_ns is not None else "it did not open"
                reading.error = SourceTimeout(
                    f"{self.uri_redacted}: {doing} for {limit:g} s", remedy="check camera and network"
                )
                return

    def _judge(self, error: MellmError, was_online: bool) -> Outcome | None:
        if self._info is not None and _recorded(self._info):
            return None
        ever = self._info is not None
        if not ever and self._options.must_open:
            return None
        absent = "://" in self.uri_redacted or self.uri_redacted.isdigit() or "/dev/" in self.uri_redacted
        return judge(error, was_online=was_online, ever_online=ever, may_appear=absent)

    def _pause(self, attempt: int, error: MellmError, outcome: Outcome) -> None:
        delay = self._backoff.delay_s(attempt, outcome)
        self._log(attempt, delay, error)
        segment = max(0, self._segment)
        self._tell(
            SourceStatus(self.id, "reconnecting", segment, error=error, attempt=attempt, delay_s=delay)
        )
        self._clock.wait(self._stop, delay)

    def _give_up(self, error: MellmError) -> None:
        self._failure = error
        logger.error("%s: %s", self.id, error)
        self._tell(SourceStatus(self.id, "ended", max(0, self._segment), error=error))

    def _log(self, attempt: int, delay_s: float, error: MellmError) -> None:
        """At most one line in ten seconds for a camera that stays dead."""
        now = self._clock.now_ns()
        if self._logged_ns is None or now - self._logged_ns >= _LOG_EVERY_NS:
            self._logged_ns = now
            logger.warning("%s: try %d in %.2f s: %s", self.id, attempt, delay_s, error)

    def _tell(self, status: SourceStatus) -> None:
        if self.on_status is None:
            return
        try:
            self.on_status(status)
        except Exception:
            logger.exception("%s: the status callback failed", self.id)

    # -- reader ---------------------------------------------------------------------------------------

    def _read(self, reading: _Reading, first_segment: int) -> None:
        try:
            source = self._opener(first_segment)
        except BaseException as error:
            reading.error = error
            reading.done.set()
            return
        try:
            self._follow(source, reading, Pace(self._clock) if self._paced(source) else None)
        except BaseException as error:  # whatever it is, the supervisor tells it
            if not reading.abandoned.is_set():
                reading.error = error
        finally:
            reading.done.set()
            source.close()

    def _paced(self, source: Source) -> bool:
        if not _recorded(source.info):
            return False
        chosen = self._options.realtime
        return self._options.policy == "live" if chosen is None else chosen

    def _follow(self, source: Source, reading: _Reading, pace: Pace | None) -> None:
        reading.watched = source.info.kind not in _LOCAL
        shift_ns: int | None = None
        while not reading.abandoned.is_set():
            reading.waiting_for_source = True
            item = source.read()
            reading.beat_ns = self._clock.now_ns()
            reading.waiting_for_source = False
            if item is None:
                if not _recorded(source.info):
                    raise SourceUnreachable(
                        f"{self.uri_redacted}: the stream ended", remedy="it is tried again; check the camera"
                    )
                reading.end = source.end
                return
            if pace is not None:
                held = pace.hold(item, reading.abandoned)
                if held is None:
                    return
                item = held
            if shift_ns is None and isinstance(item, Frame):
                shift_ns = self._came_online(item, source, reading)
            if not self._deliver(_shifted(item, shift_ns or 0), source, reading):
                return

    def _came_online(self, frame: Frame, source: Source, reading: _Reading) -> int:
        """Note the first frame of an opening; find the shift that lets media time go on.

        A reopened stream counts from anywhere. Its first frame is placed as much later than the last one
        before the outage as it arrived later, and a gap stands between them.
        """
        with self._lock:
            if reading.abandoned.is_set():
                return 0
            reading.online_ns = self._clock.now_ns()
            self._info = source.info
            last = self._last
        self._tell(SourceStatus(self.id, "online", frame.segment, info=source.info))
        if last is None or _recorded(source.info):
            return 0
        media_ns = last[0] + max(1_000_000, frame.wall_ns - last[1])
        gap = Gap(self.id, frame.segment, last[0], media_ns, "reconnect")
        self._deliver(gap, source, reading)
        return media_ns - frame.pts_ns

    def _deliver(self, item: Item, source: Source, reading: _Reading) -> bool:
        """Count an item and hand it on; ``False`` once nobody wants it."""
        with self._lock:
            if reading.abandoned.is_set():
                return False
            if isinstance(item, Frame):
                self._captured += 1
                self._repaired += item.repaired
                self._last = (item.pts_ns, item.wall_ns)
                self._segment = max(self._segment, item.segment)
                self._info = source.info
            elif item.reason == "decode":
                self._captured += item.frames
                self._dropped["decode"] += item.frames
                if reading.online_ns is None and self._last is not None:
                    return True  # lost before the first frame after an outage, whose gap covers it
            if isinstance(item, Frame) and not self._intake.takes(item):
                return True
        if self._buffer.put(item):
            return True
        if isinstance(item, Frame):
            with self._lock:
                self._dropped["stopped"] += 1
        return False


def _shifted(item: Item, shift_ns: int) -> Item:
    if not shift_ns:
        return item
    if isinstance(item, Frame):
        return replace(item, pts_ns=item.pts_ns + shift_ns)
    return replace(item, from_ns=item.from_ns + shift_ns, to_ns=item.to_ns + shift_ns)


def _recorded(info: SourceInfo) -> bool:
    """Whether it has an end: a local source, even if it is played as a live one, or a file behind HTTP."""
    return info.kind in _LOCAL or not info.live


def _ours(error: BaseException | None, shown: str) -> SourceError | UsageError | InternalError:
    if isinstance(error, (SourceError, UsageError)):
        return error
    if error is None:
        return SourceUnreachable(f"{shown}: the stream ended", remedy="check the camera")
    # a camera must outlive what nobody foresaw; the log keeps the trace
    logger.error("%s: reading failed", shown, exc_info=error)
    return InternalError.of(f"{shown}: reading", error)
