"""F15: one client behind a bad line. Others must not feel it, and it must lose nothing.

A proxy in user space stands in for ``tc netem``, which needs a kernel module: 200 ms, 1 Mbit/s, and for one in
twenty segments the pause that TCP makes of a loss.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests import PATIENCE_S
from tests.engine.servers import running
from tests.reliability.figures import percentile, record
from tests.reliability.test_load import _client, _publish, _read, _until

DELAY_S, BYTES_PER_S, LOSS, SEGMENT = 0.2, 125_000, 0.05, 1400
FAST, SECONDS = 20, 8.0


@asynccontextmanager
async def bad_line(port: int) -> AsyncIterator[int]:
    """A port on loopback that leads to another one the hard way."""
    draw = random.Random(15)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        free_at = time.monotonic()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)

        async def arrive() -> None:
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                writer.write(data)
                await writer.drain()

        arriving = asyncio.create_task(arrive())
        try:
            while data := await reader.read(SEGMENT):
                free_at = max(free_at, time.monotonic()) + len(data) / BYTES_PER_S
                if draw.random() < LOSS:
                    free_at += 2 * DELAY_S  # what follows waits for what was lost
                await asyncio.sleep(max(0.0, free_at - time.monotonic()))
                await under_way.put((free_at + DELAY_S, data))
        finally:
            arriving.cancel()

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        ways = [asyncio.create_task(carry(reader, back)), asyncio.create_task(carry(there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, back):
                end.transport.abort()

    listener = await asyncio.start_server(lead, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


async def _crowd(through: bool) -> tuple[float, list[float], list[int], int]:
    """p99 of the fast clients, delays and numbers of the slow one, events sent."""
    async with running(checked=False) as server, bad_line(server.port) as port:
        crowd = [await _client(server) for _ in range(FAST)]
        slow: list[ClientConnection] = []
        if through:
            url = server.url.replace(f":{server.port}", f":{port}")
            slow.append(
                await connect(
                    url,
                    subprotocols=[Subprotocol("mellm.v1")],
                    proxy=None,
                    compression=None,
                    open_timeout=PATIENCE_S,
                )
            )
        late: list[float] = []
        slow_late: list[float] = []
        seqs: list[list[int]] = [[] for _ in range(FAST + 1)]
        for each in (*crowd, *slow):
            await each.send('{"type":"subscribe","types":["marker"]}')
        tasks = [asyncio.create_task(_read(each, late, seqs[i])) for i, each in enumerate(crowd)]
        tasks += [asyncio.create_task(_read(each, slow_late, seqs[FAST])) for each in slow]
        await asyncio.sleep(1.5)  # until the slow one has subscribed
        sent = await _publish(server, SECONDS)
        await _until(lambda: all(len(s) == sent for s in seqs[: FAST + len(slow)]))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in (*crowd, *slow):
            each.transport.abort()
        await _until(lambda: server.metrics.snapshot()["clients"] == 0)
        assert server.metrics.imbalances() == []
        return percentile(late, 0.99), slow_late, seqs[FAST], sent


async def test_f15_a_bad_line_is_nobody_elses_trouble() -> None:
    alone, *_ = await _crowd(through=False)
    beside, slow_late, numbers, sent = await _crowd(through=True)
    record(
        "F15",
        "C",
        run="proxy in user space",
        fast_clients=FAST,
        fast_p99_ms={"alone": round(alone, 1), "beside": round(beside, 1)},
        slow_p50_ms=round(percentile(slow_late, 0.5)),
        slow_p99_ms=round(percentile(slow_late, 0.99)),
        lost=sent - len(numbers),
    )
    assert numbers == list(range(numbers[0], numbers[0] + sent))
    assert min(slow_late) >= 1000 * DELAY_S  # the line was bad
