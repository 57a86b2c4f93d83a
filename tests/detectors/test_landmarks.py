from __future__ import annotations

from collections import Counter
from math import cos, radians, sin

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.detectors.faces import FaceDetector
from mellm.detectors.landmarks import IBUG68, Landmarker, Roi, ibug68, roi_of_detection, roi_of_mesh
from mellm.detectors.types import F32, U8
from tests.detectors.test_tracks import mesh

# The mirror image of each of the 68 points
MIRROR = (
    *reversed(range(17)),
    *reversed(range(17, 27)),
    *range(27, 31),
    *reversed(range(31, 36)),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
    *(64, 63, 62, 61, 60, 67, 66, 65),
)


def turned(points: F32, degrees: float) -> F32:
    c, s = cos(radians(degrees)), sin(radians(degrees))
    return (points @ np.array([[c, s], [-s, c]])).astype(np.float32)


def test_the_table_is_one_of_distinct_points_of_both_meshes() -> None:
    assert len(IBUG68) == 68
    assert {len(points) for points in IBUG68} == {1, 2}
    counts = Counter(point for points in IBUG68 for point in points)
    assert max(counts.values()) == 1
    assert max(counts) < 468


def test_each_landmark_is_the_mean_of_its_mesh_points() -> None:
    points = np.random.default_rng(0).normal(size=(478, 2)).astype(np.float32)
    wanted = [points[list(of)].mean(axis=0) for of in IBUG68]
    np.testing.assert_allclose(ibug68(points), wanted, atol=1e-6)
    np.testing.assert_array_equal(ibug68(points), ibug68(points[:468]))


def test_the_square_is_one_and_a_half_faces_and_level_with_the_eyes() -> None:
    roi = roi_of_mesh(mesh(200, 120, 80))
    assert (roi.x, roi.y) == pytest.approx((200, 120), abs=1e-3)
    assert roi.side == pytest.approx(1.5 * 96)
    assert roi.roll == pytest.approx(0)


@given(st.floats(-170, 170))
def test_the_square_turns_with_the_face(degrees: float) -> None:
    still, moved = roi_of_mesh(mesh(0, 0)), roi_of_mesh(turned(mesh(0, 0), degrees))
    assert moved.roll == pytest.approx(radians(degrees), abs=1e-4)
    assert moved.side == pytest.approx(still.side, rel=1e-4)


@pytest.mark.parametrize(
    ("other", "moved"),
    [
        (Roi(104, 50, 100, 0), False),
        (Roi(106, 50, 100, 0), True),
        (Roi(100, 50, 107, 0), False),
        (Roi(100, 50, 109, 0), True),
        (Roi(100, 50, 91, 0), True),
        (Roi(100, 50, 100, 0.05), False),
        (Roi(100, 50, 100, -0.07), True),
        (Roi(100, 50, 100, 6.25), False),  # almost a full turn is almost none
    ],
)
def test_hysteresis(other: Roi, moved: bool) -> None:
    assert Roi(100, 50, 100, 0).moved(other) == moved


@pytest.fixture(scope="module")
def found(networks: tuple[FaceDetector, Landmarker], portrait: U8) -> tuple[F32, float]:
    return place(networks, portrait)


def place(networks: tuple[FaceDetector, Landmarker], image: U8) -> tuple[F32, float]:
    detector, landmarker = networks
    (detection, *_) = detector(image)
    points, _ = landmarker(image, roi_of_detection(detection))
    return landmarker(image, roi_of_mesh(points))


def iod(points: F32) -> float:
    return float(np.linalg.norm(points[36:42].mean(axis=0) - points[42:48].mean(axis=0)))


def test_the_portrait_is_laid_out_as_a_face(found: tuple[F32, float]) -> None:
    points, presence = ibug68(found[0]), found[1]
    assert presence > 0.9
    assert 40 < iod(points) < 60
    x, y = points.T
    assert (np.diff(x[:17]) > -1).all()  # jaw, right to left, its sides almost upright
    assert (np.diff(x[17:27]) > 0).all()  # brows
    assert (np.diff(y[27:31]) > 0).all()  # nose, downwards
    assert (np.diff(x[31:36]) > 0).all()
    assert (np.diff(x[48:55]) > 0).all()  # upper lip, then back along the lower one
    assert (np.diff(x[54:60]) < 0).all()
    assert y[17:27].max() < y[36:48].min() < y[30] < y[33] < y[51] < y[57] < y[8]


def test_a_mirrored_portrait_has_mirrored_landmarks(
    networks: tuple[FaceDetector, Landmarker], portrait: U8, found: tuple[F32, float]
) -> None:
    image = np.ascontiguousarray(portrait[:, ::-1])
    mirrored = ibug68(place(networks, image)[0])[list(MIRROR)]
    mirrored[:, 0] = portrait.shape[1] - 1 - mirrored[:, 0]
    points = ibug68(found[0])
    error = np.linalg.norm(mirrored - points, axis=1) / iod(points)
    assert np.median(error) < 0.02
    assert error.max() < 0.1


def test_a_turned_and_scaled_portrait_has_its_landmarks_where_they_went(
    networks: tuple[FaceDetector, Landmarker], portrait: U8, found: tuple[F32, float]
) -> None:
    matrix = cv2.getRotationMatrix2D((224, 120), 20, 1.5)
    image = np.asarray(cv2.warpAffine(portrait, matrix, (512, 512)), np.uint8)
    points = ibug68(place(networks, image)[0])
    wanted = ibug68(found[0]) @ matrix[:, :2].T + matrix[:, 2]
    error = np.linalg.norm(points - wanted, axis=1) / iod(points)
    assert np.median(error) < 0.02


def test_presence_is_low_where_no_face_is(networks: tuple[FaceDetector, Landmarker], portrait: U8) -> None:
    _, presence = networks[1](portrait, Roi(420, 420, 150, 0))
    assert presence < 0.1
