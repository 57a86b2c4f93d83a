"""Motion signals of one tracked face: 31 regions, two baselines, head motion taken out.

For every grid step the vector of ``FEATURES`` numbers holds, for the baseline of 0.1 s and then of 0.3 s,
the residual flow of the regions (r0x, r0y, r1x, … in the order of :data:`mellm.detectors.regions.REGIONS`) and
the six parameters of the head motion that was removed. Flow runs from t-Δ to t. Unit: 1/100 of the
inter-ocular distance.

Landmarks only say where the face and its regions are; motion is always measured by optical flow between
two crops that share one transform.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from math import exp
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mellm.detectors import regions
from mellm.detectors.flow import FlowEstimator
from mellm.detectors.patches import (
    CROP_EYES,
    CROP_H,
    CROP_IOD,
    CROP_W,
    Anchor,
    Patch,
    anchor,
    apply,
    crop_matrix,
    cut,
)
from mellm.detectors.region_flow import RegionFlow, RegionReader
from mellm.detectors.regions import COUNT, RADIUS
from mellm.detectors.types import F32, U8
from mellm.detectors.windows import SNAP_NS, STEP_NS, FrameGate, Grid
from mellm.stream.frames import FrameRef, Picture

__all__ = [
    "BASELINES_NS",
    "CROP_EYES",
    "CROP_H",
    "CROP_IOD",
    "CROP_W",
    "FEATURES",
    "FacePair",
    "Geometry",
    "SignalStep",
    "TrackSignals",
]

VERSION = 1
"""Of how signals are measured. Raise it with every change that moves them: networks trained before are then refused
(:mod:`mellm.detectors.recipe`)."""

BASELINES_NS = (100_000_000, 300_000_000)
"""Time spans over which motion is measured."""

PER_BASELINE = 2 * COUNT + 6
FEATURES = len(BASELINES_NS) * PER_BASELINE

REFERENCE_TOLERANCE_NS = 40_000_000
"""How far the frame that stands for t-Δ may lie from it; half a frame interval at the floor of 20 fps is 25 ms."""

HISTORY_NS = 2_600_000_000
"""How far back frames are kept: the longest expression, the spotter's delay, and room round them."""

LANDMARK_TAU_NS = 80_000_000
"""Time constant of the smoothing of landmarks."""


class SignalStep(NamedTuple):
    """One grid step; ``features`` is float32[``FEATURES``], ``None`` where the step is void."""

    t_ns: int
    features: F32 | None


@dataclass(frozen=True, slots=True, eq=False)
class FacePair:
    """The onset and the apex frame of an expression, cropped by one transform.

    :param onset_gray: H×W uint8
    :param apex_gray: as ``onset_gray``
    :param landmarks: 68×2 float32 at the onset, pixels of the pair
    :param iod: inter-ocular distance, pixels of the pair
    :param near_onset: the frames before and after each, by the same transform; fewer where the history ends
    :param near_apex: as ``near_onset``
    """

    onset_gray: U8
    apex_gray: U8
    landmarks: F32
    onset: FrameRef
    apex: FrameRef
    iod: float
    near_onset: tuple[U8, ...] = ()
    near_apex: tuple[U8, ...] = ()


class Geometry:
    """Where the regions lie in a crop, and how head motion looks there.

    :param landmarks: 68×2 float32, pixels of the crop
    :param shape: height and width of the crop
    """

    def __init__(self, landmarks: F32, shape: tuple[int, int] = (CROP_H, CROP_W)) -> None:
        self.shape = shape
        self.iod = regions.eye_frame(landmarks).iod
        self.centres = regions.centres(landmarks)
        self._basis = regions.rigid_basis(self.centres, landmarks)
        self._solver = regions.rigid_solver(self._basis)

    @cached_property
    def _pixels(self) -> NDArray[np.intp]:
        return _disks(self.centres, RADIUS * self.iod, self.shape)

    @cached_property
    def reader(self) -> RegionReader:
        """Reads the regions off the flow between crops of half size."""
        return RegionReader(self.centres, RADIUS * self.iod, self.shape)

    def region_flow(self, flow: F32) -> F32:
        """Mean flow of each region, ``COUNT``×2 pixels, of an H×W×2 flow."""
        if flow.shape != (*self.shape, 2):
            raise ValueError(f"flow is {(*self.shape, 2)}, got {flow.shape}")
        mean: F32 = flow.reshape(-1, 2)[self._pixels].mean(axis=1, dtype=np.float32)
        return mean

    def signals(self, flow: F32, stretch: float = 1.0) -> F32:
        """One baseline's ``PER_BASELINE`` features of an H×W×2 flow in pixels, 1/100 inter-ocular distance.

        :param stretch: Δ/Δactual, for pairs whose frames are not exactly a baseline apart
        """
        return self.features(self.region_flow(flow)[None], (stretch,))

    def features(self, moved: F32, stretches: Sequence[float]) -> F32:
        """The features of some baselines, one after the other.

        :param moved: baselines×``COUNT``×2, mean flow of the regions in pixels
        :param stretches: as in :meth:`signals`, one for each baseline
        """
        scale = 100 / self.iod * np.asarray(stretches, np.float32)
        residual, rigid = regions.compensate(moved * scale[:, None, None], self._basis, self._solver)
        vector: F32 = np.concatenate([residual.reshape(len(moved), -1), rigid], axis=1).astype(np.float32)
        return vector.ravel()


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """A frame in the history."""

    ref: FrameRef
    patch: Patch
    landmarks: F32


class TrackSignals:
    """Motion signals of one track, frame by frame. One instance per track, one thread.

    :param flow: estimator of the motion, for comparison; by default :class:`mellm.detectors.region_flow.RegionFlow`,
        the two baselines at the same time on two threads, which changes no number
    :param origin_ns: grid time 0; give all tracks of a segment the time of its first frame
    """

    def __init__(self, flow: FlowEstimator | None = None, *, origin_ns: int | None = None) -> None:
        self._other = flow
        self._flows = tuple(RegionFlow() for _ in BASELINES_NS)  # they hold buffers: one for each thread
        self.reset(origin_ns=origin_ns)

    def reset(self, *, origin_ns: int | None = None) -> None:
        """Forget everything, history included: a gap, or a new segment. Take pairs of pending spots before."""
        self._gate = FrameGate(origin_ns)
        self._grid = Grid(origin_ns)
        self._kept: deque[_Kept] = deque()
        self._since_ns: int | None = None  # the first frame after the last hole
        self._landmarks: F32 | None = None
        self._landmarks_ns = 0
        self._anchor: Anchor | None = None
        self._geometry: Geometry | None = None

    @property
    def interval_ns(self) -> int | None:
        """Median time between frames pushed, ``None`` before there are two."""
        return self._gate.interval_ns

    def push(self, frame: U8 | Picture, pts_ns: int, index: int, landmarks: F32 | None) -> list[SignalStep]:
        """One frame of the segment.

        :param frame: the whole frame: a picture, or its grey, H×W uint8
        :param landmarks: 68×2 pixels of the frame, ``None`` where they are only held from before
        :returns: the grid steps this frame settles, oldest first
        :raises ValueError: if time does not advance, or on wrong shapes
        """
        if not isinstance(frame, Picture) and (frame.ndim != 2 or frame.dtype != np.uint8):
            raise ValueError(f"a grey frame is H×W uint8, got {frame.shape} {frame.dtype}")
        taken, hole = self._gate.push(pts_ns)
        if hole:
            self._since_ns = None
        if landmarks is not None:
            self._place(landmarks, pts_ns, frame.shape[:2])
        if not taken:
            return []
        features = None
        if self._anchor is None or self._landmarks is None:
            self._since_ns = None
        else:
            patch = cut(frame, self._anchor)
            self._kept.append(_Kept(FrameRef(index, pts_ns), patch, self._landmarks))
            if self._since_ns is None:
                self._since_ns = pts_ns
            while self._kept[0].ref.pts_ns < pts_ns - HISTORY_NS:
                self._kept.popleft()
            features = self._features()
        return [SignalStep(step.t_ns, step.values) for step in self._grid.push(pts_ns, features)]

    def ref(self, t_ns: int) -> FrameRef:
        """The analysed frame nearest to a media time.

        :raises LookupError: if that time is not, or no longer, in the history
        """
        return self._at(t_ns).ref

    def pair(self, onset_ns: int, apex_ns: int, width: int = CROP_W) -> FacePair:
        """The frames nearest to two media times, both cropped by the transform of the onset.

        :param width: of the pictures, pixels; the height follows from the standard crop
        :raises LookupError: if one of the times is not, or no longer, in the history
        """
        onset, apex = self._at(onset_ns), self._at(apex_ns)
        matrix = crop_matrix(regions.eye_frame(onset.landmarks), width)
        height = round(width * CROP_H / CROP_W)
        landmarks = apply(matrix, onset.landmarks)
        return FacePair(
            onset.patch.warp(matrix, width, height),
            apex.patch.warp(matrix, width, height),
            landmarks,
            onset.ref,
            apex.ref,
            regions.eye_frame(landmarks).iod,
            *(
                tuple(kept.patch.warp(matrix, width, height) for kept in self._beside(moment))
                for moment in (onset, apex)
            ),
        )

    def _place(self, landmarks: F32, pts_ns: int, frame_shape: Sequence[int]) -> None:
        """Follow the face: smooth its landmarks, and move the crop if it left the held one."""
        if landmarks.shape != (68, 2) or not np.isfinite(landmarks).all():
            raise ValueError(f"landmarks are 68×2 finite numbers, got {landmarks.shape}")
        landmarks = landmarks.astype(np.float32)
        if self._anchor is not None and self._landmarks is not None:
            if self._anchor.holds(regions.eye_frame(landmarks)):
                fresh = np.float32(1 - exp(-(pts_ns - self._landmarks_ns) / LANDMARK_TAU_NS))
                landmarks = self._landmarks + fresh * (landmarks - self._landmarks)
            else:
                self._anchor = None
        if self._anchor is None:
            self._anchor = anchor(landmarks, (frame_shape[0], frame_shape[1]))
        self._landmarks, self._landmarks_ns = landmarks, pts_ns
        self._geometry = Geometry(apply(self._anchor.matrix, landmarks)) if self._anchor else None

    def _features(self) -> F32 | None:
        now, since = self._kept[-1], self._since_ns
        if self._anchor is None or self._geometry is None or since is None:
            return None
        if now.ref.pts_ns - since < BASELINES_NS[-1] - SNAP_NS:
            return None
        found: list[tuple[_Kept, float]] = []
        for span in BASELINES_NS:
            kept = self._nearest(now.ref.pts_ns - span)
            actual = now.ref.pts_ns - kept.ref.pts_ns
            if abs(actual - span) > REFERENCE_TOLERANCE_NS:
                return None
            found.append((kept, span / actual))
        anchor, geometry = self._anchor, self._geometry
        stretches = [stretch for _, stretch in found]
        if self._other is not None:
            crop = now.patch.crop(anchor)
            moved = [geometry.region_flow(self._other(kept.patch.crop(anchor), crop)) for kept, _ in found]
            return geometry.features(np.stack(moved), stretches)
        half, reader = now.patch.half(anchor), geometry.reader
        # crops are cached on first use, so all are cut before a second thread looks
        before = [kept.patch.half(anchor) for kept, _ in found]
        later = [
            _pool().submit(flow, then, half, reader)
            for flow, then in zip(self._flows[1:], before[1:], strict=True)
        ]
        moved = [self._flows[0](before[0], half, reader), *(one.result() for one in later)]
        return geometry.features(np.stack(moved), stretches)

    def _nearest(self, t_ns: int) -> _Kept:
        """The kept frame nearest to a time, the earlier of two equally near. There must be one."""
        i = bisect_left(self._kept, t_ns, key=lambda kept: kept.ref.pts_ns)
        around = [self._kept[j] for j in (i - 1, i) if 0 <= j < len(self._kept)]
        return min(around, key=lambda kept: abs(kept.ref.pts_ns - t_ns))

    def _beside(self, kept: _Kept) -> list[_Kept]:
        """The kept frames before and after one, as far as there are any."""
        i = bisect_left(self._kept, kept.ref.pts_ns, key=lambda other: other.ref.pts_ns)
        return [self._kept[j] for j in (i - 1, i + 1) if 0 <= j < len(self._kept)]

    def _at(self, t_ns: int) -> _Kept:
        if self._kept:
            kept = self._nearest(t_ns)
            if abs(kept.ref.pts_ns - t_ns) <= 5 * STEP_NS:
                return kept
        raise LookupError(f"no frame is kept near {t_ns / 1e6:.1f} ms")


@cache
def _pool() -> ThreadPoolExecutor:
    """Helpers of all tracks: as many as there are cores, so that no source waits for another's."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="mellm-flow")


def _disks(centres: F32, radius: float, shape: tuple[int, int]) -> NDArray[np.intp]:
    """Flat pixel indices of a disk round each centre, ``COUNT``×n; pixels outside are moved to the border."""
    reach = int(np.ceil(radius))
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    inside = dx * dx + dy * dy <= radius * radius
    xy = np.rint(centres).astype(np.intp)
    x = np.clip(xy[:, :1] + dx[inside], 0, shape[1] - 1)
    y = np.clip(xy[:, 1:] + dy[inside], 0, shape[0] - 1)
    pixels: NDArray[np.intp] = (y * shape[1] + x).astype(np.intp)
    return pixels
