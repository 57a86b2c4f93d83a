from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mellm.detectors.regions import COUNT
from mellm.detectors.signals import FEATURES
from mellm.training.synth.events import Expression
from mellm.training.synth.lively import (
    HABITS,
    UPPER_AUS,
    Gesture,
    LivelyOptions,
    Styled,
    draw_person,
    lively_script,
    trouble,
)
from mellm.training.synth.measurement import frame_times
from mellm.training.synth.rig import BLENDSHAPES
from mellm.training.synth.simulator import SimOptions, simulate
from mellm.training.tools.realism import SHORTEST, pooled, quiet, speeds, table


@pytest.fixture(autouse=True)
def _face_model(shared_data: Path) -> None:
    if not (shared_data / "face-model" / "head_f16.npz").exists():
        pytest.skip("no face model in the shared data")


def test_a_lively_clip_repeats_from_its_seed_and_is_as_long_as_any_other() -> None:
    first, again = (simulate(np.random.default_rng([1, 4]), LivelyOptions(hard=1.0)) for _ in range(2))
    assert np.array_equal(first.features, again.features)
    assert first.truths == again.truths
    assert first.features.shape == (first.grid.size, FEATURES)
    assert np.isfinite(first.features).all()


def test_only_expressions_are_truth_however_much_happens() -> None:
    """Speech, beats and blinks move the face all the time and leave no label."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        script = lively_script(rng, 12.0, free=True)
        assert sum(not isinstance(e, Expression) for e in script.events) > 10
        assert all(e.kind == "macro" for e in script.expressions)
        truths = simulate(np.random.default_rng(seed), LivelyOptions(hard=1.0, free=1.0, profiled=0.0)).truths
        assert all(t.offset_s - t.onset_s > 0.5 for t in truths)


def test_expressions_keep_apart_and_slow_ones_are_not_called_micro() -> None:
    scripts = [lively_script(np.random.default_rng(s), 12.0) for s in range(40)]
    assert any(e.kind == "micro" for script in scripts for e in script.expressions)
    for script in scripts:
        found = script.expressions
        assert all(a.offset_s + 0.2 < b.onset_s for a, b in pairwise(found))
        assert all(e.offset_s - e.onset_s <= 0.5 + 1e-9 for e in found if e.kind == "micro")
    macro = [e for script in scripts for e in script.expressions if e.kind == "macro"]
    assert min(e.apex_s - e.onset_s for e in macro) < 0.2 < max(e.offset_s - e.onset_s for e in macro)


def test_outside_speech_no_gesture_is_as_short_as_a_micro_expression() -> None:
    """Blinks apart, which everybody knows by their shape."""
    short = 0
    lids = [BLENDSHAPES.index("eyeBlink_L"), BLENDSHAPES.index("eyeLookUp_L")]
    for seed in range(40):
        script = lively_script(np.random.default_rng(seed), 12.0)
        phrases = [e for e in script.events if isinstance(e, Styled)]
        for e in script.events:
            if isinstance(e, Gesture) and not e.shape[lids].any() and e.offset_s - e.onset_s < 0.5:
                spoken = any(p.onset_s - 0.2 <= e.onset_s <= p.offset_s for p in phrases)
                # brows that go with a glance come with the saccade
                looks = any(g.onset_s == e.onset_s and g is not e for g in script.events)
                assert spoken or looks
                short += spoken
    assert short > 20


def test_talkers_show_the_upper_face_as_often_as_the_lower() -> None:
    upper = []
    for seed in range(150):
        script = lively_script(np.random.default_rng(seed), 12.0)
        if any(isinstance(e, Styled) for e in script.events):
            micro = [e for e in script.expressions if e.kind == "micro"]
            upper += [{a.au for a in e.actions} <= UPPER_AUS for e in micro]
    assert len(upper) > 150
    assert 0.4 < np.mean(upper) < 0.6


def test_people_differ_in_habits_and_in_their_two_halves() -> None:
    one, other = (draw_person(np.random.default_rng(s), 1.0) for s in (1, 2))
    assert {name for name, *_ in one.habits} != {name for name, *_ in other.habits}
    assert {name for name, *_ in one.habits} <= set(HABITS)
    assert not np.allclose(one.sides, 1)
    assert not np.allclose(one.speech, other.speech)


def test_a_gesture_comes_stays_and_goes() -> None:
    shape = np.zeros(len(BLENDSHAPES))
    shape[3] = 0.5
    gesture = Gesture(1.0, 2.0, 0.2, 0.4, shape)
    t = np.array([1.0, 1.2, 1.5, 2.0])
    face, pose = np.zeros((4, len(BLENDSHAPES))), np.zeros((4, 6))
    gesture.add(t, face, pose)
    assert np.allclose(face[:, 3], [0, 0.5, 0.5, 0])
    assert not pose.any()


def test_trouble_is_motion_of_regions_at_every_frame() -> None:
    options = LivelyOptions(fps=30.0)
    moved = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        camera = options.camera(rng)
        stamps, _ = frame_times(rng, camera, 12.0)
        extra = trouble(rng, camera, stamps)
        assert extra.shape == (stamps.size, COUNT, 2)
        assert np.isfinite(extra).all()
        moved += bool(extra.any())
    assert 0 < moved <= 8


def test_settings_of_the_plain_simulator_are_told_as_before() -> None:
    """Checkpoints and model records hold them: an option more would make finished runs start over."""
    names = ["duration_s", "split", "hard", "free", "fps", "distance_cm"]
    assert list(asdict(SimOptions())) == names
    assert list(asdict(LivelyOptions())) == [*names, "profiled"]
    assert repr(LivelyOptions()) != repr(SimOptions())


def test_lively_faces_move_faster_than_calm_ones_and_the_table_tells() -> None:
    def clips(options: SimOptions) -> list[np.ndarray]:
        return [simulate(np.random.default_rng([9, i]), options).features for i in range(12)]

    lively = pooled(clips(LivelyOptions(hard=1.0, fps=30.0)))
    calm = pooled(clips(SimOptions(hard=0.0, fps=30.0)))
    for name in ("brows", "cheeks", "mouth corners", "yaw"):
        assert lively[name][1] > 1.5 * calm[name][1]
    lines = table({"lively": lively, "calm": calm}).splitlines()
    assert lines[0] == "| | lively | calm |"
    assert len(lines) == 2 + len(lively)


def test_speeds_are_percentiles_of_the_short_baseline() -> None:
    features = np.zeros((SHORTEST, FEATURES), np.float32)
    features[:, : 2 * COUNT : 2] = 3.0
    features[:, 1 : 2 * COUNT : 2] = 4.0
    features[:, FEATURES // 2 :] = 100.0
    found = speeds(features)
    assert np.allclose(found["cheeks"], 5.0)
    assert not found["yaw"].any()


def test_quiet_moments_show_the_noise_and_not_the_motion() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(0, 0.1, (400, FEATURES)).astype(np.float32)
    features[100:] += 5.0
    found = quiet([features])["cheeks"]
    assert np.allclose(found, 0.1 * np.sqrt(2 * np.log(2)), rtol=0.25)  # median of a Rayleigh distribution
