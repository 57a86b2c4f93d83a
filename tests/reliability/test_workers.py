"""Whatever fails in a long-lived thread is told, mended, and costs nobody else anything."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from mellm.engine.analysis import live_source, telling
from mellm.engine.analysis.live import LiveEngine
from mellm.engine.analysis.pipeline import SourcePipeline
from mellm.engine.analysis.watchdog import Watchdog
from mellm.engine.describe.scripted import ScriptedDescriber
from mellm.engine.evidence.store import EvidenceStore
from mellm.engine.server.metrics import Metrics
from mellm.engine.server.server import Server
from mellm.engine.server.sinks import HubSink, worker_events
from mellm.stream.capture.runner import RunnerOptions, SourceRunner, SourceStatus
from mellm.stream.frames import Frame, SourceInfo
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal
from mellm.stream.sources.scripted import ScriptedSource
from tests import PATIENCE_S
from tests.engine.moving import FOUND, chain, video
from tests.engine.servers import options
from tests.reliability.faults import Fault, Hang, at_call
from tests.stream.videos import frame_at


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return video(tmp_path_factory.mktemp("video") / "brows.mp4")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (live_source, telling):
        monkeypatch.setattr(module, "ABANDON_S", 5.0)


class Stage:
    """Two recordings, ``a`` and ``b``, through everything that a server has but the sockets; nothing is dropped for
    want of time, so that every frame must be accounted for."""

    def __init__(
        self, recording: Path, folder: Path, make: Callable[[str], SourcePipeline], **more: float
    ) -> None:
        self.unhealthy: list[str] = []
        self.journal = Journal(folder / "log.db")
        self.hub = Hub(self.journal)
        self.metrics = Metrics()
        self.hub.observe(self.metrics.observe)
        self.hub.observe(self._hear)
        self.watchdog = Watchdog(tick_s=0.05)
        self.watchdog.on_change = worker_events(self.hub)
        self.evidence = EvidenceStore()
        chosen = RunnerOptions(policy="offline", realtime=False, must_open=True)
        runners = [SourceRunner(str(recording), id=name, options=chosen) for name in "ab"]
        self.describer = ScriptedDescriber()
        self.engine = LiveEngine(
            runners,
            make,
            self.describer,
            HubSink(self.hub, self.evidence),
            watchdog=self.watchdog,
            **more,  # type: ignore[arg-type]
        )

    def _hear(self, type: str, source: str, data: object) -> None:
        if ill := self.watchdog.unhealthy:
            self.unhealthy.append(ill)

    def play(self) -> None:
        with self.watchdog:
            self.engine.start()
            end = time.monotonic() + 90
            while not self.engine.finished:
                assert time.monotonic() < end
                time.sleep(0.01)
            assert self.engine.drain(PATIENCE_S)
            assert self.watchdog.unhealthy is None
            self.engine.stop()
        self.journal.flush()
        self.events = [record.event for record in self.journal.replay()]
        self.journal.close()

    def of(self, type: str, source: str | None = None) -> list[dict[str, Any]]:
        return [e.data for e in self.events if e.type == type and source in (None, e.source)]

    def check(self, *, worker: str) -> None:
        """What holds whatever failed."""
        assert self.metrics.imbalances() == []
        for each in self.engine.sources.values():
            counts = each.counts()
            assert counts.captured == counts.analysed + sum(counts.dropped.values()) == 96
            assert counts.waiting == 0
        spotted = Counter(d["id"] for d in self.of("expression.spotted"))
        ends = Counter(
            d["id"] for e in ("described", "abstained", "dropped") for d in self.of(f"expression.{e}")
        )
        assert spotted == ends
        assert set(spotted.values()) == {1}
        assert len(self.of("expression.described", "b")) == FOUND
        assert self.of("source.offline", "b") == []
        appeared = Counter(d["track"] for d in self.of("face.appeared", "a"))
        assert appeared == Counter(d["track"] for d in self.of("face.lost", "a"))
        told = [(d["worker"], d["state"], d.get("code")) for d in self.of("server.worker")]
        assert told == [(worker, "failed", "internal"), (worker, "recovered", None)]
        assert self.unhealthy, "/healthz was 200 all the time"
        assert worker.split("-")[-1] in self.unhealthy[0]


def test_a_fault_in_the_analysis(recording: Path, tmp_path: Path, fault: Fault) -> None:
    made: list[str] = []

    def make(source: str) -> SourcePipeline:
        one = chain(source)
        if source == "a" and "a" not in made:
            at_call(40, fault, one, "push")
        made.append(source)
        return one

    stage = Stage(recording, tmp_path, make)
    stage.play()
    stage.check(worker="a")
    assert made.count("a") == 2  # a fresh chain went on
    assert stage.engine.sources["a"].counts().dropped == {"internal": 1}
    (told,) = stage.of("source.offline", "a")
    assert told["code"] == "internal"
    assert [e.type for e in stage.events if e.source == "a" and e.type.startswith("source.")] == [
        "source.online",
        "source.offline",
        "source.online",
        "source.ended",
    ]
    assert len(stage.of("expression.described", "a")) >= FOUND - 2  # what was open is lost, the rest is found


def test_a_fault_in_what_a_source_tells(recording: Path, tmp_path: Path, fault: Fault) -> None:
    stage = Stage(recording, tmp_path, lambda source: chain(source))
    teller = stage.engine.sources["a"]._teller
    at_call(2, fault, teller, "_prepare")
    stage.play()
    stage.check(worker="tell-a")
    assert stage.engine.sources["a"].counts().dropped == {}
    (dropped,) = stage.of("expression.dropped")
    assert (dropped["reason"], dropped["source"]) == ("internal", "a")
    assert len(stage.of("expression.described", "a")) == FOUND - 1


def test_a_fault_in_describing(recording: Path, tmp_path: Path, fault: Fault) -> None:
    """The job in hand ends as dropped(internal), also when its end cannot be told or the describer never returns."""
    stage = Stage(recording, tmp_path, lambda source: chain(source), deadline_s=3.0)
    at_call(2, fault, stage.describer, "describe")
    stage.play()
    assert stage.metrics.imbalances() == []
    dropped = stage.of("expression.dropped")
    reasons = Counter(d["reason"] for d in dropped)
    assert reasons["internal"] == 1
    assert set(reasons) <= {"internal", "deadline"}  # others may have waited behind one that never returned
    ends = len(stage.of("expression.described")) + len(dropped)
    assert ends == len(stage.of("expression.spotted")) == 2 * FOUND
    if isinstance(fault, Hang):
        assert [d["state"] for d in stage.of("server.worker")] == ["failed", "recovered"]
        assert stage.unhealthy


def test_a_fault_in_the_reader_of_a_camera(fault: Fault) -> None:
    """It is told, and the camera is opened anew; a reader that hangs is the stall watchdog's."""
    camera = SourceInfo("cam", "rtsp://cam/1", "rtsp", 4, 1, live=True)
    openings: list[int] = []
    over = threading.Event()
    told: list[tuple[str, str | None]] = []

    def open_it(segment: int) -> ScriptedSource:
        openings.append(segment)
        steps = [frame_at(40.0 * i, segment=segment, index=i) for i in range(3)]
        source = ScriptedSource(camera, [*steps, over])
        if len(openings) == 1:
            at_call(2, fault, source, "read")
        return source

    def hear(status: SourceStatus) -> None:
        told.append((status.state, status.error.code if status.error else None))

    chosen = RunnerOptions(stall_s=1.0)
    runner = SourceRunner("rtsp://cam/1", id="cam", options=chosen, opener=open_it, on_status=hear)
    red: list[str] = []
    with Watchdog(tick_s=0.05) as watchdog:
        watchdog.on_change = lambda name, state, error: red.append(f"{name} {state} {watchdog.unhealthy}")
        runner.start(watchdog)
        frames, end = 0, time.monotonic() + 60
        while frames < 4 and time.monotonic() < end:
            frames += isinstance(runner.get(0.05), Frame)
        assert len(openings) == 2
        if not isinstance(fault, Hang):
            while watchdog.unhealthy and time.monotonic() < end:
                time.sleep(0.01)
            assert [line.split()[:2] for line in red] == [["watch-cam", "failed"], ["watch-cam", "recovered"]]
            assert "reading failed" in red[0]
        over.set()
        if isinstance(fault, Hang):
            fault.over.set()
        runner.stop()
    code = "source_timeout" if isinstance(fault, Hang) else "internal"
    assert [each for each in told if each[0] != "reconnecting"][:3] == [
        ("online", None),
        ("offline", code),
        ("online", None),
    ]
    counts = runner.counts()
    assert counts.captured == frames + sum(counts.dropped.values())


async def test_a_fault_in_retention_is_told_and_health_is_red_until_it_works() -> None:
    sweeps: list[int] = []

    def sweep() -> None:
        sweeps.append(1)
        if len(sweeps) == 1:
            raise ValueError("odd")

    hub = Hub(Journal())
    with Watchdog(tick_s=0.05) as watchdog:
        watchdog.on_change = worker_events(hub)
        async with Server(options(stats_s=0.05), hub=hub, watchdog=watchdog, sweep=sweep) as server:
            seen = set()
            async with asyncio.timeout(PATIENCE_S):
                while not (HTTPStatus.SERVICE_UNAVAILABLE in seen and len(sweeps) > 1):
                    seen.add((await server.pages.answer("GET", "/healthz", {})).status)
                    await asyncio.sleep(0.005)
                while (await server.pages.answer("GET", "/healthz", {})).status != HTTPStatus.OK:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
    told = [r.event.data for r in hub.journal.replay() if r.type == "server.worker"]
    assert [(d["worker"], d["state"]) for d in told] == [("retention", "failed"), ("retention", "recovered")]
    hub.journal.close()
