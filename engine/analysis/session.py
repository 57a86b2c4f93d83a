"""A live source as a run folder: the same files as of a recording, written while the source goes on."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Final

import numpy as np

from mellm.detectors.sensitivity import JudgedTime
from mellm.detectors.windows import STEP_NS
from mellm.engine.analysis.pipeline import FaceLost, Output, Scored, Spotted
from mellm.engine.analysis.telling import faces_of, png_of
from mellm.engine.analysis.wire_events import box_of
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.run_folder import RunFolder
from mellm.engine.results.video import VideoWriter
from mellm.engine.types import Outcome
from mellm.stream.errors import MellmError
from mellm.stream.frames import Frame, Gap, SourceInfo
from mellm.stream.protocol.events import (
    EXPRESSION_ENDS,
    EXPRESSION_SPOTTED,
    FACE_APPEARED,
    FACE_LOST,
    MARKER,
    SOURCE_ONLINE,
    SOURCE_SESSION,
    media_time,
    rfc3339,
)
from mellm.stream.worker import Turn, Vitals, Worker

logger = logging.getLogger(__name__)

KEPT: Final = ("source.", "face.", "expression.", MARKER)
"""Beginnings of the types of events that a run holds."""

WAITING: Final = 4096
"""What may wait for the disk; beyond it a line is lost, and the run says so."""

FRAMES: Final = 60
"""Pictures that may wait for the encoder; beyond it one is left out of the video, and counted."""

SAVE_EVERY_S: Final = 30.0
"""So much of ``run.json`` may be missing if the process dies."""

SETTLED_NS: Final = 700_000_000
"""An expression that began so long ago has ended, and is decided."""

SETTLE_S: Final = 5.0
SILENT_S: Final = 1.0
"""No scores for so long: the source has stopped, or shows no face."""

JOIN_S: Final = 30.0
"""For what waits to be written when a session ends."""

OPEN: Final = "open"
"""State of a source whose session was not ended: the process died."""

Totals = Mapping[str, Any]
"""Counts that only grow, some of them by reason; see :meth:`mellm.engine.analysis.live_source.LiveSource.totals`."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What is known of a source when its session begins.

    :param origin_ns: media time that becomes 0
    :param mirrored: pictures are mirror images, and are turned back
    :param online: data of its last ``source.online``, ``None`` before the first
    :param totals: its counts so far
    """

    source: str
    shown: str
    origin_ns: int = 0
    mirrored: bool = False
    online: Mapping[str, Any] | None = None
    totals: Totals = field(default_factory=dict)


class SessionRecorder:
    """Writes one source's session. :meth:`start` and :meth:`finish` belong to its owner; the rest may be called from
    any thread and never waits for the disk: workers of its own write.

    :param run: an open folder of this session alone; it is closed at the end
    :param video: keeps pictures too, where that was agreed to
    :param keep_faces: keep the faces at onset and apex, where that was agreed to
    """

    def __init__(
        self,
        run: RunFolder,
        begun: Begun,
        *,
        video: bool = False,
        keep_evidence: bool = True,
        keep_faces: bool = False,
        vitals: Vitals | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.run = run
        self.source = begun.source
        self.began = rfc3339(wall_ns())
        self.problem: MellmError | None = None
        self._begun = begun
        self._wall_ns = wall_ns
        self._keep_evidence, self.keeps_faces = keep_evidence, keep_faces
        self._waiting: queue.Queue[Callable[[], None]] = queue.Queue(WAITING)
        self._frames: queue.Queue[Frame] = queue.Queue(FRAMES)
        self._lock = threading.Lock()
        self._lost = self._unfilmed = 0
        self._closing = False
        self._seen_ns = begun.origin_ns
        self._scored_ns: int | None = None
        self._film = VideoWriter(run.path, begun.source) if video else None
        # the worker's own from here on
        self._series = run.series(begun.source)
        self._judged = JudgedTime(STEP_NS / 1e9)
        self._tracks: set[int] = set()
        self._open: dict[str, ExpressionRecord] = {}
        self._kept: dict[str, str] = {}
        self._counts = dict.fromkeys(("spotted", "described", "abstained", "larger_motions"), 0)
        self._dropped: dict[str, int] = {}
        self._last_ns = begun.origin_ns
        self._saved_s = time.monotonic()
        self._info: SourceInfo | None = None
        self._totals: Totals = begun.totals
        self._worker = Worker(f"session-{begun.source}", self._work, vitals=vitals)
        self._camera = Worker(f"video-{begun.source}", self._record, vitals=vitals)

    @property
    def name(self) -> str:
        """Of the run folder."""
        return self.run.path.name

    @property
    def films(self) -> bool:
        """Whether the video is kept."""
        return self._film is not None

    def start(self) -> None:
        """Begin to write; the folder says from now on that a session is open."""
        self._save(OPEN)
        if self._begun.online is not None:
            self._event(SOURCE_ONLINE, self._begun.origin_ns, self._begun.online)
        self._worker.start()
        if self._film is not None:
            self._camera.start()

    # -- from the pipeline and the hub ----------------------------------------------------------------

    def output(self, output: Output | Gap) -> None:
        """What the pipeline found, every score included."""
        if isinstance(output, Scored):
            self._scored_ns = output.score.t_ns
            self._post(lambda: self._score(output))
        elif isinstance(output, Spotted):
            self._post(lambda: self._pictures(output))
        elif isinstance(output, FaceLost):
            self._post(lambda: self._series.end(output.track))

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """An event of this source, its data as published."""
        if kind.startswith(KEPT) and kind != SOURCE_SESSION:
            self._post(lambda: self._take(kind, data))

    def frame(self, frame: Frame) -> None:
        """A picture as the pipeline sees it."""
        self._seen_ns = frame.pts_ns
        if self._film is None or self._closing or frame.pts_ns < self._begun.origin_ns:
            return
        try:
            self._frames.put_nowait(frame)
        except queue.Full:
            with self._lock:
                self._unfilmed += 1

    # -- the end --------------------------------------------------------------------------------------

    def finish(
        self,
        info: SourceInfo | None,
        totals: Totals,
        *,
        providers: Mapping[str, str] | None = None,
        patience_s: float = 10.0,
    ) -> int:
        """End the session: wait for what is not decided yet, and for descriptions; then write what is left.

        :param info: facts of the source as it was opened last
        :param totals: its counts at this moment
        :param patience_s: for descriptions; one that has not come is written as dropped
        :returns: how many expressions the run holds
        :raises MellmError: the folder could not be written; what is in it stays
        """
        self._info, self._totals = info or self._info, totals
        self._settle(min(SETTLE_S, patience_s))
        until = time.monotonic() + patience_s
        while time.monotonic() < until and self.problem is None:
            self._drained(until)
            if not self._open:
                break
            time.sleep(0.02)
        self._closing = True
        for worker in (self._camera, self._worker):
            worker.stop()
        for worker in (self._camera, self._worker):
            if worker.started:
                worker.join(JOIN_S)
        try:
            for record in list(self._open.values()):
                self._ended(record.ended(Outcome("dropped", "deadline", None)))
            self._series.close()
            if self._film is not None:
                self._film.close()
            self._save("done" if self.problem is None else "failed", providers)
        finally:
            self.run.close()
        if self.problem is not None:
            raise self.problem
        return self._counts["spotted"]

    def _settle(self, patience_s: float) -> None:
        """Wait until what began before this moment is decided: the spotter looks ahead. Not where no scores come."""
        target, seen = self._seen_ns + SETTLED_NS, self._scored_ns
        until = time.monotonic() + patience_s
        heard = time.monotonic()
        while seen is not None and seen < target and time.monotonic() < min(until, heard + SILENT_S):
            time.sleep(0.02)
            if self._scored_ns != seen:
                seen, heard = self._scored_ns, time.monotonic()

    def _drained(self, until: float) -> None:
        done = threading.Event()
        self._post(done.set)
        done.wait(max(0.0, until - time.monotonic()))

    # -- workers --------------------------------------------------------------------------------------

    def _post(self, work: Callable[[], None]) -> None:
        if self._closing or self.problem is not None:
            return
        try:
            self._waiting.put_nowait(work)
        except queue.Full:
            with self._lock:
                self._lost += 1

    def _work(self, turn: Turn) -> None:
        while True:
            turn.heartbeat()
            try:
                work = self._waiting.get(timeout=0.25)
            except queue.Empty:
                if turn.over:
                    return
                turn.rest()
                continue
            self._try(work)
            if time.monotonic() - self._saved_s > SAVE_EVERY_S:
                self._try(lambda: self._save(OPEN))
            turn.worked()

    def _record(self, turn: Turn) -> None:
        film = self._film
        assert film is not None
        while True:
            turn.heartbeat()
            try:
                frame = self._frames.get(timeout=0.25)
            except queue.Empty:
                if turn.over:
                    return
                turn.rest()
                continue
            # results speak of pictures that are turned back
            picture = np.ascontiguousarray(frame.image[:, ::-1]) if self._begun.mirrored else frame.image
            self._try(partial(film.add, picture, frame.pts_ns - self._begun.origin_ns))
            turn.worked()

    def _try(self, work: Callable[[], None]) -> None:
        """A disk that refuses ends the session, not the source."""
        if self.problem is not None:
            return
        try:
            work()
        except MellmError as error:
            self.problem = error
            logger.error("%s: the session is not written any more: %s", self.source, error)

    # -- what is written ------------------------------------------------------------------------------

    def _score(self, scored: Scored) -> None:
        score = scored.score
        at = score.t_ns - self._begun.origin_ns
        if at < 0:
            return
        if scored.track not in self._tracks:  # it was there before the session began
            self._appeared(scored.track, score.t_ns, {"track": scored.track, "box": box_of(scored.face.box)})
        self._judged.add(score.sensitivity)
        self._series.add(scored.track, score._replace(t_ns=at))

    def _appeared(self, track: int, t_ns: int, data: Mapping[str, Any]) -> None:
        self._tracks.add(track)
        self._event(FACE_APPEARED, t_ns, data)

    def _take(self, kind: str, data: Mapping[str, Any]) -> None:
        t_ns = int(data["t_ns"]) if "t_ns" in data else self._last_ns
        if kind == EXPRESSION_SPOTTED or kind in EXPRESSION_ENDS:
            self._expression(kind, data)
            return
        if t_ns < self._begun.origin_ns:
            return
        if kind == FACE_APPEARED:
            if data["track"] not in self._tracks:
                self._appeared(data["track"], t_ns, data)
            return
        if kind == FACE_LOST:
            self._tracks.discard(data["track"])
        self._event(kind, t_ns, data)

    def _expression(self, kind: str, data: Mapping[str, Any]) -> None:
        record = ExpressionRecord.from_json(data)
        if record.onset_ns < self._begun.origin_ns:
            return  # of the session before
        if kind == EXPRESSION_SPOTTED:
            self._counts["spotted"] += 1
            self._open[record.id] = self._moved(record)
            self._event(kind, int(data["t_ns"]), {**data, **self._open[record.id].event_data()})
        elif record.id in self._open:
            self._ended(replace(self._moved(record), evidence=self._kept.pop(record.id, None)))

    def _ended(self, record: ExpressionRecord) -> None:
        self._open.pop(record.id, None)
        state = record.state or "dropped"
        if state == "dropped":
            reason = record.reason or "internal"
            self._dropped[reason] = self._dropped.get(reason, 0) + 1
        else:
            self._counts[state] += 1
        self._counts["larger_motions"] += not record.is_counted
        self.run.expression(record)
        self._event(f"expression.{state}", record.offset_ns + self._begun.origin_ns, record.event_data())

    def _moved(self, record: ExpressionRecord) -> ExpressionRecord:
        by = self._begun.origin_ns
        return replace(
            record,
            onset_ns=record.onset_ns - by,
            apex_ns=record.apex_ns - by,
            offset_ns=record.offset_ns - by,
        )

    def _pictures(self, spotted: Spotted) -> None:
        expression = spotted.expression
        if not self._keep_evidence or expression.onset.pts_ns < self._begun.origin_ns:
            return
        motion_map = spotted.evidence.motion_map
        if motion_map.shape[0] > 1:  # of a face that could not be placed there is none
            self._kept[expression.id] = self.run.evidence(expression.id, png_of(motion_map))
        if spotted.curves is not None:
            self.run.curves(expression.id, spotted.curves.moved(self._begun.origin_ns).to_json())
        if self.keeps_faces and spotted.pair is not None:
            self.run.evidence(expression.id, png_of(faces_of(spotted.pair)), "faces")

    def _event(self, kind: str, t_ns: int, data: Mapping[str, Any]) -> None:
        self._last_ns = max(self._last_ns, t_ns)
        moved = dict(data)
        for name in ("from", "to", "at"):
            if f"{name}_ns" in moved:
                moved |= media_time(name, int(moved[f"{name}_ns"]) - self._begun.origin_ns)
        moved.pop("consent", None)  # it stands in run.json
        for name in ("t_ns", "t_ms"):
            moved.pop(name, None)
        self.run.event(kind, self.source, max(0, t_ns - self._begun.origin_ns), moved)

    def _save(self, state: str, providers: Mapping[str, str] | None = None) -> None:
        self._saved_s = time.monotonic()
        begun, film = self._begun, self._film
        with self._lock:
            lost, unfilmed = self._lost, self._unfilmed
        remarks = list(self._info.remarks) if self._info is not None else []
        if lost:
            remarks.append(f"{lost} lines could not be written in time: the disk is too slow")
        if unfilmed:
            remarks.append(f"{unfilmed} pictures are missing in the video: the machine was too busy")
        summary: dict[str, Any] = {
            "state": state,
            "path": begun.shown,
            "live": True,
            "began": self.began,
            "ended": rfc3339(self._wall_ns()) if state != OPEN else None,
            "origin_ns": str(begun.origin_ns),
            "source": None if self._info is None else asdict(self._info),
            "media_s": round(max(0, self._last_ns - begun.origin_ns) / 1e9, 3),
            "providers": dict(providers or {}),
            "judged": self._judged.record(),
            "counts": _since(self._totals, begun.totals) | self._counts | {"dropped": dict(self._dropped)},
            "remarks": remarks,
        }
        if self.problem is not None:
            summary["error"] = {"code": self.problem.code, "message": str(self.problem)}
        if film is not None:
            summary["video"] = [each.to_json() for each in film.files]
        self.run.finish_source(self.source, summary)


def _since(now: Totals, before: Totals) -> dict[str, Any]:
    """What has been counted since then."""
    found: dict[str, Any] = {}
    for name, value in now.items():
        old = before.get(name)
        if isinstance(value, Mapping):
            parts = {k: n - (old or {}).get(k, 0) for k, n in value.items()}
            found[name] = {k: n for k, n in parts.items() if n}
        else:
            found[name] = value - (old or 0)
    return found
