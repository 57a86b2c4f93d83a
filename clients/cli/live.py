"""What ``watch`` and ``serve`` share: sources and the engine behind them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from mellm.clients.cli.common import make_describer
from mellm.stream.errors import UsageError

if TYPE_CHECKING:
    from mellm.engine.analysis.live import LiveEngine, Sink
    from mellm.engine.analysis.spool import Spool
    from mellm.engine.analysis.watchdog import Watchdog
    from mellm.engine.config import Settings, SourceSettings
    from mellm.stream.capture.runner import RunnerOptions
    from mellm.stream.frames import Frame
    from mellm.stream.sources.push import PushInlet


def parse_sources(pairs: Sequence[str], mirrored: Sequence[str] = ()) -> list[dict[str, object]]:
    """``ID=URI`` arguments as source settings.

    :raises UsageError: an argument without an id
    """
    found: list[dict[str, object]] = []
    for pair in pairs:
        name, equals, uri = pair.partition("=")
        if not equals or not name or not uri:
            raise UsageError(f"--source {pair!r} is not ID=URI", remedy="write --source desk=/dev/video0")
        found.append({"id": name, "uri": uri, "mirrored": name in mirrored})
    unknown = set(mirrored) - {str(source["id"]) for source in found}
    if unknown:
        raise UsageError(f"--mirrored names no source: {', '.join(sorted(unknown))}")
    return found


def build(
    settings: Settings,
    sources: Sequence[SourceSettings],
    sink: Sink,
    options: RunnerOptions | None = None,
    spool: Spool | None = None,
    watchdog: Watchdog | None = None,
    on_frame: Callable[[Frame], None] | None = None,
    inlets: Mapping[str, PushInlet] | None = None,
) -> LiveEngine:
    """A live engine for these sources, not started.

    :param options: how sources are kept alive; by default they may be down at the start
    :param spool: keeps describe jobs over a crash
    :param watchdog: is told that sources go on
    :param on_frame: sees each frame, see :class:`mellm.engine.analysis.live.LiveEngine`
    :param inlets: where clients' pictures arrive, for sources whose address is ``push:``
    """
    from mellm.engine.analysis.live import LiveEngine
    from mellm.engine.analysis.pipeline_factory import PipelineFactory
    from mellm.engine.server.process import heap
    from mellm.stream.capture.runner import RunnerOptions, SourceRunner
    from mellm.stream.sources import SourceOptions

    describer = make_describer(settings)
    factory = PipelineFactory(settings, describer.recipe)

    def runner(source: SourceSettings) -> SourceRunner:
        chosen = SourceOptions(
            mirrored=source.mirrored,
            track=source.track,
            stamps=source.stamps or "",
            accept_guessed_time=source.accept_guessed_time,
        )
        if inlets is not None and source.id in inlets:
            inlet = inlets[source.id]
            # nobody has to send: waiting for it is no failure to open
            patient = replace(options or RunnerOptions(), open_s=math.inf)
            return SourceRunner(
                source.uri, id=source.id, options=patient, opener=lambda first: inlet.open(first, chosen)
            )
        return SourceRunner(source.uri, id=source.id, fps=source.fps, source_options=chosen, options=options)

    runners = [runner(source) for source in sources]
    mirrored = {source.id for source in sources if source.mirrored}
    chosen = settings.describer
    return LiveEngine(
        runners,
        lambda source: factory.make(source, mirrored=source in mirrored),
        describer,
        sink,
        capacity=chosen.capacity,
        workers=chosen.workers,
        deadline_s=chosen.deadline_s,
        spool=spool,
        watchdog=watchdog,
        on_frame=on_frame,
        on_loaded=heap.set_aside,
    )


@contextmanager
def quietly(*names: str) -> Iterator[None]:
    """Keep these loggers from telling what the verb's own last line says, unless the user asked for the log."""
    loggers = [] if logging.getLogger().isEnabledFor(logging.INFO) else [logging.getLogger(n) for n in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
