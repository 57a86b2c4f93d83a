"""Expression scripts: determinism, truth, and statistics that follow the data sets."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mellm.training.synth.envelope import bump, slow_noise
from mellm.training.synth.events import (
    AuAction,
    Blink,
    BrowBeat,
    Chewing,
    Expression,
    Gaze,
    Nod,
    Speech,
    Swallow,
)
from mellm.training.synth.rig import BLENDSHAPES, INDEX, au_coefficients, load_rig
from mellm.training.synth.script import (
    AU_SETS,
    IOD_CM,
    PROFILES,
    REACH,
    Profile,
    Script,
    draw_actions,
    draw_micro,
    random_script,
    restless,
)


def _rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=60)
@given(rise=st.floats(0.02, 1), fall=st.floats(0.02, 1), hold=st.floats(0, 1), ease=st.floats(0.7, 1.5))
def test_a_bump_starts_peaks_and_ends_where_it_says(
    rise: float, fall: float, hold: float, ease: float
) -> None:
    t = np.linspace(-0.5, 4, 2000)
    curve = bump(t, 0.0, rise, rise + hold + fall, hold, (ease, ease))
    assert curve.min() >= 0
    assert curve.max() <= 1
    assert not curve[(t <= 0) | (t >= rise + hold + fall)].any()
    assert bump(np.array([rise, rise + hold]), 0.0, rise, rise + hold + fall, hold) == pytest.approx([1, 1])


def test_noise_does_not_depend_on_how_it_is_sampled() -> None:
    t = np.linspace(0, 5, 501)
    assert np.allclose(slow_noise(t, 3, 0.4)[::7], slow_noise(t[::7], 3, 0.4))
    assert 0.4 < slow_noise(np.linspace(0, 400, 9000), 3, 0.4).std() < 1.6


def test_an_expression_is_checked() -> None:
    action = (AuAction(4, "B", 0.2),)
    assert Expression(1.0, 1.1, 1.3, action).kind == "micro"
    assert Expression(1.0, 1.1, 1.8, action).kind == "macro"
    with pytest.raises(ValueError, match="apex_s"):
        Expression(1.0, 0.9, 1.3, action)
    with pytest.raises(ValueError, match="action unit"):
        Expression(1.0, 1.1, 1.3, ())


def test_an_expression_reaches_its_intensity_at_its_apex() -> None:
    script = Script(3, (Expression(1.0, 1.15, 1.4, (AuAction(12, "L", 0.3), AuAction(17, "B", 0.1))),))
    before, apex, after = script.coefficients([0.99, 1.15, 1.41])
    assert not before.any()
    assert not after.any()
    assert apex == pytest.approx(0.3 * au_coefficients(12, "L") + 0.1 * au_coefficients(17))


def test_skew_makes_one_side_stronger() -> None:
    c = AuAction(12, "B", 0.2, skew=0.25).coefficients()
    assert c[INDEX["mouthSmile_L"]] == pytest.approx(0.25)
    assert c[INDEX["mouthSmile_R"]] == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("event", "moved"),
    [
        (Blink(1.0), "eyeBlink_L"),
        (Gaze(1.0, 1.5, 0.4, -0.2), "eyeLookOut_L"),
        (Speech(1.0, 3.0, 5.0, 1.0, 7), "jawOpen"),
        (Chewing(1.0, 3.0, 1.4, 1.0, 7), "jawLeft"),
        (Swallow(1.0, 1.8, 1.0), "mouthPress_R"),
        (BrowBeat(1.0, 1.6, 0.3, 0.0), "browInnerUp_R"),
    ],
)
def test_distractors_move_the_face_and_are_not_truth(event: Blink, moved: str) -> None:
    script = Script(4, (event,))
    assert script.expressions == ()
    t = np.linspace(0, 4, 801)
    c = script.coefficients(t)
    inside = (t >= event.onset_s) & (t <= event.offset_s)
    assert c[:, INDEX[moved]].max() > 0.05
    assert not c[~inside].any()
    assert np.abs(np.diff(c, axis=0)).max() < 0.25  # nothing jumps within 5 ms


def test_speech_has_the_rate_it_is_given() -> None:
    t = np.arange(0, 8, 0.01)
    jaw = Script(8, (Speech(0.0, 8.0, 5.0, 1.0, 1),)).coefficients(t)[:, INDEX["jawOpen"]]
    peaks = int(((jaw[1:-1] > jaw[:-2]) & (jaw[1:-1] >= jaw[2:])).sum())
    assert 30 <= peaks <= 50


def test_a_nod_turns_the_head_and_comes_back() -> None:
    pose = Script(4, (Nod(1.0, 2.5, 1.5, (0.0, 0.1)),)).pose([0.5, 1.5, 3.0])
    assert abs(pose[1, 1]) > 0.01
    assert not pose[[0, 2]].any()


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), name=st.sampled_from(sorted(PROFILES)), seconds=st.floats(2, 15))
def test_scripts_are_valid_and_repeat(seed: int, name: str, seconds: float) -> None:
    script, again = (random_script(_rng(seed), seconds, PROFILES[name]) for _ in range(2))
    assert script == again
    t = np.linspace(0, seconds, 200)
    c, pose = script.evaluate(t)
    assert c.shape == (200, len(BLENDSHAPES))
    assert np.isfinite(pose).all()
    assert c.min() >= 0
    assert c.max() <= 1
    order = _rng(1).permutation(200)
    assert np.allclose(script.coefficients(t[order]), c[order])
    ends = [(e.onset_s, e.offset_s) for e in script.expressions]
    assert all(a[1] < b[0] for a, b in pairwise(ends))
    assert all(0 < on < off < seconds for on, off in ends)


def test_profiles_decide_who_talks() -> None:
    assert not random_script(_rng(1), 10, PROFILES["quiet"]).talks
    assert random_script(_rng(1), 10, PROFILES["talk"]).talks
    with pytest.raises(ValueError, match="too short"):
        random_script(_rng(1), 1.0)


def test_a_restless_head_shifts_as_far_as_it_is_said_to() -> None:
    t = np.arange(0, 60, 0.02)
    seen = []
    for seed in range(40):
        script = Script(60.0, tuple(restless(_rng(seed), 60.0)))
        assert not script.expressions
        face, pose = script.evaluate(t)
        assert not face.any()
        assert not pose[:, :2].any()  # in the plane: nothing of the face is hidden or foreshortened
        seen.append(100 * float(pose[:, 3].std()) / IOD_CM)
    assert 0.3 < sum(s > 0.2 for s in seen) / len(seen) < 1
    assert max(seen) < 25
    assert max(seen) > 6
    again = restless(_rng(3), 60.0)
    assert again == restless(_rng(3), 60.0)


def test_durations_follow_the_high_speed_data_sets() -> None:
    """Medians of CASME II, SAMM and DFME: 305–397 ms long, 150–196 ms to the apex; 0.18 to 0.5 s."""
    rng = _rng(2)
    drawn = [draw_micro(rng, 1.0, Profile()) for _ in range(1500)]
    length = np.array([e.offset_s - e.onset_s for e in drawn])
    rise = np.array([e.apex_s - e.onset_s for e in drawn])
    assert 0.305 < np.median(length) < 0.397
    assert 0.145 < np.median(rise) < 0.2
    assert length.min() >= 0.18 - 1e-9
    assert length.max() <= 0.5 + 1e-9


def test_action_units_follow_the_data_sets() -> None:
    """Shares between the smallest and the largest counted in CASME II, SAMM and DFME, with some slack."""
    rng = _rng(3)
    sets = [draw_actions(rng, 2.0, even=0.0) for _ in range(3000)]
    share = Counter(a.au for actions in sets for a in actions)
    for au, low, high in ((4, 0.3, 0.52), (7, 0.15, 0.29), (12, 0.1, 0.19), (1, 0.08, 0.2), (2, 0.08, 0.15)):
        assert low < share[au] / len(sets) < high, au
    assert 0.3 < np.mean([len(s) > 1 for s in sets]) < 0.55
    assert 0.1 < np.mean([s[0].side != "B" for s in sets]) < 0.25
    assert {au for units, _ in AU_SETS for au in units} == set(REACH)


def test_reach_is_what_the_face_model_does(shared_data: Path) -> None:
    rig = load_rig(shared_data / "face-model" / "head_f16.npz")
    ids = rig.region_vertices()
    for au, reach in REACH.items():
        moved = rig.au_delta(au)[ids, :2].mean(1)
        assert 100 * np.hypot(*moved.T).max() / rig.iod(rig.mean) == pytest.approx(reach, abs=0.06), au
