"""The face model: loading, action units, identities, pose conventions."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mellm.detectors.regions import COUNT, INDEX, eye_frame
from mellm.stream.errors import ModelCorrupt, ModelMissing
from mellm.training.synth import rig as rig_module
from mellm.training.synth.rig import (
    AU_BLENDSHAPES,
    BLENDSHAPES,
    PIVOT,
    SPLITS,
    Camera,
    Rig,
    au_coefficients,
    camera_for_face,
    load_rig,
    posed,
    project,
    rotation,
)

STILL = np.zeros(6)


@pytest.fixture(scope="module")
def rig(shared_data: Path) -> Rig:
    return load_rig(shared_data / "face-model" / "head_f16.npz")


def test_a_missing_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="MELLM_FACE_MODEL"):
        load_rig(tmp_path / "nowhere.npz")


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "head.npz"
    path.write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(ModelCorrupt):
        load_rig(path)


def test_a_model_without_its_arrays_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "head.npz"
    np.savez(path, mean=np.zeros((4, 3), np.float32))
    with pytest.raises(ModelCorrupt, match="lacks exp"):
        load_rig(path)


def test_a_model_with_other_blendshapes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "head.npz"
    np.savez(
        path,
        mean=np.zeros((4, 3), np.float32),
        tri=np.zeros((2, 3), np.uint16),
        uv=np.zeros((4, 2)),
        exp=np.zeros((53, 4, 3)),
        idn=np.zeros((100, 4, 3)),
        names=np.array([*BLENDSHAPES[1:], BLENDSHAPES[0]]),
        kind=np.zeros(4, np.uint8),
        lm68=np.zeros(68, np.int32),
    )
    with pytest.raises(ModelCorrupt, match="another order"):
        load_rig(path)


def test_the_environment_names_the_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MELLM_FACE_MODEL", raising=False)
    monkeypatch.setenv("MELLM_SHARED", str(tmp_path))
    assert rig_module.model_path() == tmp_path / "face-model" / "head_f16.npz"
    monkeypatch.setenv("MELLM_FACE_MODEL", str(tmp_path / "own.npz"))
    assert rig_module.model_path() == tmp_path / "own.npz"


def test_both_sides_of_a_unit_are_its_left_and_its_right() -> None:
    for au, sides in AU_BLENDSHAPES.items():
        if set(sides) == {"L", "R", "B"}:
            both = au_coefficients(au, "L") + au_coefficients(au, "R")
            assert np.array_equal(both, au_coefficients(au, "B"))


def test_unknown_units_and_sides_are_refused() -> None:
    with pytest.raises(ValueError, match="no AU 11"):
        au_coefficients(11)
    with pytest.raises(ValueError, match="no side 'L'"):
        au_coefficients(17, "L")


@pytest.mark.parametrize(
    ("au", "region", "axis", "sign"),
    [
        (1, "brow_inner_L", 1, 1),
        (2, "brow_outer_L", 1, 1),
        (4, "brow_mid_L", 1, -1),
        (12, "lip_corner_L", 1, 1),
        (12, "lip_corner_L", 0, 1),
        (15, "lip_corner_L", 1, -1),
        (20, "lip_corner_L", 0, 1),
    ],
)
def test_a_unit_moves_its_region_the_way_it_should(
    rig: Rig, au: int, region: str, axis: int, sign: int
) -> None:
    moved = rig.au_delta(au, "L")[rig.region_vertices()[INDEX[region]]].mean(0)
    assert sign * moved[axis] > 0.1
    other = rig.region_vertices()[INDEX[region[:-1] + "R"]]
    assert np.linalg.norm(rig.au_delta(au, "L")[other].mean(0)) < 0.4 * np.linalg.norm(moved)


def test_every_region_has_its_vertices(rig: Rig) -> None:
    ids = rig.region_vertices(per_region=6)
    assert ids.shape == (COUNT, 6)
    assert all(len(set(row)) == 6 for row in ids.tolist())
    assert (rig.kind[ids] == rig_module.FACE).all()


def test_people_differ_and_stay_themselves(rig: Rig) -> None:
    first, again, other = rig.identity(5), rig.identity(5), rig.identity(6)
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 0.2
    assert all(5.4 < rig.iod(rig.identity(seed)) < 7.6 for seed in SPLITS["test"][:20])


def test_splits_share_nobody() -> None:
    ends = sorted((seeds.start, seeds.stop) for seeds in SPLITS.values())
    assert all(a[1] <= b[0] for a, b in pairwise(ends))


def test_picture_conventions(rig: Rig) -> None:
    camera = camera_for_face(200, 320, 320)
    still = rig.landmarks(project(rig.mean, STILL, camera))
    assert still[16, 0] - still[0, 0] == pytest.approx(200, rel=0.01)
    assert eye_frame(still.astype(np.float32)).axis == pytest.approx((1, 0), abs=1e-3)
    assert still[36, 0] < still[45, 0]  # the subject's right eye is at the picture's left
    assert still[8, 1] > still[27, 1]  # the chin is below the nose
    for axis, nose in enumerate([(1, 0), (0, -1), (1, 0)]):  # turn left, look up, roll clockwise
        pose = STILL.copy()
        pose[axis] = 0.1
        moved = (rig.landmarks(project(rig.mean, pose, camera)) - still)[30]
        assert moved @ nose > 5


@settings(max_examples=40)
@given(st.tuples(*[st.floats(-1.2, 1.2)] * 3))
def test_rotations_are_rotations(angles: tuple[float, float, float]) -> None:
    matrix = rotation(np.array([*angles, 0, 0, 0]))
    assert np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)


def test_the_pivot_stays_and_shifts_shift() -> None:
    pose = np.array([[0.3, -0.2, 0.1, 1.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    assert np.allclose(posed(np.array([PIVOT]), pose), [[[1, 2, 3]], [[0, 0, 0]]])


def test_a_far_camera_is_a_weak_one(rig: Rig) -> None:
    near = Camera(320, 320, 12.0, (160, 160), 1e6)
    weak = Camera(320, 320, 12.0, (160, 160), np.inf)
    assert np.allclose(project(rig.mean, STILL, near), project(rig.mean, STILL, weak), atol=0.01)
    with pytest.raises(ValueError, match="camera"):
        Camera(320, 320, 12.0, (160, 160), 10.0)
