"""The same moment once more, under small changes that must not matter to what is read off it.

A reading that one frame more or less, a slightly other crop or a compression changes is no reading of the face. So
every moment is read several times, and what the readings agree on is told (:mod:`mellm.engine.describe.agreement`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple

import cv2
import numpy as np

from mellm.detectors.patches import apply
from mellm.detectors.signals import FacePair
from mellm.detectors.types import F32, U8
from mellm.engine.describe.base import Recipe
from mellm.engine.evidence import motion_map
from mellm.engine.types import Evidence

MIRRORED_POINTS: Final = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), *(45, 44, 43, 42, 47, 46),
     *(39, 38, 37, 36, 41, 40), *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1)]
)  # fmt: skip
"""iBUG landmark that takes each one's place in a mirror."""

CROP: Final = np.array([[0.985, 0.0, 3.2], [0.0, 0.985, 1.4]])
"""Another crop: pixels of the standard pair."""

SLIP: Final = 0.01
"""How far landmarks slip with it, inter-ocular distances: about what two pixels more or less do to the detector."""

GAIN, OFFSET = 1.03, 2.0
"""A little more light."""

JPEG: Final = 80
"""Quality of the compression, of 100."""


class ChangedPair(NamedTuple):
    """Two pictures and the landmarks of the first. ``mirrored``: left and right changed places."""

    name: str
    onset: U8
    apex: U8
    landmarks: F32
    mirrored: bool = False


def changes(pair: FacePair) -> Iterator[ChangedPair]:
    """The pair under each change; those of time are left out where the frame beside it is not known."""
    onset, apex, points = pair.onset_gray, pair.apex_gray, pair.landmarks
    for name, near in zip(
        ("onset one frame earlier", "onset one frame later"), pair.near_onset, strict=False
    ):
        yield ChangedPair(name, near, apex, points)
    for name, near in zip(("apex one frame earlier", "apex one frame later"), pair.near_apex, strict=False):
        yield ChangedPair(name, onset, near, points)
    slip = np.array([SLIP, -SLIP], np.float32) * np.float32(pair.iod)
    slipped = apply(CROP, points) + slip
    yield ChangedPair(
        "another crop and light", _brighter(_cropped(onset)), _brighter(_cropped(apex)), slipped
    )
    yield ChangedPair("compressed", _compressed(onset), _compressed(apex), points)
    mirror = points[MIRRORED_POINTS]
    mirror[:, 0] = np.float32(onset.shape[1] - 1) - mirror[:, 0]
    yield ChangedPair("mirrored", _mirror(onset), _mirror(apex), mirror, mirrored=True)


def changed(pair: FacePair, recipe: Recipe) -> Iterator[Evidence]:
    """Evidence of the pair under each change, none of them refused. Callable from any thread; some 50 ms each."""
    for shown in changes(pair):
        evidence = motion_map.build(shown.onset, shown.apex, shown.landmarks, recipe)
        # what the plain pair was let through for is not refused for a frame more or less
        yield replace(evidence, refused=None, mirrored=shown.mirrored)


def _cropped(picture: U8) -> U8:
    size = (picture.shape[1], picture.shape[0])
    return np.asarray(cv2.warpAffine(picture, CROP, size, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _brighter(picture: U8) -> U8:
    return np.asarray(cv2.convertScaleAbs(picture, alpha=GAIN, beta=OFFSET), np.uint8)


def _compressed(picture: U8) -> U8:
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def _mirror(picture: U8) -> U8:
    return np.ascontiguousarray(picture[:, ::-1])
