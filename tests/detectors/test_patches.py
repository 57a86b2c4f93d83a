from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mellm.detectors import patches
from mellm.detectors.patches import CROP_EYES, CROP_H, CROP_IOD, CROP_W, PATCH_MAX, apply, crop_matrix
from mellm.detectors.regions import eye_frame
from mellm.detectors.textured_plane import TexturedPlane
from mellm.detectors.types import F32, U8

SHEET = TexturedPlane(80)


def held_at(landmarks: F32, shape: tuple[int, int] = SHEET.size) -> patches.Anchor:
    held = patches.anchor(landmarks, shape)
    assert held is not None
    return held


def inner_difference(a: U8, b: U8) -> float:
    return float(np.abs(a[8:-8, 8:-8].astype(float) - b[8:-8, 8:-8]).mean())


@given(st.floats(-0.6, 0.6), st.floats(0.5, 2), st.sampled_from([CROP_W, 2 * CROP_W, 240]))
def test_eyes_land_where_the_crop_wants_them(roll: float, scale: float, width: int) -> None:
    landmarks = SHEET.landmarks((3, 5), roll=roll, scale=scale)
    eyes = eye_frame(apply(crop_matrix(eye_frame(landmarks), width), landmarks))
    zoom = width / CROP_W
    assert eyes.iod == pytest.approx(CROP_IOD * zoom, rel=1e-4)
    np.testing.assert_allclose(eyes.axis, (1, 0), atol=1e-4)
    np.testing.assert_allclose(np.add(eyes.centre, 0.5), zoom * np.add(CROP_EYES, 0.5), atol=0.01)


@pytest.mark.parametrize("iod", [40, 80, 110])
def test_a_crop_of_a_patch_is_a_crop_of_the_frame(iod: float) -> None:
    sheet = TexturedPlane(iod)
    frame, held = sheet.draw(), held_at(sheet.landmarks(roll=0.1))
    straight = cv2.warpAffine(frame, held.matrix, (CROP_W, CROP_H))
    crop = patches.cut(frame, held).crop(held)
    assert crop.shape == (CROP_H, CROP_W)
    assert inner_difference(crop, np.asarray(straight, np.uint8)) < (1 if iod < 80 else 8)


def test_halving_a_wide_face_does_not_move_it() -> None:
    small, large = TexturedPlane(50, (300, 400)), TexturedPlane(200, (1200, 1600))
    # the same picture, four times as large
    grown = cv2.resize(small.draw(), (1600, 1200), interpolation=cv2.INTER_CUBIC)
    landmarks = (small.landmarks() + 0.5) * 4 - 0.5
    held = held_at(landmarks.astype(np.float32), large.size)
    patch = patches.cut(np.asarray(grown, np.uint8), held)
    assert held.halvings == 1
    assert patch.image.shape[1] <= PATCH_MAX
    direct = held_at(small.landmarks(), small.size)
    assert inner_difference(patch.crop(held), patches.cut(small.draw(), direct).crop(direct)) < 3


@given(st.integers(20, 900))
@settings(max_examples=30)
def test_patches_stay_small_and_sharp_enough(iod: int) -> None:
    landmarks = (iod * SHEET.landmarks() / 80).astype(np.float32)
    held = held_at(landmarks, (8 * iod, 12 * iod))
    x0, _, x1, _ = held.rect
    assert (x1 - x0) >> held.halvings <= PATCH_MAX + 1
    assert held.halvings == 0 or iod / 2**held.halvings > CROP_IOD


def test_a_crop_is_made_once_for_each_transform() -> None:
    frame = SHEET.draw()
    one, other = held_at(SHEET.landmarks()), held_at(SHEET.landmarks((2, 0)))
    patch = patches.cut(frame, one)
    first = patch.crop(one)
    assert patch.crop(one) is first
    assert patch.crop(other) is not first
    np.testing.assert_array_equal(patch.crop(one), first)


def test_a_patch_owns_its_pixels() -> None:
    frame = SHEET.draw()
    held = held_at(SHEET.landmarks())
    patch = patches.cut(frame, held)
    before = patch.image.copy()
    frame[:] = 0
    np.testing.assert_array_equal(patch.image, before)


@pytest.mark.parametrize(
    ("shift", "scale", "roll", "held"),
    [
        ((3, 3), 1.05, 0.04, True),
        ((6, 0), 1.0, 0.0, False),
        ((0, 0), 1.10, 0.0, False),
        ((0, 0), 0.90, 0.0, False),
        ((0, 0), 1.0, -0.08, False),
    ],
)
def test_the_crop_is_held_until_the_face_leaves_it(
    shift: tuple[float, float], scale: float, roll: float, held: bool
) -> None:
    moved = SHEET.landmarks(shift, scale=scale, roll=roll)
    assert held_at(SHEET.landmarks()).holds(eye_frame(moved)) is held


def test_an_upside_down_face_is_held_across_the_turn_of_the_angle() -> None:
    up = held_at(SHEET.landmarks(roll=np.pi - 0.01))
    assert up.holds(eye_frame(SHEET.landmarks(roll=-np.pi + 0.01)))


def test_a_face_at_the_border_is_cut_and_one_outside_is_none() -> None:
    frame = SHEET.draw()
    at_border = held_at(SHEET.landmarks((-300, -150)))
    assert patches.cut(frame, at_border).crop(at_border).shape == (CROP_H, CROP_W)
    assert patches.anchor(SHEET.landmarks((-900, 0)), SHEET.size) is None
