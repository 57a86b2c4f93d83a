"""F9: the server is killed at random moments; no event that a client saw is lost, nothing is numbered twice."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from mellm.clients.client import connect
from mellm.stream.log.journal import Journal
from mellm.stream.protocol.events import EXPRESSION_ENDS, EXPRESSION_SPOTTED, Event
from tests import PATIENCE_S
from tests.engine.serving import free_port
from tests.reliability.figures import REPO, percentile, record


class EventServer:
    """The scripted server as a process."""

    def __init__(self, port: int, folder: Path, run: int, *more: object) -> None:
        started = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.event_server", *map(str, (port, folder, run, *more))],
            stdout=subprocess.PIPE,
            cwd=REPO,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        self.start_s = time.monotonic() - started

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """Whatever it does; also when it has ended."""
        self._process.kill()
        self._process.wait(PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def end(self, number: signal.Signals) -> int:
        self._process.send_signal(number)
        code = self._process.wait(PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code


@pytest.mark.parametrize("seed", range(2))
async def test_f9_killed_at_random_moments(tmp_path: Path, seed: int) -> None:
    await _killed(tmp_path, seed, kills=3, tier="C")


@pytest.mark.slow
async def test_f9_killed_a_hundred_times(tmp_path: Path) -> None:
    await _killed(tmp_path, 9, kills=100, tier="N")


async def _killed(folder: Path, seed: int, kills: int, tier: str) -> None:
    rng = random.Random(seed)
    port = free_port()
    seen: list[Event] = []
    restarts: list[float] = []
    server = await asyncio.to_thread(EventServer, port, folder, 0)

    async def follow() -> None:
        async with connect(f"ws://127.0.0.1:{port}", backoff_s=0.05, max_backoff_s=0.2) as session:
            async for event in session.events(types=["expression.*"], after="start"):
                seen.append(event)  # noqa: PERF401 - one at a time, to be there when the task is cancelled

    async def told(count: int) -> None:
        """Until the client has seen so many more events, however long the machine takes."""
        wanted = len(seen) + count
        async with asyncio.timeout(PATIENCE_S):
            while len(seen) < wanted and not client.done():  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.02)
        assert not client.done(), client

    client = asyncio.create_task(follow())
    try:
        for run in range(1, kills + 1):
            if run % 2:  # soon after it listens: before, in or after its first expression
                await asyncio.sleep(rng.uniform(0.2, 2.5))
            else:
                await told(rng.randrange(1, 4))
            assert not client.done(), client
            await asyncio.to_thread(server.end, signal.SIGKILL)
            server = await asyncio.to_thread(EventServer, port, folder, run)
            restarts.append(server.start_s)
        await told(2)
        assert await asyncio.to_thread(server.end, signal.SIGTERM) == 0
    finally:
        server.kill()
    await asyncio.sleep(0.3)
    client.cancel()
    await asyncio.gather(client, return_exceptions=True)

    with Journal(folder / "journal.db") as journal:
        written = {r.seq: r.event for r in journal.replay()}
        assert journal.unfinished() == []
        assert list(written) == list(range(1, journal.last_seq + 1)), "a hole, or a number twice"
    numbers = [event.seq for event in seen]
    assert numbers == sorted(set(numbers)), "repeated or out of order"
    for event in seen:
        assert json.dumps(written[event.seq].data, sort_keys=True) == json.dumps(event.data, sort_keys=True)
    expected = [
        n for n, event in written.items() if event.type.startswith("expression.") and n <= numbers[-1]
    ]
    assert numbers == expected, "the client missed an event"
    spotted = Counter(e.id for e in written.values() if e.type == EXPRESSION_SPOTTED)
    ended = Counter(e.id for e in written.values() if e.type in EXPRESSION_ENDS)
    assert spotted == ended
    assert set(spotted.values()) == {1}
    ends = Counter(
        f"{e.type} {e.data.get('reason') or ''}".strip() for e in written.values() if e.id in ended
    )
    record(
        "F9",
        tier,
        run=seed,
        kills=kills,
        events=len(written),
        seen_by_client=len(seen),
        expressions=dict(ends),
        lost=0,
        restart_s={"median": round(percentile(restarts, 0.5), 2), "longest": round(max(restarts), 2)},
    )
