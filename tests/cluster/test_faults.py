"""Faults of the broker, of clocks and of disks, on real servers."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mellm.engine.bus import open_bus
from mellm.engine.bus.base import Bus, BusOptions
from mellm.stream.errors import BusUnavailable
from tests.cluster.harness import Client, Process, account, cameras, following, settle, start, until
from tests.cluster.servers import NATS_CONFIG, Nats, missing
from tests.reliability.figures import record

pytestmark = pytest.mark.cluster
BODY = bytes(60_000)


@pytest.fixture(autouse=True)
def _there_is_a_broker() -> None:
    if why := missing("nats"):
        pytest.skip(why)


async def opened(broker: Nats) -> Bus:
    bus = open_bus(BusOptions(broker.url, monitor=broker.monitor))
    await bus.open()
    return bus


async def test_a_broker_that_is_away_and_a_node_whose_clock_is_an_hour_off(tmp_path: Path) -> None:
    with Nats(tmp_path / "broker") as broker:
        plain = {"every": 5, "describe_s": 0.02}
        nodes = [
            Process(tmp_path, "describe", "d-1", broker, stand_in={**plain, "clock_s": -3600}),
            Process(tmp_path, "gateway", "g-1", broker, stand_in=plain),
            Process(
                tmp_path, "camera", "c-1", broker, *cameras(["a", "b"]), stand_in={**plain, "clock_s": 3600}
            ),
        ]
        client = Client(nodes[1].url, "g-1")
        try:
            await start(nodes)
            async with following([client]):
                await until(lambda: len(client.ends) >= 6, "expressions, whatever clocks say")
                described = [e for e in client.ends.values() if e.type == "expression.described"]
                assert len(described) >= 6
                broker.kill()
                await asyncio.sleep(8)
                assert (await nodes[2].metrics())["mellm_bus_outbox_events"] > 0
                before = len(client.spotted)
                broker.start()
                await until(lambda: len(client.spotted) >= before + 20, "what was found meanwhile is told")
                await asyncio.to_thread(nodes[2].end)
                await settle([client])
            found = account([nodes[2].folder], [client])
        finally:
            for node in nodes:
                node.kill()
    assert found.faults == []
    assert found.fenced == 0


async def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """The store is copied at random moments, as a disk would hold it, and what was written last is cut off. Whatever
    was acknowledged before the copy began must be there when a broker starts on the copy."""
    rng = random.Random(7)
    kept = []
    with Nats(tmp_path / "broker") as broker:
        bus = await opened(broker)
        acknowledged: list[str] = []
        for cut in range(3):
            for _ in range(rng.randrange(10, 40)):
                id = str(len(acknowledged))
                await bus.append(f"event.a.{cut}", BODY, id=id)
                acknowledged.append(id)
            known = list(acknowledged)
            copy = tmp_path / f"copy-{cut}"
            writing = asyncio.create_task(bus.append("event.a.x", BODY, id=f"torn {cut}"))
            await asyncio.to_thread(shutil.copytree, broker.folder / "store", copy / "store")
            await writing
            tear(copy / "store", rng)
            kept.append((copy, known))
        await bus.close()
    for copy, known in kept:
        with Nats(copy) as again:
            bus = await opened(again)
            found, at = set(), 0
            while (message := await bus.read("event.>", at)) is not None:
                at = message.seq
                found.add(message.id)
            await bus.close()
        assert set(known) <= found


def tear(store: Path, rng: random.Random) -> None:
    """What was not synced when the power went is gone: the index that is written now and then, and a torn tail."""
    for index in store.rglob("index.db"):
        index.unlink()
    blocks = sorted(store.rglob("mellm_event/**/*.blk"))
    assert blocks
    with blocks[-1].open("ab") as file:
        file.write(rng.randbytes(rng.randrange(1, 200)))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here (needs root)")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


async def test_a_full_disk_at_the_broker_is_told_and_heals(small_disk: Path) -> None:
    with Nats(small_disk / "broker") as broker:
        bus = await opened(broker)
        stored = 0

        async def fill() -> None:
            nonlocal stored
            while stored < 1000:
                await bus.append("event.a.1", BODY, id=str(stored))
                stored += 1

        with pytest.raises(BusUnavailable):
            await fill()
        assert stored > 50
        broker.kill()
        for left in (small_disk / "broker").glob("*.log"):
            left.write_bytes(b"")
        wider = ["mount", "-o", "remount,size=64m", str(small_disk)]
        room = await asyncio.to_thread(subprocess.run, wider, capture_output=True)
        assert room.returncode == 0
        broker.start()
        async with asyncio.timeout(60):
            while True:
                try:
                    await bus.append("event.a.1", BODY, id="after")
                    break
                except BusUnavailable:
                    await asyncio.sleep(0.2)
        found, at = [], 0
        while (message := await bus.read("event.>", at)) is not None:
            at = message.seq
            found.append(message.id)
        await bus.close()
    assert found[:stored] == [str(number) for number in range(stored)]
    assert found[-1] == "after"


async def test_a_broker_that_acknowledges_too_early_is_refused(tmp_path: Path) -> None:
    """Rule 1, at the start of a node and by the doctor."""
    config = tmp_path / "early.conf"
    text = NATS_CONFIG.read_text(encoding="utf-8")
    assert "sync_interval: always" in text
    config.write_text(text.replace("sync_interval: always", "# as NATS ships it"), encoding="utf-8")
    with Nats(tmp_path / "broker", config=config) as broker:
        bus = await opened(broker)
        assert (await bus.facts()).synced is False
        await bus.close()
        node = Process(tmp_path, "gateway", "g-1", broker, stand_in={})
        node.start()
        assert node.process is not None
        assert await asyncio.to_thread(node.process.wait, 60) == 6
        assert "not on its disk yet" in node.log


async def test_three_hundred_pieces_of_evidence_a_second_go_through(tmp_path: Path) -> None:
    """Every one is on disk before it is acknowledged, is taken and is ended. Told, not asserted: machines differ."""
    with Nats(tmp_path / "broker") as broker:
        buses = [await opened(broker) for _ in range(8)]
        number, done = 600, 0
        assert (await buses[0].facts()).synced is True

        async def publish(bus: Bus, part: int) -> None:
            for each in range(part, number, 4):
                await bus.append(f"evidence.a{part}.{each}", BODY, id=str(each))

        async def work(bus: Bus) -> None:
            nonlocal done
            while done < number:
                taken = await bus.take("evidence", 0.5)
                if taken is not None:
                    await bus.done(taken)
                    done += 1

        started = time.monotonic()
        await asyncio.gather(
            *(publish(bus, part) for part, bus in enumerate(buses[:4])), *(work(bus) for bus in buses[4:])
        )
        took_s = time.monotonic() - started
        for bus in buses:
            await bus.close()
    assert done == number
    record("L9", "K", pieces=number, kilobytes=60, a_second=round(number / took_s), synced=True)
