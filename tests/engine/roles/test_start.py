"""The three roles together, in one process, on a bus in memory: cameras in, clients out."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mellm.clients.client import connect
from mellm.engine.bus.memory import MemoryBus
from mellm.engine.config import validated
from mellm.engine.roles.start import Running, running
from mellm.stream.errors import BusUnavailable, ConfigError, UsageError
from mellm.stream.protocol.events import Event
from tests import PATIENCE_S
from tests.cluster import stand_in


def settings(tmp_path: Path, url: str, role: str, name: str, **more: Any) -> Any:
    return validated(
        {
            "purpose": "self-use",
            "bus": {"url": url, "role": role, "node": name, **more},
            "describer": {"kind": "scripted"},
            "server": {"port": 0, "journal": tmp_path / name / "journal.db"},
            "sources": [{"id": f"cam.{i}", "uri": f"rtsp://camera/{i}"} for i in range(2)],
        }
    )


@asynccontextmanager
async def roles(tmp_path: Path, url: str, *names: str) -> AsyncIterator[dict[str, Running]]:
    async with AsyncExitStack() as stack:
        started = {}
        for name in names:
            made = settings(tmp_path, url, name.partition("-")[0], name)
            started[name] = await stack.enter_async_context(running(made))
        yield started


async def first(url: str, wanted: int, after: Any = "start") -> list[Event]:
    """Events until so many expressions have ended."""
    seen: list[Event] = []
    ends = 0
    async with asyncio.timeout(PATIENCE_S), connect(url) as session:
        async for event in session.events(types=["expression.*", "source.*"], after=after):
            seen.append(event)
            ends += event.type.startswith("expression.") and event.type != "expression.spotted"
            if ends == wanted:
                return seen
    raise AssertionError("the stream ended")


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> str:
    stand_in.install(monkeypatch)
    return f"memory://{uuid.uuid4().hex}"


async def test_what_a_camera_finds_is_described_elsewhere_and_told_once_by_each_gateway(
    tmp_path: Path, url: str
) -> None:
    async with roles(tmp_path, url, "gateway-1", "gateway-2", "describe-1", "camera-1") as started:
        both = await asyncio.gather(*(first(started[g].url, 6) for g in ("gateway-1", "gateway-2")))
    for seen in both:
        stages = Counter((event.id, event.type) for event in seen if event.type.startswith("expression."))
        assert set(stages.values()) == {1}
        described = [event for event in seen if event.type == "expression.described"]
        assert len(described) == 6
        assert all(event.data["description"]["text"] == "Scripted description." for event in described)
        assert {event.source for event in seen} == {"cam.0", "cam.1"}
        assert not any("lease" in event.data for event in seen)
    by_id = [{(e.id, e.type): e.data for e in seen if e.type.startswith("expression.")} for seen in both]
    assert all(by_id[0][key] == by_id[1][key] for key in by_id[0].keys() & by_id[1].keys())


async def test_one_process_may_have_all_roles_on_a_bus(tmp_path: Path, url: str) -> None:
    async with running(settings(tmp_path, url, "all", "one")) as shown:
        seen = await first(shown.url, 3)
    assert Counter(event.type for event in seen)["expression.described"] == 3


async def test_a_motion_map_is_fetched_from_the_bus_by_the_gateway(tmp_path: Path, url: str) -> None:
    async with roles(tmp_path, url, "gateway-1", "describe-1", "camera-1") as started:
        seen = await first(started["gateway-1"].url, 1)
        async with connect(started["gateway-1"].url) as session:
            png = await session.evidence(seen[-1].id)
    assert png is not None
    assert png.startswith(b"\x89PNG")


async def test_a_bus_that_is_away_holds_events_back_and_loses_none(tmp_path: Path, url: str) -> None:
    bus = MemoryBus.shared(url)
    async with roles(tmp_path, url, "gateway-1", "describe-1", "camera-1") as started:
        before = await first(started["gateway-1"].url, 2)
        bus.away = True
        await asyncio.sleep(1.0)
        bus.away = False
        seen = await first(started["gateway-1"].url, 12)
    numbers = [event.seq for event in seen]
    assert numbers == sorted(set(numbers))
    assert [e.seq for e in seen[: len(before)]] == [e.seq for e in before]
    for camera in ("cam.0", "cam.1"):
        found = [e.data["onset_ms"] for e in seen if e.type == "expression.spotted" and e.source == camera]
        assert found == sorted(found)
        steps = {round(b - a) for a, b in pairwise(found)}
        assert len(steps) == 1, f"an expression is missing: {found}"


async def test_a_role_without_a_bus_or_a_camera_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a bus"):
        validated({"bus": {"role": "camera"}})
    lonely = validated({"purpose": "self-use", "bus": {"role": "camera", "url": "memory://x"}})
    with pytest.raises(UsageError, match="no source"):
        async with running(lonely):
            pass
    nowhere = validated({"purpose": "self-use", "bus": {"role": "gateway", "url": "nats://127.0.0.1:1"}})
    with pytest.raises(BusUnavailable, match="does not answer"):
        async with running(nowhere):
            pass
