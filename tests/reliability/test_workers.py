"""Whatever fails in a long-lived thread is told, mended, and costs nobody else anything."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

from mellm.engine.analysis import live_source, telling
from mellm.engine.analysis.live import LiveEngine
from mellm.engine.analysis.pipeline import SourcePipeline
from mellm.engine.analysis.watchdog import Watchdog
from mellm.engine.describe.scripted import ScriptedDescriber
from mellm.engine.evidence.store import EvidenceStore
from mellm.engine.server.metrics import Metrics
from mellm.engine.server.sinks import HubSink, worker_events
from mellm.stream.capture.runner import RunnerOptions, SourceRunner
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal
from tests.engine.moving import FOUND, chain, video

Fault = Callable[[], None]


class Hang:
    """Stands still until the test is over."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def __call__(self) -> None:
        self.over.wait(60)


def fails_with(error: BaseException) -> Fault:
    def fail() -> None:
        raise error

    return fail


FAULTS = {
    "ValueError": lambda: fails_with(ValueError("odd")),
    "cv2.error": lambda: fails_with(cv2.error("odd")),
    "MemoryError": lambda: fails_with(MemoryError()),
    "hang": Hang,
}


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest) -> Iterator[Fault]:
    made = FAULTS[request.param]()
    yield made
    if isinstance(made, Hang):
        made.over.set()


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

    def __init__(self, recording: Path, folder: Path, make: Callable[[str], SourcePipeline]) -> None:
        self.unhealthy: list[str] = []
        self.journal = Journal(folder / "log.db")
        self.hub = Hub(self.journal)
        self.metrics = Metrics()
        self.hub.observe(self.metrics.observe)
        self.hub.observe(self._hear)
        self.watchdog = Watchdog(tick_s=0.05)
        self.watchdog.told = worker_events(self.hub)
        self.evidence = EvidenceStore()
        options = RunnerOptions(policy="offline", realtime=False, must_open=True)
        runners = [SourceRunner(str(recording), id=name, options=options) for name in "ab"]
        self.describer = ScriptedDescriber()
        self.engine = LiveEngine(
            runners, make, self.describer, HubSink(self.hub, self.evidence), watchdog=self.watchdog
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
            assert self.engine.drain(30)
            assert self.watchdog.unhealthy is None
            self.engine.stop()
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


def at_call(number: int, fault: Fault, target: Any, name: str) -> None:
    """The ``number``-th call of a method fails."""
    calls = 0
    true = getattr(target, name)

    def instead(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            fault()
        return true(*args, **more)

    setattr(target, name, instead)


def test_a_fault_in_the_analysis(recording: Path, tmp_path: Path, fault: Fault) -> None:
    made: list[str] = []

    def make(source: str) -> SourcePipeline:
        one = chain(source, scores=True)
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
    stage = Stage(recording, tmp_path, lambda source: chain(source, scores=True))
    teller = stage.engine.sources["a"]._teller
    at_call(2, fault, teller, "_prepare")
    stage.play()
    stage.check(worker="tell-a")
    assert stage.engine.sources["a"].counts().dropped == {}
    (dropped,) = stage.of("expression.dropped")
    assert (dropped["reason"], dropped["source"]) == ("internal", "a")
    assert len(stage.of("expression.described", "a")) == FOUND - 1
