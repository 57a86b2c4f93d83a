"""How far a face can be trusted: size, pose, sharpness, presence, frame rate, against the floors of the project."""

from __future__ import annotations

from math import asin, degrees, sqrt

import cv2
import numpy as np

from mellm.detectors.patches import part_of
from mellm.detectors.types import F32, U8, Face, Quality, Verdict
from mellm.stream.frames import Picture

MIN_FPS, WARN_FPS = 20.0, 49.0
"""Frames a second: refused under the first, warned under the second (a 50 fps camera measures 49.9)."""

MIN_WIDTH = 96.0
"""Pixels; narrower faces move by less than the flow can see."""

MAX_YAW = 30.0
"""Degrees; past it, half of the regions are hidden or foreshortened."""

BLUR_WIDTH = 128
"""The face is scaled to this width before its sharpness is measured, so that sizes compare."""

# Points that expressions hardly move, with their places on the mean face of ICT-FaceKit in inter-ocular distances
# (x to the subject's left, y down, z to the camera), relative to the mean of landmarks 27–30
_RIGID = (0, 16, 27, 30, 31, 33, 35, 36, 39, 42, 45)
_CANONICAL = np.array(
    [
        (-1.17, -0.25, -1.31),
        (1.17, -0.25, -1.31),
        (0.0, -0.26, -0.19),
        (0.0, 0.27, 0.18),
        (-0.2, 0.51, -0.16),
        (0.0, 0.52, -0.05),
        (0.2, 0.51, -0.16),
        (-0.71, -0.21, -0.52),
        (-0.29, -0.18, -0.43),
        (0.29, -0.18, -0.43),
        (0.71, -0.21, -0.52),
    ]
)
_CENTRED = _CANONICAL - _CANONICAL.mean(axis=0)
_INVERSE = np.linalg.pinv(_CENTRED)


def assess(face: Face, frame: U8 | Picture, fps: float) -> Quality:
    """Measure a face and hold it against the floors.

    :param frame: the whole frame: a picture, or its grey, H×W uint8
    :param fps: measured frames a second, 0 while it is unknown
    """
    yaw, pitch = pose(face.landmarks)
    width = face.box[2]
    refused = []
    if 0 < fps < MIN_FPS:
        refused.append("fps_low")
    if width < MIN_WIDTH:
        refused.append("face_small")
    if abs(yaw) > MAX_YAW:
        refused.append("yaw_high")
    warned = ["fps_warn"] if MIN_FPS <= fps < WARN_FPS else []
    verdict: Verdict = "refused" if refused else "warn" if warned else "ok"
    return Quality(
        fps=fps,
        face_width=width,
        blur=sharpness(frame, face.box),
        yaw=yaw,
        pitch=pitch,
        occlusion=1 - face.score,
        verdict=verdict,
        reasons=(*refused, *warned),
    )


def pose(landmarks: F32) -> tuple[float, float]:
    """Yaw and pitch in degrees from 68×2 landmarks, by a weak-perspective fit of the mean face.

    Yaw is positive when the subject turns to their own left, pitch when they look up. Within 3° (yaw) and 4° (pitch)
    for the mean face up to 35° of yaw; a face unlike it biases both by some degrees, so this is good enough for a
    floor and no measurement of gaze.
    """
    points = landmarks[list(_RIGID)].astype(np.float64)
    camera = (_INVERSE @ (points - points.mean(axis=0))).T
    # the nearest camera with two orthogonal rows of equal length
    left, _, right = np.linalg.svd(camera, full_matrices=False)
    rows = left @ right
    # where the face looks: (sin yaw, -sin pitch · cos yaw, cos pitch · cos yaw)
    across, down = float(np.clip(rows[0, 2], -1, 1)), float(rows[1, 2])
    level = sqrt(max(1 - across**2, 1e-9))
    return degrees(asin(across)), degrees(asin(max(-1.0, min(1.0, -down / level))))


def sharpness(frame: U8 | Picture, box: tuple[float, float, float, float]) -> float:
    """Variance of the Laplacian on the face at a fixed size, higher is sharper; 0 where the face is off the frame."""
    x0, y0 = max(0, int(box[0])), max(0, int(box[1]))
    x1, y1 = min(frame.shape[1], int(box[0] + box[2])), min(frame.shape[0], int(box[1] + box[3]))
    if x1 - x0 < 8 or y1 - y0 < 8:
        return 0.0
    height = max(8, round(BLUR_WIDTH * (y1 - y0) / (x1 - x0)))
    shrink = x1 - x0 > BLUR_WIDTH
    face = cv2.resize(
        part_of(frame, slice(y0, y1), slice(x0, x1)),
        (BLUR_WIDTH, height),
        interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR,
    )
    return float(cv2.Laplacian(face, cv2.CV_32F).var())
