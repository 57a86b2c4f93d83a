"""Evidence of one onset–apex pair of picture files, without a recording round it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mellm.detectors.analyzer import Analyzer, AnalyzerOptions, FaceAnalyzer
from mellm.detectors.quality import assess
from mellm.detectors.types import U8, Face, Quality
from mellm.engine.describe.base import Recipe
from mellm.engine.evidence import motion_map
from mellm.engine.types import Evidence
from mellm.stream.errors import FaceError, UsageError
from mellm.stream.frames import Frame
from mellm.stream.sources.pictures import read_picture


@dataclass(frozen=True, slots=True, eq=False)
class PicturePair:
    """Evidence with what it rests on.

    :param size: width and height of the pictures, pixels
    :param face: the one at the onset, ``None`` where the nose tip was given instead
    :param quality: of that face; no frame rate is known
    """

    evidence: Evidence
    size: tuple[int, int]
    face: Face | None
    quality: Quality | None


def read_pair(onset: str | Path, apex: str | Path) -> tuple[U8, U8]:
    """Both pictures of a pair, H×W×3 uint8 BGR.

    :raises SourceError: one of them cannot be read
    :raises UsageError: their sizes differ
    """
    first, second = read_picture(onset), read_picture(apex)
    if first.shape != second.shape:
        (h0, w0), (h1, w1) = first.shape[:2], second.shape[:2]
        raise UsageError(
            f"{onset} is {w0}×{h0} and {apex} is {w1}×{h1}",
            remedy="take both frames from one recording, or crop them alike",
        )
    return first, second


def pair_evidence(
    onset: str | Path,
    apex: str | Path,
    recipe: Recipe = "live",
    *,
    nose: tuple[float, float] | None = None,
    device: str = "auto",
    analyzer: Analyzer | None = None,
) -> PicturePair:
    """Read two pictures, find the face at the onset, and draw what moved.

    :param nose: nose tip in pixels; then no face is needed and none is searched
    :param analyzer: finds the face; the networks of the cache by default
    :raises SourceError: a picture cannot be read
    :raises UsageError: sizes differ, the nose lies outside, or the recipe needs more than a nose
    :raises FaceError: there is no face in the onset picture
    :raises ModelMissing: the face models were not pulled
    """
    first, second = read_pair(onset, apex)
    height, width = first.shape[:2]
    face: Face | None = None
    quality: Quality | None = None
    gray = _gray(first)
    if nose is None:
        face = _largest(first, str(onset), analyzer or FaceAnalyzer(AnalyzerOptions(device=device)))
        quality = assess(face, gray, 0.0)
    else:
        _check_nose(nose, (width, height), recipe)
    landmarks = None if face is None else face.landmarks
    evidence = motion_map.build(gray, _gray(second), landmarks, recipe, nose)
    return PicturePair(evidence, (width, height), face, quality)


def _check_nose(nose: tuple[float, float], size: tuple[int, int], recipe: Recipe) -> None:
    if recipe == "mellm-v3":
        raise UsageError(
            "the mellm-v3 recipe lays its regions on a face, a nose tip is not enough",
            remedy="leave --nose out, or choose mellm-v1 or live",
        )
    if not (0 <= nose[0] < size[0] and 0 <= nose[1] < size[1]):
        raise UsageError(
            f"the nose tip {nose[0]:g},{nose[1]:g} lies outside the {size[0]}×{size[1]} picture",
            remedy="give pixels from the upper left corner, as --nose X,Y",
        )


def _largest(image: U8, name: str, analyzer: Analyzer) -> Face:
    faces = analyzer.push(Frame("pair", 0, 0, 0, 0, image)).faces
    if not faces:
        raise FaceError(
            f"{name}: no face found",
            remedy="use a picture with a larger frontal face, or give the nose tip with --nose X,Y",
        )
    return max(faces, key=lambda face: face.box[2] * face.box[3])


def _gray(image: U8) -> U8:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
