from __future__ import annotations

from math import cos, radians, sin
from pathlib import Path

import cv2
import numpy as np
import pytest

from mellm.detectors.quality import _CANONICAL, _RIGID, assess, pose, sharpness
from mellm.detectors.textured_plane import TEMPLATE
from mellm.detectors.types import F32, U8, Face


@pytest.fixture(scope="module")
def ict(shared_data: Path) -> np.ndarray:
    """68×3 points of the whole face model, inter-ocular distances, y down, z towards the camera."""
    model = np.load(shared_data / "face-model" / "head_f16.npz")
    points = model["mean"][model["lm68"]].astype(np.float64) * (1, -1, 1)
    return points / np.linalg.norm(points[36:42].mean(axis=0) - points[42:48].mean(axis=0))


def packaged() -> np.ndarray:
    """The same of the mean face that ships, which is flat: each point has the depth of the nearest that has one."""
    flat = TEMPLATE - TEMPLATE[27:31].mean(axis=0)
    nearest = np.linalg.norm(flat[:, None] - flat[list(_RIGID)], axis=2).argmin(axis=1)
    return np.column_stack((flat, _CANONICAL[nearest, 2]))


def head(points: np.ndarray, yaw: float = 0, pitch: float = 0, roll: float = 0, width: float = 200) -> F32:
    """A face turned and seen from about a metre away; so wide, in the middle of a picture."""
    points = points - points.mean(axis=0)
    a, b, c = radians(yaw), radians(pitch), radians(roll)
    about_y = np.array([[cos(a), 0, sin(a)], [0, 1, 0], [-sin(a), 0, cos(a)]])
    about_x = np.array([[1, 0, 0], [0, cos(b), -sin(b)], [0, sin(b), cos(b)]])
    about_z = np.array([[cos(c), -sin(c), 0], [sin(c), cos(c), 0], [0, 0, 1]])
    points = points @ (about_z @ about_x @ about_y).T
    seen = points[:, :2] / (16 - points[:, 2:])
    return (seen * width / np.ptp(seen[:, 0]) + 320).astype(np.float32)


@pytest.mark.parametrize("yaw", [-35, -20, 0, 20, 35])
@pytest.mark.parametrize("pitch", [-20, 0, 20])
def test_pose_of_the_mean_face(ict: np.ndarray, yaw: float, pitch: float) -> None:
    found = pose(head(ict, yaw, pitch))
    assert found[0] == pytest.approx(yaw, abs=3)
    assert found[1] == pytest.approx(pitch, abs=4)


def test_the_packaged_mean_face_is_that_of_the_face_model(ict: np.ndarray) -> None:
    middle = ict - ict[27:31].mean(axis=0)
    assert packaged()[list(_RIGID)] == pytest.approx(middle[list(_RIGID)], abs=0.05)


def test_roll_is_not_yaw() -> None:
    assert pose(head(packaged(), yaw=20, roll=25))[0] == pytest.approx(20, abs=4)


def test_turning_to_the_own_left_is_positive() -> None:
    turned = head(packaged(), yaw=20)
    nose, middle = turned[30, 0], turned[36:48, 0].mean()
    assert nose > middle  # the subject's left is the picture's right
    assert pose(turned)[0] > 0


def face(points: F32, score: float = 0.98) -> Face:
    low, high = points.min(axis=0), points.max(axis=0)
    return Face(1, (*low.tolist(), *(high - low).tolist()), points, score)


GRAY = np.zeros((640, 640), np.uint8)


@pytest.mark.parametrize(
    ("settings", "fps", "verdict", "reasons"),
    [
        ({}, 50, "ok", ()),
        ({}, 49.95, "ok", ()),
        ({}, 0, "ok", ()),  # not known yet
        ({}, 30, "warn", ("fps_warn",)),
        ({}, 19, "refused", ("fps_low",)),
        ({"width": 90}, 50, "refused", ("face_small",)),
        ({"width": 90}, 30, "refused", ("face_small", "fps_warn")),
        ({"yaw": 38}, 50, "refused", ("yaw_high",)),
        ({"yaw": -38, "width": 90}, 15, "refused", ("fps_low", "face_small", "yaw_high")),
    ],
)
def test_floors(settings: dict[str, float], fps: float, verdict: str, reasons: tuple[str, ...]) -> None:
    quality = assess(face(head(packaged(), **settings)), GRAY, fps)
    assert (quality.verdict, quality.reasons) == (verdict, reasons)
    assert quality.fps == fps
    assert quality.face_width == pytest.approx(settings.get("width", 200), abs=0.01)
    assert quality.occlusion == pytest.approx(0.02)


def test_blur_falls_with_blur_and_not_with_size(portrait: U8) -> None:
    gray = np.asarray(cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY), np.uint8)
    box = (172.0, 60.0, 100.0, 120.0)
    sharp = sharpness(gray, box)
    blurred = [sharpness(np.asarray(cv2.GaussianBlur(gray, (0, 0), s), np.uint8), box) for s in (1, 2, 4)]
    assert sharp > blurred[0] > blurred[1] > blurred[2]
    assert blurred[2] < 0.1 * sharp


@pytest.mark.parametrize(
    "box", [(-500.0, 0.0, 100.0, 100.0), (635.0, 635.0, 100.0, 100.0), (10.0, 10.0, 4.0, 4.0)]
)
def test_a_face_off_the_frame_has_no_sharpness(box: tuple[float, float, float, float]) -> None:
    assert sharpness(GRAY, box) == 0


def test_a_face_that_reaches_over_the_border_is_measured_inside() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (640, 640), np.uint8)
    assert sharpness(noise, (-50.0, -50.0, 200.0, 200.0)) > 100
