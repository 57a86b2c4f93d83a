"""Speed and latency of the whole chain on this machine, with the true models, as ratios against a limit.

The pictures are the shipped sample, resized, played forwards and backwards and repeated until the clip is long
enough; at high frame rates pictures repeat. The work is that of a real source of that size and rate.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av
import cv2
import numpy as np

from mellm.detectors.types import U8
from mellm.engine.analysis.live import LiveEngine
from mellm.engine.analysis.offline import seen_ahead
from mellm.engine.analysis.pipeline import SourcePipeline
from mellm.engine.describe.base import Describer
from mellm.stream.capture.runner import RunnerOptions, SourceRunner
from mellm.stream.errors import SourceEmpty
from mellm.stream.frames import Frame
from mellm.stream.sources import open_source


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure against its bound.

    :param least: the figure shall be no smaller; else no larger
    """

    name: str
    value: float
    bound: float
    unit: str
    least: bool = False

    @property
    def met(self) -> bool:
        """Whether it holds."""
        return self.value >= self.bound if self.least else self.value <= self.bound

    @property
    def told(self) -> str:
        """``7.4 × (goal ≤ 5)``."""
        return f"{self.value:.3g} {self.unit} (goal {'≥' if self.least else '≤'} {self.bound:g})".replace(
            "  ", " "
        )


@dataclass(frozen=True, slots=True)
class LiveFigures:
    """One live source over some time. ``lost`` counts frames that were captured and not analysed."""

    name: str
    seconds: float
    captured: int
    analysed: int
    lost: int
    score_p50_ms: float
    score_p95_ms: float
    cpu_share: float


@dataclass(frozen=True, slots=True)
class OfflineFigures:
    """One recording through the chain, as fast as it goes."""

    name: str
    media_s: float
    wall_s: float
    frames: int

    @property
    def factor(self) -> float:
        """Media seconds a second."""
        return self.media_s / self.wall_s


@dataclass(frozen=True, slots=True)
class Clips:
    """Makes clips of one face out of the sample: of the two in it the left one.

    :param folder: where they lie
    :param seconds: their length
    """

    sample: Path
    folder: Path
    seconds: float

    def make(self, size: tuple[int, int], fps: int, seconds: float | None = None) -> Path:
        """A clip of that size (width, height) and rate.

        :param seconds: at most; the length of all others by default
        """
        with open_source(str(self.sample), id="bench", live=False) as source:
            rate = source.info.declared_fps or 50.0
        path = self.folder / f"{size[0]}x{size[1]}-{fps}-{seconds or 0:g}.mp4"
        clip(
            pictures(self.sample, size, left=0.5), path, fps, min(seconds or self.seconds, self.seconds), rate
        )
        return path


def pictures(sample: Path, size: tuple[int, int], limit: int = 300, *, left: float = 1.0) -> list[U8]:
    """Frames of the sample, cropped to the aspect of ``size`` (width, height) and resized to it.

    :param left: share of their width that is used; in half of it one of the two faces is left
    """
    width, height = size
    found: list[U8] = []
    with open_source(str(sample), id="bench", live=False) as source:
        while len(found) < limit and (item := source.read()) is not None:
            if isinstance(item, Frame):
                image = item.image[:, : round(left * item.image.shape[1])]
                found.append(_fit(image, width, height))
    if not found:
        raise SourceEmpty(f"{sample.name} holds no picture")
    return found


def _fit(image: U8, width: int, height: int) -> U8:
    h, w = image.shape[:2]
    wide = min(w, round(h * width / height))
    high = min(h, round(wide * height / width))
    x, y = (w - wide) // 2, (h - high) // 2
    cut = image[y : y + high, x : x + wide]
    return np.asarray(cv2.resize(cut, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def clip(images: list[U8], path: Path, fps: int, seconds: float, sample_fps: float) -> None:
    """Write a clip of that length and rate, H.264, pictures there and back again."""
    height, width = images[0].shape[:2]
    repeat = max(1, round(fps / sample_fps))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, 90_000)
        for number, image in enumerate(islice(_there_and_back(images, repeat), round(seconds * fps))):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = round(number * 90_000 / fps), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _there_and_back(images: list[U8], repeat: int) -> Iterator[U8]:
    for image in cycle([*images, *images[-2:0:-1]]):
        for _ in range(repeat):
            yield image


def live(
    name: str,
    path: Path,
    make_pipeline: Callable[[str], SourcePipeline],
    describer: Describer,
    seconds: float,
    *,
    cameras: int = 1,
) -> LiveFigures:
    """Play a clip at its own rate through a live engine, as so many cameras at once; latency is that of the slowest."""
    options = RunnerOptions(policy="live", realtime=True)
    runners = [SourceRunner(str(path), id=f"bench-{k}", options=options) for k in range(cameras)]
    engine = LiveEngine(runners, make_pipeline, describer, _Deaf())
    cpu, started = _cpu_s(), time.monotonic()
    engine.start()
    while not engine.finished and time.monotonic() - started < seconds + 15:
        time.sleep(0.1)
    wall = time.monotonic() - started
    used = _cpu_s() - cpu
    engine.stop()
    counts = [source.counts() for source in engine.sources.values()]
    captured, analysed = (sum(each) for each in zip(*((c.captured, c.analysed) for c in counts), strict=True))
    return LiveFigures(
        name,
        wall,
        captured,
        analysed,
        captured - analysed,
        max(c.score_p50_ms for c in counts),
        max(c.score_p95_ms for c in counts),
        used / wall,
    )


def offline(name: str, path: Path, make_pipeline: Callable[[str], SourcePipeline]) -> OfflineFigures:
    """Analyse a clip as fast as it goes; evidence included, describing not."""
    chain = make_pipeline("bench")
    started = time.monotonic()
    first = last = None
    with open_source(str(path), id="bench", live=False) as source, seen_ahead(source, chain) as all_seen:
        for seen in all_seen:
            chain.take(seen)
            if isinstance(seen.item, Frame):
                first, last = seen.item.pts_ns if first is None else first, seen.item.pts_ns
    chain.finish()
    media = 0.0 if first is None or last is None else (last - first) / 1e9
    return OfflineFigures(name, media, time.monotonic() - started, chain.counts.captured)


@dataclass(frozen=True, slots=True)
class RunFigures:
    """``mellm analyze`` as a process of its own.

    :param first_frame_s: from its start until the first frame was analysed
    :param peak_mb: largest resident memory
    """

    name: str
    first_frame_s: float
    peak_mb: float


_FIRST = """
import atexit, re, resource, sys, time
def peak():
    try:  # the kernel's other figure starts with the size of whoever started this process
        kilobytes = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read()).group(1))
    except OSError:
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("peak", kilobytes, file=sys.stderr, flush=True)
atexit.register(peak)
from mellm.engine.analysis.pipeline import SourcePipeline
take = SourcePipeline.take
def first(self, seen):
    out = take(self, seen)
    if SourcePipeline.take is first:
        SourcePipeline.take = take
        print("first", time.time(), file=sys.stderr, flush=True)
    return out
SourcePipeline.take = first
from mellm.clients.cli import main
main()
"""
"""Started as a process: `mellm analyze` that says when the first frame was analysed."""


def run(name: str, path: Path, folder: Path) -> RunFigures:
    """Analyse a clip by the command, as somebody does who types it.

    :param folder: for the results; must not be there yet
    :raises SourceEmpty: no frame was analysed
    """
    began = time.time()
    command = [
        sys.executable,
        "-c",
        _FIRST,
        "analyze",
        str(path),
        "--out",
        str(folder),
        "--purpose",
        "self-use",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = dict(line.split() for line in done.stderr.splitlines() if line.startswith(("first ", "peak ")))
    if "first" not in told:
        raise SourceEmpty(f"no frame of {path.name} was analysed: {done.stderr.strip()[-300:]}")
    return RunFigures(name, float(told["first"]) - began, float(told["peak"]) / 1024)


class _Deaf:
    """A sink that throws away."""

    def publish(self, kind: str, source: str, data: Mapping[str, object], t_ns: int | None = None) -> None:
        """Nothing."""

    keeps_faces = False

    def evidence(self, expression: str, png: bytes, shown: str = "motion") -> None:
        """Nothing."""


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
