"""Motion-enhanced colour maps: what a describer is shown of an onset–apex pair.

Three recipes, see docs/motion-evidence.md:

``mellm-v1``
    the published one: TV-L1 flow, minus its mean round the nose tip, hue in steps of 30°, brightness
    normalised per picture, added onto the grey onset frame.
``mellm-v3``
    the published region table (29 regions), here on our own flow and head-motion model, so approximate;
    with it the flow picture of that version (white where nothing moves, saturated at the largest motion).
``live``
    ours: DIS flow, six-parameter head-motion removal, brightness on an absolute scale, so that a still face
    gives a dark map.

Whatever the recipe, ``flow_stats`` holds the flow's magnitude before any normalisation, and evidence whose
strongest region stays under the motion floor, or exceeds the motion ceiling, is refused.
"""

from __future__ import annotations

from typing import get_args

import cv2
import numpy as np

from mellm.detectors import flow as flows
from mellm.detectors import regions
from mellm.detectors.patches import CROP_EYES, CROP_IOD, CROP_W, Matrix, apply, crop_matrix
from mellm.detectors.types import F32, U8
from mellm.engine.describe.base import Recipe
from mellm.engine.evidence import colour_wheel, region_motion, roi29
from mellm.engine.evidence.region_motion import EXPRESSIVE, PARAMETERS, HeadFree
from mellm.engine.map_recipe import (
    FACE_WIDTHS_PER_IOD,
    FULL_SCALE,
    GAMMA,
    LIVE_HEIGHT,
    LIVE_WIDTH,
    QUIET,
    QUIET_NOISE,
    SMOOTH,
)
from mellm.engine.types import Evidence
from mellm.stream.errors import FaceError, UsageError

RECIPES: tuple[Recipe, ...] = get_args(Recipe)

MOTION_FLOOR, MOTION_LARGE = "motion_floor", "motion_large"
"""Reason codes of evidence that is refused: too little motion, and too much."""

FLOOR = 0.6
"""Motion floor: largest displacement of an expressive region, 1/100 inter-ocular distance. Under it the
evidence is refused; docs/motion-evidence.md has the measurement."""

CEILING = 7.5
"""Motion ceiling: largest displacement of an expressive region, 1/100 inter-ocular distance. Over it the motion is
larger than a micro-expression (an ordinary expression, a grimace, a head turn that was not removed) and the evidence is
refused; docs/motion-evidence.md has the measurement."""

NOISE_FLOOR = 1.2
"""The floor rises to so many times the noise, where the head-motion fit leaves more than usual."""

NOSE_REACH = 5
"""Half width of the square round the nose tip whose mean flow ``mellm-v1`` takes for head motion, pixels."""

NOSE_TIP = 30
"""Landmark of the nose tip."""


def build(
    onset_gray: U8,
    apex_gray: U8,
    landmarks: F32 | None,
    recipe: Recipe = "live",
    nose: tuple[float, float] | None = None,
) -> Evidence:
    """Evidence of one onset–apex pair.

    :param onset_gray: H×W uint8, cropped or filmed alike (one transform for both)
    :param apex_gray: as ``onset_gray``
    :param landmarks: 68×2 at the onset, pixels of the pair, or ``None`` where there is no face
    :param nose: nose tip in pixels, for pairs without landmarks; it wins over the landmarks' own
    :raises UsageError: unknown recipe, or pictures that are not two grey ones of one size
    :raises FaceError: no landmarks and no nose for ``live``, no landmarks for ``mellm-v3``
    """
    if recipe not in RECIPES:
        raise UsageError(f"unknown recipe {recipe!r}", remedy=f"choose one of {', '.join(RECIPES)}")
    _check(onset_gray, apex_gray, landmarks)
    if recipe == "mellm-v1":
        return _v1(onset_gray, apex_gray, landmarks, nose)
    if recipe == "mellm-v3":
        return _v3(onset_gray, apex_gray, landmarks)
    return _live(onset_gray, apex_gray, landmarks, nose)


def _check(onset: U8, apex: U8, landmarks: F32 | None) -> None:
    for picture in (onset, apex):
        if picture.ndim != 2 or picture.dtype != np.uint8:
            raise UsageError(
                f"a motion map takes grey pictures, got {picture.shape} {picture.dtype}",
                remedy="convert them to one 8-bit channel",
            )
    if onset.shape != apex.shape:
        (h0, w0), (h1, w1) = onset.shape, apex.shape
        raise UsageError(
            f"onset is {w0}×{h0} and apex is {w1}×{h1}",
            remedy="take both frames from one recording, or crop them alike",
        )
    if min(onset.shape) < 32:
        raise UsageError(
            f"{onset.shape[1]}×{onset.shape[0]} is too small for a motion map", remedy="32 px at least"
        )
    if landmarks is not None and (landmarks.shape != (68, 2) or not np.isfinite(landmarks).all()):
        raise UsageError(
            f"landmarks are 68×2 finite numbers, got {landmarks.shape}", remedy="use iBUG points of the onset"
        )


def _v1(onset: U8, apex: U8, landmarks: F32 | None, nose: tuple[float, float] | None) -> Evidence:
    if nose is None and landmarks is not None:
        nose = (float(landmarks[NOSE_TIP, 0]), float(landmarks[NOSE_TIP, 1]))
    if nose is None:
        # as published: a picture without a face stays as it is
        plain = np.asarray(cv2.cvtColor(onset, cv2.COLOR_GRAY2BGR), np.uint8)
        return Evidence(plain, (), {}, "mellm-v1", refused="no_face")
    flow = flows.create("tvl1")(onset, apex)
    picture = published_map(onset, flow - around(flow, nose))
    stats = magnitudes(flow)
    if landmarks is None:
        return Evidence(picture, (), stats, "mellm-v1")
    free = region_motion.remove_head(flow, landmarks)
    stats |= _region_stats(free, landmarks)
    return Evidence(picture, region_motion.table(free, landmarks), stats, "mellm-v1", refused=_refused(stats))


def around(flow: F32, tip: tuple[float, float], reach: int = NOSE_REACH) -> F32:
    """Mean flow (2) of the square round a point truncated to whole pixels, clipped at the border."""
    height, width = flow.shape[:2]
    x, y = int(np.clip(int(tip[0]), 0, width - 1)), int(np.clip(int(tip[1]), 0, height - 1))
    square = flow[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
    mean: F32 = square.reshape(-1, 2).mean(0, dtype=np.float64).astype(np.float32)
    return mean


def published_map(onset: U8, flow: F32) -> U8:
    """The colour map of ``mellm-v1`` from a flow without head motion (H×W×2).

    Hue is the angle in steps of 30°, brightness the magnitude stretched over the picture to 0…255; only
    pixels at the very minimum are masked out (percentile 0, strictly greater).
    """
    magnitude = np.hypot(flow[..., 0], flow[..., 1])
    degrees = np.degrees(np.arctan2(flow[..., 1], flow[..., 0])) % 360
    steps = (np.rint(degrees / 30) * 30 % 360).astype(np.int32)
    low, high = float(magnitude.min()), float(magnitude.max())
    if high > low:
        value = ((magnitude - low) * (255 / (high - low))).astype(np.uint8)
    else:
        value = np.zeros(magnitude.shape, np.uint8)
    colour = colour_wheel.paint((steps // 2).astype(np.uint8), np.full_like(value, 255), value)
    colour[magnitude <= low] = 0
    return np.asarray(cv2.add(cv2.cvtColor(onset, cv2.COLOR_GRAY2BGR), colour), np.uint8)


def _v3(onset: U8, apex: U8, landmarks: F32 | None) -> Evidence:
    if landmarks is None:
        raise FaceError(
            "the mellm-v3 recipe has no face to lay its regions on", remedy="choose a picture with a face"
        )
    matrix = roi29.frame(landmarks)
    size = (roi29.WIDTH, roi29.HEIGHT)
    first, second = warp(onset, matrix, size), warp(apex, matrix, size)
    points = apply(matrix, landmarks)
    flow = flows.create("quality")(first, second)
    free = region_motion.remove_head(flow, points)
    # the published table corrects once more by the mean round the nose tip, 5×5 pixels
    expression = free.residual - around(free.residual, (float(points[30, 0]), float(points[30, 1])), 2)
    stats = magnitudes(flow) | _region_stats(free, points)
    rows = roi29.table(expression, points)
    return Evidence(_white_map(expression), rows, stats, "mellm-v3", refused=_refused(stats))


def _white_map(flow: F32) -> U8:
    """White where nothing moves, the direction's colour in full at the picture's largest motion."""
    magnitude = np.hypot(flow[..., 0], flow[..., 1])
    share = np.rint(255 * magnitude / max(float(magnitude.max()), 1e-6)).astype(np.uint8)
    return colour_wheel.paint(colour_wheel.hue(flow), share, np.full_like(share, 255))


def _live(onset: U8, apex: U8, landmarks: F32 | None, nose: tuple[float, float] | None) -> Evidence:
    if landmarks is None:
        return _live_without_face(onset, apex, nose)
    points = landmarks
    if not _is_standard(onset, landmarks):
        matrix = crop_matrix(regions.eye_frame(landmarks), LIVE_WIDTH)
        size = (LIVE_WIDTH, LIVE_HEIGHT)
        onset, apex, points = warp(onset, matrix, size), warp(apex, matrix, size), apply(matrix, landmarks)
    flow = flows.create("quality")(onset, apex)
    free = region_motion.remove_head(flow, points)
    stats = magnitudes(flow) | _region_stats(free, points)
    iod = regions.eye_frame(points).iod
    shown = _smooth(region_motion.steadied(free, points), iod)
    picture = _show(onset, shown, _strength(shown, iod, free.noise) * _face_mask(points, onset.shape))
    return Evidence(picture, region_motion.table(free, points), stats, "live", refused=_refused(stats))


def _live_without_face(onset: U8, apex: U8, nose: tuple[float, float] | None) -> Evidence:
    """No landmarks: head motion is the nose's, and the face is taken to fill the picture as it fills a crop."""
    if nose is None:
        raise FaceError(
            "the live recipe has neither a face nor a nose tip", remedy="give the nose tip with --nose X,Y"
        )
    flow = flows.create("quality")(onset, apex)
    iod = onset.shape[1] * CROP_IOD / CROP_W
    shown = _smooth(flow - around(flow, nose), iod)
    stats = magnitudes(flow) | {"iod_px": iod}
    return Evidence(_show(onset, shown, _strength(shown, iod)), (), stats, "live")


def _strength(residual: F32, iod: float, noise: float = 0.0) -> F32:
    """Brightness 0…1 of H×W×2 motion (pixels) on the absolute scale.

    More noise moves the scale up and leaves its length alone: a full mark that stayed would be overtaken by the
    noise of a fast turn of the head, and what is still would glow.
    """
    moved = np.hypot(residual[..., 0], residual[..., 1]) * np.float32(100 / iod)
    length = 100 * FULL_SCALE * FACE_WIDTHS_PER_IOD - QUIET
    above = (moved - max(QUIET, QUIET_NOISE * noise)) / length
    strength: F32 = np.clip(above, 0, 1) ** np.float32(GAMMA)
    return strength


def _smooth(flow: F32, iod: float) -> F32:
    """Flow without its grain: vectors are averaged, so that what points all ways cancels."""
    return np.asarray(cv2.GaussianBlur(flow, (0, 0), SMOOTH * iod), np.float32)


def _show(onset: U8, residual: F32, strength: F32) -> U8:
    under = np.asarray(cv2.convertScaleAbs(onset, alpha=0.4), np.uint8)
    picture = colour_wheel.glow(residual, strength, under)
    colour_wheel.stamp(picture, f"{100 * FULL_SCALE:g}% of face")
    return picture


def _face_mask(landmarks: F32, shape: tuple[int, ...]) -> F32:
    """1 on the face, fading to 0 outside: what moves behind a head says nothing about the face."""
    eyes = regions.eye_frame(landmarks)
    up = np.array([eyes.axis[1], -eyes.axis[0]], np.float32)
    forehead = landmarks[17:27] + up * np.float32(0.5 * eyes.iod)
    outline = cv2.convexHull(np.concatenate([landmarks, forehead]).astype(np.float32))
    mask = np.zeros(shape[:2], np.float32)
    cv2.fillConvexPoly(mask, np.rint(outline).astype(np.int32), 1.0)
    # the rim of the face shows the background's motion too: fade inwards of it
    rim = 0.12 * eyes.iod
    soft = np.asarray(cv2.GaussianBlur(mask, (0, 0), rim / 2), np.float32)
    faded: F32 = np.clip(2 * soft - 1, 0, 1)
    return faded


def _is_standard(picture: U8, landmarks: F32) -> bool:
    """Whether a picture already is the standard crop of its landmarks, to within a hundredth."""
    if picture.shape != (LIVE_HEIGHT, LIVE_WIDTH):
        return False
    eyes, zoom = regions.eye_frame(landmarks), LIVE_WIDTH / CROP_W
    dx, dy = eyes.centre[0] / zoom - CROP_EYES[0], eyes.centre[1] / zoom - CROP_EYES[1]
    return bool(
        np.hypot(dx, dy) < 1 and abs(eyes.iod / zoom / CROP_IOD - 1) < 0.01 and abs(eyes.axis[1]) < 0.01
    )


def warp(picture: U8, matrix: Matrix, size: tuple[int, int]) -> U8:
    """Cut a standard picture; where that shrinks much, after averaging, so that skin texture does not alias."""
    shrink = float(1 / np.hypot(matrix[0, 0], matrix[1, 0]))
    if shrink > 1.33:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.5 * np.sqrt(shrink**2 - 1)), np.uint8)
    warped = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8)


def magnitudes(flow: F32) -> dict[str, float]:
    """Size of the raw flow over the whole picture, pixels, nothing removed and nothing normalised."""
    size = np.hypot(flow[..., 0], flow[..., 1])
    return {
        "peak_px": float(size.max()),
        "mean_px": float(size.mean()),
        "median_px": float(np.median(size)),
        "p95_px": float(np.percentile(size, 95)),
    }


def motion_floor(region: F32, noise: float) -> tuple[float, float]:
    """Largest displacement of an expressive region (of ``COUNT``×2), and the floor it has to reach."""
    moved = np.hypot(region[:, 0], region[:, 1])
    return float(moved[EXPRESSIVE].max()), max(FLOOR, NOISE_FLOOR * noise)


def _region_stats(free: HeadFree, landmarks: F32) -> dict[str, float]:
    """What decides whether there is motion at all: 1/100 inter-ocular distance, ``iod_px`` excepted."""
    peak, floor = motion_floor(free.region, free.noise)
    return {
        "iod_px": regions.eye_frame(landmarks).iod,
        "peak_iod": peak,
        "noise_iod": free.noise,
        "floor_iod": floor,
        **{f"head_{name}": float(value) for name, value in zip(PARAMETERS, free.head, strict=True)},
    }


def _refused(stats: dict[str, float]) -> str | None:
    if stats["peak_iod"] > CEILING:
        return MOTION_LARGE
    return MOTION_FLOOR if stats["peak_iod"] < stats["floor_iod"] else None
