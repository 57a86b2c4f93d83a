"""Onset–apex pairs of real photographs, moved by known action units: how the rules fare on real skin.

``python -m mellm.training.rules.portraits STILLS --out PAIRS.npz`` moves each neutral portrait by units of the face
model (:mod:`mellm.training.synth.warper`), with sensor noise, still compression and a little head motion, and
measures the pairs with the engine's own landmarks. The skin, the light and the shape of the face are real; the motion
is the model's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from mellm.detectors.regions import eye_frame
from mellm.detectors.types import F32, U8
from mellm.stream.errors import UsageError
from mellm.training.command import Command
from mellm.training.instruct.pairs import SIDES
from mellm.training.rules.pairs import Sample, measure_pair, save
from mellm.training.synth.rig import load_rig
from mellm.training.synth.script import draw_actions
from mellm.training.synth.warper import Portrait, move
from mellm.training.tools.make_sample import landmarks

FACE_IOD = 90.0
"""Eye distance the photographs are scaled to, pixels: a face 200 px wide."""

PEAK = (0.7, 5.0)
"""Range of the largest regional displacement, 1/100 inter-ocular distance, drawn log-uniformly."""


def samples(image: U8, number: int, count: int = 12) -> Iterator[Sample]:
    """Pairs of one photograph: ``count`` with units drawn as in the rendered clips, and two without."""
    rng = np.random.default_rng([0x57A, number])
    points = landmarks(image)
    zoom = FACE_IOD / eye_frame(points).iod
    image = np.asarray(cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), np.uint8)
    person = Portrait(image, ((points + 0.5) * zoom - 0.5).astype(np.float32), load_rig())
    for i in range(count + 2):
        peak = float(np.exp(rng.uniform(*np.log(PEAK)))) if i < count else 0.0
        actions = draw_actions(rng, max(peak, 0.7)) if i < count else ()
        field = np.zeros((*image.shape[:2], 2), np.float32)
        for action in actions:
            field += person.unit_field([(action.au, action.side)]) * np.float32(action.intensity)
        motion, noise = measure(person, field, rng)
        units = tuple((action.au, SIDES[action.side]) for action in actions)
        true_peak = person.peak(field) if actions else 0.0
        yield Sample(number, False, units, true_peak, motion, noise)


def measure(person: Portrait, field: F32, rng: np.random.Generator) -> tuple[NDArray[np.float32], float]:
    """Region motion and noise of the photograph before and after ``field``, both filmed."""
    height, width = field.shape[:2]
    turn = float(rng.normal(0, 0.3)), float(1 + rng.normal(0, 0.002))
    sway = np.asarray(cv2.getRotationMatrix2D((width / 2, height / 2), *turn), np.float64)
    sway[:, 2] += rng.normal(0, 1.0, 2)
    field = field + person.turn_field() * np.float32(rng.normal(0, 0.008))
    noise, quality = float(rng.uniform(0.5, 2.5)), int(rng.integers(80, 97))
    onset = _film(person.image, rng, noise, quality)
    apex = _film(move(person.image, field, np.asarray(sway, np.float64)), rng, noise, quality)
    return measure_pair(onset, apex, landmarks(onset))


def _film(image: U8, rng: np.random.Generator, noise: float, quality: int) -> U8:
    """Sensor noise and still compression."""
    grain: NDArray[np.float64] = rng.normal(0, noise, image.shape)
    noisy = np.clip(image + grain, 0, 255).astype(np.uint8)
    return np.asarray(
        cv2.imdecode(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR),
        np.uint8,
    )


@click.command(cls=Command)
@click.argument("stills", type=click.Path(file_okay=False, path_type=Path))
@click.option("--pattern", default="london_neutral_*.jpg", show_default=True)
@click.option("--count", type=click.IntRange(1), default=20, show_default=True, help="Photographs.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(stills: Path, pattern: str, count: int, out: Path) -> None:
    """Move photographs by known action units, measure the pairs, and keep them with the truth."""
    files = sorted(stills.glob(pattern))[:count]
    if not files:
        raise UsageError(f"no {pattern} in {stills}", remedy="give a folder of frontal portraits")
    found: list[Sample] = []
    with click.progressbar(enumerate(files), length=len(files), label="portraits", file=sys.stderr) as bar:
        for number, path in bar:
            found += samples(np.asarray(cv2.imread(str(path)), np.uint8), number)
    save(out, found)


if __name__ == "__main__":
    main()
