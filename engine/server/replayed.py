"""A run folder on the live page: its events are published again, at their pace, by a server of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mellm.engine.evidence.store import EvidenceStore
from mellm.engine.export.replay import events, paced
from mellm.engine.governance import purpose as privacy
from mellm.engine.results.run_reader import Run, media_ns
from mellm.engine.server.catalog import Catalog
from mellm.engine.server.options import ServerOptions
from mellm.engine.server.server import Server
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal
from mellm.stream.protocol.events import EXPRESSION_SPOTTED


@asynccontextmanager
async def replayed(
    run: Run, *, speed: float = 1.0, port: int = 0, pages: Path | None = None
) -> AsyncIterator[Server]:
    """A server of this machine that shows a run; nothing is kept.

    :param speed: 1 is real time, 0 all at once
    :param port: 0 for any free one
    :param pages: folder of the dashboard
    :raises UsageError: the port cannot be listened on
    """
    settings = run.state.get("settings") or {}
    options = ServerOptions(
        declaration=privacy.require(settings.get("purpose") or "self-use", None), port=port
    )
    stop = threading.Event()
    with Journal(":memory:") as journal:
        hub, evidence = Hub(journal), EvidenceStore()
        async with Server(
            options, hub=hub, catalog=Catalog(run.sources), evidence=evidence, pages=pages
        ) as server:
            playing = asyncio.create_task(asyncio.to_thread(_play, run, speed, hub, evidence, stop))
            try:
                yield server
            finally:
                stop.set()
                await playing


def _play(run: Run, speed: float, hub: Hub, evidence: EvidenceStore, stop: threading.Event) -> None:
    kept = {record.id: record for record in run.expressions}
    for event in paced(events(run), speed, stop.wait):
        if stop.is_set():
            return
        record = kept.get(event.id) if event.type == EXPRESSION_SPOTTED else None
        if record and (picture := run.picture(record.evidence)):
            evidence.put(event.id, picture, "motion")
        data = {name: value for name, value in event.data.items() if name not in ("t_ns", "t_ms")}
        timed = media_ns(event) if "t_ns" in event.data else None
        hub.publish_threadsafe(event.type, event.source, data, timed, id=event.id)
