from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.detectors import regions
from mellm.detectors.regions import COUNT, INDEX, NAMES, REGIONS
from mellm.detectors.textured_plane import TEMPLATE
from mellm.detectors.types import F32

FACE: F32 = (80 * TEMPLATE + (300, 200)).astype(np.float32)
small = st.floats(-8, 8, width=32)


def fit(flow: F32, face: F32 = FACE) -> tuple[F32, F32]:
    basis = regions.rigid_basis(regions.centres(face), face)
    return regions.compensate(flow, basis, regions.rigid_solver(basis))


def turned(roll: float, scale: float = 1.0) -> F32:
    turn = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    return (scale * 80 * TEMPLATE @ turn + (300, 200)).astype(np.float32)


def test_thirty_one_named_regions_and_seven_rigid_ones() -> None:
    assert COUNT == len(set(NAMES)) == 31
    assert [NAMES[i] for i in range(COUNT) if REGIONS[i].rigid] == [
        *("nose_bridge", "nose_tip", "forehead_R", "forehead_L"),
        *("temple_R", "temple_L", "nose_side_R", "nose_side_L"),
    ]


def test_right_and_left_mirror_each_other() -> None:
    centres = regions.centres(TEMPLATE)
    for name in NAMES:
        if name.endswith("_R"):
            right, left = REGIONS[INDEX[name]], REGIONS[INDEX[name[:-1] + "L"]]
            assert (right.depth, right.rigid) == (left.depth, left.rigid)
            x, y = centres[INDEX[name]]
            np.testing.assert_allclose(centres[INDEX[left.name]], (-x, y), atol=0.02)
            assert x < 0  # the subject's right is at the picture's left


def test_centres_lie_on_the_face_and_apart() -> None:
    centres = regions.centres(TEMPLATE)
    assert np.abs(centres[:, 0]).max() < 1.15
    assert centres[:, 1].min() > -0.8
    assert centres[:, 1].max() < 1.7
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2) + np.eye(COUNT)
    assert apart.min() > regions.RADIUS


@given(st.floats(-1, 1), st.floats(0.5, 2))
def test_centres_turn_and_grow_with_the_face(roll: float, scale: float) -> None:
    face = turned(roll, scale)
    eyes = regions.eye_frame(face)
    (ax, ay), offsets = eyes.axis, (regions.centres(face) - eyes.centre) / eyes.iod
    upright = offsets @ np.array([[ax, -ay], [ay, ax]])
    base = regions.eye_frame(FACE)
    np.testing.assert_allclose(upright, (regions.centres(FACE) - base.centre) / base.iod, atol=0.02)


@given(st.tuples(small, small, small, small, small, small))
def test_head_motion_of_the_model_is_removed(params: tuple[float, ...]) -> None:
    basis = regions.rigid_basis(regions.centres(FACE), FACE)
    flow = (basis @ np.array(params, np.float32)).astype(np.float32)
    residual, found = fit(flow)
    size = max(map(abs, params))
    assert np.abs(residual).max() <= 0.02 * size + 1e-5  # the ridge keeps a little
    np.testing.assert_allclose(found[:2], params[:2], atol=0.005 * size + 1e-5)


def test_a_shift_is_removed_almost_wholly() -> None:
    residual, params = fit(np.tile(np.float32([3, -2]), (COUNT, 1)))
    assert np.abs(residual).max() < 0.02
    np.testing.assert_allclose(params[:2], (3, -2), atol=0.05)


def test_an_expression_stays() -> None:
    flow = np.zeros((COUNT, 2), np.float32)
    flow[INDEX["lip_corner_L"]] = (0.5, -1)
    residual, params = fit(flow)
    np.testing.assert_array_equal(residual, flow)
    np.testing.assert_array_equal(params, np.zeros(6))


def test_leading_axes_are_kept() -> None:
    flow = np.random.default_rng(0).normal(size=(4, 5, COUNT, 2)).astype(np.float32)
    residual, params = fit(flow)
    assert residual.shape == flow.shape
    assert params.shape == (4, 5, 6)
    np.testing.assert_allclose(residual[2, 3], fit(flow[2, 3])[0], atol=1e-5)


def test_eyes_at_one_point_are_refused() -> None:
    with pytest.raises(ValueError, match="one point"):
        regions.eye_frame(np.zeros((68, 2), np.float32))
