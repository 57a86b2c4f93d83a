"""Spots from records that were measured already: only the few pictures round each spot are made, not the clip.

``python -m mellm.training.readings.of_records SET… --split test`` runs the spotter on the signals of a set of
:mod:`mellm.training.spotter.sets` (portraits with a script, or recordings as they are), and makes the six pictures of
each spot again. Portraits are compressed as stills here, as in :mod:`mellm.training.instruct.pairs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import click
import cv2
import numpy as np

from mellm.detectors.patches import apply, crop_matrix
from mellm.detectors.regions import eye_frame
from mellm.detectors.signals import FEATURES, FacePair
from mellm.detectors.spotting import OnnxStepModel, Spot, Spotter, SpottingOptions
from mellm.detectors.stepmodel import StepModel
from mellm.detectors.types import F32, U8
from mellm.detectors.windows import STEP_NS
from mellm.engine.analysis.pipeline import COURSE_STEPS
from mellm.engine.evidence import motion_map
from mellm.evaluation.metrics.matching import match
from mellm.stream.errors import FaceError, MellmError, UsageError
from mellm.stream.frames import FrameRef
from mellm.training.instruct import labels
from mellm.training.instruct.pairs import JPEG_FOR_H264, SIDES
from mellm.training.readings.spots import LEAST_IOU, Kind, Split, SpotCase, Truth, frame_steps, save
from mellm.training.spotter import records, sets
from mellm.training.spotter.people import video
from mellm.training.spotter.records import Record
from mellm.training.spotter.sets import Clip
from mellm.training.synth import composite
from mellm.training.synth.events import Expression
from mellm.training.tools.make_sample import landmarks as find_landmarks

Pictures = Mapping[int, U8]
"""Frame index → H×W×3 BGR."""


def spots_of(record: Record, model: StepModel, threshold: float | None) -> list[Spot]:
    """What the product's spotter publishes on a record."""
    spotter = Spotter(model, SpottingOptions(threshold=threshold))
    found: list[Spot] = []
    for t_ns, features in records.steps(record):
        found += spotter.push(t_ns, features)
    return found + spotter.flush()


def course(record: Record, apex_ns: int) -> F32:
    """Signals round a moment, as :attr:`mellm.engine.types.Evidence.course`."""
    rows = np.full((2 * COURSE_STEPS + 1, FEATURES), np.nan, np.float32)
    at = COURSE_STEPS + np.rint((record.grid_s * 1e9 - apex_ns) / STEP_NS).astype(int)
    inside = (at >= 0) & (at < len(rows))
    rows[at[inside]] = record.features[inside]
    return rows


def _still(clip: Clip) -> composite.StillClip:
    image = np.asarray(cv2.imread(str(composite.media() / "stills" / clip.source)), np.uint8)
    return composite.StillClip(
        image, find_landmarks(image), seed=clip.seed, seconds=clip.seconds, fps=clip.fps, profile=clip.profile,
        face_px=clip.face_px,
    )  # fmt: skip


def _filmed(made: composite.StillClip, wanted: Sequence[int]) -> Pictures:
    """Frames of a portrait; each is filmed by itself."""
    rng = np.random.default_rng([0x0FEC, made.seed])
    film = made.film
    if film.codec == "h264":
        film = replace(film, codec="jpeg", quality=int(rng.integers(*JPEG_FOR_H264)))
    shot = film.shoot(made.pictures_at(np.array(wanted) / made.fps), made.fps, made.seed)
    coded = composite.coded(shot, film, range(len(wanted)), "still")
    return {k: frame.image for k, frame in zip(wanted, coded, strict=True)}


def _decoded(file: str, times_s: Iterable[float]) -> tuple[list[int], Pictures]:
    """Frame times (ns) of a recording, and its pictures near the given times."""
    near = np.array(sorted(times_s))
    stamps: list[int] = []
    kept: dict[int, U8] = {}
    for k, frame in enumerate(video(file).frames(file)):
        stamps.append(frame.pts_ns)
        if np.abs(near - frame.pts_ns / 1e9).min() < 0.12:
            kept[k] = np.asarray(frame.image, np.uint8)
    return stamps, kept


def face_pair(pictures: Pictures, onset: int, apex: int, stamps: Sequence[int]) -> FacePair:
    """Standard crops of the frames at and beside onset and apex, placed by the face at the onset.

    :raises FaceError: no face there
    """
    points = find_landmarks(pictures[onset])
    matrix = crop_matrix(eye_frame(points), motion_map.LIVE_WIDTH)
    size = (motion_map.LIVE_WIDTH, motion_map.LIVE_HEIGHT)

    def cut(k: int) -> U8:
        gray = np.asarray(cv2.cvtColor(pictures[k], cv2.COLOR_BGR2GRAY), np.uint8)
        return motion_map.warp(gray, matrix, size)

    landmarks = apply(matrix, points)
    beside = (tuple(cut(k) for k in (at - 1, at + 1) if k in pictures) for at in (onset, apex))
    return FacePair(
        cut(onset), cut(apex), landmarks, FrameRef(onset, stamps[onset]), FrameRef(apex, stamps[apex]),
        eye_frame(landmarks).iod, *beside,
    )  # fmt: skip


def collect(record: Record, clip: Clip, model: StepModel, threshold: float | None) -> list[SpotCase]:
    """The spots of a record, with their pictures and their truth.

    :raises UsageError: a kind of clip that cannot be made in parts
    """
    spots = spots_of(record, model, threshold)
    if not spots:
        return []
    expressions: list[Expression] = []
    kind: Kind
    if clip.kind == "still":
        made = _still(clip)
        expressions = [e for e in made.script.expressions if e.kind == "micro"]
        stamps = [round(k * 1e9 / clip.fps) for k in range(round(clip.seconds * clip.fps))]
        wanted = {
            k + d for s in spots for t in (s.onset_ns, s.apex_ns) for d in (-1, 0, 1)
            if 0 <= (k := _nearest(stamps, t)) + d < len(stamps)
        }  # fmt: skip
        pictures = _filmed(made, sorted(wanted))
        kind = "drawn-speech" if made.talks else "stills"
    elif clip.kind == "free":
        stamps, pictures = _decoded(clip.source, [t / 1e9 for s in spots for t in (s.onset_ns, s.apex_ns)])
        kind = "acting" if "acting" in record.groups else "talking"
    else:
        raise UsageError(
            f"{clip.name}: a {clip.kind} clip has to be made as a whole", remedy="use readings.spots"
        )
    right = dict(
        match(
            [frame_steps(s.onset_ns / 1e9, s.offset_ns / 1e9) for s in spots],
            [frame_steps(e.onset_s, e.offset_s) for e in expressions],
            LEAST_IOU,
        )
    )
    rng = np.random.default_rng([0x5909, clip.seed])
    out = []
    for i, spot in enumerate(spots):
        onset, apex = _nearest(stamps, spot.onset_ns), _nearest(stamps, spot.apex_ns)
        if onset >= apex:
            continue
        truth = None
        if i in right:
            e = expressions[right[i]]
            units = tuple(sorted((a.au, SIDES[a.side]) for a in e.actions))
            peak = record.truths[right[i]].peak
            truth = Truth(units, peak, labels.coarse(labels.draw((u for u, _ in units), rng)))
        try:
            pair = face_pair(pictures, onset, apex, stamps)
        except FaceError:
            continue
        out.append(
            SpotCase(
                f"{clip.name}@{spot.apex_ns / 1e9:.3f}", record.subject, kind, truth, spot.score,
                (spot.offset_ns - spot.onset_ns) / 1e6, spot.aus, pair, course(record, spot.apex_ns),
            )
        )  # fmt: skip
    return out


def _nearest(stamps: Sequence[int], t_ns: int) -> int:
    return int(np.argmin(np.abs(np.array(stamps) - t_ns)))


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--split", type=click.Choice(get_args(Split)), required=True)
@click.option("--root", type=click.Path(path_type=Path), default=sets.ROOT, show_default=True)
@click.option("--threshold", type=click.FloatRange(0.05, 0.95), help="Of the spotter; its own by default.")
@click.option("--without", multiple=True, help="Leave out clips whose record is in this set.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/spots"), show_default=True)
def main(
    names: tuple[str, ...],
    split: Split,
    root: Path,
    threshold: float | None,
    without: tuple[str, ...],
    out: Path,
) -> None:
    """Spots of the built SETS, kept with their truth."""
    cv2.setNumThreads(1)
    model = OnnxStepModel()
    taken = {p.name for name in without for p in (root / name).glob("*.npz")}
    try:
        for name in names:
            for clip in sets.clips(name):
                kept, target = root / name / f"{clip.name}.npz", out / split / f"{name}-{clip.name}.npz"
                if not kept.exists() or target.exists() or kept.name in taken:
                    continue
                record = records.load(kept)
                cases = collect(record, clip, model, threshold)
                found = sum(c.truth is not None for c in cases)
                facts = {
                    "seconds": record.seconds, "expressions": len(record.truths), "found": found,
                    "spots": len(cases), "spotter": model.sha256, "threshold": threshold,
                }  # fmt: skip
                save(target, cases, facts)
                click.echo(f"{clip.name}: {facts['spots']} spots, {found} right", err=True)
    except MellmError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
