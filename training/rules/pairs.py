"""Onset–apex pairs of rendered people with known action units: what the rule-based describer is tuned and tried on.

``python -m mellm.training.rules.pairs --split train --people 110 --out PAIRS.npz`` draws, of each person's minute,
the two frames of every micro-expression at its true onset and apex, with all that goes on at those moments: talk,
blinks, a moving head. What is kept of a pair is the motion of the 31 regions as the ``live`` recipe measures it.
Pairs outside of all expressions, which have no units, tell what a face without one looks like. With ``--clips DIR``
the pairs are read from the video files of :mod:`mellm.training.synth.clips` instead, compression and all, and the
engine finds the face.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from mellm.detectors.regions import NAMES, eye_frame
from mellm.detectors.types import F32, U8
from mellm.engine.evidence import motion_map
from mellm.engine.facs import action_units as facs
from mellm.engine.types import RegionMotion, Side
from mellm.stream.errors import UsageError
from mellm.training.command import Command
from mellm.training.instruct.pairs import (
    JPEG_FOR_H264,
    LANDMARK_ERROR,
    SIDES,
    clip_frames,
    clip_truth,
    standard,
)
from mellm.training.synth.clips import RenderedClip, draw_spec
from mellm.training.synth.rig import SPLITS, Split, load_rig
from mellm.training.tools.make_sample import landmarks as find_landmarks


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One pair.

    :param units: the truth; empty for a pair outside of all expressions
    :param peak: true largest regional displacement, 1/100 inter-ocular distance
    :param motion: ``COUNT``×2 measured, same unit
    :param noise: what the head-motion fit left, same unit
    """

    person: int
    talks: bool
    units: tuple[tuple[int, Side], ...]
    peak: float
    motion: NDArray[np.float32]
    noise: float

    @property
    def aus(self) -> frozenset[int]:
        """Units without sides."""
        return frozenset(au for au, _ in self.units)

    @property
    def table(self) -> tuple[RegionMotion, ...]:
        """The region table a describer would get."""
        return tuple(
            RegionMotion(name, float(dx), float(dy), 0.0, 0.0, "")
            for name, (dx, dy) in zip(NAMES, self.motion, strict=True)
        )


def save(path: Path, found: Sequence[Sample]) -> None:
    """Write samples to an ``.npz`` file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        person=np.array([s.person for s in found]),
        talks=np.array([s.talks for s in found]),
        units=np.array([facs.notation(s.units) for s in found]),
        peak=np.array([s.peak for s in found]),
        motion=np.array([s.motion for s in found], np.float32),
        noise=np.array([s.noise for s in found], np.float32),
    )


def load(path: Path) -> list[Sample]:
    """Samples from a file of :func:`save`.

    :raises UsageError: no such file
    """
    if not path.is_file():
        raise UsageError(f"no pairs at {path}", remedy="make them with python -m mellm.training.rules.pairs")
    with np.load(path, allow_pickle=False) as stored:
        columns = (stored[key] for key in ("person", "talks", "units", "peak", "motion", "noise"))
        return [
            Sample(
                int(person),
                bool(talks),
                tuple((coded.au, coded.side) for coded in facs.parse(str(units))),
                float(peak),
                motion,
                float(noise),
            )
            for person, talks, units, peak, motion, noise in zip(*columns, strict=True)
        ]


def samples(person: int, seconds: float = 60.0, still: bool = True) -> Iterator[Sample]:
    """Pairs of one person; the seed says of which split (:data:`mellm.training.synth.rig.SPLITS`).

    :param still: also pairs 0.16 s apart that lie outside of all expressions
    """
    rng = np.random.default_rng([0x9A1, person])
    spec = draw_spec(person, seconds)
    if spec.compression == "h264":
        spec = replace(spec, compression="jpeg", quality=int(rng.integers(*JPEG_FOR_H264)))
    clip = RenderedClip(spec, load_rig())
    truth = clip.truth()
    for number, expression in enumerate(clip.script.expressions):
        if expression.kind == "micro":
            units = tuple((a.au, SIDES[a.side]) for a in expression.actions)
            peak = truth["expressions"][number]["peak"]
            yield Sample(
                person,
                truth["talks"],
                units,
                peak,
                *measure_moment(clip, rng, expression.onset_s, expression.apex_s),
            )
    if still:
        for at in rng.uniform(0.5, seconds - 0.7, 6):
            if all(at + 0.2 < e.onset_s or e.offset_s < at for e in clip.script.expressions):
                yield Sample(person, truth["talks"], (), 0.0, *measure_moment(clip, rng, at, at + 0.16))


def measure_moment(
    clip: RenderedClip, rng: np.random.Generator, onset_s: float, apex_s: float
) -> tuple[NDArray[np.float32], float]:
    """Region motion and noise of one pair."""
    frames = np.rint(np.array([onset_s, apex_s]) * clip.spec.fps).astype(int)
    coefficients, poses = clip.script.evaluate(frames / clip.spec.fps)
    onset, apex = (
        clip.renderer.render(coefficients[i], poses[i], frames[i] / clip.spec.fps, int(frames[i]))
        for i in (0, 1)
    )
    error = rng.normal(0, LANDMARK_ERROR * eye_frame(onset.landmarks).iod, (68, 2))
    return measure_pair(onset.image, apex.image, (onset.landmarks + error).astype(np.float32))


def measure_pair(onset: U8, apex: U8, landmarks: F32) -> tuple[NDArray[np.float32], float]:
    """Region motion and noise of two whole frames (H×W×3), as the ``live`` recipe measures them."""
    evidence = motion_map.build(*standard(onset, apex, landmarks), "live")
    return np.array([(r.dx, r.dy) for r in evidence.regions], np.float32), evidence.flow_stats["noise_iod"]


def clip_samples(video: Path) -> Iterator[Sample]:
    """Pairs of a rendered clip on disk, its truth beside it (``.json``); the engine's networks find the face.

    :raises UsageError: there is no truth beside the video
    """
    truth, keys = clip_truth(video), ("onset_s", "apex_s")
    micro = [e for e in truth["expressions"] if e["kind"] == "micro"]
    frames = clip_frames(video, truth["spec"]["fps"], (e[key] for e in micro for key in keys))
    for e in micro:
        onset, apex = (frames[e[key]] for key in keys)
        units = tuple((a["au"], SIDES[a["side"]]) for a in e["aus"])
        motion, noise = measure_pair(onset, apex, find_landmarks(onset))
        yield Sample(truth["spec"]["seed"], truth["talks"], units, e["peak"], motion, noise)


@click.command(cls=Command)
@click.option("--split", type=click.Choice(list(SPLITS)), default="train", show_default=True)
@click.option("--people", type=click.IntRange(1, 100_000), default=110, show_default=True)
@click.option(
    "--first", type=click.IntRange(0), default=500, show_default=True, help="First person of the split."
)
@click.option(
    "--clips",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Read rendered clips instead.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(split: Split, people: int, first: int, clips: Path | None, out: Path) -> None:
    """Draw onset–apex pairs of synthetic people, measure their motion, and keep it with the truth."""
    found: list[Sample] = []
    if clips is not None:
        with click.progressbar(sorted(clips.glob("*.mp4")), label="clips", file=sys.stderr) as files:
            for video in files:
                found += clip_samples(video)
    else:
        with click.progressbar(SPLITS[split][first : first + people], label="people", file=sys.stderr) as bar:
            for person in bar:
                found += samples(person)
    save(out, found)


if __name__ == "__main__":
    main()
