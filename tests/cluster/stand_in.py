"""Cameras and networks that only look like the true ones, so that expressions come often and cost little: everything
from the spotted expression on is the product's own."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from mellm.detectors.analyzer import FakeFaceAnalyzer
from mellm.detectors.spotting import FakeStepModel, Spotter
from mellm.detectors.types import Expression, Quality
from mellm.engine.analysis import pipeline_factory
from mellm.engine.analysis.pipeline import Output, SourcePipeline, Spotted
from mellm.engine.analysis.pipeline_factory import evidence_builder
from mellm.engine.config import SourceSettings
from mellm.engine.results.expressions import expression_id
from mellm.engine.roles import camera
from mellm.engine.types import Evidence, RegionMotion
from mellm.stream.capture.runner import RunnerOptions, SourceRunner
from mellm.stream.frames import Frame, FrameRef, Item, SourceInfo
from mellm.stream.sources.scripted import ScriptedSource
from tests.engine.moving import SENSITIVITY, sheet

FPS = 10
SIZE = (48, 64)
QUALITY = Quality(fps=30, face_width=200, blur=100, yaw=0, pitch=0, occlusion=0)
REGIONS = (RegionMotion("brow_inner_L", 0.0, -3.0, 1.0, 2.0, "up 90"),)


def frames(source: str, segment: int) -> Iterator[Frame]:
    """A camera that shows nothing, at its pace."""
    start = time.monotonic_ns()
    image = np.zeros((*SIZE, 3), np.uint8)
    for i in itertools.count():
        pts_ns = round(i * 1e9 / FPS)
        time.sleep(max(0.0, (start + pts_ns - time.monotonic_ns()) / 1e9))
        yield Frame(source, segment, i, pts_ns, time.monotonic_ns(), image)


def runner(
    source: SourceSettings,
    options: RunnerOptions | None = None,
    inlets: object = None,
    first_segment: int = 0,
) -> SourceRunner:
    """See :func:`mellm.engine.analysis.pipeline_factory.runner`."""
    info = SourceInfo(source.id, "scripted:", "camera", SIZE[1], SIZE[0], 0, FPS, None, True)
    return SourceRunner(
        source.uri,
        id=source.id,
        opener=lambda segment: ScriptedSource(info, frames(source.id, segment)),
        first_segment=first_segment,
    )


@cache
def evidence(kilobytes: int, number: int = 0) -> Evidence:
    """With a motion map that takes about so much as PNG: noise, which no compression helps."""
    side = max(8, round((kilobytes * 1024 / 3) ** 0.5))
    noise = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
    return Evidence(np.asarray(noise, np.uint8), REGIONS, {"p95": 1.0}, "live")


def expression(source: str, segment: int, number: int, score: float = 0.8) -> Expression:
    """One of many."""
    onset, apex, offset = (FrameRef(number * 10 + i, round((number + i / 10) * 1e9)) for i in range(3))
    id = expression_id(source, segment, 1, onset, apex)
    return Expression(id, source, segment, 1, onset, apex, offset, score, QUALITY)


class StandInPipeline(SourcePipeline):
    """An expression every so many frames, whatever they show."""

    def __init__(self, source: str, every: int, kilobytes: int) -> None:
        model = FakeStepModel(sensitivity=SENSITIVITY)
        super().__init__(
            source,
            FakeFaceAnalyzer(lambda frame: sheet().landmarks()),
            lambda: Spotter(model),
            evidence_builder("live"),
        )
        self._stands_for = source
        self._every = every
        self._shown = evidence(kilobytes)

    def push(self, item: Item) -> list[Output]:
        if not isinstance(item, Frame):
            return []
        self.counts.captured += 1
        self.counts.analysed += 1
        if self.counts.analysed % self._every:
            return []
        self.counts.spotted += 1
        found = expression(self._stands_for, item.segment, item.index)
        return [Spotted(found, replace(self._shown))]

    def finish(self) -> list[Output]:
        return []


def install(patch: pytest.MonkeyPatch, *, every: int = 5, kilobytes: int = 4) -> None:
    """Cameras and networks in this process are stand-ins from now on.

    :param every: frames between two expressions of a camera; there are ten a second
    :param kilobytes: of each motion map
    """
    patch.setattr(camera, "runner", runner)

    def make(self: object, source: str, *, mirrored: bool = False) -> StandInPipeline:
        return StandInPipeline(source, every, kilobytes)

    patch.setattr(pipeline_factory.PipelineFactory, "make", make)
