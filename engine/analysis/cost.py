"""What one frame costs, in processor time and against something that does not change: decoding, and one look.

Wall time depends on what else a machine does, processor time much less, and a ratio of two processor times taken in
turns hardly at all. The module uses nothing that changes from version to version, so that an earlier one can be
measured by it: ``python engine/analysis/cost.py CLIP`` with the interpreter of that version's environment.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np
from av.video.reformatter import VideoReformatter

from mellm.stream.frames import Frame
from mellm.stream.sources import open_source
from mellm.stream.sources.media import open_container

WARM = 30
"""Frames before the clock starts: networks are loaded, and the first flow needs frames 0.3 s apart."""

BUSY = 0.1
"""Share of its time that others may take of a spinning process before a machine is called busy."""


BEFORE = 13.8
"""``per_decode`` of version 69dce81 on the clip of ``mellm bench``, by this module (docs/results/benchmarks.md)."""


class Chain(Protocol):
    """What is measured; see :class:`mellm.engine.analysis.pipeline.SourcePipeline`."""

    def push(self, item: Any, /) -> object:
        """The next frame or gap."""
        ...


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of processor time, medians over rounds; all threads count.

    :param decode_ms: of one frame, decoded and made BGR, nothing else
    :param chain_ms: of one frame from the file to the spotter's score, decoding included
    :param look_ms: of one run of the landmark network
    :param per_decode: ``chain_ms`` over ``decode_ms``, round by round
    :param low: the least of these ratios
    :param high: the largest
    :param per_look: ``chain_ms`` over ``look_ms``, round by round
    """

    frames: int
    rounds: int
    decode_ms: float
    chain_ms: float
    look_ms: float
    per_decode: float
    low: float
    high: float
    per_look: float


def measure(path: Path, make_chain: Callable[[], Chain], *, frames: int = 150, rounds: int = 5) -> Cost:
    """Decode a clip, look at a face, and analyse the clip, in turns.

    :param frames: after the first :data:`WARM`; the clip must have as many
    """
    decoded, analysed, looked, counted = [], [], [], 0
    for _ in range(rounds):
        decoded.append(_decode_ms(path, frames))
        looked.append(_look_ms())
        spent, counted = _chain_ms(path, make_chain(), frames)
        analysed.append(spent)
    against = [one / other for one, other in zip(analysed, decoded, strict=True)]
    return Cost(
        counted,
        rounds,
        round(median(decoded), 3),
        round(median(analysed), 3),
        round(median(looked), 3),
        round(median(against), 2),
        round(min(against), 2),
        round(max(against), 2),
        round(median(one / other for one, other in zip(analysed, looked, strict=True)), 2),
    )


def taken_by_others(seconds: float = 0.3) -> float:
    """Share of the time that a spinning process on each core did not get; 0 on an idle machine."""
    started, used = time.perf_counter(), time.thread_time()
    while time.perf_counter() - started < seconds:
        pass
    return max(0.0, 1 - (time.thread_time() - used) / (time.perf_counter() - started))


def load() -> float:
    """Processes that want a core, over the last minute; 0 where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _decode_ms(path: Path, frames: int) -> float:
    reformatter = VideoReformatter()
    with open_container(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        pictures = container.decode(stream)
        for _ in islice(pictures, WARM):
            pass
        used, count = time.process_time(), 0
        for picture in islice(pictures, frames):
            reformatter.reformat(picture, format="bgr24").to_ndarray()
            count += 1
        return 1000 * (time.process_time() - used) / max(1, count)


def _chain_ms(path: Path, chain: Chain, frames: int) -> tuple[float, int]:
    with open_source(str(path), id="cost", live=False) as source:
        count, used = -WARM, time.process_time()
        while count < frames and (item := source.read()) is not None:
            chain.push(item)
            if isinstance(item, Frame):
                count += 1
                if count == 0:
                    used = time.process_time()
        return 1000 * (time.process_time() - used) / max(1, count), max(0, count)


def _look_ms(looks: int = 15) -> float:
    from mellm.detectors.landmarks import Landmarker, Roi
    from mellm.detectors.onnx import session
    from mellm.detectors.weights import store

    landmarker = Landmarker(session(store.path("face_landmarks"), "cpu"))
    image = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    spent = []
    for _ in range(looks):
        used = time.thread_time()
        landmarker(image, Roi(150, 150, 280, 0.1))
        spent.append(time.thread_time() - used)
    return 1000 * median(spent)


def main(arguments: list[str]) -> None:
    """``python engine/analysis/cost.py CLIP``: one line of JSON."""
    from mellm.engine.analysis.pipeline_factory import PipelineFactory
    from mellm.engine.config import Settings

    factory = PipelineFactory(Settings())
    cost = measure(Path(arguments[0]), lambda: factory.make("cost"))
    others = {"load": round(load(), 2), "taken_by_others": round(taken_by_others(), 3)}
    print(json.dumps(asdict(cost) | others))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
