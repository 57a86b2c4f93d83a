"""Motion signals of a clip as the product measures them, kept with the truth.

Face detection and optical flow cost a hundred times more than the network that reads them. So a clip goes through
the product's own chain once (:func:`measure`), and what the spotter saw of it is kept: any number of networks,
thresholds and baselines can then be trained on it or judged by it in seconds, on exactly the same signals.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mellm.detectors.analyzer import Analyzer, FaceAnalyzer
from mellm.detectors.flow import FlowEstimator
from mellm.detectors.regions import eye_frame
from mellm.detectors.signals import FEATURES
from mellm.detectors.spotting import Score, Spot, Spotter, SpottingOptions, TrackSpotter
from mellm.detectors.stepmodel import StepModel
from mellm.detectors.types import F32
from mellm.detectors.windows import STEP_NS
from mellm.engine.analysis.pipeline import SourcePipeline
from mellm.engine.types import Evidence
from mellm.stream.errors import ModelCorrupt
from mellm.stream.files import replacing
from mellm.stream.frames import Frame, Item
from mellm.training.spotter.evaluate import Interval

FORMAT = "mellm-signals/1"

FACE_WIDTH_IOD = 2.24
"""Width of a face in inter-ocular distances: the crop's own (128 px wide face, 57 px between the eyes)."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something else that happens in a clip: ``kind`` is ``blink``, ``speech``, ``macro`` and the like. Seconds."""

    kind: str
    onset_s: float
    offset_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One clip of one person as the spotter sees it.

    :param subject: who is in it; splits go by subject
    :param grid_s: T grid times, seconds of media time, :data:`mellm.detectors.windows.STEP_NS` apart except at voids
    :param features: T×136 float32 in 1/100 inter-ocular distance; rows of NaN are void steps
    :param truths: micro-expressions, with peaks in 1/100 inter-ocular distance
    :param events: what else happens: distractors
    :param fps: native frame rate
    :param iod_px: median inter-ocular distance in the pictures
    :param frames: frames of the clip
    :param faces: of them with a face
    :param groups: labels by which scores are told apart (``talking``, ``h264`` …)
    """

    name: str
    subject: str
    grid_s: NDArray[np.float64]
    features: F32
    truths: tuple[Interval, ...]
    seconds: float
    fps: float
    iod_px: float
    frames: int = 0
    faces: int = 0
    events: tuple[Event, ...] = ()
    groups: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def face_px(self) -> float:
        """Width of the face in the pictures, pixels."""
        return FACE_WIDTH_IOD * self.iod_px

    def stretches(self) -> list[tuple[int, int]]:
        """First and last-but-one index of each run of steps without a void and without a jump in time."""
        void = np.isnan(self.features[:, 0])
        jump = np.diff(self.grid_s, prepend=self.grid_s[:1]) > 0.03
        out: list[tuple[int, int]] = []
        start: int | None = None
        for k in range(len(void)):
            if start is not None and (void[k] or jump[k]):
                out.append((start, k))
                start = None
            if start is None and not void[k]:
                start = k
        return out if start is None else [*out, (start, len(void))]


class _Tape:
    """Stands in a spotter's place and keeps what it is given."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.rows: list[F32 | None] = []
        self.score: Score | None = None
        self.invalid_steps = 0

    def push(self, t_ns: int, features: F32 | None, fps: float = 0.0) -> list[Spot]:
        self.times.append(t_ns)
        self.rows.append(None if features is None else features.copy())
        return []

    def flush(self) -> list[Spot]:
        return []


class _Watched:
    """An analyzer that remembers how large the faces were."""

    def __init__(self, inner: Analyzer) -> None:
        self.inner = inner
        self.iod: dict[int, list[float]] = {}

    def push(self, frame: Frame) -> Any:
        update = self.inner.push(frame)
        for face in update.faces:
            if face.track in update.refreshed:
                self.iod.setdefault(face.track, []).append(eye_frame(face.landmarks).iod)
        return update

    def limit(self, faces: int | None) -> None:
        self.inner.limit(faces)

    def reset(self) -> None:
        self.inner.reset()


def _nothing(_: object) -> Evidence:
    raise AssertionError("a tape spots nothing")  # pragma: no cover


def measure(
    name: str,
    subject: str,
    frames: Iterable[Item],
    *,
    truths: Iterable[Interval] = (),
    events: Iterable[Event] = (),
    seconds: float,
    fps: float,
    groups: Iterable[str] = (),
    facts: Mapping[str, Any] | None = None,
    analyzer: Callable[[], Analyzer] = FaceAnalyzer,
    flow: Callable[[], FlowEstimator] | None = None,
) -> Record:
    """Run frames through the product's chain and keep the signals of the face that was seen longest.

    Tracks of that person that follow each other (a face lost and found again) are joined with a void between.
    A face that the engine refuses (too small, too far turned) gives void steps, as in the product.

    :param flow: makes another estimator of motion than the product's, to see what it would cost
    """
    tapes: list[_Tape] = []

    def tape() -> TrackSpotter:
        tapes.append(_Tape())
        return tapes[-1]

    watched = _Watched(analyzer())
    chain = SourcePipeline(name, watched, tape, _nothing, flow=flow)
    for item in frames:
        chain.push(item)
    chain.finish()
    grid, features = _join(tapes)
    longest = max(watched.iod.values(), key=len, default=[0.0])
    return Record(
        name,
        subject,
        grid,
        features,
        tuple(truths),
        seconds,
        fps,
        float(np.median(longest)),
        chain.counts.analysed,
        chain.counts.frames_with_face,
        tuple(events),
        tuple(groups),
        dict(facts or {}),
    )


def _join(tapes: list[_Tape]) -> tuple[NDArray[np.float64], F32]:
    """The longest tape, and before and after it those that do not overlap."""
    chosen: list[_Tape] = []
    for tape in sorted((t for t in tapes if t.times), key=lambda t: -len(t.times)):
        if all(tape.times[-1] < c.times[0] or tape.times[0] > c.times[-1] for c in chosen):
            chosen.append(tape)
    times: list[int] = []
    rows: list[F32 | None] = []
    for tape in sorted(chosen, key=lambda t: t.times[0]):
        if times:  # another track begins: nothing may reach across
            times.append(min(times[-1] + STEP_NS, tape.times[0] - 1))
            rows.append(None)
        times += tape.times
        rows += tape.rows
    void = np.full(FEATURES, np.nan, np.float32)
    stacked = (
        np.stack([void if r is None else r for r in rows]) if rows else np.zeros((0, FEATURES), np.float32)
    )
    return np.array(times, np.float64) / 1e9, stacked


def steps(record: Record) -> Iterator[tuple[int, F32 | None]]:
    """Grid times (ns) and features, ``None`` where void, as the chain pushed them."""
    for t, row in zip(record.grid_s, record.features, strict=True):
        yield round(t * 1e9), None if np.isnan(row[0]) else row


@dataclass(frozen=True, slots=True)
class Published:
    """A spot and the media time at which it came out (s)."""

    interval: Interval
    at_s: float

    @property
    def latency_s(self) -> float:
        """Media time from offset to publication."""
        return self.at_s - self.interval.offset_s


def spot(record: Record, model: StepModel, options: SpottingOptions | None = None) -> list[Published]:
    """What the product's spotter publishes on a record, and when."""
    spotter = Spotter(model, options)
    found: list[Published] = []
    last = 0.0
    for t_ns, features in steps(record):
        last = t_ns / 1e9
        found += [Published(Interval.of_spot(s), last) for s in spotter.push(t_ns, features)]
    return found + [Published(Interval.of_spot(s), last) for s in spotter.flush()]


def save(record: Record, path: Path) -> None:
    """Write one record, complete or not at all. Features are kept as float16, as in training."""
    head = {
        "format": FORMAT,
        "name": record.name,
        "subject": record.subject,
        "seconds": record.seconds,
        "fps": record.fps,
        "iod_px": record.iod_px,
        "frames": record.frames,
        "faces": record.faces,
        "groups": list(record.groups),
        "facts": dict(record.facts),
        "events": [[e.kind, e.onset_s, e.offset_s] for e in record.events],
        "truths": [[t.onset_s, t.apex_s, t.offset_s, list(t.aus), t.peak] for t in record.truths],
    }
    with replacing(path) as part:
        np.savez_compressed(
            part, head=json.dumps(head), grid_s=record.grid_s, features=record.features.astype(np.float16)
        )


def load(path: Path) -> Record:
    """Read a record.

    :raises ModelCorrupt: it is no record of signals, or one of another format
    """
    try:
        with path.open("rb") as file, np.load(file) as stored:
            head = json.loads(str(stored["head"]))
            if head["format"] != FORMAT:
                raise ModelCorrupt(f"{path.name} is {head['format']!r}, not {FORMAT}")
            return Record(
                head["name"],
                head["subject"],
                stored["grid_s"],
                stored["features"].astype(np.float32),
                tuple(Interval(a, b, c, tuple(aus), peak) for a, b, c, aus, peak in head["truths"]),
                head["seconds"],
                head["fps"],
                head["iod_px"],
                head["frames"],
                head["faces"],
                tuple(Event(*event) for event in head["events"]),
                tuple(head["groups"]),
                head["facts"],
            )
    except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise ModelCorrupt(
            f"{path.name} is not a record of signals: {error}",
            remedy="delete it and let it be measured again",
        ) from error


def load_folder(folder: Path) -> list[Record]:
    """All records of a folder, by name."""
    return [load(path) for path in sorted(folder.glob("*.npz")) if not path.name.startswith(".")]
