"""Runs recordings through the chain into a run folder. Never drops a frame, never drops for want of time."""

from __future__ import annotations

import logging
import re
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2

from mellm.engine.analysis import account
from mellm.engine.analysis.describe_queue import DescribeQueue, Job
from mellm.engine.analysis.pipeline import (
    FaceAppeared,
    FaceLost,
    PictureChanged,
    Seen,
    SourcePipeline,
    Spotted,
)
from mellm.engine.analysis.prefetch import Prefetcher
from mellm.engine.describe.base import DescribeContext, Describer
from mellm.engine.results.expressions import final_record, spotted_record
from mellm.engine.results.run_folder import RunFolder
from mellm.engine.types import ActionUnit, Description, Emotion, Outcome
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

logger = logging.getLogger(__name__)


class Progress(Protocol):
    """What a run tells whoever is watching."""

    def source(self, source: str, info: SourceInfo | None, state: str) -> None:
        """A source opens (``open``), was finished before (``skipped``), ends (``done``) or fails (``failed``)."""
        ...

    def advance(self, source: str, media_ns: int, total_ns: int | None) -> None:
        """Media time that has been analysed."""
        ...

    def expression(self, record: dict[str, Any]) -> None:
        """A line of ``expressions.jsonl`` was written."""
        ...


class Silent:
    """A progress that nobody watches."""

    def source(self, source: str, info: SourceInfo | None, state: str) -> None:
        """Ignore."""

    def advance(self, source: str, media_ns: int, total_ns: int | None) -> None:
        """Ignore."""

    def expression(self, record: dict[str, Any]) -> None:
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
    :param failures: one error for each source that could not be analysed to its end
    :param undescribed: why expressions that were spotted in this session have no description, with counts
    """

    folder: Path
    expressions: int = 0
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
    run: RunFolder,
    make_pipeline: Callable[[str], SourcePipeline],
    describer: Describer,
    *,
    keep_evidence: bool = True,
    deadline_s: float = 60.0,
    capacity: int = 64,
    workers: int = 1,
    progress: Progress | None = None,
) -> RunResult:
    """Analyse recordings one after the other.

    A source that cannot be read is reported in the result and in ``run.json``; the others go on.

    :param deadline_s: longest wait for one description
    :raises RunError: the run folder cannot be written, or holds another recording of the same name
    :raises ModelError: no recording can be analysed without the models
    """
    watcher = progress or Silent()
    result = RunResult(run.path)
    for recording in inputs:
        if run.is_done(recording.id):
            _same(recording, run)
            watcher.source(recording.id, None, "skipped")
            result.expressions += run.state["sources"][recording.id]["counts"]["spotted"]
            continue
        writer = _Writer(run, recording.id, keep_evidence, watcher)
        queue = DescribeQueue(
            _Remembering(describer, run.answered),
            writer.done,
            policy="offline",
            capacity=capacity,
            workers=workers,
            deadline_s=deadline_s,
        )
        try:
            _one(recording, run, make_pipeline, queue, writer, watcher, result)
        finally:
            queue.close()
    return result


def _same(recording: Recording, run: RunFolder) -> None:
    """Refuse to take another file of the same name for one that was analysed."""
    before = str(run.state["sources"][recording.id]["path"])
    if before != redact(recording.path) and Path(before).resolve() != Path(recording.path).resolve():
        raise RunError(
            f"{run.path} holds results of {before} under the name {recording.id!r}, not of "
            f"{redact(recording.path)}",
            remedy="name another folder with --out",
        )


def _one(
    recording: Recording,
    run: RunFolder,
    make_pipeline: Callable[[str], SourcePipeline],
    queue: DescribeQueue,
    writer: _Writer,
    watcher: Progress,
    result: RunResult,
) -> None:
    started = time.monotonic()
    chain: SourcePipeline | None = None
    info: SourceInfo | None = None
    shown = redact(recording.path)
    summary: dict[str, Any] = {"state": "done", "path": shown}
    end: EndReport | None = None
    seen_ns = 0
    try:
        with open_source(
            recording.path, id=recording.id, live=False, fps=recording.fps, options=recording.options
        ) as source:
            info = source.info
            _must_end(info)
            chain = make_pipeline(recording.id)
            watcher.source(recording.id, info, "open")
            seen_ns = _drain(source, chain, queue, writer, watcher)
            info = source.info
            end = source.end
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
    queue.drain()
    writer.check()
    seconds = time.monotonic() - started
    stats = queue.stats()
    result.expressions += stats.submitted
    result.undescribed.update(stats.dropped)
    summary |= {
        "source": None if info is None else asdict(info),
        "media_s": round(seen_ns / 1e9, 3),
        "wall_s": round(seconds, 2),
        "real_time_factor": round(seen_ns / 1e9 / seconds, 2) if seconds > 0 else None,
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "providers": {} if chain is None else chain.providers,
        "counts": _counts(chain, end, stats.submitted, stats.described, stats.abstained, stats.dropped),
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


def _drain(
    source: Source, chain: SourcePipeline, queue: DescribeQueue, writer: _Writer, watcher: Progress
) -> int:
    first_ns: int | None = None
    last_ns = 0
    number = 0
    with seen_ahead(source, chain) as all_seen:
        for seen in all_seen:
            item = seen.item
            if isinstance(item, Gap):
                writer.event("source.gap", item.from_ns, {"to_ns": str(item.to_ns), "reason": item.reason})
            for output in chain.take(seen):
                number = _take(output, number, queue, writer)
            if isinstance(item, Frame):
                first_ns = item.pts_ns if first_ns is None else first_ns
                last_ns = max(last_ns, item.pts_ns)
                watcher.advance(source.info.id, last_ns - first_ns, source.info.declared_duration_ns)
    for output in chain.finish():
        number = _take(output, number, queue, writer)
    return last_ns - (first_ns or 0)


def _take(output: object, number: int, queue: DescribeQueue, writer: _Writer) -> int:
    if isinstance(output, FaceAppeared):
        box = [round(v, 1) for v in output.box]
        writer.event("face.appeared", output.t_ns, {"track": output.track, "box": box})
    elif isinstance(output, FaceLost):
        writer.event("face.lost", output.t_ns, {"track": output.track})
    elif isinstance(output, PictureChanged):
        writer.event("source.picture", output.t_ns, {"state": output.still or "live"})
    elif isinstance(output, Spotted):
        expression = output.expression
        data = spotted_record(expression, output.evidence.regions)
        writer.event("expression.spotted", expression.apex.pts_ns, data)
        context = DescribeContext(expression.id, output.duration_ms, expression.aus)
        queue.submit(Job(number, expression, output.evidence, context))
        return number + 1
    return number


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

    def __init__(self, run: RunFolder, source: str, keep_evidence: bool, watcher: Progress) -> None:
        self._run = run
        self._source = source
        self._keep = keep_evidence
        self._watcher = watcher
        self._lock = threading.Lock()
        self._early: dict[int, tuple[Job, Outcome]] = {}
        self._next = 0
        self._problem: MellmError | None = None

    def event(self, kind: str, media_ns: int, data: dict[str, Any]) -> None:
        """One line of ``events.jsonl``; media time, so two runs write the same."""
        with self._lock:
            self._run.event({"type": kind, "source": self._source, "media_ns": str(media_ns), "data": data})

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
            record = final_record(job.expression, outcome, self._evidence(job), job.evidence.regions)
            self._run.expression(record)
            self._run.event(
                {
                    "type": f"expression.{outcome.state}",
                    "source": self._source,
                    "media_ns": str(job.expression.apex.pts_ns),
                    "data": {"id": job.expression.id, "reason": outcome.reason},
                }
            )
        except MellmError as error:
            self._problem = self._problem or error
            return
        self._watcher.expression(record)

    def _evidence(self, job: Job) -> str | None:
        if not self._keep or job.evidence.motion_map.shape[0] < 2:
            return None
        ok, png = cv2.imencode(".png", job.evidence.motion_map)
        return self._run.evidence(job.expression.id, png.tobytes()) if ok else None


class _Remembering:
    """A describer that does not ask again what an interrupted run was already told."""

    def __init__(self, describer: Describer, answered: dict[str, dict[str, Any]]) -> None:
        self._describer = describer
        self._answered = {k: r for k, r in answered.items() if r["state"] == "described" and r["description"]}
        self.name, self.profile, self.recipe = describer.name, describer.profile, describer.recipe

    def describe(self, evidence: Any, context: DescribeContext) -> Description:
        record = self._answered.get(context.expression)
        if record is None or record["description"]["model"] != self.name:
            return self._describer.describe(evidence, context)
        known = record["description"]
        emotion = known["emotion"]
        return Description(
            text=known["text"],
            action_units=tuple(ActionUnit(u["au"], u["side"], u["score"]) for u in known["action_units"]),
            emotion=None if emotion is None else Emotion(emotion["coarse"], emotion["scores"]),
            model=known["model"],
            profile=known["profile"],
            prompt_version="",
            latency_ms=known["latency_ms"],
        )

    def close(self) -> None:
        """The describer outlives one source's queue; whoever made it closes it."""
