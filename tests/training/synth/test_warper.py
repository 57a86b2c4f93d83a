from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip("scipy", reason="the extra `train` is not installed")

from mellm.detectors import flow
from mellm.detectors.textured_plane import TEMPLATE, texture
from mellm.stream.errors import ModelMissing
from mellm.training.synth.rig import load_rig
from mellm.training.synth.warper import Portrait, move


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    try:
        rig = load_rig()
    except ModelMissing as error:
        pytest.skip(str(error))
    landmarks = (TEMPLATE * np.float32(57) + np.float32((128, 90))).astype(np.float32)
    gray = texture(256, 256)
    return Portrait(np.repeat(gray[..., None], 3, axis=2).astype(np.uint8), landmarks, rig)


def test_a_unit_moves_its_own_region_and_ends_softly(portrait: Portrait) -> None:
    field = portrait.unit_field([(12, "L")])
    x, y = portrait.landmarks[54]  # the subject's left lip corner
    at = field[round(float(y)), round(float(x))]
    other = field[round(float(portrait.landmarks[48, 1])), round(float(portrait.landmarks[48, 0]))]
    assert at[0] > 1
    assert at[1] < -2, "the lip corner goes outwards and up"
    assert np.hypot(*other) < 0.4 * np.hypot(*at)
    assert not field[:8].any()
    assert not field[:, :8].any()


def test_the_peak_scales_with_the_field_and_flow_sees_it(portrait: Portrait) -> None:
    full = portrait.unit_field([(4, "B")])
    wanted = full * np.float32(3.0 / portrait.peak(full))
    assert portrait.peak(wanted) == pytest.approx(3.0, rel=1e-3)
    still, moved = (
        cv2.cvtColor(p, cv2.COLOR_BGR2GRAY) for p in (portrait.image, move(portrait.image, wanted))
    )
    seen = flow.create("quality")(np.asarray(still, np.uint8), np.asarray(moved, np.uint8))
    assert portrait.peak(seen) == pytest.approx(3.0, rel=0.25)


def test_no_field_and_no_pose_leave_the_picture_alone(portrait: Portrait) -> None:
    field = np.zeros((*portrait.image.shape[:2], 2), np.float32)
    assert (move(portrait.image, field) == portrait.image).all()
    shifted = move(portrait.image, field, np.array([[1.0, 0, 3], [0, 1, -2]]))
    assert (shifted[10:-10, 10:-10] == portrait.image[12:-8, 7:-13]).all()


def test_a_turn_moves_the_nose_more_than_the_temples(portrait: Portrait) -> None:
    field = portrait.turn_field()
    nose, temple = (field[round(float(y)), round(float(x)), 0] for x, y in portrait.landmarks[[30, 36]])
    assert nose > temple > 0
