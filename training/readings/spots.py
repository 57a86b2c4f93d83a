"""Spots of the product with the truth about each: what describers are fitted on (validation) and judged on (test).

A clip of somebody goes through the product's chain, with faces found, compression and all, once (:func:`watch`): what
the spotter would have seen is kept, and the pictures that evidence is made of. Any spotter then spots on it in
seconds (:func:`replay`), with its own errors, and each spot comes as a describer gets it, with the true expression
that it is, or none.

``python -m mellm.training.readings.spots --split val --out runs/watched`` makes what is missing; one file a clip.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from mellm.detectors.analyzer import Analyzer, AnalyzerOptions, FaceAnalyzer
from mellm.detectors.patches import Patch
from mellm.detectors.signals import FEATURES, FacePair, TrackSignals, _Kept
from mellm.detectors.spotting import Score, Spot, Spotter, SpottingOptions, StepModel
from mellm.detectors.types import F32
from mellm.engine.analysis.pipeline import PAIR_WIDTH, SourcePipeline
from mellm.engine.analysis.pipeline_factory import evidence_builder
from mellm.engine.types import Coarse, Evidence, Side
from mellm.evaluation.metrics.matching import match
from mellm.stream.errors import MellmError, SourceEmpty, UsageError
from mellm.stream.files import replacing
from mellm.stream.frames import FrameRef
from mellm.training.instruct import labels
from mellm.training.instruct.pairs import SIDES
from mellm.training.readings.clips import KINDS, ClipSpec, Filmed, Kind, Split, clips, filmed

log = logging.getLogger(__name__)

LEAST_IOU, STEP_S = 0.5, 0.02


@dataclass(frozen=True, slots=True)
class Truth:
    """An expression that is there. ``peak``: 1/100 inter-ocular distance; times in seconds."""

    units: tuple[tuple[int, Side], ...]
    peak: float
    coarse: Coarse | None
    onset_s: float
    offset_s: float


@dataclass(frozen=True, slots=True, eq=False)
class SpotCase:
    """A spot as a describer gets it. ``truth`` is ``None`` for a false alarm."""

    id: str
    subject: str
    kind: Kind
    truth: Truth | None
    score: float
    duration_ms: float
    opinion: tuple[tuple[int, float], ...]
    pair: FacePair

    def evidence(self) -> Evidence:
        """The evidence of it, as the product makes it."""
        return evidence_builder("live")(self.pair)


@dataclass(slots=True, eq=False)
class Tape:
    """Stands in the spotter's place and keeps what it is given, and the pictures.

    :param rows: float32[``FEATURES``] of each step, ``None`` where void
    """

    times: list[int] = field(default_factory=list)
    rows: list[F32 | None] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    kept: list[_Kept] = field(default_factory=list)
    score: Score | None = None
    invalid_steps: int = 0

    def push(self, t_ns: int, features: F32 | None, fps: float = 0.0) -> list[Spot]:
        """Keep a step."""
        self.times.append(t_ns)
        self.rows.append(None if features is None else features.copy())
        self.rates.append(fps)
        return []

    def flush(self) -> list[Spot]:
        """Nothing was spotted."""
        return []


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """A clip as the chain sees it up to the spotter.

    :param seconds: with a face
    """

    spec: ClipSpec
    truths: tuple[Truth, ...]
    seconds: float
    tapes: tuple[Tape, ...]


class _Memory(TrackSignals):
    """A track of which nothing was forgotten: pairs of any two of its moments."""

    def __init__(self, kept: list[_Kept]) -> None:
        super().__init__()
        self._kept.extend(kept)


def watch(clip: Filmed, analyzer: Callable[[], Analyzer] | None = None) -> Watched:
    """Run a clip through the product's chain with a tape in the spotter's place."""
    tapes: dict[int, Tape] = {}
    made: list[Tape] = []

    def tape() -> Tape:
        made.append(Tape())
        return made[-1]

    faces = FaceAnalyzer(AnalyzerOptions(max_faces=1)) if analyzer is None else analyzer()
    chain = SourcePipeline(clip.spec.name, faces, tape, evidence_builder("live"))
    first = last = 0
    for frame in clip.frames():
        first, last = first if last else frame.pts_ns, frame.pts_ns
        chain.push(frame)
        for track, state in chain._tracks.items():
            # a track's tape is the last that was made when it began
            mine = tapes.setdefault(track, made[-1])
            newest = state.signals._kept[-1] if state.signals._kept else None
            if newest is not None and (not mine.kept or mine.kept[-1].ref != newest.ref):
                mine.kept.append(newest)
    chain.finish()
    step = (last - first) / 1e9 / max(1, len(clip.stamps_ns) - 1)
    rng = np.random.default_rng([0x5908, clip.spec.seed])
    truths = tuple(
        Truth(
            tuple(sorted((a.au, SIDES[a.side]) for a in e.actions)),
            round(float(clip.peak(e)), 3),
            labels.coarse(labels.draw(sorted(a.au for a in e.actions), rng)),
            e.onset_s,
            e.offset_s,
        )
        for e in clip.expressions
    )
    return Watched(clip.spec, truths, chain.counts.frames_with_face * step, tuple(tapes.values()))


def replay(watched: Watched, model: StepModel, threshold: float | None = None) -> list[SpotCase]:
    """What a spotter finds on it.

    :param threshold: the spotter's own if not given
    """
    found: list[tuple[Spot, float, FacePair]] = []
    for tape in watched.tapes:
        memory = _Memory(tape.kept)
        spotter = Spotter(model, SpottingOptions(threshold=threshold))
        spots = [
            s
            for t, row, fps in zip(tape.times, tape.rows, tape.rates, strict=True)
            for s in spotter.push(t, row, fps)
        ]
        for spot in [*spots, *spotter.flush()]:
            try:
                times = [memory.ref(t).pts_ns for t in (spot.onset_ns, spot.apex_ns, spot.offset_ns)]
            except LookupError:
                continue
            if times[0] < times[1] < times[2]:
                pair = memory.pair(spot.onset_ns, spot.apex_ns, PAIR_WIDTH)
                found.append((spot, (times[2] - times[0]) / 1e6, pair))
    right = matched([(s.onset_ns / 1e9, s.offset_ns / 1e9) for s, _, _ in found], watched.truths)
    spec = watched.spec
    return [
        SpotCase(
            f"{spec.name}@{pair.apex.pts_ns / 1e9:.3f}", spec.subject, spec.kind,
            watched.truths[right[i]] if i in right else None,
            spot.score, duration_ms, spot.aus, pair,
        )
        for i, (spot, duration_ms, pair) in enumerate(found)
    ]  # fmt: skip


def matched(found: list[tuple[float, float]], truths: tuple[Truth, ...]) -> dict[int, int]:
    """Spot → the true expression that it is: they share half of their union or more. Onset and offset in seconds."""
    spots = [(round(a / STEP_S), round(b / STEP_S)) for a, b in found]
    true = [(round(t.onset_s / STEP_S), round(t.offset_s / STEP_S)) for t in truths]
    return dict(match(spots, true, LEAST_IOU))


def save(path: Path, watched: Watched) -> None:
    """Write a clip, whole or not at all."""
    void = np.full(FEATURES, np.nan, np.float32)
    arrays: dict[str, NDArray[Any]] = {}
    for i, tape in enumerate(watched.tapes):
        rows = [void if r is None else r for r in tape.rows]
        arrays[f"times{i}"] = np.array(tape.times, np.int64)
        arrays[f"rows{i}"] = np.array(rows, np.float32).reshape(len(rows), FEATURES)
        arrays[f"rates{i}"] = np.array(tape.rates)
        arrays[f"refs{i}"] = np.array([(k.ref.index, k.ref.pts_ns) for k in tape.kept], np.int64).reshape(
            -1, 2
        )
        arrays[f"landmarks{i}"] = np.array([k.landmarks for k in tape.kept], np.float32).reshape(-1, 68, 2)
        arrays[f"matrices{i}"] = np.array([k.patch.matrix for k in tape.kept]).reshape(-1, 2, 3)
        arrays[f"shapes{i}"] = np.array([k.patch.image.shape for k in tape.kept], np.int64).reshape(-1, 2)
        pixels = [k.patch.image.ravel() for k in tape.kept]
        arrays[f"pixels{i}"] = np.concatenate(pixels) if pixels else np.zeros(0, np.uint8)
    told = {
        "spec": asdict(watched.spec), "truths": [asdict(t) for t in watched.truths],
        "seconds": watched.seconds, "tapes": len(watched.tapes),
    }  # fmt: skip
    with replacing(path) as part:
        arrays["told"] = np.array(json.dumps(told))
        np.savez(part, **arrays)  # type: ignore[arg-type]  # numpy's stub takes any name for a flag


def load_file(path: Path) -> Watched:
    """A clip of :func:`save`.

    :raises UsageError: it is not one
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            told = json.loads(str(file["told"]))
            tapes = tuple(_tape(file, i) for i in range(told["tapes"]))
        truths = tuple(truth_of(t) for t in told["truths"])
        return Watched(ClipSpec(**told["spec"]), truths, told["seconds"], tapes)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is not a clip that was watched ({error})",
            remedy="delete it and run python -m mellm.training.readings.spots again",
        ) from error


def truth_of(record: dict[str, Any]) -> Truth:
    """A truth from its JSON form."""
    return Truth(**{**record, "units": tuple((au, side) for au, side in record["units"])})


def _tape(file: Any, i: int) -> Tape:
    pixels, starts = file[f"pixels{i}"], 0
    kept = []
    numbers = (file[f"{name}{i}"] for name in ("refs", "landmarks", "matrices", "shapes"))
    for ref, points, matrix, (height, width) in zip(*numbers, strict=True):
        image = pixels[starts : starts + height * width].reshape(height, width)
        starts += height * width
        kept.append(_Kept(FrameRef(int(ref[0]), int(ref[1])), Patch(image, matrix), points))
    rows = [None if np.isnan(r[0]) else r for r in file[f"rows{i}"]]
    return Tape(file[f"times{i}"].tolist(), rows, file[f"rates{i}"].tolist(), kept)


def load(root: Path, split: Split) -> Iterator[Watched]:
    """All clips of a split, one after the other: they are large.

    :raises UsageError: there are none
    """
    files = sorted((root / split).glob("*.npz"))
    if not files:
        raise UsageError(
            f"no clips in {root / split}",
            remedy=f"python -m mellm.training.readings.spots --split {split} --out {root}",
        )
    yield from (load_file(path) for path in files)


@click.command()
@click.option("--split", "splits", type=click.Choice(get_args(Split)), multiple=True, default=get_args(Split))
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, default=KINDS)
@click.option("--clips", "count", type=click.IntRange(1), default=20, show_default=True, help="Of each kind.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/watched"), show_default=True)
def main(splits: tuple[Split, ...], kinds: tuple[Kind, ...], count: int, out: Path) -> None:
    """Let the chain watch the clips of a split, and keep what a spotter would see."""
    cv2.setNumThreads(1)
    try:
        for i in range(count):
            for split in splits:
                for kind in kinds:
                    chosen = clips(split, kind, i + 1)
                    if len(chosen) <= i or (path := out / split / f"{chosen[i].name}.npz").exists():
                        continue
                    try:
                        watched = watch(filmed(chosen[i], out / "traces"))
                    except SourceEmpty as error:
                        log.warning("%s is left out: %s", chosen[i].name, error)
                        continue
                    save(path, watched)
                    click.echo(f"{path.stem}: {len(watched.truths)} expressions", err=True)
    except MellmError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
