"""The engine from Python: recordings analysed, or frames of your own pushed through. Reached as ``mellm.analyze`` and
``mellm.Pipeline``."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mellm.detectors.stepmodel import StepModel
from mellm.engine.analysis import offline
from mellm.engine.analysis.describe_queue import DescribeQueue, Job
from mellm.engine.analysis.offline import Progress, RunResult, Silent
from mellm.engine.analysis.pipeline import Output, Spotted
from mellm.engine.analysis.pipeline_factory import PipelineFactory, describer_facts, describer_of
from mellm.engine.analysis.run_settings import run_settings
from mellm.engine.config import Settings, load, validated
from mellm.engine.describe.base import DescribeContext, Describer
from mellm.engine.governance import consent as gate
from mellm.engine.governance.purpose import Purpose
from mellm.engine.provenance import versions
from mellm.engine.results.about import About
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.run_folder import RunFolder, Unkept, read_expressions
from mellm.engine.types import Outcome
from mellm.stream.errors import UsageError
from mellm.stream.frames import Frame, SourceInfo
from mellm.stream.sources import SourceOptions

PURPOSE: Final = Purpose.SELF_USE
"""Of whoever does not state one; a server needs it stated."""

AnyDescriber: TypeAlias = Describer | str | None
"""A describer, a name as for ``--describer``, or ``None`` for the one that the settings name."""

AnySpotter: TypeAlias = StepModel | str | Path | None
"""A network, a path or name as for ``--spotter``, or ``None`` for the one that the settings name."""

PATIENCE_S: Final = 60.0
"""For one description of a recording, unless the settings allow more."""

OPENING: Final = ("mirrored", "track", "stamps", "accept_guessed_time")
"""Source options that decide what is found; they stand in ``run.json`` where they are not the default."""


def analyze(
    paths: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    describer: AnyDescriber = None,
    spotter: AnySpotter = None,
    settings: Settings | None = None,
    fps: float | None = None,
    options: SourceOptions | None = None,
    consent: str | None = None,
    keep_evidence: bool = True,
) -> Iterator[ExpressionRecord]:
    """Analyse recordings, and yield each expression when it has ended, in the order of spotting.

    Nothing is left on disk unless ``out`` is given. A run in ``out`` that is stopped early goes
    on where it was. One thread may iterate.

    :param paths: one recording or several: files, or folders of pictures with ``fps``
    :param out: run folder to write, or to go on in; expressions that are there already are yielded, too
    :param describer: who describes: an own one, or a name such as ``rules`` or ``nano:FOLDER``
    :param spotter: an own network, or the path of one
    :param settings: of :func:`mellm.load`
    :param fps: frame rate of folders of pictures
    :param options: how recordings are opened
    :param consent: reference to the consent of who is seen; research and clinical need it
    :param keep_evidence: with ``out``, keep motion maps there
    :raises UsageError: settings, describer or spotter that cannot be obeyed; a consent reference is missing
    :raises SourceError: a recording cannot be analysed to its end; raised after the results of all others
    :raises ModelError: weights are missing, damaged, or do not fit
    :raises RunError: ``out`` cannot be written, or holds another run
    """
    listed = [str(paths)] if isinstance(paths, str | Path) else [str(path) for path in paths]
    chosen = _settings(settings, describer, spotter)
    gate.of_analysis(chosen, consent, PURPOSE)
    return _iterate(listed, out, chosen, describer, spotter, fps, options, consent, keep_evidence)


def _iterate(
    paths: Sequence[str],
    out: str | Path | None,
    settings: Settings,
    describer: AnyDescriber,
    spotter: AnySpotter,
    fps: float | None,
    options: SourceOptions | None,
    consent: str | None,
    keep_evidence: bool,
) -> Iterator[ExpressionRecord]:
    found = _Found(None if out is None else Path(out))
    with analysis(
        paths,
        None if out is None else Path(out),
        settings,
        describer=describer if not isinstance(describer, str) else None,
        spotter=spotter if not isinstance(spotter, str | Path) else None,
        fps=fps,
        options=options,
        consent=consent,
        keep_evidence=keep_evidence,
        progress=found,
    ) as (steps, result):
        for _ in steps:
            yield from found.take()
        yield from found.take()
    for _, error in result.failures:
        raise error


@contextmanager
def analysis(
    paths: Sequence[str],
    out: Path | None,
    settings: Settings,
    *,
    describer: Describer | None = None,
    spotter: StepModel | None = None,
    fps: float | None = None,
    options: SourceOptions | None = None,
    consent: str | None = None,
    about: About | None = None,
    keep_evidence: bool = True,
    progress: Progress | None = None,
) -> Iterator[tuple[Iterator[None], RunResult]]:
    """An analysis of recordings that is under way: its steps, and the result that they fill.

    :param describer: an own one, closed by its owner; by default the one that the settings name
    :param settings: without a purpose, the run is made as self-use, and says that none was stated
    :param consent: reference by which the run can be found and erased
    :param about: subject, session and so on; its purpose is that of the settings
    :raises UsageError: see :func:`analyze`
    :raises ConsentMissing: the purpose needs a consent reference
    :raises RunError: see :func:`analyze`
    :raises ModelError: see :func:`analyze`
    """
    opening = options or SourceOptions()
    agreed = gate.of_analysis(settings, consent, PURPOSE)
    own = describer if describer is not None else describer_of(settings)
    try:
        factory = PipelineFactory(settings, own.recipe, spotter)
        if out is None:
            run: RunFolder | Unkept = Unkept()
        else:
            decides = run_settings(
                settings, own, evidence=keep_evidence, fps=fps, consent=agreed, more=_asked(opening)
            )
            said = replace(about or About(), purpose=settings.purpose)
            facts = {**versions(), **factory.facts(), **describer_facts(settings, describer)}
            run = RunFolder.create(out, decides, facts, said)
        try:
            result = RunResult(run.path)
            steps = offline.steps(
                offline.recordings(paths, fps, opening),
                run,
                lambda source: factory.make(source, mirrored=opening.mirrored),
                own,
                result,
                keep_evidence=keep_evidence and out is not None,
                # offline nobody waits: a slow machine gets the readings that a fast one gets
                deadline_s=max(PATIENCE_S, settings.describer.deadline_s, settings.describer.timeout_s),
                capacity=settings.describer.capacity,
                workers=settings.describer.workers,
                progress=progress,
            )
            try:
                yield steps, result
            finally:
                steps.close()
        finally:
            if isinstance(run, RunFolder):
                run.close()
    finally:
        if describer is None:
            own.close()


class Pipeline:
    """Frames of your own in, described expressions out. Use as a context manager; one thread at a time.

    Nothing is dropped: when more expressions wait for their description than the settings allow, :meth:`push` waits.

    :param describer: who describes: an own one, which its owner closes, or a name; by default what the settings name
    :param spotter: an own network, or the path of one
    :param settings: of :func:`mellm.load`
    :param source: name of the source, in results
    :param mirrored: pictures are mirror images
    :param consent: reference to the consent of who is seen; research and clinical need it
    :raises UsageError: settings, describer or spotter that cannot be obeyed
    :raises ModelError: weights are missing, damaged, or do not fit
    """

    def __init__(
        self,
        *,
        describer: AnyDescriber = None,
        spotter: AnySpotter = None,
        settings: Settings | None = None,
        source: str = "frames",
        mirrored: bool = False,
        consent: str | None = None,
    ) -> None:
        chosen = _settings(settings, describer, spotter)
        gate.of_analysis(chosen, consent, PURPOSE)
        own = None if describer is None or isinstance(describer, str) else describer
        network = None if spotter is None or isinstance(spotter, str | Path) else spotter
        self._describer = own if own is not None else describer_of(chosen)
        self._owns = own is None
        self._source = source
        self._ended: deque[ExpressionRecord] = deque()
        self._number = self._index = 0
        self._last: tuple[int, int] | None = None
        factory = PipelineFactory(chosen, self._describer.recipe, network)
        self._pipeline = factory.make(source, mirrored=mirrored)
        self._queue = DescribeQueue(
            _Kept(self._describer),
            self._done,
            policy="offline",
            capacity=chosen.describer.capacity,
            workers=chosen.describer.workers,
            deadline_s=chosen.describer.deadline_s,
        )

    def push(self, image: NDArray[np.uint8], t_ns: int, *, segment: int = 0) -> list[ExpressionRecord]:
        """Take the next frame.

        :param image: H×W×3 uint8, BGR
        :param t_ns: when it was taken, nanoseconds on any clock that only goes forward
        :param segment: raise it where the camera was interrupted: nothing is found across that
        :returns: expressions that have ended since the last call, described or with the reason why not
        :raises UsageError: another shape or type, or a time that does not advance
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise UsageError(
                f"a frame is H×W×3 uint8 in BGR order, not {image.shape} {image.dtype}",
                remedy="convert it first",
            )
        if self._last is not None and (segment, t_ns) <= self._last:
            raise UsageError(
                f"frame {self._index} is of {t_ns} ns, and the one before of {self._last[1]} ns",
                remedy="push frames in order of time, or raise the segment",
            )
        self._last = segment, t_ns
        frame = Frame(self._source, segment, self._index, t_ns, t_ns, image)
        self._index += 1
        return self._take(self._pipeline.push(frame))

    def finish(self) -> list[ExpressionRecord]:
        """There are no more frames: decide what is open, and wait for descriptions.

        :returns: the expressions that were not returned before
        """
        self._take(self._pipeline.finish(), keep=True)
        self._queue.drain()
        return self._take([])

    def close(self) -> None:
        """Give up what waits, and release the describer if it is not the caller's. Safe to call twice."""
        self._queue.close()
        if self._owns:
            self._describer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, outputs: list[Output], *, keep: bool = False) -> list[ExpressionRecord]:
        for output in outputs:
            if isinstance(output, Spotted):
                expression = output.expression
                context = DescribeContext(
                    expression.id, output.duration_ms, expression.aus, score=expression.score
                )
                self._queue.submit(Job(self._number, expression, output.evidence, context))
                self._number += 1
        return [] if keep else [self._ended.popleft() for _ in range(len(self._ended))]

    def _done(self, job: Job, outcome: Outcome) -> None:
        self._ended.append(ExpressionRecord.of(job.expression, job.evidence.regions).ended(outcome))


class _Kept:
    """A describer that outlives the queue in front of it."""

    def __init__(self, describer: Describer) -> None:
        self._describer = describer
        self.name, self.profile, self.recipe = describer.name, describer.profile, describer.recipe
        self.describe = describer.describe

    def close(self) -> None:
        """The owner closes it."""


class _Found(Silent):
    """Collects expressions for :func:`analyze`; filled from any thread, emptied by one."""

    def __init__(self, out: Path | None) -> None:
        self._out = out
        self._records: deque[ExpressionRecord] = deque()

    def source(self, source: str, info: SourceInfo | None, state: str) -> None:
        """What an earlier session had found is yielded again."""
        if state == "skipped" and self._out is not None:
            self._records.extend(r for r in read_expressions(self._out) if r.source == source)

    def expression(self, record: ExpressionRecord) -> None:
        """See :class:`mellm.engine.analysis.offline.Progress`."""
        self._records.append(record)

    def take(self) -> Iterator[ExpressionRecord]:
        """What has come since the last call."""
        while self._records:
            yield self._records.popleft()


def _settings(settings: Settings | None, describer: AnyDescriber, spotter: AnySpotter) -> Settings:
    """The settings with what was named beside them, and a purpose."""
    chosen = load() if settings is None else settings
    data: dict[str, Any] = chosen.model_dump(exclude_unset=True)
    if isinstance(describer, str):
        data["describer"] = {**data.get("describer", {}), "kind": describer, "folder": None}
    if isinstance(spotter, str | Path):
        data["spotting"] = {**data.get("spotting", {}), "model": str(spotter)}
    return validated(data)


def _asked(options: SourceOptions) -> dict[str, Any]:
    """Only what differs from the default, so that runs of before can be gone on with."""
    default = {field.name: field.default for field in fields(SourceOptions)}
    return {name: value for name in OPENING if (value := getattr(options, name)) != default[name]}
