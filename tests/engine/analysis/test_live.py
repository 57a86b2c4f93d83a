from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mellm.engine.analysis.live import LiveEngine
from mellm.engine.analysis.pipeline import Output, SourcePipeline
from mellm.engine.describe.scripted import ScriptedDescriber
from mellm.stream.capture.runner import RunnerOptions, SourceRunner
from mellm.stream.errors import ModelMissing, SourceUnsupported
from mellm.stream.frames import Frame, Gap
from tests import PATIENCE_S, PROMPT_S
from tests.engine.moving import FOUND, chain, video


class Sink:
    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        self.maps: dict[str, bytes] = {}
        self.lock = threading.Lock()

    def publish(self, kind: str, source: str, data: dict[str, Any], t_ns: int | None = None) -> None:
        with self.lock:
            self.events.append((kind, source, data))

    keeps_faces = False

    def evidence(self, expression: str, png: bytes, shown: str = "motion") -> None:
        self.maps[expression] = png

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [data for k, _, data in self.events if k == kind]


def play(
    uris: dict[str, str], sink: Sink, make: Callable[[str], SourcePipeline] = chain, realtime: bool = False
) -> LiveEngine:
    options = RunnerOptions(policy="offline" if not realtime else "live", realtime=realtime, must_open=True)
    runners = [SourceRunner(uri, id=name, options=options) for name, uri in uris.items()]
    engine = LiveEngine(runners, make, ScriptedDescriber(), sink)
    engine.start()
    until = time.monotonic() + PATIENCE_S
    while not engine.finished and time.monotonic() < until:
        time.sleep(0.02)
    assert engine.finished
    assert engine.drain(PATIENCE_S)
    return engine


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return video(tmp_path_factory.mktemp("video") / "brows.mp4")


def test_several_sources_share_one_engine_and_every_sum_balances(recording: Path) -> None:
    sink = Sink()
    engine = play({"a": str(recording), "b": str(recording), "c": "synthetic:?seconds=1"}, sink)
    for name, source in engine.sources.items():
        counts = source.counts()
        assert counts.captured == counts.analysed + sum(counts.dropped.values()) + counts.waiting
        assert counts.waiting == 0
        assert counts.captured == (30 if name == "c" else 96)
    stats = engine.described()
    assert stats.submitted == stats.described + stats.abstained + sum(stats.dropped.values()) == 2 * FOUND
    spotted = Counter(d["id"] for d in sink.of("expression.spotted"))
    ended = Counter(d["id"] for d in sink.of("expression.described"))
    assert spotted == ended
    assert set(spotted.values()) == {1}
    assert set(sink.maps) == set(spotted)
    engine.stop()


def test_a_source_that_cannot_be_opened_leaves_the_others_alone(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_text("no video")
    sink = Sink()
    engine = play({"bad": str(tmp_path / "bad.mp4"), "good": str(recording)}, sink)
    assert isinstance(engine.failure, SourceUnsupported)
    assert len(sink.of("expression.described")) == FOUND
    engine.stop()


def test_missing_models_end_the_source_with_their_error() -> None:
    def missing(source: str) -> SourcePipeline:
        raise ModelMissing("no model", remedy="run `mellm models pull`")

    engine = play({"a": "synthetic:?seconds=1"}, Sink(), missing)
    assert isinstance(engine.failure, ModelMissing)
    engine.stop()


def test_stop_returns_soon_and_leaves_nothing_pending() -> None:
    sink = Sink()
    runner = SourceRunner("synthetic:?seconds=0", id="endless", options=RunnerOptions(policy="live"))
    engine = LiveEngine([runner], chain, ScriptedDescriber(), sink)
    engine.start()
    time.sleep(0.5)
    started = time.monotonic()
    engine.stop(drain_s=5)
    assert time.monotonic() - started < PROMPT_S
    assert engine.described().pending == 0
    counts = engine.sources["endless"].counts()
    assert counts.captured == counts.analysed + sum(counts.dropped.values()) + counts.waiting


def test_a_source_that_is_too_much_is_lowered_evenly_and_says_so_at_once(tmp_path: Path) -> None:
    """Real threads: each frame takes three times as long as there is for it."""
    sink = Sink()

    def make(source: str) -> SourcePipeline:
        made = chain(source)
        true = made.push

        def push(item: Frame | Gap) -> list[Output]:
            time.sleep(0.025)
            return true(item)

        made.push = push  # type: ignore[method-assign]
        return made

    engine = play({"fast": str(video(tmp_path / "fast.mp4", fps=120))}, sink, make, realtime=True)
    engine.stop()
    counts = engine.sources["fast"].counts()
    assert counts.captured == counts.analysed + sum(counts.dropped.values()) == 384
    first = sink.of("source.degraded")[0]
    assert (first["from"]["fps"], first["to"]["fps"]) == (120.0, 60.0)
    assert (first["reason"], first["degraded"]) == ("overload", True)
    assert counts.dropped["rate_lowered"] > 0
