"""Signal-level simulator: scripts of face and head motion straight to the spotter's features.

Rendering a clip and measuring its flow takes longer than the clip lasts. The spotter needs none of the
pixels, only the mean flow of 31 regions, so here eight vertices of each region are moved by the same rig
and the same scripts that the renderer uses, projected, and handed to the measurement model
(:mod:`mellm.training.synth.measurement`). That is about a hundred times faster, and it is what lets two cores
train a network on days of faces.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mellm.detectors.regions import COUNT, NAMES, RADIUS, centres
from mellm.training.synth.events import BrowBeat
from mellm.training.synth.measurement import STEP_S, Camera, draw, frame_times, measure
from mellm.training.synth.rig import FACE, PIVOT, SPLITS, Rig, Split, load_rig, rotation, vertex_normals
from mellm.training.synth.script import PROFILES, Expression, Profile, Script, random_script

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

FIRST_S = 0.34
"""First grid time of a clip: the longer baseline, and two steps for slow cameras to have a frame."""


PER_REGION = 8
"""Vertices whose mean motion stands for a region's."""

REACH = 0.25
"""How far from a region's centre (IOD) a clip's own centre may lie, its disk included."""

_OFF = {
    "brow_outer": (0.04, -0.015),
    "brow_mid": (0.08, -0.03),
    "brow_inner": (0.075, -0.05),
    "glabella": (0, -0.06),
    "nasolabial": (0, -0.025),
    "nose_wing": (0, -0.05),
    "lower_lip": (0, 0.02),
    "chin": (0, 0.035),
    "forehead": (0.085, -0.03),
    "temple": (0.01, 0.025),
}


def _shift(name: str) -> tuple[float, float]:
    out, down = next((v for k, v in _OFF.items() if name.startswith(k)), (0.0, 0.0))
    return (-out if name.endswith("_R") else out, down)


SHIFT = np.array([_shift(name) for name in NAMES])
"""``COUNT``×2, IOD: how the landmark network's regions lie off the rig's own, mean of 30 rendered people."""

LIVELY = Profile(
    talk=0.75,
    head=(0.6, 4.5),
    speech=(0.8, 4.5),
    beats_per_min=26.0,
    moves_per_min=8.0,
    macro_peak=(1.0, 20.0),
)
"""People who talk with their whole head. Networks trained on calm people take every brow beat of a real
conversation for a micro-expression."""

ACTING = Profile(
    talk=0.8,
    head=(0.6, 6.0),
    speech=(1.0, 5.5),
    beats_per_min=34.0,
    moves_per_min=14.0,
    macro_per_min=18.0,
    macro_peak=(2.0, 45.0),
    micro_per_min=9.0,
)
"""People who make faces: big expressions all the time, few of them short."""

BEAT_GAIN = (1.5, 7.0)
"""Brow beats of the two hard profiles are so much larger. With it, speed and size of brow, cheek and mouth
motion come near to those of real talking video (docs/spotter-training.md)."""


@dataclass(frozen=True, slots=True)
class SimOptions:
    """What is simulated.

    :param duration_s: of a clip
    :param split: whose faces
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

    def script(self, rng: np.random.Generator) -> Script:
        """What the face does in one clip."""
        return draw_script(rng, self)

    def camera(self, rng: np.random.Generator) -> Camera:
        """What it is filmed with."""
        # a camera only needs to know which regions are neighbours: the average face will do
        return draw(rng, mean_centres(), self.fps)

    def trouble(self, rng: np.random.Generator, camera: Camera, stamps: F64) -> F64 | None:
        """Motion that nobody made, N×``COUNT``×2, hundredths of IOD; none here."""
        return None


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


class Sites(NamedTuple):
    """The rig cut down to the vertices that stand for regions in one clip, and the 68 landmarks.

    :param rows: vertex of each of the ``COUNT``×``PER_REGION`` samples, then of each landmark
    :param exp: 53 × (rows·3), cm
    """

    rows: NDArray[np.int32]
    exp: F32


class _Skin(NamedTuple):
    """Vertices that any clip may sample: where they lie (picture axes, IOD), and how they move."""

    rows: NDArray[np.int32]
    xy: F64
    exp: F32
    centres: F64


@lru_cache(maxsize=1)
def _skin() -> _Skin:
    rig = load_rig()
    iod = rig.iod(rig.mean)
    flat = rig.mean[:, :2] * np.array([1, -1]) / iod
    middle = centres(flat[rig.lm68].astype(np.float32))
    facing = vertex_normals(rig.mean, rig.tri)[:, 2] > 0.25
    front = np.zeros(len(flat), bool)
    for at in middle:
        near = (np.hypot(*(flat - at).T) < REACH) & (rig.kind == FACE) & facing
        # lips and nostrils have an inside that faces the camera and is never seen
        front |= near & (rig.mean[:, 2] > rig.mean[near, 2].max() - 2.0)
    rows = np.flatnonzero(front).astype(np.int32)
    return _Skin(rows, flat[rows], rig.exp[:, rows], middle.astype(np.float64))


def draw_sites(rng: np.random.Generator | None = None) -> Sites:
    """Where the regions lie on this clip's face; without ``rng`` exactly where the landmarks of the rig say.

    A landmark network does not mean quite the points that the rig means: its brows lie further up and out
    (:data:`SHIFT`), and each face is off by a little in its own way.
    """
    rig, skin = load_rig(), _skin()
    at = skin.centres
    if rng is not None:
        at = at + rng.uniform(0, 1.2) * SHIFT + rng.normal(0, 0.02, (COUNT, 2))
    distance = np.hypot(*(skin.xy[None] - at[:, None]).transpose(2, 0, 1))
    chosen = np.empty((COUNT, PER_REGION), np.intp)
    for r in range(COUNT):
        inside = np.flatnonzero(distance[r] < RADIUS)
        if len(inside) < PER_REGION:
            chosen[r] = np.argsort(distance[r])[:PER_REGION]
        elif rng is None:
            chosen[r] = inside[np.linspace(0, len(inside) - 1, PER_REGION).astype(int)]
        else:
            chosen[r] = rng.choice(inside, PER_REGION, replace=False)
    pick = chosen.ravel()
    exp = np.concatenate([skin.exp[:, pick], rig.exp[:, rig.lm68]], axis=1)
    return Sites(np.concatenate([skin.rows[pick], rig.lm68]), exp.reshape(len(rig.names), -1))


def face_motion(
    rig: Rig, neutral: F32, coefficients: F64, poses: F64, distance_cm: float, sites: Sites | None = None
) -> tuple[F64, F64]:
    """Region positions (N×``COUNT``×2) and landmarks (N×68×2) in the picture, units of the neutral IOD.

    :param neutral: V×3 cm
    :param coefficients: N×53
    :param poses: N×6
    """
    sites = sites or draw_sites()
    points = neutral[sites.rows] + (coefficients.astype(np.float32) @ sites.exp).reshape(len(poses), -1, 3)
    turned = np.einsum("nij,nvj->nvi", rotation(poses), points - np.array(PIVOT)) + poses[:, None, 3:]
    grow = distance_cm / (distance_cm - turned[..., 2]) / rig.iod(neutral)
    flat = np.stack([turned[..., 0] * grow, -turned[..., 1] * grow], -1)
    regions, landmarks = flat[:, : -len(rig.lm68)], flat[:, -len(rig.lm68) :]
    return regions.reshape(len(poses), COUNT, PER_REGION, 2).mean(2), landmarks


def to_crop(regions: F64, landmarks: F64) -> tuple[F64, F64]:
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
    apex = np.sum([action.coefficients() for action in expression.actions], axis=0)
    moved = (apex.astype(np.float32) @ _reference().exp).reshape(-1, 3)[: COUNT * PER_REGION]
    flat = moved.reshape(COUNT, PER_REGION, 3)[..., :2].mean(1)
    peak = float(np.hypot(flat[:, 0], flat[:, 1]).max()) / iod_cm * 100
    units = tuple(action.au for action in expression.actions)
    return Truth(expression.onset_s, expression.apex_s, expression.offset_s, units, peak)


@lru_cache(maxsize=1)
def _reference() -> Sites:
    return draw_sites()


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
    script = options.script(rng)
    camera = options.camera(rng)
    stamps, shown = frame_times(rng, camera, options.duration_s)
    distance = float(rng.uniform(*options.distance_cm))
    motion = face_motion(rig, neutral, *script.evaluate(shown), distance, draw_sites(rng))
    regions, landmarks = to_crop(*motion)
    grid = STEP_S * np.arange(
        round(FIRST_S / STEP_S), round(options.duration_s / STEP_S) - 2, dtype=np.float64
    )
    extra = options.trouble(rng, camera, stamps)
    features = measure(rng, camera, stamps, 100 * regions, landmarks, grid, extra)
    truths = tuple(truth_of(e, rig.iod(neutral)) for e in script.expressions)
    return SimClip(features, grid, truths, camera.fps)


@lru_cache(maxsize=1)
def mean_centres() -> F64:
    rig = load_rig()
    still = np.zeros((1, len(rig.names)))
    regions, landmarks = face_motion(rig, rig.mean, still, np.zeros((1, 6)), 100.0, _reference())
    centres: F64 = to_crop(regions, landmarks)[0][0]
    return centres
