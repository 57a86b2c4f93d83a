"""The pixel renderer: repeatable, and true to the motion it is told to draw."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mellm.training.synth.camera import Sensor, SensorLook
from mellm.training.synth.look import draw_look, skin_colour
from mellm.training.synth.raster import EMPTY, interpolate, rasterise
from mellm.training.synth.renderer import Renderer, Shot, flow
from mellm.training.synth.rig import INDEX, Rig, au_coefficients, camera_for_face, load_rig

REST, STILL = np.zeros(len(INDEX)), np.zeros(6)


@pytest.fixture(scope="module")
def rig(shared_data: Path) -> Rig:
    return load_rig(shared_data / "face-model" / "head_f16.npz")


@pytest.fixture(scope="module")
def renderer(rig: Rig) -> Renderer:
    return Renderer(rig, 7, camera_for_face(140, 224, 224), sensor=SensorLook(blur=0.5, shot=0.4, read=0.2))


def test_rasteriser_keeps_the_nearest_and_culls_the_turned() -> None:
    xy = np.float32([[1, 1], [1, 9], [9, 1], [1, 1], [1, 9], [9, 1]])
    depth = np.float32([0, 0, 0, 1, 1, 1])
    ids, bary = np.empty((12, 12), np.int32), np.zeros((12, 12, 2), np.float32)
    z = np.empty((12, 12), np.float32)
    rasterise(xy, depth, np.int32([[0, 1, 2], [3, 4, 5], [0, 2, 1]]), z, ids, bary)
    assert ids[2, 2] == 1
    assert ids[11, 11] == EMPTY
    place = np.zeros((12, 12, 2), np.float32)
    interpolate(ids, bary, np.int32([[0, 1, 2], [3, 4, 5]]), xy, place)
    assert place[3, 4] == pytest.approx([4, 3], abs=1e-4)  # barycentric weights give the pixel back


def test_the_same_call_gives_the_same_bytes(rig: Rig, renderer: Renderer) -> None:
    first = renderer.render(REST, STILL, 0.3, 15)
    twin = Renderer(rig, 7, renderer.camera, sensor=renderer.sensor.look)
    twin.render(au_coefficients(12), STILL, 0.1, 3)  # what was drawn before does not matter
    again = twin.render(REST, STILL, 0.3, 15)
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.image, renderer.render(REST, STILL, 0.3, 16).image)  # other noise


def test_a_face_is_where_its_landmarks_say(renderer: Renderer) -> None:
    shot = renderer.render(REST, STILL)
    assert shot.image.shape == (224, 224, 3)
    grey = shot.image.mean(2)

    def around(ids: range, reach: int = 3) -> float:
        x, y = shot.landmarks[list(ids)].mean(0).round().astype(int)
        return float(grey[y - reach : y + reach, x - reach : x + reach].mean())

    cheek = grey[tuple(shot.landmarks[[33, 48]].mean(0).round().astype(int)[::-1])]
    assert around(range(17, 22), 2) < cheek  # brows and eyes are darker than skin
    assert around(range(36, 42)) < cheek


def _pair(renderer: Renderer, coefficients: np.ndarray, pose: np.ndarray) -> tuple[Shot, Shot]:
    return renderer.render(REST, STILL, 0, 0), renderer.render(coefficients, pose, 0, 1)


def test_flow_is_the_motion_of_the_landmarks(renderer: Renderer) -> None:
    pose = np.array([0.02, -0.01, 0.01, 0.1, 0.05, 0.0])
    a, b = _pair(renderer, 0.3 * au_coefficients(4), pose)
    field, seen = flow(a, b, renderer.person)
    for i in (19, 24, 27, 30, 33, 8):
        x, y = a.landmarks[i].round().astype(int)
        assert seen[y, x]
        assert field[y, x] == pytest.approx(b.landmarks[i] - a.landmarks[i], abs=0.12)
    assert not field[~seen].any()


@pytest.mark.parametrize("au", [4, 12])
def test_pixels_move_as_the_flow_says(renderer: Renderer, au: int) -> None:
    """Pulling the second picture back by the exact flow gives the first again."""
    a, b = _pair(renderer, 0.35 * au_coefficients(au), STILL)
    field, seen = flow(a, b, renderer.person)
    y, x = np.mgrid[:224, :224].astype(np.float32)
    one, two = (cv2.GaussianBlur(s.image.mean(2).astype(np.float32), (0, 0), 1) for s in (a, b))
    back = cv2.remap(two, x + field[..., 0], y + field[..., 1], cv2.INTER_CUBIC)
    moved = cv2.erode(seen.astype(np.uint8), np.ones((7, 7))).astype(bool) & (np.hypot(*field.T).T > 0.5)
    assert moved.sum() > 300
    assert np.abs(back - one)[moved].mean() < 0.55 * np.abs(two - one)[moved].mean()


def test_gaze_moves_the_iris(renderer: Renderer) -> None:
    aside = REST.copy()
    aside[[INDEX["eyeLookOut_L"], INDEX["eyeLookIn_R"]]] = 0.7
    a, b = _pair(renderer, aside, STILL)
    change = np.abs(a.image.astype(int) - b.image).sum(2)
    x0, y0 = a.landmarks[42:48].min(0).astype(int)
    x1, y1 = a.landmarks[42:48].max(0).astype(int)
    assert change[y0:y1, x0:x1].mean() > 3 * change.mean()


def test_blinking_covers_the_eye(renderer: Renderer) -> None:
    shot = renderer.render(au_coefficients(45), STILL)
    height = shot.landmarks[[46, 47], 1].mean() - shot.landmarks[[43, 44], 1].mean()
    assert abs(height) < 2


def test_looks_span_skin_tones() -> None:
    looks = [draw_look(seed) for seed in range(200)]
    tones = np.array([look.tone for look in looks])
    assert np.histogram(tones, 4, (0, 1))[0].min() > 30
    assert skin_colour(0.0).mean() > 2.5 * skin_colour(1.0).mean()


def test_sensor_noise_has_its_size_and_its_seed() -> None:
    light = np.full((80, 80, 3), 0.2, np.float32)
    clean = Sensor(SensorLook(0, 0, 0), 1).expose(light, 0, 0)
    assert clean.std() == 0
    noisy = [Sensor(SensorLook(0, 2.0, 0), 1).expose(light, 0, k).astype(float) for k in (0, 0, 1)]
    assert np.array_equal(noisy[0], noisy[1])
    assert not np.array_equal(noisy[0], noisy[2])
    assert noisy[0].std() == pytest.approx(2.0, abs=0.2)
    flicker = SensorLook(0, 0, 0, flicker=0.2, flicker_hz=1.0)
    means = [Sensor(flicker, 1).expose(light, t, 0).mean() for t in np.linspace(0, 1, 9)]
    assert max(means) - min(means) > 10
    assert Sensor(SensorLook(0, 2, 1, jpeg=60), 1).expose(light, 0, 0).shape == light.shape
