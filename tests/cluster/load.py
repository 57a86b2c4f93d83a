"""How long an answer takes over a bus, by the number of cameras: ``python -m tests.cluster.load [SECONDS]``.

N cameras with 4.5 expressions a minute each (as NVIDIA's figures for a detector before a language model count them),
on four camera nodes, two describers, and a real broker that acknowledges what is on its disk. Camera nodes and
describers are the product's own queue, bus and nodes, in one process; the describer is a stand-in that takes 0.5 s.
Few cameras are told faster than true time, since one alone would take minutes for ten expressions.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from mellm.engine.analysis.describe_queue import DescribeQueue, Job
from mellm.engine.bus import open_bus
from mellm.engine.bus.base import Bus, BusOptions
from mellm.engine.describe.base import DescribeContext
from mellm.engine.describe.scripted import ScriptedDescriber
from mellm.engine.governance.purpose import log_audit
from mellm.engine.roles.bus_describer import BusDescriber
from mellm.engine.roles.describe import DescribeNode
from mellm.engine.roles.membership import tasks
from mellm.engine.roles.start import HANDS
from mellm.engine.types import Outcome
from tests.cluster.servers import Nats
from tests.cluster.stand_in import evidence, expression
from tests.reliability.figures import percentile

NODES = 4
PER_MINUTE = 4.5
FEWEST = 20


async def measure(broker: Nats, cameras: int, *, seconds: float, hands: int, round: int) -> dict[str, object]:
    rate = cameras * PER_MINUTE / 60
    number = max(FEWEST, int(rate * seconds))
    ages: list[float] = []
    ends: Counter[str] = Counter()
    born: dict[str, float] = {}

    def done(job: Job, outcome: Outcome) -> None:
        ends[outcome.reason or outcome.state] += 1
        if outcome.state == "described":
            ages.append(time.monotonic() - born[job.expression.id])

    async def joined() -> Bus:
        bus = open_bus(BusOptions(broker.url, prefix=f"load{round}"))
        await bus.open()
        stack.push_async_callback(bus.close)
        return bus

    async with AsyncExitStack() as stack:
        for name in ("d-1", "d-2"):
            node = DescribeNode(await joined(), name, ScriptedDescriber(delay_s=0.5), log_audit, hands=hands)
            await stack.enter_async_context(node.running())
        queues = []
        for _ in range(NODES):
            describer = BusDescriber(await joined(), asyncio.get_running_loop())
            await stack.enter_async_context(tasks(describer.run))
            queues.append(DescribeQueue(describer, done, policy="live", workers=4 * HANDS, deadline_s=10.0))
        rng, shown = random.Random(cameras), evidence(60)
        started = time.monotonic()
        for place in range(number):
            await asyncio.sleep(rng.expovariate(max(rate, FEWEST / seconds)))
            camera = f"c{place % cameras}"
            found = expression(camera, round, place, score=rng.random())
            born[found.id] = time.monotonic()
            context = DescribeContext(found.id, 200.0, source=camera)
            queues[place % NODES].submit(Job(place, found, shown, context))
        for queue in queues:
            await asyncio.to_thread(queue.drain, 60.0)
        took_s = time.monotonic() - started
        for queue in queues:
            await asyncio.to_thread(queue.close)
    assert ends.total() == number, "an expression without an end"
    return {
        "cameras": cameras,
        "hands": 2 * hands,
        "expressions": number,
        "a_second": float(f"{number / took_s:.3g}"),
        "mean_s": float(f"{sum(ages) / len(ages):.3g}"),
        "p90_s": float(f"{percentile(ages, 0.9):.3g}"),
        "p99_s": float(f"{percentile(ages, 0.99):.3g}"),
        "ends": dict(ends),
    }


async def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder, Nats(Path(folder)) as broker:
        for round, (cameras, hands) in enumerate(
            [(1, 16), (20, 16), (50, 16), (200, 16), (500, 16), (500, 5)]
        ):
            found = await measure(broker, cameras, seconds=seconds, hands=hands, round=round)
            sys.stdout.write(json.dumps(found) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 20.0))
