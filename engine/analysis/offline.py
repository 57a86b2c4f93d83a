"""Runs recordings through the chain into a run folder. Never drops a frame, never drops for want of time."""

from __future__ import annotations

import logging
import re
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2

from mellm.engine import provenance
from mellm.engine.analysis import account
from mellm.engine.analysis.describe_queue import DescribeQueue, Job
from mellm.engine.analysis.pipeline import (
    FaceLost,
    Output,
    Scored,
    Seen,
    SourcePipeline,
    Spotted,
)
from mellm.engine.analysis.prefetch import Prefetcher
from mellm.engine.analysis.watchdog import Watchdog
from mellm.engine.analysis.wire_events import WireEvent, end_of, events_of
from mellm.engine.describe.base import DescribeContext, Describer
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.region_curves import RegionCurves
from mellm.engine.results.run_folder import RunStore
from mellm.engine.results.score_series import ScoreWriter
from mellm.engine.types import Description, Evidence, Outcome
from mellm.stream.capture.status import SourceStatus
from mellm.stream.errors import (
    MellmError,
    ModelCorrupt,
    ModelMismatch,
    ModelMissing,
    ProviderUnavailable,
    RunError,
    SourceUnsupported,
)
from mellm.stream.frames import Frame, Gap, Item, SourceInfo
from mellm.stream.sources import EndReport, Source, SourceOptions, open_source
from mellm.stream.sources.addresses import redact
from mellm.stream.sources.media import find

logger = logging.getLogger(__name__)


class Progress(Protocol):
    """What a run tells whoever is watching."""

    def source(self, source: str, info: SourceInfo | None, state: str) -> None:
        """A source opens (``open``), was finished before (``skipped``), ends (``done``) or fails (``failed``)."""
        ...

    def advance(self, source: str, media_ns: int, total_ns: int | None) -> None:
        """Media time that has been analysed."""
        ...

    def expression(self, record: ExpressionRecord) -> None:
        """An expression has ended, and a line of ``expressions.jsonl`` was written. Called from any thread."""
        ...


class Silent:
    """A progress that nobody watches."""

    def source(self, source: str, info: SourceInfo | None, state: str) -> None:
        """Ignore."""

    def advance(self, source: str, media_ns: int, total_ns: int | None) -> None:
        """Ignore."""

    def expression(self, record: ExpressionRecord) -> None:
        """Ignore."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One input of a run."""

    id: str
    path: str
    fps: float | None = None
    options: SourceOptions | None = None


@dataclass(slots=True)
class RunResult:
    """How a run ended.

    :param notes: facts about the recordings, repaired stamps, gaps and the like, a sentence each
    :param larger: of the expressions, those above the motion ceiling: larger than a micro-expression
    :param failures: one error for each source that could not be analysed to its end
    :param undescribed: why expressions that were spotted in this session have no description, with counts
    """

    folder: Path
    expressions: int = 0
    larger: int = 0
    undescribed: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, MellmError]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def recordings(
    paths: Sequence[str], fps: float | None = None, options: SourceOptions | None = None
) -> list[Recording]:
    """Inputs with ids made from their names, unique and safe in paths and URLs."""
    taken: dict[str, int] = {}
    found = []
    for path in paths:
        # an id is seen everywhere, and an address may hold a password
        stem = Path(redact(path).rstrip("/")).stem
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "recording"
        taken[stem] = taken.get(stem, 0) + 1
        found.append(Recording(stem if taken[stem] == 1 else f"{stem}-{taken[stem]}", path, fps, options))
    return found


def analyze(
    inputs: Sequence[Recording],
    run: RunStore,
    make_pipeline: Callable[[str], SourcePipeline],
    describer: Describer,
    *,
    keep_evidence: bool = True,
    deadline_s: float = 60.0,
    capacity: int = 64,
    workers: int = 1,
    progress: Progress | None = None,
) -> RunResult:
    """Analyse recordings one after the other, see :func:`steps`."""
    result = RunResult(run.path)
    for _ in steps(
        inputs,
        run,
        make_pipeline,
        describer,
        result,
        keep_evidence=keep_evidence,
        deadline_s=deadline_s,
        capacity=capacity,
        workers=workers,
        progress=progress,
    ):
        pass
    return result


def steps(
    inputs: Sequence[Recording],
    run: RunStore,
    make_pipeline: Callable[[str], SourcePipeline],
    describer: Describer,
    result: RunResult,
    *,
    keep_evidence: bool = True,
    deadline_s: float = 60.0,
    capacity: int = 64,
    workers: int = 1,
    progress: Progress | None = None,
) -> Generator[None, None, None]:
    """Analyse recordings one after the other, a frame with each step. Whoever stops early closes the iterator.

    A source that cannot be read is reported in the result and in ``run.json``; the others go on.

    :param result: is filled
    :param deadline_s: longest wait for one description
    :raises RunError: the run folder cannot be written, or holds another recording of the same name
    :raises ModelError: no recording can be analysed without the models
    """
    watcher = progress or Silent()
    for recording in inputs:
        summary = run.summary(recording.id)
        if summary is not None:
            _same(recording, summary, run.path)
            watcher.source(recording.id, None, "skipped")
            result.expressions += summary["counts"]["spotted"]
            result.larger += summary["counts"].get("larger_motions", 0)
            continue
        writer = _Writer(run, recording.id, keep_evidence, watcher)
        with Watchdog() as vitals:  # a describer that never returns loses its thread, and the job ends
            queue = DescribeQueue(
                _Remembering(describer, run.answered),
                writer.done,
                policy="offline",
                capacity=capacity,
                workers=workers,
                deadline_s=deadline_s,
                vitals=vitals,
            )
            try:
                yield from _one(recording, run, make_pipeline, queue, writer, watcher, result)
            finally:
                queue.close()


def _same(recording: Recording, summary: Mapping[str, Any], folder: Path) -> None:
    """Refuse to take another file of the same name for one that was analysed."""
    before = str(summary["path"])
    if before != redact(recording.path) and Path(before).resolve() != Path(recording.path).resolve():
        raise RunError(
            f"{folder} holds results of {before} under the name {recording.id!r}, not of "
            f"{redact(recording.path)}",
            remedy="name another folder with --out",
        )


def _one(
    recording: Recording,
    run: RunStore,
    make_pipeline: Callable[[str], SourcePipeline],
    queue: DescribeQueue,
    writer: _Writer,
    watcher: Progress,
    result: RunResult,
) -> Iterator[None]:
    started = time.monotonic()
    chain: SourcePipeline | None = None
    info: SourceInfo | None = None
    shown = redact(recording.path)
    summary: dict[str, Any] = {"state": "done", "path": shown}
    media = _Media()
    end: EndReport | None = None
    series = run.series(recording.id)
    try:
        with open_source(
            recording.path, id=recording.id, live=False, fps=recording.fps, options=recording.options
        ) as source:
            info = source.info
            _must_end(info)
            chain = make_pipeline(recording.id)
            watcher.source(recording.id, info, "open")
            yield from _drain(source, chain, queue, writer, series, watcher, media)
            info = source.info
            end = source.end
        writer.state(SourceStatus(recording.id, "ended", end=end), media.last_ns)
        if end is not None and end.early:
            summary["ended_early"] = end.message
            result.warnings.append(f"{shown}: {end.message}")
            logger.warning("%s: %s", shown, end.message)
        notes, warned = account.notes(info, chain.counts, end), account.warnings(chain.counts, end)
        summary["remarks"] = notes + warned
        result.notes += [f"{shown}: {note}" for note in notes]
        result.warnings += [f"{shown}: {warning}" for warning in warned]
    except (RunError, ModelMissing, ModelCorrupt, ModelMismatch, ProviderUnavailable):
        raise  # the next recording would fare no better
    except MellmError as error:
        summary |= {"state": "failed", "error": {"code": error.code, "message": str(error)}}
        result.failures.append((recording.id, error))
        writer.state(SourceStatus(recording.id, "offline", error=error), media.last_ns)
    series.close()
    queue.drain()
    writer.check()
    seconds = time.monotonic() - started
    stats = queue.stats()
    result.expressions += stats.submitted
    result.larger += writer.larger
    result.undescribed.update(stats.dropped)
    summary |= {
        "source": None if info is None else asdict(info),
        "analysed_at": provenance.now(),
        "file": None if info is None else provenance.file_facts(find(recording.path)),
        "media_s": round(media.seen_ns / 1e9, 3),
        "wall_s": round(seconds, 2),
        "real_time_factor": round(media.seen_ns / 1e9 / seconds, 2) if seconds > 0 else None,
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "providers": {} if chain is None else chain.providers,
        "judged": None if chain is None else chain.counts.judged.record(),
        "counts": _counts(chain, end, stats.submitted, stats.described, stats.abstained, stats.dropped)
        | {"larger_motions": writer.larger},
    }
    run.finish_source(recording.id, summary)
    watcher.source(recording.id, info, summary["state"])


def _must_end(info: SourceInfo) -> None:
    """Refuse what would be analysed for ever."""
    endless = info.kind == "synthetic" and info.declared_duration_ns is None
    if endless or info.kind in ("camera", "rtsp"):
        raise SourceUnsupported(
            f"{info.uri_redacted}: a live source, no recording", remedy="follow it with `mellm watch`"
        )


def _items(source: Source) -> Iterator[Item]:
    while (item := source.read()) is not None:
        yield item


@contextmanager
def seen_ahead(source: Source, chain: SourcePipeline) -> Iterator[Iterator[Seen]]:
    """What a source shows, to its end: pictures are read on one thread, and faces found in them on another.

    :raises SourceError: while iterating: it broke
    """
    with Prefetcher(_items(source)) as items, Prefetcher(map(chain.look, items)) as seen:
        yield seen


@dataclass(slots=True)
class _Media:
    """How far a recording was read, nanoseconds of media time."""

    first_ns: int | None = None
    last_ns: int = 0

    @property
    def seen_ns(self) -> int:
        return self.last_ns - (self.first_ns or 0)

    def frame(self, pts_ns: int) -> bool:
        """Take note of a frame; whether it is the first."""
        first = self.first_ns is None
        if self.first_ns is None:
            self.first_ns = self.last_ns = pts_ns
        self.last_ns = max(self.last_ns, pts_ns)
        return first


def _drain(
    source: Source,
    chain: SourcePipeline,
    queue: DescribeQueue,
    writer: _Writer,
    series: ScoreWriter,
    watcher: Progress,
    media: _Media,
) -> Iterator[None]:
    number = 0
    # on a thread of its own as well: whatever stands still there, this one goes on
    with seen_ahead(source, chain) as all_seen, Prefetcher(_taken(all_seen, chain)) as all_taken:
        for item, outputs in all_taken:
            if isinstance(item, Gap):
                writer.events(events_of(item))
            elif item is not None and media.frame(item.pts_ns):
                online = SourceStatus(source.info.id, "online", item.segment, source.info)
                writer.state(online, item.pts_ns)
            for output in outputs:
                number = _take(output, number, queue, writer, series)
            if isinstance(item, Frame):
                watcher.advance(source.info.id, media.seen_ns, source.info.declared_duration_ns)
            yield


def _taken(all_seen: Iterator[Seen], chain: SourcePipeline) -> Iterator[tuple[Item | None, list[Output]]]:
    """What each item brings to light, and at last, without one, what their end does."""
    for seen in all_seen:
        yield seen.item, chain.take(seen)
    yield None, chain.finish()


def _take(output: Output, number: int, queue: DescribeQueue, writer: _Writer, series: ScoreWriter) -> int:
    if isinstance(output, Scored):
        series.add(output.track, output.score)  # not an event of a run: fifty a second and face
        return number
    if isinstance(output, FaceLost):
        series.end(output.track)
    writer.events(events_of(output))
    if not isinstance(output, Spotted):
        return number
    expression = output.expression
    if output.curves is not None:
        writer.curves(expression.id, output.curves)
    context = DescribeContext(expression.id, output.duration_ms, expression.aus, score=expression.score)
    queue.submit(Job(number, expression, output.evidence, context))
    return number + 1


def _counts(
    chain: SourcePipeline | None,
    end: EndReport | None,
    spotted: int,
    described: int,
    abstained: int,
    dropped: dict[str, int],
) -> dict[str, Any]:
    if chain is None:
        return {"captured": 0, "analysed": 0, "spotted": 0, "described": 0, "abstained": 0}
    counts = chain.counts
    return {
        "captured": counts.captured,
        "analysed": counts.analysed,
        "frames_dropped": dict(counts.dropped),
        "gaps": dict(counts.gaps),
        "repaired_stamps": counts.repaired,
        "guessed_stamps": 0 if end is None else end.guessed,
        "repeated_pictures": 0 if end is None else end.repeated,
        "frames_with_face": counts.frames_with_face,
        "faces_refused": dict(counts.faces_refused),
        "tracks": counts.tracks,
        "spotted": spotted,
        "described": described,
        "abstained": abstained,
        "dropped": dropped,
    }


class _Writer:
    """Puts outcomes on disk in the order of spotting, whatever order they arrive in."""

    def __init__(self, run: RunStore, source: str, keep_evidence: bool, watcher: Progress) -> None:
        self._run = run
        self._source = source
        self._keep = keep_evidence
        self._watcher = watcher
        self._lock = threading.Lock()
        self._early: dict[int, tuple[Job, Outcome]] = {}
        self._next = 0
        self._problem: MellmError | None = None
        self.larger = 0

    def events(self, found: Iterable[WireEvent]) -> None:
        """Lines of ``events.jsonl``."""
        with self._lock:
            for event in found:
                self._run.event(event.type, self._source, event.t_ns, event.data)

    def curves(self, expression: str, curves: RegionCurves) -> None:
        """How the strongest regions moved, kept as motion maps are."""
        if self._keep:
            self._run.curves(expression, curves.to_json())

    def state(self, status: SourceStatus, t_ns: int) -> None:
        """What happened to the source itself."""
        self.events((WireEvent(f"source.{status.state}", t_ns, status.data()),))

    def done(self, job: Job, outcome: Outcome) -> None:
        """The queue's callback."""
        with self._lock:
            self._early[job.number] = (job, outcome)
            while self._next in self._early:
                self._write(*self._early.pop(self._next))
                self._next += 1

    def check(self) -> None:
        """Raise what could not be written on a worker's thread."""
        if self._problem is not None:
            raise self._problem

    def _write(self, job: Job, outcome: Outcome) -> None:
        try:
            record = ExpressionRecord.of(job.expression, job.evidence.regions).ended(
                outcome, self._evidence(job)
            )
            self._run.expression(record)
            event = end_of(record)
            self._run.event(event.type, self._source, event.t_ns, event.data)
        except MellmError as error:
            self._problem = self._problem or error
            return
        self.larger += not record.is_counted
        self._watcher.expression(record)

    def _evidence(self, job: Job) -> str | None:
        if not self._keep or job.evidence.motion_map.shape[0] < 2:
            return None
        ok, png = cv2.imencode(".png", job.evidence.motion_map)
        return self._run.evidence(job.expression.id, png.tobytes()) if ok else None


class _Remembering:
    """A describer that does not ask again what an interrupted run was already told."""

    def __init__(self, describer: Describer, answered: Mapping[str, ExpressionRecord]) -> None:
        self._describer = describer
        self._answered = {k: r.description for k, r in answered.items() if r.state == "described"}
        self.name, self.profile, self.recipe = describer.name, describer.profile, describer.recipe

    def describe(self, evidence: Evidence, context: DescribeContext) -> Description:
        known = self._answered.get(context.expression)
        if known is None or known.model != self.name:
            return self._describer.describe(evidence, context)
        return known

    def close(self) -> None:
        """The describer outlives one source's queue; whoever made it closes it."""
