"""Sessions of live sources: which are open, and what of a source's pictures, scores and events belongs to which."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mellm.engine.analysis.live import LiveEngine
from mellm.engine.analysis.pipeline import Output
from mellm.engine.analysis.pipeline_factory import PipelineFactory, describer_facts
from mellm.engine.analysis.run_settings import run_settings
from mellm.engine.analysis.session import Begun, SessionRecorder
from mellm.engine.analysis.telling import Sink
from mellm.engine.config import Settings
from mellm.engine.provenance import versions
from mellm.engine.results.about import About
from mellm.engine.results.run_folder import RunFolder
from mellm.stream.errors import MellmError, UsageError
from mellm.stream.frames import Frame, Gap
from mellm.stream.protocol.client_messages import EvidenceKind
from mellm.stream.protocol.events import SOURCE_ONLINE, media_time
from mellm.stream.sources.addresses import redact
from mellm.stream.worker import Vitals

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Saved:
    """A session that has ended.

    :param expressions: that were spotted in it
    """

    source: str
    path: Path
    expressions: int


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What sessions keep.

    :param video: keep pictures too, where that was agreed to
    :param evidence: keep motion maps
    :param faces: keep the faces at onset and apex, where that was agreed to
    """

    video: bool = False
    evidence: bool = True
    faces: bool = False


class Sessions:
    """One session at a time for each source. Safe from any thread; :meth:`attach` the engine before anything begins.

    A :class:`mellm.engine.analysis.live_source.Tap` of the engine; events come through :meth:`observe`.

    :param settings: of the sources
    """

    def __init__(
        self,
        settings: Settings,
        options: SessionOptions,
        *,
        vitals: Vitals | None = None,
    ) -> None:
        self.options = options
        self._settings = settings
        self._vitals = vitals
        self._sources = {each.id: each for each in settings.sources}
        self._lock = threading.Lock()
        self._open: dict[str, SessionRecorder] = {}
        self._now_ns: dict[str, int] = {}
        self._online: dict[str, Mapping[str, Any]] = {}
        self._engine: LiveEngine | None = None

    def attach(self, engine: LiveEngine) -> None:
        """The engine whose sources these are."""
        self._engine = engine

    @property
    def engine(self) -> LiveEngine:
        """The engine whose sources these are."""
        assert self._engine is not None, "attach the engine first"
        return self._engine

    # -- life -----------------------------------------------------------------------------------------

    def begin(
        self, source: str, path: Path, *, consent: str | None = None, fresh: bool = False
    ) -> SessionRecorder:
        """Begin a session of a source in a new folder.

        :param consent: reference to the consent of those before it
        :param fresh: the source has not been started yet, or is started anew: its times begin at 0
        :raises UsageError: it has a session already
        :raises RunError: the folder cannot be written, or is not empty
        """
        chosen = self._sources[source]
        with self._lock:
            if source in self._open:
                raise UsageError(f"{source!r} has a session already", remedy="save that one first")
            at, online = self._now_ns.get(source, 0), self._online.get(source)
        begun = Begun(
            source,
            redact(chosen.uri),
            origin_ns=at,
            mirrored=chosen.mirrored,
            online=online,
            totals={} if fresh else self.engine.sources[source].totals(),
        )
        decides = run_settings(
            self._settings,
            self.engine.describer,
            evidence=self.options.evidence,
            fps=chosen.fps,
            consent=consent,
            more={"mirrored": True} if chosen.mirrored else None,
        )
        facts = {
            **PipelineFactory(self._settings, self.engine.describer.recipe).facts(),
            **describer_facts(self._settings),
        }
        run = RunFolder.create(
            path,
            {**decides, "session": path.name},
            {**versions(), **facts},
            About(purpose=self._settings.purpose),
        )
        recorder = SessionRecorder(
            run,
            begun,
            video=self.options.video,
            keep_evidence=self.options.evidence,
            keep_faces=self.options.faces,
            vitals=self._vitals,
        )
        recorder.start()
        with self._lock:
            self._open[source] = recorder
        return recorder

    def save(self, source: str, patience_s: float = 10.0) -> Saved:
        """End the session of a source; the folder is complete then.

        :param patience_s: for descriptions that are under way
        :raises UsageError: it has none
        :raises MellmError: the folder could not be written; what is in it stays
        """
        recorder = self._open.get(source)
        if recorder is None:
            raise UsageError(f"{source!r} has no session", remedy="begin one first")
        live = self.engine.sources[source]
        try:
            count = recorder.finish(live.info, live.totals(), providers=live.providers, patience_s=patience_s)
        finally:
            with self._lock:
                self._open.pop(source, None)
        return Saved(source, recorder.run.path, count)

    def close(self) -> list[Saved]:
        """End every session, without waiting for anything; what cannot be written is logged."""
        found = []
        for source in list(self._open):
            try:
                found.append(self.save(source, patience_s=0.5))
            except MellmError as error:
                logger.error("%s: the session is not complete: %s", source, error)
        return found

    def forget(self, source: str) -> None:
        """The source is started anew: its times begin at 0 again."""
        with self._lock:
            self._now_ns.pop(source, None)
            self._online.pop(source, None)

    def running(self, source: str) -> SessionRecorder | None:
        """The session that a source has now."""
        return self._open.get(source)

    # -- what is seen ---------------------------------------------------------------------------------

    def frame(self, frame: Frame) -> None:
        """See :class:`mellm.engine.analysis.live_source.Tap`."""
        self._now_ns[frame.source] = frame.pts_ns + 1
        recorder = self._open.get(frame.source)
        if recorder is not None:
            recorder.frame(frame)

    def output(self, source: str, output: Output | Gap) -> None:
        """See :class:`mellm.engine.analysis.live_source.Tap`."""
        recorder = self._open.get(source)
        if recorder is not None:
            recorder.output(output)

    def observe(self, type: str, source: str, data: Mapping[str, Any]) -> None:
        """An event that is published; see :meth:`mellm.stream.log.hub.Hub.observe`."""
        if type == SOURCE_ONLINE:
            self._online[source] = data
        recorder = self._open.get(source)
        if recorder is not None:
            recorder.event(type, data)


class SessionSink:
    """Hands everything on to another sink, and events to sessions; for engines without a hub that could be observed."""

    def __init__(self, inner: Sink, sessions: Sessions) -> None:
        self._inner = inner
        self._sessions = sessions

    def publish(self, kind: str, source: str, data: Mapping[str, Any], t_ns: int | None = None) -> None:
        """See :class:`mellm.engine.analysis.telling.Sink`."""
        self._sessions.observe(kind, source, data if t_ns is None else {**data, **media_time("t", t_ns)})
        self._inner.publish(kind, source, data, t_ns)

    @property
    def keeps_faces(self) -> bool:
        """See :class:`mellm.engine.analysis.telling.Sink`."""
        return self._inner.keeps_faces

    def evidence(self, expression: str, png: bytes, shown: EvidenceKind = "motion") -> None:
        """See :class:`mellm.engine.analysis.telling.Sink`."""
        self._inner.evidence(expression, png, shown)


def free_folder(runs: Path, source: str, moment: str) -> Path:
    """A name for a session that nothing has yet.

    :param moment: RFC 3339
    """
    stamp = moment[:19].replace("-", "").replace(":", "") + "Z"
    name = f"{source}-{stamp}"
    number = 1
    while (runs / name).exists():
        number += 1
        name = f"{source}-{stamp}-{number}"
    return runs / name
