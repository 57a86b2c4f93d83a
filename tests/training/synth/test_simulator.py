from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mellm.detectors.regions import COUNT, INDEX
from mellm.detectors.signals import FEATURES
from mellm.training.synth import measurement
from mellm.training.synth.rig import load_rig
from mellm.training.synth.simulator import SimOptions, face_motion, simulate
from mellm.training.tools.calibrate import ideal


@pytest.fixture(autouse=True)
def _face_model(shared_data: Path) -> None:
    if not (shared_data / "face-model" / "head_f16.npz").exists():
        pytest.skip("no face model in the shared data")


def still_face(n: int) -> tuple[np.ndarray, np.ndarray]:
    rig = load_rig()
    regions, landmarks = face_motion(
        rig, rig.mean, np.zeros((1, len(rig.names))), np.zeros((1, 6)), distance_cm=90
    )
    return np.repeat(100 * regions, n, 0), np.repeat(landmarks, n, 0)


def test_a_clip_repeats_from_its_seed_and_differs_from_its_neighbour() -> None:
    first, again, other = (simulate(np.random.default_rng([7, i])) for i in (1, 1, 2))
    assert first.features.shape == (first.grid.size, FEATURES)
    assert np.array_equal(first.features, again.features)
    assert first.truths == again.truths
    assert not np.allclose(first.features, other.features)
    assert np.isfinite(first.features).all()


@pytest.mark.parametrize("fps", [25.0, 30.0, 50.0, 60.0, 200.0])
def test_a_moved_region_shows_its_true_displacement(fps: float) -> None:
    rng = np.random.default_rng(0)
    camera = ideal(fps)
    stamps, shown = measurement.frame_times(rng, camera, 3.0)
    positions, landmarks = still_face(stamps.size)
    region = INDEX["lip_corner_R"]
    positions[:, region, 1] -= 2.0 * shown  # two hundredths of IOD upwards every second
    grid = np.arange(20, 140) * 0.02
    rows = measurement.measure(rng, camera, stamps, positions, landmarks, grid)
    short, long = rows[:, 2 * region + 1], rows[:, FEATURES // 2 + 2 * region + 1]
    assert np.allclose(short, -0.2, atol=1e-3)
    assert np.allclose(long, -0.6, atol=1e-3)
    rest = np.delete(rows, [2 * region + 1, FEATURES // 2 + 2 * region + 1], axis=1)
    assert np.abs(rest).max() < 1e-3


def test_a_head_shift_is_told_as_head_motion_and_leaves_the_regions_still() -> None:
    rng = np.random.default_rng(0)
    stamps = np.arange(0, 2, 0.02)
    positions, landmarks = still_face(stamps.size)
    positions[:, :, 0] += 10 * stamps[:, None]
    rows = measurement.measure(rng, ideal(50), stamps, positions, landmarks, np.arange(20, 90) * 0.02)
    assert np.allclose(rows[:, 2 * COUNT], 1.0, atol=0.02)
    assert np.abs(rows[:, : 2 * COUNT]).max() < 0.02


@pytest.mark.parametrize("fps", [25.0, 60.0, 120.0])
def test_pairs_reach_back_one_baseline_to_the_nearest_frame(fps: float) -> None:
    stamps = np.arange(0, 2, 1 / fps)
    past = measurement.pair_indices(stamps, 0.1)
    inside = past >= 0
    assert inside.sum() >= stamps.size - np.ceil(0.1 * fps) - 1
    assert np.abs(stamps[inside] - stamps[past[inside]] - 0.1).max() <= 0.5 / fps + 1e-9


def test_truth_holds_expressions_with_a_visible_peak() -> None:
    clips = [simulate(np.random.default_rng([3, i]), SimOptions(fps=50)) for i in range(12)]
    truths = [t for clip in clips for t in clip.truths]
    assert truths
    assert all(0 <= t.onset_s < t.apex_s < t.offset_s <= 12.5 for t in truths)
    assert all(t.peak > 0 and t.aus for t in truths)


def test_noise_grows_with_the_cameras_noise() -> None:
    stamps = np.arange(0, 4, 0.02)
    positions, landmarks = still_face(stamps.size)
    grid = np.arange(20, 190) * 0.02
    spread = []
    for noise in (0.02, 0.2):
        camera = ideal(50)
        camera = measurement.Camera(
            **{
                **{f: getattr(camera, f) for f in camera.__slots__},
                "white": np.full(COUNT, noise),
            }
        )
        rows = measurement.measure(np.random.default_rng(1), camera, stamps, positions, landmarks, grid)
        spread.append(rows[:, : 2 * COUNT].std())
    assert 5 < spread[1] / spread[0] < 15
