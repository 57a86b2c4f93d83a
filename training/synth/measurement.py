"""How a camera, a codec and optical flow bend the true motion of facial regions.

The spotter never sees true motion. It sees the mean of a flow field in a disk, of a face filmed at some
frame rate, compressed, lit by a lamp that flickers. :func:`measure` puts these errors on true region
positions and returns exactly the features of the product (:mod:`mellm.detectors.regions` does the head-motion
compensation for both). The sizes were fitted to DIS flow on rendered clips with known motion: see
docs/spotter-training.md, "Simulated against measured".

Units: hundredths of the inter-ocular distance (IOD) unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mellm.detectors.regions import COUNT, NAMES, centres, compensate, rigid_basis, rigid_solver
from mellm.detectors.signals import BASELINES_NS, FEATURES
from mellm.detectors.types import F32
from mellm.detectors.windows import STEP_NS

F64 = NDArray[np.float64]

FPS = (25.0, 30.0, 30.0, 50.0, 60.0, 100.0, 200.0)
"""Native frame rates of simulated cameras; 30 is twice as likely."""

STEP_S = STEP_NS / 1e9
BASIS_EVERY_S = 1.0
"""Landmarks are taken as fixed for this long, so that the head-motion fit is solved once for many steps."""

_GAIN = {
    "brow": (0.70, 0.93),
    "brow_outer": (0.65, 0.78),
    "glabella": (0.90, 0.93),
    "upper_lid": (0.20, 0.25),
    "lower_lid": (0.25, 0.72),
    "cheek": (1.05, 0.80),
    "nasolabial": (0.90, 0.68),
    "nose_wing": (0.90, 0.86),
    "nose": (0.95, 0.50),
    "upper_lip": (0.90, 0.40),
    "lip_corner": (0.83, 0.65),
    "lower_lip": (0.85, 0.86),
    "chin": (0.70, 0.89),
    "forehead": (0.60, 0.60),
    "temple": (0.30, 0.30),
}
"""Share of local motion, across and down, that the flow reports. Lids vanish instead of moving, so little of a
blink is motion to it; a lip that lifts uncovers teeth and is half lost."""

_NOISE = {
    "brow": 1.3,
    "glabella": 1.1,
    "upper_lid": 1.7,
    "lower_lid": 1.2,
    "cheek": 1.2,
    "nose": 0.6,
    "chin": 1.2,
    "forehead": 1.5,
    "temple": 0.9,
}
"""Relative noise: much on smooth skin, little on the nose, which also places the head-motion fit."""

_LIDS = [i for i, name in enumerate(NAMES) if "upper_lid" in name]
_TWIN = [
    NAMES.index(name[:-1] + "LR"["RL".index(name[-1])]) if name[-2] == "_" else i
    for i, name in enumerate(NAMES)
]
"""Index of each region's mirror image."""


def _entry(name: str, keys: Iterable[str]) -> str:
    """The longest of ``keys`` that the region's name starts with, or nothing."""
    return max((key for key in keys if name.startswith(key)), key=len, default="")


REGION_GAIN = np.array([_GAIN[_entry(name, _GAIN)] for name in NAMES])
REGION_NOISE = np.array([_NOISE.get(_entry(name, _NOISE), 1.0) for name in NAMES])


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """One clip's measurement conditions, drawn by :func:`draw`.

    :param fps: native frame rate
    :param jitter_s: standard deviation of the error of a time stamp
    :param repeat: probability that a frame repeats the one before (frame-rate conversion)
    :param local: COUNT×2×2, local motion → what the flow reports of it: gain, and some of each axis in the other
        (folds and shading move the estimate aside)
    :param leak: COUNT×COUNT, share of a neighbour's local motion that a region reports as its own
    :param head: share of head motion that the flow reports
    :param parallax: COUNT×2×6, error of a region per unit of head motion: depths are one person's, and skin
        that turns away is seen anew
    :param white: noise of one frame, per region
    :param drift: size of slow noise
    :param drift_s: its time
    :param pair: noise of one flow field, per region
    :param moving: noise per unit of head motion
    :param busy: noise per unit of local motion nearby
    :param blink: spurious motion round the eye per unit of lid motion, COUNT×2
    :param flicker: amplitude of the lamp's pattern
    :param flicker_hz: its alias frequency
    :param hold: motion below which a codec repeats a block
    :param keyframe_s: forced refresh
    :param anchor: error of the landmarks that place the fit (IOD, per axis): what stays for the clip, and
        what is drawn anew at every update
    """

    fps: float
    jitter_s: float
    repeat: float
    local: F64
    leak: F64
    head: float
    parallax: F64
    white: F64
    drift: float
    drift_s: float
    pair: F64
    moving: float
    busy: float
    blink: F64
    flicker: float
    flicker_hz: float
    hold: float
    keyframe_s: float
    anchor: tuple[float, float]


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Log-uniform draw."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def draw(rng: np.random.Generator, points: F64, fps: float | None = None) -> Camera:
    """Random conditions. ``points`` (COUNT×2 region centres, IOD) says which regions are neighbours."""
    distance = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    near = np.exp(-((distance / 0.16) ** 2)) * (1 - np.eye(COUNT))
    leak = near * (
        rng.uniform(0.0, 0.25) * rng.lognormal(0, 0.6, (COUNT, COUNT)) + rng.normal(0, 0.06, near.shape)
    )
    quality = rng.beta(4, 1.5)  # sharp pictures are more common than poor ones
    gain = np.clip(REGION_GAIN * (0.6 + 0.5 * quality) * rng.lognormal(0, 0.15, (COUNT, 2)), 0, 1.3)
    local = rng.normal(0, 0.1, (COUNT, 2, 2))
    local[:, [0, 1], [0, 1]] = gain
    local[_LIDS, 1, 1] *= rng.uniform(0, 2.5)  # from lids that the flow does not see to lids that it follows
    blink = _blink(rng, distance[_LIDS].min(0))
    noise = _between(rng, 0.015, 0.2)
    texture = REGION_NOISE * rng.lognormal(0, 0.3, COUNT)
    flickers, held = rng.random() < 0.3, rng.random() < 0.4
    return Camera(
        fps=float(rng.choice(FPS)) if fps is None else fps,
        jitter_s=float(rng.choice([0.0, 0.0, 0.001, 0.003])),
        repeat=float(rng.choice([0.0, 0.0, 0.0, 0.02, 0.1])),
        local=local,
        leak=leak,
        head=float(rng.uniform(0.95, 1.0)),
        parallax=rng.normal(0, _between(rng, 0.02, 0.08), (COUNT, 2, 6)),
        white=noise * texture,
        drift=_between(rng, 0.015, 0.2),
        drift_s=_between(rng, 0.15, 1.5),
        pair=0.6 * noise * texture,
        moving=_between(rng, 0.01, 0.06),
        busy=_between(rng, 0.02, 0.15),
        blink=blink,
        flicker=_between(rng, 0.03, 0.3) if flickers else 0.0,
        flicker_hz=_between(rng, 0.5, 12.0),
        hold=_between(rng, 0.1, 0.5) if held else 0.0,
        keyframe_s=_between(rng, 0.4, 8.0),
        anchor=(0.03, _between(rng, 0.003, 0.015)),
    )


def _blink(rng: np.random.Generator, distance: F64) -> F64:
    """Spurious motion (COUNT×2) of regions at ``distance`` (IOD) from the nearer eye, per unit of lid motion.

    Smoothness carries a closing lid's flow into the brows; both sides see much the same, each a little of its own.
    """
    size = _between(rng, 0.03, 0.3) * np.exp(-((distance / rng.uniform(0.2, 0.4)) ** 2))
    own, common = rng.standard_normal((2, COUNT, 2))
    mirrored = common[_TWIN] * (-1, 1)
    out: F64 = size[:, None] * (0.6 * own + 0.8 * (common + mirrored) / np.sqrt(2))
    return out


def frame_times(rng: np.random.Generator, camera: Camera, duration_s: float) -> tuple[F64, F64]:
    """Stamps of the frames that are analysed, and the moments that the pictures really show (s).

    Above the grid's rate the frame nearest to each grid time is taken, as the product does.
    """
    stamps = np.arange(0.0, duration_s, 1.0 / camera.fps)
    if camera.fps > 1 / STEP_S:
        nearest = np.rint(np.arange(0.0, duration_s - STEP_S, STEP_S) * camera.fps).astype(int)
        stamps = stamps[np.unique(nearest)]
    shown = stamps + rng.normal(0, camera.jitter_s, stamps.size) if camera.jitter_s else stamps.copy()
    for i in np.flatnonzero(rng.random(stamps.size) < camera.repeat):
        if i:
            shown[i] = shown[i - 1]
    return stamps, np.clip(shown, 0, duration_s)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], step_s: float, tau_s: float) -> F64:
    """Unit-variance first-order noise along axis 0 with time constant ``tau_s``."""
    # drawn at a coarse pitch and interpolated: the correlation is what matters, not the exact process
    pitch = max(step_s, tau_s / 2)
    coarse = int(np.ceil(shape[0] * step_s / pitch)) + 3
    knots = rng.standard_normal((coarse, *shape[1:]))
    at = np.arange(shape[0]) * step_s / pitch
    low = at.astype(int)
    weight = (at - low).reshape(-1, *[1] * (len(shape) - 1))
    mixed = knots[low] * (1 - weight) + knots[low + 1] * weight
    out: F64 = mixed / np.sqrt((1 - weight) ** 2 + weight**2)
    return out


def _hold(positions: F64, stamps: F64, camera: Camera, phase: float) -> F64:
    """Repeat a region's last position until it has moved by ``camera.hold`` or a key frame comes."""
    held = positions.copy()
    key = np.floor((stamps + phase) / camera.keyframe_s)
    fresh = np.concatenate([[True], key[1:] != key[:-1]])
    for i in range(1, len(held)):
        if fresh[i]:
            continue
        still = np.abs(positions[i] - held[i - 1]).max(1) < camera.hold
        held[i, still] = held[i - 1, still]
    return held


def pair_indices(stamps: F64, baseline_s: float) -> NDArray[np.int64]:
    """For each frame the index of the frame nearest to one baseline before, -1 where the past is too short."""
    wanted = stamps - baseline_s
    right = np.clip(np.searchsorted(stamps, wanted - 1e-9), 1, stamps.size - 1)
    past = np.where(wanted - stamps[right - 1] <= stamps[right] - wanted + 1e-9, right - 1, right)
    return np.where(wanted < stamps[0] - 1e-3, -1, past)


def measure(
    rng: np.random.Generator,
    camera: Camera,
    stamps: F64,
    positions: F64,
    landmarks: F64,
    grid: F64,
    extra: F64 | None = None,
) -> F32:
    """Features of a face whose regions truly were at ``positions``.

    :param stamps: N frame times (s)
    :param positions: N×COUNT×2, hundredths of IOD, crop axes
    :param landmarks: N×68×2, IOD, crop axes; place the head-motion fit
    :param grid: T times (s) at which features are wanted, all at least 0.3 s after the first frame
    :param extra: N×COUNT×2, motion that the flow sees and nobody made, on top of all that ``camera`` does
    :returns: T×136 float32
    """
    n = stamps.size
    step = float(np.median(np.diff(stamps)))
    basis0 = rigid_basis(positions[0].astype(np.float32) / 100, landmarks[0].astype(np.float32))
    # split what moves with the head from what moves on it: the flow treats the two differently
    moved = (positions - positions[:1]).astype(np.float32)
    local, rigid = compensate(moved, basis0, rigid_solver(basis0))
    seen = np.einsum("rij,nrj->nri", camera.local, local.astype(np.float64))
    seen += np.einsum("rs,nsj->nrj", camera.leak, seen)
    seen += local[:, _LIDS, 1].mean(1)[:, None, None] * camera.blink
    seen += np.einsum("rck,nk->nrc", camera.parallax, rigid)
    track = (moved - local) * camera.head + seen

    if camera.hold:
        track = _hold(track, stamps, camera, float(rng.uniform(0, camera.keyframe_s)))
    speed = np.abs(np.gradient(rigid, axis=0)).max(1) * (0.1 / step)
    busy = np.abs(np.gradient(seen, axis=0)).max(2) * (0.1 / step) @ np.abs(np.eye(COUNT) + camera.leak).T
    size = camera.white[None] + camera.moving * speed[:, None] + camera.busy * busy
    track += size[:, :, None] * rng.standard_normal((n, COUNT, 2))
    track += camera.drift * smooth_noise(rng, (n, COUNT, 2), step, camera.drift_s)
    if camera.flicker:
        pattern = rng.standard_normal((COUNT, 2))
        wave = np.sin(2 * np.pi * (camera.flicker_hz * stamps + rng.random()))
        track += camera.flicker * wave[:, None, None] * pattern
    if extra is not None:
        track += extra

    rows = np.empty((grid.size, FEATURES), np.float32)
    half = FEATURES // 2
    for b, baseline in enumerate(np.array(BASELINES_NS) / 1e9):
        past = pair_indices(stamps, baseline)
        valid = past >= 0
        flow = np.zeros((n, COUNT, 2))
        flow[valid] = track[valid] - track[past[valid]]
        flow[valid] += camera.pair[:, None] * rng.standard_normal((int(valid.sum()), COUNT, 2))
        span = np.where(valid, stamps - stamps[past], 1.0)
        flow *= (baseline / span)[:, None, None]
        features = np.concatenate(_split_head(rng, camera, stamps, flow, landmarks), axis=1)
        for c in range(half):
            rows[:, b * half + c] = np.interp(grid, stamps[valid], features[valid, c])
    return rows


def _split_head(
    rng: np.random.Generator, camera: Camera, stamps: F64, flow: F64, landmarks: F64
) -> tuple[F32, F32]:
    """Head-motion compensation with the product's code, on landmarks that are slightly wrong."""
    residual = np.empty((stamps.size, 2 * COUNT), np.float32)
    rigid = np.empty((stamps.size, 6), np.float32)
    wrong = rng.normal(0, camera.anchor[0], (68, 2))
    part = np.floor(stamps / BASIS_EVERY_S).astype(int)
    for p in np.unique(part):
        rows = np.flatnonzero(part == p)
        jitter = rng.normal(0, camera.anchor[1], (68, 2))
        points68 = (landmarks[rows].mean(0) + wrong + jitter).astype(np.float32)
        basis = rigid_basis(centres(points68), points68)
        r, g = compensate(flow[rows].astype(np.float32), basis, rigid_solver(basis))
        residual[rows], rigid[rows] = r.reshape(len(rows), -1), g
    return residual, rigid
