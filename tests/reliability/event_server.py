"""A whole server whose cameras and describer are scripted, so that expressions come fast: made to be killed.

``python -m tests.reliability.event_server PORT FOLDER RUN [CAMERAS [MODEL_URL]]``. Prints "ready" when it
listens; stops on SIGTERM. It is put together as ``mellm serve`` is: journal, hub, spool, recovery, live engine.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from mellm.engine.analysis.live import LiveEngine
from mellm.engine.analysis.recovery import recover, take_over
from mellm.engine.analysis.spool import Spool
from mellm.engine.describe.base import Describer
from mellm.engine.describe.openai import OpenAIDescriber
from mellm.engine.describe.scripted import ScriptedDescriber
from mellm.engine.evidence.store import EvidenceStore
from mellm.engine.governance.purpose import require
from mellm.engine.server.catalog import Catalog
from mellm.engine.server.options import ServerOptions
from mellm.engine.server.process.allocator import tune_malloc
from mellm.engine.server.process.loop import limit_accept_errors
from mellm.engine.server.server import Server
from mellm.engine.server.sinks import HubSink
from mellm.stream.capture.runner import SourceRunner
from mellm.stream.frames import Frame, SourceInfo
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal
from mellm.stream.sources.scripted import ScriptedSource
from tests.engine.moving import SECONDS, SIZE, chain, picture

FPS = 30
DESCRIBE_S = 0.3


def frames(source: str) -> Iterator[Frame]:
    """The moving face over and over, as fast as a camera of 30 frames a second would show it."""
    count = round(SECONDS * FPS)
    start = time.monotonic_ns()
    for i in itertools.count():
        pts_ns = round(i * 1e9 / FPS)
        time.sleep(max(0.0, (start + pts_ns - time.monotonic_ns()) / 1e9))
        yield Frame(source, 0, i, pts_ns, time.monotonic_ns(), picture(i % count / FPS))


def runner(source: str) -> SourceRunner:
    """A live camera."""
    info = SourceInfo(source, "scripted:", "camera", SIZE[1], SIZE[0], 0, FPS, None, True)
    return SourceRunner("scripted:", id=source, opener=lambda segment: ScriptedSource(info, frames(source)))


async def end_with(parent: int) -> None:
    """A test that was itself killed leaves no server behind."""
    while os.getppid() == parent:  # noqa: ASYNC110 - the kernel tells nobody
        await asyncio.sleep(1.0)
    os._exit(1)


async def main(port: int, folder: Path, run: str, count: int = 2, model_url: str = "") -> None:
    with Journal(folder / "journal.db") as journal:
        hub, evidence, spool = Hub(journal), EvidenceStore(), Spool(folder / "open")
        left_open = recover(journal.unfinished(), spool)
        # a camera's clock never counts the same twice
        cameras = [f"camera-{run}-{i}" for i in range(count)]
        describer: Describer = (
            OpenAIDescriber(model_url, "m", timeout_s=10)
            if model_url
            else ScriptedDescriber(delay_s=DESCRIBE_S)
        )
        engine = LiveEngine(
            [runner(camera) for camera in cameras],
            chain,
            describer,
            HubSink(hub, evidence),
            spool=spool,
        )
        options = ServerOptions(require("self-use"), port=port)
        async with Server(options, hub=hub, catalog=Catalog(cameras), evidence=evidence) as server:
            stop = asyncio.Event()
            limit_accept_errors(asyncio.get_running_loop())
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
            take_over(left_open, engine, hub, server.metrics.resumed)
            engine.start()
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            orphaned = asyncio.create_task(end_with(os.getppid()))
            await stop.wait()
            orphaned.cancel()
            await asyncio.to_thread(engine.stop)
            assert server.metrics.imbalances() == []


if __name__ == "__main__":
    tune_malloc()
    port, folder, run, *more = sys.argv[1:]
    asyncio.run(main(int(port), Path(folder), run, int(more[0]) if more else 2, *more[1:]))
