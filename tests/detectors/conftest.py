"""Real networks and a real face, for the tests that want them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mellm.detectors.analyzer import FaceAnalyzer
from mellm.detectors.faces import FaceDetector
from mellm.detectors.landmarks import Landmarker
from mellm.detectors.onnx import session
from mellm.detectors.types import U8
from mellm.detectors.weights import store as weights
from mellm.stream.errors import ModelMissing


@pytest.fixture(scope="session")
def networks() -> tuple[FaceDetector, Landmarker]:
    """The pulled models, on the CPU."""
    pytest.importorskip("onnxruntime")
    try:
        files = weights.path("face_detector"), weights.path("face_landmarks")
    except ModelMissing as error:
        pytest.skip(str(error))
    return FaceDetector(session(files[0], "cpu")), Landmarker(session(files[1], "cpu"))


@pytest.fixture
def analyzer(networks: tuple[FaceDetector, Landmarker]) -> FaceAnalyzer:
    """A fresh analyzer on the pulled models."""
    return FaceAnalyzer(detect=networks[0], place=networks[1])


@pytest.fixture(scope="session")
def portrait() -> U8:
    """A public-domain portrait (NASA, Eileen Collins), 512×512 BGR: one face, about 100 px wide, at (224, 116)."""
    data = pytest.importorskip("skimage.data", reason="scikit-image is not installed (extra train)")
    return np.asarray(cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR), np.uint8)
