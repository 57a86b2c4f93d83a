"""From a recording to a WebSocket client with vLLM in between, also when vLLM is killed on the way."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import defaultdict

import pytest

from mellm.clients.cli.demo import SAMPLE
from mellm.clients.client import Session, connect
from mellm.engine.analysis.live import LiveEngine
from mellm.engine.evidence.store import EvidenceStore
from mellm.engine.server.catalog import Catalog
from mellm.engine.server.server import Server
from mellm.engine.server.sinks import HubSink
from mellm.stream.capture.runner import RunnerOptions, SourceRunner
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal
from mellm.stream.protocol.events import Event
from tests.clients.cli.test_live import serving
from tests.engine.moving import FOUND, chain, video
from tests.engine.servers import options, until
from tests.vllm.conftest import KEY, KEY_VARIABLE, measured
from tests.vllm.test_answers import gauge

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

TERMINAL = ("expression.described", "expression.abstained", "expression.dropped")
DOWN = ("describer_unavailable", "describer_paused", "describer_timeout", "deadline")
"""How an expression ends whose model is away: told so, not asked at all, hung up on, or waited for in vain."""


class Follower:
    """Everything a client is told, by expression; numbered events must come without holes."""

    def __init__(self) -> None:
        self.told: dict[str, list[Event]] = defaultdict(list)
        self.kinds: list[tuple[str, str]] = []
        self.numbers: list[int] = []

    def hear(self, event: Event) -> None:
        self.kinds.append((event.type, event.source))
        if event.seq is not None:
            self.numbers.append(event.seq)
        if event.type.startswith("expression."):
            self.told[event.data["id"]].append(event)

    async def follow(self, session: Session) -> None:
        async for event in session.events(after="start"):
            self.hear(event)

    def ends(self, source: str) -> list[Event]:
        """Last words on each expression of a source that has ended."""
        return [
            events[-1]
            for events in self.told.values()
            if events[0].source == source and events[-1].type in TERMINAL
        ]

    def complete(self) -> None:
        """Nothing lost, nothing told twice."""
        assert self.numbers == list(range(self.numbers[0], self.numbers[0] + len(self.numbers)))
        assert self.numbers[0] == 1
        for events in self.told.values():
            spotted, end = events
            assert spotted.type == "expression.spotted"
            assert end.type in TERMINAL


async def test_a_recording_reaches_a_client_with_words_from_vllm(endpoint, models, monkeypatch):
    """The shipped sample, played as a camera through the command line's server in a process of its own."""
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.setenv("MELLM_DESCRIBER_DEADLINE_S", "60")
    monkeypatch.setenv("MELLM_DESCRIBER_TIMEOUT_S", "60")
    arguments = ["--describer", "openai", "--base-url", endpoint.line.base_url, "--model", endpoint.line.name]
    arguments += ["--profile", endpoint.profile, "--journal", ":memory:"]
    seen = Follower()

    def over() -> bool:
        ended = ("source.ended", "film") in seen.kinds
        return ended and all(events[-1].type in TERMINAL for events in seen.told.values())

    with serving("--source", f"film={SAMPLE / 'sample.mp4'}", *arguments) as (_, url):
        async with asyncio.timeout(240), connect(url) as session:
            following = asyncio.create_task(seen.follow(session))
            await until(over, 200)
            await session.close()
            await following
    seen.complete()
    ends = seen.ends("film")
    by_model = [e for e in ends if (e.data.get("description") or {}).get("model") == endpoint.line.name]
    latencies = sorted(e.data["description"]["latency_ms"] for e in by_model)
    measured["sample as a camera"] = (
        f"{len(ends)} expressions, {len(by_model)} answered by vLLM, median {latencies[len(latencies) // 2]:.0f} ms"
    )
    # how many are found depends on how many frames a busy machine keeps up with
    assert by_model
    assert len(by_model) == len([e for e in ends if e.type == "expression.described"])
    assert not [e for e in ends if e.type == "expression.dropped"]


async def test_vllm_is_killed_and_comes_back_and_nothing_is_lost(endpoint, tmp_path):
    """Three recordings one after the other through one engine: before, during and after the outage."""
    film = str(video(tmp_path / "brows.mp4"))
    order = ("before", "during", "after")
    runner = RunnerOptions(policy="offline", must_open=True)
    seen = Follower()
    with Journal(":memory:") as journal:
        hub = Hub(journal)
        engine = LiveEngine(
            [SourceRunner(film, id=name, options=runner) for name in order],
            chain,
            endpoint.describer(),
            HubSink(hub, EvidenceStore()),
            workers=2,
            deadline_s=60,
        )
        async with (
            Server(options(), hub=hub, catalog=Catalog(order)) as server,
            connect(server.url) as session,
        ):
            following = asyncio.create_task(seen.follow(session))

            engine.sources["before"].start()
            await until(lambda: len(seen.ends("before")) == FOUND, 120)

            engine.sources["during"].start()
            await until(lambda: gauge(endpoint, "num_requests_running"), 60)
            os.kill(endpoint.server.pid, signal.SIGKILL)
            killed = time.monotonic()
            await until(lambda: len(seen.ends("during")) == FOUND, 120)
            measured["outage told after"] = f"{time.monotonic() - killed:.1f} s"

            endpoint.server.kill()
            measured["vLLM back after"] = f"{await asyncio.to_thread(endpoint.start):.0f} s"
            engine.sources["after"].start()
            await until(lambda: len(seen.ends("after")) == FOUND, 120)

            await asyncio.to_thread(engine.stop)
            await asyncio.sleep(0.2)
            await session.close()
            await following
    stats = engine.described()
    assert stats.pending == 0
    assert stats.submitted == stats.described + stats.abstained + sum(stats.dropped.values()) == 3 * FOUND
    assert set(stats.dropped) <= set(DOWN)
    seen.complete()
    assert len(seen.told) == 3 * FOUND
    for name in ("before", "after"):
        assert all(e.data["description"]["model"] == endpoint.line.name for e in seen.ends(name))
    lost = [e for e in seen.ends("during") if e.type == "expression.dropped"]
    assert lost
    assert {e.data["reason"] for e in lost} <= set(DOWN)


@pytest.fixture(scope="session")
def models() -> None:
    """The true face models, from the cache."""
    from mellm.detectors.weights import store as weights

    missing = [row.name for row in weights.listing() if row.state not in ("ok", "fallback")]
    if missing:
        pytest.skip(f"not in the cache: {', '.join(missing)} (run `mellm models pull`)")
