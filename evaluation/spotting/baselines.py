"""Training-free spotters as published, on the same signals as ours: what the network has to beat.

Step by step, with the publication that each step follows:

1. *Region flow minus the nose's motion* (He, ACM MM 2021, doi 10.1145/3474085.3479225; Zhao et al., ACM MM 2022,
   doi 10.1145/3503161.3551602; also MELLM v1). The head-motion part that our chain took out (six parameters) is put
   back with the basis of an average face, and the mean flow of nose bridge and tip is subtracted instead.
2. *A curve of position for each region.* He follows regions against the first frame of a sliding window; here the
   0.1 s flows are summed, which is the same curve without a window to begin. Summed, they are the position averaged
   over the 0.1 s before; so the curve is moved back by two steps.
3. *Band-pass* (1.5–8 Hz: a micro-expression of 0.18–0.5 s passes; drift, posture, noise and flicker do not). He
   and Zhao band-limit with FFT or EMD.
4. *The mean magnitude of the strongest regions* among brows, nose wings, cheeks and mouth (their regions).
5. *Peaks over a threshold.* Whole-video form: mean + p·(max − mean) of the video's own curve (Moilanen et al., ICPR
   2014; MDMD, Wang et al. 2017; He et al., FG 2020). Causal form: a multiple of what is usual for the past ten
   seconds, for a live spotter does not know the video's maximum.
6. *Interval*: from the peak down both flanks to a share of its height (.33 in Zhao's code), or a fixed length round
   the peak (Moilanen; SOFTNet and MEAN do so as well). *Duration gate.*
7. *Blink veto*: no spot where the lids move much more than the regions do. *Overlaps*: the higher peak stays.

The whole-video form filters forwards and backwards and sees everything. The causal form has the look-ahead of our
network, 0.30 s: the same filter's impulse response, cut 13 steps on either side, and the two steps of item 2. What it
publishes is never taken back, and does not depend on what comes later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from mellm.detectors.regions import COUNT, INDEX, REGIONS
from mellm.detectors.signals import FEATURES
from mellm.detectors.types import F32
from mellm.evaluation.spotting.data import STEP_S
from mellm.training.spotter.evaluate import Interval
from mellm.training.spotter.records import Published, Record

F64: TypeAlias = NDArray[np.float64]
Form: TypeAlias = Literal["causal", "whole"]

GRID_HZ = 1 / STEP_S
LOOKAHEAD = 15
"""Steps after a moment that the causal form may see before it speaks of it: those of our network."""
_BOX = 2  # steps by which summed 0.1 s flows lag behind the position
SHORTEST = 30
"""Steps (0.6 s) below which a stretch is not worth filtering."""

NOSE = ("nose_bridge", "nose_tip")
WATCHED = tuple(
    r.name
    for r in REGIONS
    if r.name.startswith(
        ("brow", "glabella", "cheek", "nasolabial", "nose_wing", "upper_lip", "lip", "lower_lip", "chin")
    )
)
LIDS = ("upper_lid_R", "upper_lid_L")

_CENTRES = np.array(
    [
        (-0.825, -0.586), (-0.582, -0.668), (-0.275, -0.637), (0.275, -0.637), (0.582, -0.668), (0.825, -0.586),
        (0.0, -0.535), (-0.511, -0.297), (0.511, -0.297), (-0.506, -0.05), (0.506, -0.05), (-0.517, 0.187),
        (0.517, 0.187), (-0.351, 0.68), (0.351, 0.68), (-0.232, 0.478), (0.232, 0.478), (0.0, -0.167),
        (0.0, 0.26), (-0.112, 0.664), (0.112, 0.664), (-0.419, 0.863), (0.419, 0.863), (0.0, 1.014),
        (0.0, 1.271), (-0.477, -0.933), (0.477, -0.933), (-0.953, -0.317), (0.953, -0.317), (-0.142, -0.05),
        (0.142, -0.05),
    ]
)  # fmt: skip
"""Region centres of the mean ICT-FaceKit face, relative to the mean of landmarks 27–30, inter-ocular distances."""


@lru_cache(maxsize=1)
def basis() -> F64:
    """How the regions of an average face move with the six head parameters: ``COUNT``×2×6.

    The same columns as :func:`mellm.detectors.regions.rigid_basis`.
    """
    x, y = _CENTRES.T
    depth = np.array([r.depth for r in REGIONS])
    zero, one = np.zeros(COUNT), np.ones(COUNT)
    return np.stack(
        [
            np.stack([one, zero, x, -y, depth, zero], 1),
            np.stack([zero, one, y, x, zero, depth], 1),
        ],
        1,
    )


def nose_relative(features: F32) -> F64:
    """Flow of the 0.1 s baseline with the nose's mean subtracted, T×``COUNT``×2, 1/100 inter-ocular distance.

    :param features: T×136, see :mod:`mellm.detectors.signals`
    """
    flow, head = np.split(features[:, : FEATURES // 2].astype(np.float64), [2 * COUNT], axis=1)
    raw = flow.reshape(-1, COUNT, 2) + np.einsum("rcp,tp->trc", basis(), head)
    relative: F64 = raw - raw[:, [INDEX[n] for n in NOSE]].mean(1, keepdims=True)
    return relative


@dataclass(frozen=True, slots=True)
class BaselineOptions:
    """Parameters of the baseline. Those of :data:`TUNED` were chosen on the validation sets.

    :param level: threshold; whole-video form: the share p between mean and maximum; causal form: how many times the
        median magnitude of the past ten seconds
    :param floor: causal form: 1/100 inter-ocular distance added to that median, so that a face that keeps quite still
        is not held to its own noise
    :param low_hz: pass band
    :param high_hz: as ``low_hz``
    :param strongest: regions whose magnitudes are averaged
    :param flank: the interval ends where the curve has fallen to this share of the peak
    :param half_s: half the length of a fixed interval instead; ``None``: the flanks
    :param blink: no spot where the lids move this many times as much as the regions; infinity turns that off
    :param min_s: duration gate, in seconds
    :param max_s: as ``min_s``
    """

    level: float = 3.0
    floor: float = 0.05
    low_hz: float = 1.5
    high_hz: float = 8.0
    strongest: int = 3
    flank: float = 0.33
    half_s: float | None = None
    blink: float = 2.0
    min_s: float = 0.08
    max_s: float = 0.54

    def __post_init__(self) -> None:
        if not 0 < self.low_hz < self.high_hz < GRID_HZ / 2:
            raise ValueError(f"a pass band of {self.low_hz}–{self.high_hz} Hz on a grid of {GRID_HZ:g} Hz")
        if not 1 <= self.strongest <= len(WATCHED):
            raise ValueError(f"strongest lies between 1 and {len(WATCHED)}, got {self.strongest}")
        if self.floor <= 0:
            raise ValueError(f"floor is a motion over 0, got {self.floor}")
        if not 0 < self.flank < 1 or not 0 <= self.min_s < self.max_s:
            raise ValueError("flank lies between 0 and 1, min_s under max_s")


TUNED: dict[Form, BaselineOptions] = {
    "causal": BaselineOptions(level=5.36, floor=0.005, low_hz=1.0, high_hz=10.0, strongest=4, half_s=0.22),
    "whole": BaselineOptions(level=0.42, low_hz=1.5, high_hz=4.0, strongest=1, half_s=0.18, blink=inf),
}
"""Chosen by :func:`mellm.evaluation.spotting.tune.baseline` for the best F1 on ``val-rendered`` and ``val-stills``.

Level, floor, band, number of regions, interval, duration and blink veto were open. As first written down (three
regions, 1.5–8 Hz, flanks at a third) F1 was .30 and .27 there at the best level; tuned it is .47 and .42.
"""

LEVELS: dict[Form, tuple[float, ...]] = {
    "causal": tuple(round(float(v), 3) for v in np.geomspace(1, 60, 40)),
    "whole": tuple(round(float(v), 3) for v in np.linspace(0.02, 1.0, 40)),
}
"""Thresholds that a curve of precision over recall goes through."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The motion of one stretch without voids: T magnitudes of the strongest regions and of the lids.

    :param usual: median of the past, see :func:`_usual`; zeros in the whole-video form
    """

    grid_s: F64
    motion: F64
    lids: F64
    usual: F64


def curves(record: Record, form: Form, options: BaselineOptions) -> list[Curve]:
    """Band-passed motion of each stretch of a record that is long enough to filter."""
    return [
        _curve(record.grid_s[a:b], nose_relative(record.features[a:b]), form, options)
        for a, b in stretches(record)
        if b - a >= SHORTEST
    ]


def stretches(record: Record) -> Iterator[tuple[int, int]]:
    """First and last-but-one index of the runs between voids and jumps in time."""
    void = np.isnan(record.features[:, 0])
    start = 0
    for k in range(len(void) + 1):
        ends = k == len(void) or void[k]
        if ends or (k > start and record.grid_s[k] - record.grid_s[k - 1] > 1.5 * STEP_S):
            if k > start:
                yield start, k
            start = k + 1 if ends else k


def _curve(grid_s: F64, flow: F64, form: Form, options: BaselineOptions) -> Curve:
    watched = [INDEX[n] for n in (*WATCHED, *LIDS)]
    position = (
        np.cumsum(flow[:, watched].reshape(len(flow), -1), axis=0) / 5
    )  # five steps in a baseline of 0.1 s
    if form == "whole":
        position = np.concatenate([position[_BOX:], np.repeat(position[-1:], _BOX, 0)])
        passed = _both_ways(position, options)
    else:
        taps = _taps(options)
        # still before the stretch and, as far as is known, after it
        padded = np.pad(position, ((len(taps) // 2 - _BOX, len(taps) // 2 + _BOX), (0, 0)), mode="edge")
        passed = np.stack([np.convolve(c, taps, "valid") for c in padded.T], 1)
    size = np.hypot(*np.moveaxis(passed.reshape(len(grid_s), -1, 2), 2, 0))
    faces, lids = size[:, : len(WATCHED)], size[:, len(WATCHED) :]
    top = np.sort(faces, axis=1)[:, -options.strongest :].mean(1)
    return Curve(grid_s, top, lids.mean(1), _usual(top) if form == "causal" else np.zeros(len(top)))


def spots(record: Record, form: Form, options: BaselineOptions) -> list[Published]:
    """What the baseline finds at ``options.level``; the whole-video form publishes at the end of the record."""
    return at_level(curves(record, form, options), form, options)


def at_level(found: list[Curve], form: Form, options: BaselineOptions) -> list[Published]:
    """As :func:`spots`, on curves that are known already."""
    if form == "causal":
        return [spot for curve in found for spot in _causal(curve, options)]
    whole = np.concatenate([c.motion for c in found]) if found else np.zeros(0)
    if not len(whole) or whole.max() <= 0:
        return []
    mean, top = float(whole.mean()), float(whole.max())
    end = found[-1].grid_s[-1]
    out = []
    for curve in found:
        scores = (curve.motion - mean) / (top - mean) if top > mean else np.zeros(len(curve.motion))
        kept: list[Interval] = []
        peaks = [k for k in _peaks(scores) if scores[k] >= options.level]
        for k in sorted(peaks, key=lambda k: -scores[k]):
            spot = _interval(curve, k, float(scores[k]), options)
            if spot and not any(_overlap(spot, other) for other in kept):
                kept.append(spot)
        out += [Published(spot, float(end)) for spot in sorted(kept, key=lambda s: s.onset_s)]
    return out


def _causal(curve: Curve, options: BaselineOptions) -> list[Published]:
    """Step by step: a peak is known one step later, and out once its interval has passed.

    It is dropped if the curve is higher elsewhere in the interval, for band-passed motion has side lobes. All of it
    comes ``LOOKAHEAD`` steps late.
    """
    scores = curve.motion / (curve.usual + options.floor)
    out: list[Published] = []
    waiting: list[int] = []
    kept: deque[Interval] = deque(maxlen=8)
    for k in range(2, len(scores)):
        if scores[k - 1] >= options.level and scores[k - 2] < scores[k - 1] >= scores[k]:
            waiting.append(k - 1)
        still: list[int] = []
        for peak in sorted(waiting, key=lambda at: -scores[at]):
            spot = _interval(curve, peak, float(scores[peak]), options, until=k)
            if spot is None:
                if not _hopeless(peak, k, options):
                    still.append(peak)
                continue
            first = peak - round((spot.apex_s - spot.onset_s) / STEP_S)
            if scores[first : k + 1].max() <= spot.score and not any(_overlap(spot, s) for s in kept):
                kept.append(spot)
                out.append(Published(spot, float(curve.grid_s[k]) + LOOKAHEAD * STEP_S))
        waiting = still
    return out


def _both_ways(values: F64, options: BaselineOptions) -> F64:
    """Butterworth band-pass along the first axis, forwards and backwards: no phase."""
    sos = butter(2, (options.low_hz, options.high_hz), "bandpass", fs=GRID_HZ, output="sos")
    passed: F64 = sosfiltfilt(sos, values, axis=0, padlen=min(50, len(values) - 1))
    return passed


def _taps(options: BaselineOptions) -> F64:
    """The impulse response of :func:`_both_ways`, as far as the look-ahead lets it reach."""
    impulse = np.zeros(401)
    impulse[200] = 1
    reach = LOOKAHEAD - _BOX
    taps = _both_ways(impulse, options)[200 - reach : 201 + reach]
    taps -= taps.mean()  # a held pose is no motion
    return taps


def _usual(motion: F64, seconds: float = 10.0, lag_s: float = 0.5) -> F64:
    """Median of the past ten seconds but the newest half (an expression must not hide itself)."""
    size, lag = round(seconds * GRID_HZ), round(lag_s * GRID_HZ)
    ends = np.maximum(np.arange(len(motion)) - lag, 0) + 1
    return np.array([np.median(motion[max(0, end - size) : end]) for end in ends])


def _peaks(scores: F64) -> list[int]:
    inner = (scores[1:-1] > scores[:-2]) & (scores[1:-1] >= scores[2:])
    return [int(k) for k in np.flatnonzero(inner) + 1]


def _interval(
    curve: Curve, peak: int, score: float, options: BaselineOptions, until: int | None = None
) -> Interval | None:
    """The interval round a peak; ``None`` where it fails a gate, or has not ended at step ``until``."""
    grid, motion = curve.grid_s, curve.motion
    low = options.flank * motion[peak]
    if options.half_s is not None:
        half = round(options.half_s / STEP_S)
        left, right = peak - half, peak + half
    else:
        left = right = peak
        while left > 0 and motion[left] > low:
            left -= 1
        last = len(motion) - 1 if until is None else until
        while right < last and motion[right] > low:
            right += 1
    if left < 0 or right >= len(motion):  # reaches into a void
        return None
    if until is not None and (right > until or (options.half_s is None and motion[right] > low)):
        return None
    seconds = (right - left) * STEP_S
    if not options.min_s <= seconds <= options.max_s:
        return None
    near = slice(max(0, peak - 4), peak + 5 if until is None else min(peak + 5, until + 1))
    if curve.lids[near].max() > options.blink * motion[near].max():
        return None
    apex = float(grid[peak])
    return Interval(apex - (peak - left) * STEP_S, apex, apex + (right - peak) * STEP_S, score=score)


def _hopeless(peak: int, now: int, options: BaselineOptions) -> bool:
    """Whether a peak that has no interval yet will never have one."""
    return (now - peak) * STEP_S > (options.max_s if options.half_s is None else 2 * options.half_s)


def _overlap(a: Interval, b: Interval) -> bool:
    return a.onset_s < b.offset_s and b.onset_s < a.offset_s
