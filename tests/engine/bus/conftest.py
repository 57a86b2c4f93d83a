"""Each kind of bus, connected; brokers are real."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mellm.engine.bus import open_bus
from mellm.engine.bus.base import Bus, BusOptions
from tests.cluster.servers import Nats, Redis, missing


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    if why := missing("nats"):
        pytest.skip(why)
    with Nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    if why := missing("redis"):
        pytest.skip(why)
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@dataclass
class Place:
    """Where buses of one test meet."""

    options: BusOptions
    path: Path

    async def another(self) -> Bus:
        bus = open_bus(self.options)
        await bus.open()
        return bus


@pytest.fixture(
    params=[
        "memory",
        pytest.param("nats", marks=pytest.mark.cluster),
        pytest.param("redis", marks=pytest.mark.cluster),
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    prefix = f"t{uuid.uuid4().hex[:10]}"
    if request.param == "memory":
        return Place(BusOptions(f"memory://{prefix}"), tmp_path)
    server = request.getfixturevalue(request.param)
    monitor = server.monitor if isinstance(server, Nats) else None
    return Place(BusOptions(server.url, prefix=prefix, monitor=monitor), tmp_path)


@pytest.fixture
async def bus(place: Place) -> AsyncIterator[Bus]:
    made = await place.another()
    yield made
    await made.close()
