"""A face that is no face, with expressions at known times: for tests of everything behind the face networks."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from math import cos, pi
from pathlib import Path

import av
import cv2
import numpy as np

from mellm.detectors.analyzer import FakeFaceAnalyzer
from mellm.detectors.sensitivity import HalfModel, SensitivityModel
from mellm.detectors.spotting import FakeStepModel, Spotter
from mellm.detectors.textured_plane import TexturedPlane
from mellm.detectors.types import U8
from mellm.engine.analysis.pipeline import SourcePipeline
from mellm.engine.analysis.pipeline_factory import evidence_builder
from mellm.stream.frames import Frame

APEXES_S = (1.0, 2.2)
"""When the brows are up; each rise and fall takes 0.2 s."""

FOUND = 2 * len(APEXES_S)
"""The fake step model takes motion itself for an expression, so each rise and each fall is one."""

SECONDS = 3.2
SIZE = (240, 320)


@cache
def sheet() -> TexturedPlane:
    """The texture everything is drawn from."""
    return TexturedPlane(iod=57, size=SIZE)


def lift(t: float) -> float:
    """Displacement of the inner brows at a time, 1/100 inter-ocular distances upwards."""
    nearest = min(abs(t - apex) for apex in APEXES_S)
    return 4.0 * (1 + cos(pi * nearest / 0.2)) / 2 if nearest < 0.2 else 0.0


@cache
def picture(t: float) -> U8:
    """The picture at a time, BGR, with the noise of a sensor: a scene at rest without it is taken for repeats."""
    up = lift(t)
    gray = sheet().draw(motions={"brow_inner_L": (0, -up), "brow_inner_R": (0, -up)})
    noise = np.random.default_rng(round(t * 1e4)).normal(0, 1, gray.shape)
    gray = np.clip(gray + noise, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR), np.uint8)


def grained(image: U8, number: int) -> U8:
    """With a camera's grain, another in each picture: without it a still face is the same picture once more."""
    grain = np.random.default_rng(number).integers(-2, 3, (*SIZE, 1))
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def frames(fps: float = 30, seconds: float = SECONDS, source: str = "s", segment: int = 0) -> Iterator[Frame]:
    """The pictures as frames, over and over."""
    for i in range(round(seconds * fps)):
        yield Frame(source, segment, i, round(i * 1e9 / fps), 0, picture(i / fps % SECONDS))


def video(path: Path, fps: int = 30, seconds: float = SECONDS) -> Path:
    """The pictures, over and over, as a lossless recording."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = SIZE[1], SIZE[0], "yuv420p"
        for i in range(round(seconds * fps)):
            image = grained(picture(i / fps % SECONDS), i)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


SENSITIVITY = SensitivityModel(
    *(HalfModel(0.0, 1.5, (-0.8, -0.1, -0.1, 0.0, 0.0, 0.0, 0.0, 0.0)) for _ in range(2))
)
"""Of no true network: a larger own motion hides more."""


def chain(source: str, *, at: tuple[int, int] = (0, 0)) -> SourcePipeline:
    """The true chain behind a face that is always there, with a step model that spots any motion.

    :param at: where the face's picture lies in the frame
    """
    landmarks = sheet().landmarks() + np.array(at, np.float32)
    model = FakeStepModel(sensitivity=SENSITIVITY)
    return SourcePipeline(
        source,
        FakeFaceAnalyzer(lambda frame: landmarks),
        lambda: Spotter(model),
        evidence_builder("live"),
    )
