"""Signal-level simulator: scripts of face and head motion straight to the spotter's features.

Rendering a clip and measuring its flow takes longer than the clip lasts. The spotter needs none of the
pixels, only the mean flow of 31 regions, so here eight vertices of each region are moved by the same rig
and the same scripts that the renderer uses, projected, and handed to the measurement model
(:mod:`training.synth.measurement`). That is about a hundred times faster, and it is what lets two cores
train a network on days of faces.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.regions import COUNT
from training.synth.events import BrowBeat
from training.synth.measurement import STEP_S, draw, frame_times, measure
from training.synth.rig import PIVOT, SPLITS, Rig, Split, load_rig, rotation
from training.synth.script import PROFILES, Expression, Profile, Script, random_script

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

FIRST_S = 0.34
"""First grid time of a clip: the longer baseline, and two steps for slow cameras to have a frame."""


LIVELY = Profile(
    talk=0.75,
    head=(0.7, 3.0),
    speech=(0.6, 2.0),
    beats_per_min=24.0,
    moves_per_min=8.0,
)
"""People who talk with their whole head. Networks trained on calm people take every brow beat of a real
conversation for a micro-expression."""

ACTING = Profile(
    talk=0.8,
    head=(0.7, 3.0),
    speech=(0.8, 2.5),
    beats_per_min=30.0,
    moves_per_min=10.0,
    macro_per_min=12.0,
    macro_peak=(4.0, 30.0),
    micro_per_min=9.0,
)
"""People who make faces: big expressions all the time, few of them short."""

BEAT_GAIN = (1.0, 2.5)
"""Brow beats of the two hard profiles are so much larger. With it, speed and size of brow, cheek and mouth
motion come near to those of real talking video (docs/spotter-training.md)."""


@dataclass(frozen=True, slots=True)
class SimOptions:
    """What is simulated.

    :param duration_s: of a clip; :param split: whose faces
    :param hard: share of clips of profile :data:`LIVELY` or :data:`ACTING`; the others are mixed, quiet or still
    :param free: share of clips without any micro-expression
    :param fps: native frame rate of all clips, drawn for each when ``None``
    :param distance_cm: range of camera distances
    """

    duration_s: float = 12.0
    split: Split = "train"
    hard: float = 0.5
    free: float = 0.1
    fps: float | None = None
    distance_cm: tuple[float, float] = (40.0, 150.0)


class Truth(NamedTuple):
    """One true expression: times (s), action units, and its peak motion (hundredths of IOD).

    The peak is the largest displacement of any region that the expression alone causes, at its apex.
    """

    onset_s: float
    apex_s: float
    offset_s: float
    aus: tuple[int, ...]
    peak: float


@dataclass(frozen=True, slots=True, eq=False)
class SimClip:
    """Features (T×136 float32) at grid times ``grid`` (T, s), and what truly happened."""

    features: F32
    grid: F64
    truths: tuple[Truth, ...]
    fps: float


class _Sites(NamedTuple):
    """The rig cut down to region vertices (``COUNT``×8 of them) and the 68 landmarks."""

    rows: NDArray[np.int32]
    exp: F32  # 53 × (rows·3)
    count: int


@lru_cache(maxsize=1)
def _sites() -> _Sites:
    rig = load_rig()
    vertices = rig.region_vertices()
    rows = np.concatenate([vertices.ravel(), rig.lm68])
    return _Sites(rows, rig.exp[:, rows].reshape(len(rig.names), -1), vertices.shape[1])


def face_motion(rig: Rig, neutral: F32, coefficients: F64, poses: F64, distance_cm: float) -> tuple[F64, F64]:
    """Region positions (N×``COUNT``×2) and landmarks (N×68×2) in the picture, units of the neutral IOD.

    :param neutral: V×3 cm; :param coefficients: N×53; :param poses: N×6
    """
    sites = _sites()
    points = neutral[sites.rows] + (coefficients.astype(np.float32) @ sites.exp).reshape(len(poses), -1, 3)
    turned = np.einsum("nij,nvj->nvi", rotation(poses), points - np.array(PIVOT)) + poses[:, None, 3:]
    grow = distance_cm / (distance_cm - turned[..., 2]) / rig.iod(neutral)
    flat = np.stack([turned[..., 0] * grow, -turned[..., 1] * grow], -1)
    regions, landmarks = flat[:, : -len(rig.lm68)], flat[:, -len(rig.lm68) :]
    return regions.reshape(len(poses), COUNT, sites.count, 2).mean(2), landmarks


def _level(regions: F64, landmarks: F64) -> tuple[F64, F64]:
    """Picture to crop axes: origin between the eyes, eye line level, unit IOD, as the face was on average.

    One transform for the clip: the product holds its crop, and both frames of a pair share it.
    """
    right, left = landmarks[:, 36:42].mean(1), landmarks[:, 42:48].mean(1)
    across = (left - right).mean(0)
    iod = float(np.hypot(*across))
    cos, sin = across / iod
    turn = np.array([[cos, -sin], [sin, cos]])
    middle = (left + right).mean(0) / 2
    return (regions - middle) @ turn / iod, (landmarks - middle) @ turn / iod


def truth_of(expression: Expression, iod_cm: float) -> Truth:
    """The expression with the peak of its own motion, seen from the front."""
    sites = _sites()
    apex = sum(action.coefficients() for action in expression.actions)
    moved = (np.asarray(apex, np.float32) @ sites.exp).reshape(-1, 3)[: COUNT * sites.count]
    flat = moved.reshape(COUNT, sites.count, 3)[..., :2].mean(1)
    peak = float(np.hypot(flat[:, 0], flat[:, 1]).max()) / iod_cm * 100
    units = tuple(action.au for action in expression.actions)
    return Truth(expression.onset_s, expression.apex_s, expression.offset_s, units, peak)


def draw_script(rng: np.random.Generator, options: SimOptions) -> Script:
    """A script of one of the profiles, by the shares in ``options``."""
    hard = rng.random() < options.hard
    choices = (LIVELY, ACTING) if hard else tuple(PROFILES[n] for n in ("mixed", "mixed", "quiet", "still"))
    profile = choices[rng.integers(len(choices))]
    if rng.random() < options.free:
        profile = replace(profile, micro_per_min=0.0)
    script = random_script(rng, options.duration_s, profile)
    if not hard:
        return script
    gain = rng.uniform(*BEAT_GAIN)
    events = [
        replace(e, raise_=min(1.0, e.raise_ * gain), frown=min(1.0, e.frown * gain))
        if isinstance(e, BrowBeat)
        else e
        for e in script.events
    ]
    return replace(script, events=tuple(events))


def simulate(rng: np.random.Generator, options: SimOptions | None = None) -> SimClip:
    """One clip of one person with one camera, all drawn from ``rng``."""
    options = options or SimOptions()
    rig = load_rig()
    seeds = SPLITS[options.split]
    neutral = rig.identity(int(rng.integers(seeds.start, seeds.stop)))
    script = draw_script(rng, options)
    # the camera only needs to know which regions are neighbours: the average face will do
    camera = draw(rng, _mean_centres(), options.fps)
    stamps, shown = frame_times(rng, camera, options.duration_s)
    distance = float(rng.uniform(*options.distance_cm))
    regions, landmarks = _level(*face_motion(rig, neutral, *script.evaluate(shown), distance))
    grid = np.arange(round(FIRST_S / STEP_S), round(options.duration_s / STEP_S) - 2) * STEP_S
    features = measure(rng, camera, stamps, 100 * regions, landmarks, grid)
    truths = tuple(truth_of(e, rig.iod(neutral)) for e in script.expressions)
    return SimClip(features, grid, truths, camera.fps)


@lru_cache(maxsize=1)
def _mean_centres() -> F64:
    rig = load_rig()
    still = np.zeros((1, len(rig.names)))
    regions, landmarks = face_motion(rig, rig.mean, still, np.zeros((1, 6)), 100.0)
    return _level(regions, landmarks)[0][0]
