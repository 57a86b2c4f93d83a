"""L7: four cameras, fifty clients that come and go, a model server that restarts, for two hours.

``MELLM_SOAK_S`` sets another length. Each process's memory, descriptors and threads are read from ``/proc``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mellm.clients.client import connect
from mellm.stream.log.journal import Journal
from mellm.stream.protocol.events import EXPRESSION_ENDS, EXPRESSION_SPOTTED
from tests.engine.serving import free_port
from tests.reliability.describing import ModelProcess
from tests.reliability.figures import record
from tests.reliability.test_killed_server import EventServer

WARM_S = 600.0
CAMERAS, CLIENTS = 4, 50
CHURN_S, RESTART_S, LOOK_S = 2.0, 300.0, 15.0


@dataclass(frozen=True, slots=True)
class Look:
    """A process at a moment."""

    at_s: float
    rss_mb: float
    descriptors: int
    threads: int


def look(pid: int, start_s: float) -> Look:
    """What the kernel says of a process."""
    proc = Path("/proc") / str(pid)
    pages = int((proc / "statm").read_text(encoding="ascii").split()[1])
    return Look(
        time.monotonic() - start_s,
        pages * resource.getpagesize() / 1e6,
        len(list((proc / "fd").iterdir())),
        len(list((proc / "task").iterdir())),
    )


def floors(looks: list[Look], parts: int = 10) -> list[Look]:
    """The least memory of each tenth of the time: pictures that wait come and go with the load of the machine, and what
    is never given back is left in the least.
    """
    size = max(1, len(looks) // parts)
    return [min(looks[at : at + size], key=lambda each: each.rss_mb) for at in range(0, len(looks), size)]


def slope_mb_per_h(looks: list[Look]) -> float:
    """Straight line through the memory of all looks, by least squares."""
    hours = [each.at_s / 3600 for each in looks]
    return float(np.polyfit(hours, [each.rss_mb for each in looks], 1)[0])


async def visit(port: int, stay_s: float, seen: Counter[str]) -> None:
    """One client: from the newest event on, for a while."""
    async with connect(f"ws://127.0.0.1:{port}") as session:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(stay_s):
                async for event in session.events():
                    seen[event.type] += 1


async def crowd(port: int, seconds: float, seen: Counter[str]) -> int:
    """Fifty clients; every two seconds the stay of some ends, and as many come."""
    rng = random.Random(7)
    came = 0
    until = time.monotonic() + seconds
    async with asyncio.TaskGroup() as group:
        here: set[asyncio.Task[None]] = set()
        while (now := time.monotonic()) < until:
            here = {task for task in here if not task.done()}
            for _ in range(CLIENTS - len(here)):
                stay_s = min(rng.uniform(2 * CHURN_S, 20 * CHURN_S), until - now)
                here.add(group.create_task(visit(port, stay_s, seen)))
                came += 1
            await asyncio.sleep(CHURN_S)
    return came


@pytest.mark.soak
async def test_l7_memory_descriptors_and_threads_stay(tmp_path: Path) -> None:
    await _soak(tmp_path, float(os.environ.get("MELLM_SOAK_S", "7200")), "S")


@pytest.mark.slow
async def test_l7_for_two_minutes(tmp_path: Path) -> None:
    await _soak(tmp_path, 120.0, "N")


async def _soak(folder: Path, seconds: float, tier: str) -> None:
    port, model_port = free_port(), free_port()
    model = await asyncio.to_thread(ModelProcess, model_port, 0.2)
    server = await asyncio.to_thread(EventServer, port, folder, 0, CAMERAS, model.url)
    seen: Counter[str] = Counter()
    looks: list[Look] = []
    start = time.monotonic()
    visitors = asyncio.create_task(crowd(port, seconds, seen))
    restarts = 0
    try:
        while not visitors.done():
            await asyncio.sleep(LOOK_S)
            looks.append(look(server.pid, start))
            if looks[-1].at_s > (restarts + 1) * RESTART_S:
                restarts += 1
                await asyncio.to_thread(model.kill)
                await asyncio.sleep(3.0)
                model = await asyncio.to_thread(ModelProcess, model_port, 0.2)
        came = await visitors
        await asyncio.sleep(2.0)
        looks_after = look(server.pid, start)
        # the server asserts its own sums before it ends
        assert await asyncio.to_thread(server.end, signal.SIGTERM) == 0
    finally:
        visitors.cancel()
        server.kill()
        model.kill()
    with Journal(folder / "journal.db") as journal:
        assert journal.unfinished() == []
        kinds = Counter(each.event.type for each in journal.replay())
    assert kinds[EXPRESSION_SPOTTED] == sum(kinds[kind] for kind in EXPRESSION_ENDS)
    warm = [each for each in looks if each.at_s > min(WARM_S, seconds / 3)]
    slope = slope_mb_per_h(floors(warm))
    record(
        "L7",
        tier,
        minutes=round(seconds / 60),
        cameras=CAMERAS,
        clients=CLIENTS,
        visits=came,
        model_restarts=restarts,
        expressions=kinds[EXPRESSION_SPOTTED],
        ends={kind.removeprefix("expression."): kinds[kind] for kind in sorted(EXPRESSION_ENDS)},
        events_delivered=sum(seen.values()),
        rss_mb=f"{warm[0].rss_mb:.0f} to {warm[-1].rss_mb:.0f}",
        floor_slope_mb_per_h=round(slope, 2),
        floors_mb=", ".join(f"{each.rss_mb:.0f}" for each in floors(warm)),
        descriptors=f"{min(w.descriptors for w in warm)} to {max(w.descriptors for w in warm)}",
        threads=f"{min(w.threads for w in warm)} to {max(w.threads for w in warm)}",
    )
    threads = {each.threads for each in warm}
    assert max(threads) - min(threads) <= 2
    # clients come and go, so does the model's connection; nothing else may
    assert looks_after.descriptors <= warm[0].descriptors
    if seconds >= 3600:
        assert slope <= 1.0
