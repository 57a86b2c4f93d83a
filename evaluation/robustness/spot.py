"""The spotter on damaged video: rendered clips through the product's chain, from pixels up."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from mellm.detectors.types import U8
from mellm.evaluation.robustness import degrade
from mellm.evaluation.robustness.axes import BASE, Axis
from mellm.evaluation.robustness.rows import Row, Rows
from mellm.evaluation.spotting.data import seen_s
from mellm.evaluation.spotting.measures import judge
from mellm.evaluation.spotting.systems import System
from mellm.stream.errors import SourceCorrupt, UsageError
from mellm.stream.frames import Frame
from mellm.stream.sources.media import open_container
from mellm.training.spotter import records
from mellm.training.spotter.evaluate import Interval
from mellm.training.spotter.records import Record

SET = "clips"
EVERY = 2
"""Damaged clips are taken at every second frame, 25 a second: half the time for much the same score, and what most
cameras give."""


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """A decoded clip with its truth. ``pictures``: H×W×3 BGR, all of one size; ``iod``: pixels."""

    name: str
    subject: str
    fps: float
    seed: int
    iod: float
    truths: tuple[Interval, ...]
    pictures: Sequence[U8]

    def thinned(self, every: int) -> Film:
        """Every so many frames."""
        return Film(
            self.name,
            self.subject,
            self.fps / every,
            self.seed,
            self.iod,
            self.truths,
            self.pictures[::every],
        )


def load(video: Path) -> Film:
    """A clip of :mod:`mellm.training.synth.clips`.

    :raises SourceCorrupt: there is no truth beside it, or it cannot be read
    """
    try:
        truth = json.loads(video.with_suffix(".json").read_text(encoding="utf-8"))
        with open_container(video) as container:
            container.streams.video[0].codec_context.thread_count = 1
            pictures = [np.asarray(f.to_ndarray(format="bgr24"), np.uint8) for f in container.decode(video=0)]
        spec = truth["spec"]
        truths = tuple(
            Interval(e["onset_s"], e["apex_s"], e["offset_s"], tuple(a["au"] for a in e["aus"]), e["peak"])
            for e in truth["expressions"]
            if e["kind"] == "micro"
        )
        return Film(
            video.stem,
            f"rendered-{spec['seed']}",
            spec["fps"],
            spec["seed"],
            truth["iod_px"],
            truths,
            pictures,
        )
    except (OSError, ValueError, KeyError, av.FFmpegError) as error:
        raise SourceCorrupt(
            f"{video} is not a clip with its truth ({error})",
            remedy="render it again with python -m mellm.training.synth.clips",
        ) from error


def clips(folder: Path, count: int) -> list[Path]:
    """The first ``count`` clips of a folder.

    :raises UsageError: there are none
    """
    found = sorted(folder.glob("clip-*.mp4"))[:count]
    if not found:
        raise UsageError(
            f"no rendered clips in {folder}",
            remedy=f"film them: python -m mellm.training.synth.clips --split test --count 24 --fps 50 --out {folder}",
        )
    return found


def damaged(film: Film, axis: str, level: float) -> Film:
    """A clip with its damage. ``film`` is the whole clip; other axes than ``thin`` take every :data:`EVERY` frame.

    :raises UsageError: no such axis
    """
    if axis == "thin":
        return film.thinned(max(1, round(film.fps / level)))
    base = film.thinned(EVERY)
    pictures: Iterable[U8] = base.pictures
    if axis == "noise":
        pictures = (degrade.noise(p, level, [film.seed, k]) for k, p in enumerate(base.pictures))
    elif axis == "blur":
        pictures = (degrade.blur(p, level) for p in base.pictures)
    elif axis == "h264":
        pictures = degrade.h264(base.pictures, int(level))
    elif axis in ("sway", "shake"):
        scale = degrade.SWAY_S if axis == "sway" else degrade.SHAKE_S
        times = np.arange(len(base.pictures)) / base.fps
        motions = degrade.path(times, level, film.iod, film.seed, scale)
        centre = (base.pictures[0].shape[1] / 2, base.pictures[0].shape[0] / 2)
        pictures = (degrade.moved(p, m, centre) for p, m in zip(base.pictures, motions, strict=True))
    elif axis != BASE:
        raise UsageError(f"no axis {axis!r} of the spotter", remedy="see mellm.evaluation.robustness.axes")
    return Film(film.name, film.subject, base.fps, film.seed, film.iod, film.truths, list(pictures))


def signals(film: Film) -> Record:
    """What the spotter sees of a clip."""
    frames = (
        Frame(film.name, 0, k, round(k * 1e9 / film.fps), 0, picture)
        for k, picture in enumerate(film.pictures)
    )
    seconds = len(film.pictures) / film.fps
    return records.measure(film.name, film.subject, frames, truths=film.truths, seconds=seconds, fps=film.fps)


def item(system: System, record: Record) -> dict[str, Any]:
    """How a spotter did on one clip, as JSON data."""
    (judged,) = judge(system, [record])
    score = judged.score
    return {
        "clip": record.name,
        "tp": score.tp,
        "fp": score.fp,
        "fn": score.fn,
        "seconds": record.seconds,
        "seen_s": round(seen_s(record), 3),
        "apex_ms": [
            round(1e3 * abs(judged.spots[i].interval.apex_s - record.truths[j].apex_s), 2)
            for i, j in judged.pairs
        ],
    }


def measure(
    videos: Iterable[Path], axes: Iterable[Axis], rows: Rows, system: Callable[[], System],
    tell: Callable[[str], None] = lambda text: None,
) -> None:  # fmt: skip
    """Measure every clip at every level that is not there yet.

    :param system: makes the spotter anew: it keeps what it has seen
    """
    cv2.setNumThreads(1)
    places = [(BASE, 0.0), *((axis.name, level) for axis in axes for level in axis.levels)]
    for video in videos:
        todo = [p for p in places if rows.get("spot", SET, video.stem, *p) is None]
        if not todo:
            continue
        began = time.process_time()
        film = load(video)
        for axis, level in todo:
            items = [item(system(), signals(damaged(film, axis, level)))]
            now = time.process_time()
            rows.add(Row(rows.key, "spot", SET, video.stem, axis, level, items, round(now - began, 3)))
            began = now
        tell(f"{SET} {video.stem}: {len(todo)} levels")
