"""Damage to pictures, by pure functions: the same picture, level and seed give the same result.

Level 0 of everything gives back the very picture that went in, so that a curve begins at the undamaged score.
Pictures are H×W×3 uint8, BGR.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mellm.detectors.types import U8
from mellm.stream.errors import UsageError
from mellm.training.synth.composite import Film, coded
from mellm.training.synth.envelope import slow_noise

SWAY_S, SHAKE_S = 0.3, 0.05
"""Time scales of added motion: of a head that is not kept still, and of a camera held in the hand."""

ROLL_PER_SHIFT, ZOOM_PER_SHIFT = 0.1, 0.0005
"""Turn (degrees) and change of size that come with each 1/100 inter-ocular distance of added shift."""


@dataclass(frozen=True, slots=True)
class Motion:
    """Motion of the whole picture. ``x``, ``y``: pixels to the right and down; ``degrees``: clockwise as seen;
    ``zoom``: share by which it grows."""

    x: float = 0.0
    y: float = 0.0
    degrees: float = 0.0
    zoom: float = 0.0


def noise(picture: U8, sigma: float, seed: Sequence[int] | int) -> U8:
    """White Gaussian noise of standard deviation ``sigma`` grey levels, independent in each pixel and channel.

    :raises UsageError: ``sigma`` is negative
    """
    _at_least_0("noise", sigma)
    if not sigma:
        return picture
    drawn = np.random.default_rng(seed).standard_normal(picture.shape, np.float32)
    return np.clip(np.rint(picture + np.float32(sigma) * drawn), 0, 255).astype(np.uint8)


def blur(picture: U8, sigma: float) -> U8:
    """Gaussian blur; ``sigma`` in pixels.

    :raises UsageError: ``sigma`` is negative
    """
    _at_least_0("blur", sigma)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8) if sigma else picture


def jpeg(picture: U8, quality: int) -> U8:
    """Through JPEG and back. ``quality`` 1 … 100; 0 is no compression.

    :raises UsageError: no such quality
    """
    if not 0 <= quality <= 100:
        raise UsageError(f"JPEG quality {quality}", remedy="1 to 100, or 0 for none")
    if not quality:
        return picture
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def h264(pictures: Iterable[U8], crf: int) -> Iterator[U8]:
    """Through H.264 (x264, preset ``fast``) and back. ``crf`` 1 … 51; 0 is no compression. Sizes must be even.

    :raises UsageError: no such constant rate factor
    """
    if not 0 <= crf <= 51:
        raise UsageError(f"constant rate factor {crf}", remedy="1 to 51, or 0 for no compression")
    if not crf:
        yield from pictures
        return
    every = list(pictures)
    for frame in coded(every, Film(codec="h264", quality=crf), range(len(every)), "degraded"):
        yield frame.image


def resized(picture: U8, share: float) -> U8:
    """The picture at a ``share`` of its width and height, in (0, 1]; 1 and 0 leave it as it is.

    :raises UsageError: ``share`` is outside
    """
    if not 0 <= share <= 1:
        raise UsageError(f"a picture at {share} of its size", remedy="a share in (0, 1]")
    if share in (0, 1):
        return picture
    return np.asarray(cv2.resize(picture, None, fx=share, fy=share, interpolation=cv2.INTER_AREA), np.uint8)


def moved(picture: U8, motion: Motion, centre: tuple[float, float]) -> U8:
    """The picture shifted, and turned and zoomed round ``centre`` (pixels); its border is repeated.

    Cubic interpolation softens it a little as soon as it moves at all.
    """
    if motion == Motion():
        return picture
    matrix = cv2.getRotationMatrix2D(centre, -motion.degrees, 1 + motion.zoom)
    matrix[:, 2] += np.array((motion.x, motion.y))
    size = (picture.shape[1], picture.shape[0])
    warped = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8)


def path(times_s: NDArray[np.float64], level: float, iod: float, seed: int, scale_s: float) -> list[Motion]:
    """Smooth random motion at the given times: what is added does not depend on how often it is sampled.

    :param level: standard deviation of the shift along each axis, 1/100 inter-ocular distance; turn and zoom follow
        (:data:`ROLL_PER_SHIFT`, :data:`ZOOM_PER_SHIFT`)
    :param iod: inter-ocular distance, pixels
    :param scale_s: time scale, see :data:`SWAY_S`
    """
    _at_least_0("motion", level)
    x, y, roll, zoom = (slow_noise(times_s, 4 * seed + k, scale_s) * level for k in range(4))
    return [
        Motion(
            float(a) * iod / 100, float(b) * iod / 100, float(c) * ROLL_PER_SHIFT, float(d) * ZOOM_PER_SHIFT
        )
        for a, b, c, d in zip(x, y, roll, zoom, strict=True)
    ]


def _at_least_0(what: str, level: float) -> None:
    if not level >= 0:
        raise UsageError(f"{what} of {level}", remedy="a level of 0 or more")
