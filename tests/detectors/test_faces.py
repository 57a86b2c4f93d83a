from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from mellm.detectors.faces import CELLS, SIZE, Detection, FaceDetector
from mellm.detectors.landmarks import Landmarker
from mellm.detectors.types import F32, U8
from mellm.stream.errors import ModelCorrupt


class FakeSession:
    """Answers with faces at cells, in pixels of the 192-pixel square."""

    name = "fake.onnx"

    def __init__(self, *faces: tuple[int, int, float, float]) -> None:
        self.raw = np.zeros((1, CELLS * CELLS, 16), np.float32)
        self.logits = np.full((1, CELLS * CELLS, 1), -20, np.float32)
        self.input: F32 | None = None
        for column, row, size, logit in faces:
            self.raw[0, row * CELLS + column, 2:4] = size
            self.raw[0, row * CELLS + column, 4:6] = (-5, 0)  # the right eye
            self.logits[0, row * CELLS + column] = logit

    def expect(self, wanted: dict[str, tuple[int, ...]]) -> None:
        assert wanted["output0"] == self.raw.shape

    def run(self, inputs: dict[str, F32]) -> list[F32]:
        self.input = inputs["input0"]
        return [self.raw, self.logits]


def detect(image: U8, *faces: tuple[int, int, float, float]) -> list[Detection]:
    session: Any = FakeSession(*faces)
    return FaceDetector(session)(image)


SQUARE = np.zeros((SIZE, SIZE, 3), np.uint8)


def test_a_cell_becomes_a_box_round_its_middle() -> None:
    (found,) = detect(SQUARE, (10, 20, 40, 3))
    assert found.box == pytest.approx((10.5 * 4 - 20, 20.5 * 4 - 20, 40, 40))
    assert found.points[0] == pytest.approx((10.5 * 4 - 5, 20.5 * 4))
    assert found.score == pytest.approx(1 / (1 + np.exp(-3)))


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (480, 640), (192, 192), (96, 48)])
def test_boxes_come_back_in_pixels_of_the_picture(width: int, height: int) -> None:
    (found,) = detect(np.zeros((height, width, 3), np.uint8), (24, 24, 40, 3))
    x, y, w, h = found.box
    scale = max(width, height) / SIZE
    assert (x + w / 2, y + h / 2) == pytest.approx((width / 2 + 2 * scale, height / 2 + 2 * scale), abs=scale)
    assert (w, h) == pytest.approx((40 * scale, 40 * scale), rel=0.02)


def test_the_picture_is_letterboxed_in_rgb_between_minus_one_and_one() -> None:
    session: Any = FakeSession()
    image = np.zeros((100, 200, 3), np.uint8)
    image[:, :, 0] = 255  # blue
    FaceDetector(session)(image)
    given = session.input[0]
    assert given.shape == (SIZE, SIZE, 3)
    assert given[96, 96].tolist() == [-1, -1, 1]
    assert given[10, 96].tolist() == [-1, -1, -1]


def test_answers_that_overlap_are_averaged_by_their_weight() -> None:
    (found,) = detect(SQUARE, (10, 20, 40, 3), (12, 20, 40, 0.5))
    a, b = 1 / (1 + np.exp(-3)), 1 / (1 + np.exp(-0.5))
    assert found.box[0] == pytest.approx((a * 22 + b * 30) / (a + b), rel=1e-5)
    assert found.score == pytest.approx(a)


def test_faces_apart_come_best_first_and_doubtful_ones_not_at_all() -> None:
    found = detect(SQUARE, (5, 20, 20, 1), (25, 20, 20, 4), (40, 20, 20, -0.1))
    assert [round(d.box[0]) for d in found] == [92, 12]
    assert detect(SQUARE) == []


def test_f16_another_network_is_refused(networks: tuple[FaceDetector, Landmarker]) -> None:
    with pytest.raises(ModelCorrupt, match=r"face_landmarks.onnx: input0 is \[1, \d+, \d+, 3\], expected"):
        FaceDetector(networks[1]._session)
    with pytest.raises(ModelCorrupt, match=r"face_detector.onnx is not a face mesh"):
        Landmarker(networks[0]._session)


def test_the_portrait(networks: tuple[FaceDetector, Landmarker], portrait: U8) -> None:
    (found,) = networks[0](portrait)
    x, y, w, h = found.box
    assert (x + w / 2, y + h / 2) == pytest.approx((222, 120), abs=15)
    right, left, nose, mouth = found.points[:4]
    assert right[0] < nose[0] < left[0]
    assert right[1] < nose[1] < mouth[1]
    assert found.score > 0.7


@pytest.mark.parametrize("change", ["dark", "rolled", "half covered", "small"])
def test_the_portrait_under_hardship(
    networks: tuple[FaceDetector, Landmarker], portrait: U8, change: str
) -> None:
    image = portrait.copy()
    if change == "dark":
        image = (image * 0.12).astype(np.uint8)
    elif change == "rolled":
        turn = cv2.getRotationMatrix2D((224, 120), 30, 1)
        image = np.asarray(cv2.warpAffine(image, turn, (512, 512)), np.uint8)
    elif change == "half covered":
        image[145:, 150:300] = 128
    else:
        image = np.zeros_like(image)
        image[:256, :256] = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA)
    assert len(networks[0](image)) == 1
