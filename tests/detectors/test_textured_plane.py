from __future__ import annotations

import numpy as np
import pytest

from mellm.detectors.regions import eye_frame
from mellm.detectors.textured_plane import TEMPLATE, TexturedPlane


def test_template_is_in_eye_distances_round_the_middle_of_the_eyes() -> None:
    eyes = eye_frame(TEMPLATE)
    assert eyes.iod == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(eyes.centre, (0, 0), atol=0.01)
    np.testing.assert_allclose(eyes.axis, (1, 0), atol=0.01)


def test_landmarks_move_with_the_sheet() -> None:
    sheet = TexturedPlane(60)
    eyes = eye_frame(sheet.landmarks((5, -3), scale=1.1, roll=0.2))
    np.testing.assert_allclose(eyes.centre, np.add(sheet.centre, (5, -3)), atol=0.5)
    assert eyes.iod == pytest.approx(66, rel=0.01)
    np.testing.assert_allclose(eyes.axis, (np.cos(0.2), np.sin(0.2)), atol=0.01)


def test_a_whole_pixel_shift_moves_the_picture_unchanged() -> None:
    sheet = TexturedPlane(60, (200, 240))
    np.testing.assert_array_equal(sheet.draw((3, 2))[20:-20, 20:-20], sheet.draw()[18:-22, 17:-23])


def test_noise_is_seeded() -> None:
    sheet = TexturedPlane(40, (64, 64))
    np.testing.assert_array_equal(sheet.draw(noise=2, seed=5), sheet.draw(noise=2, seed=5))
    assert (sheet.draw(noise=2, seed=5) != sheet.draw(noise=2, seed=6)).any()
