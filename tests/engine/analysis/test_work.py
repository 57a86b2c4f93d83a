"""What a camera costs, by counting what is asked of networks and flow; time would say something about the machine."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mellm.detectors.analyzer import FaceAnalyzer
from mellm.detectors.faces import Detection
from mellm.detectors.landmarks import IBUG68, Roi
from mellm.detectors.spotting import FakeStepModel, Spotter
from mellm.detectors.types import F32, U8
from mellm.engine.analysis.live import LiveEngine
from mellm.engine.analysis.pipeline import SourcePipeline
from mellm.engine.analysis.pipeline_factory import evidence_builder
from mellm.engine.describe.scripted import ScriptedDescriber
from mellm.stream.capture.runner import RunnerOptions, SourceRunner
from mellm.stream.frames import Frame
from tests import PATIENCE_S
from tests.detectors.test_tracks import mesh
from tests.engine.analysis.test_live import Sink
from tests.engine.moving import SIZE, sheet, video

FPS, SECONDS = 50, 1.2
X, Y, WIDTH = SIZE[1] / 2, SIZE[0] / 2, 110


class Counted(FakeStepModel):
    """A step model that is counted."""

    def __init__(self, work: Counter[str]) -> None:
        super().__init__()
        self.work = work

    def step(self, features: F32, state: F32) -> tuple[F32, F32]:
        self.work["step"] += 1
        return super().step(features, state)


def stubs(work: Counter[str], source: str = "s") -> SourcePipeline:
    """A chain whose networks and flow answer at once, the same each time."""

    def detect(image: U8) -> list[Detection]:
        work["detect"] += 1
        points = np.array([(-0.2, -0.2), (0.2, -0.2), (0, 0), (0, 0.3), (-0.5, 0), (0.5, 0)])
        box = (X - WIDTH / 2, Y - WIDTH / 2, float(WIDTH), float(WIDTH))
        return [Detection(box, (points * WIDTH + (X, Y)).astype(np.float32), 0.9)]

    def place(image: U8, roi: Roi) -> tuple[F32, float]:
        work["place"] += 1
        return points, 0.99

    def flow(a: U8, b: U8) -> F32:
        work["flow"] += 1
        return np.zeros((*a.shape, 2), np.float32)

    points = mesh(X, Y, WIDTH)
    for indices, point in zip(IBUG68, sheet().landmarks(), strict=True):
        points[list(indices)] = point
    model = Counted(work)
    return SourcePipeline(
        source,
        FaceAnalyzer(detect=detect, place=place),
        lambda: Spotter(model),
        evidence_builder("live"),
        flow=lambda: flow,
    )


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return video(tmp_path_factory.mktemp("video") / "brows.mp4", FPS, SECONDS)


def test_a_camera_costs_the_same_beside_seven_others(recording: Path) -> None:
    def work_of(cameras: int) -> list[Counter[str]]:
        works: dict[str, Counter[str]] = {f"c{k}": Counter() for k in range(cameras)}
        options = RunnerOptions(policy="offline", realtime=False, must_open=True)
        runners = [SourceRunner(str(recording), id=name, options=options) for name in works]
        engine = LiveEngine(runners, lambda name: stubs(works[name], name), ScriptedDescriber(), Sink())
        engine.start()
        until = time.monotonic() + PATIENCE_S
        while not engine.finished:
            assert time.monotonic() < until
            time.sleep(0.01)
        engine.stop()
        assert all(source.counts().analysed == FPS * SECONDS for source in engine.sources.values())
        return list(works.values())

    (alone,) = work_of(1)
    assert alone["flow"] == 2 * (FPS * SECONDS - 15), "two baselines, from 0.3 s on"
    assert alone["step"] >= FPS * SECONDS - 15
    assert alone["place"] <= 2 + SECONDS * 16, "a look is due each 64 ms"
    assert work_of(8) == [alone] * 8


def _traced_bytes_a_frame(frames: int, *, warm: int) -> float:
    """Slope of traced memory over the frames of a face that is always there, by least squares."""
    import tracemalloc

    made = stubs(Counter())
    rng = np.random.default_rng(0)
    images = [np.asarray(rng.integers(90, 110, (*SIZE, 3)), np.uint8) for _ in range(4)]

    def push(start: int, count: int) -> None:
        for i in range(start, start + count):
            made.push(Frame("s", 0, i, i * 20_000_000, 0, images[i % 4]))

    push(0, warm)
    tracemalloc.start()
    try:
        push(warm, warm)
        seen = []
        part = frames // 20
        for k in range(20):
            push(2 * warm + k * part, part)
            seen.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert made.counts.frames_with_face == made.counts.captured
    assert made.counts.tracks == 1
    return float(np.polyfit(np.arange(20) * part, seen, 1)[0])


def test_memory_does_not_grow_while_a_face_is_followed() -> None:
    """What is kept for half a minute has not filled up yet; a single kept step of a face would be 500 bytes."""
    assert abs(_traced_bytes_a_frame(1_600, warm=400)) < 100


@pytest.mark.slow
@pytest.mark.timeout(1700)
def test_memory_does_not_grow_over_a_hundred_thousand_frames_of_a_face() -> None:
    """Half an hour at 50 frames a second, with networks and flow that answer at once."""
    assert abs(_traced_bytes_a_frame(100_000, warm=5_000)) < 0.5
