"""How small a motion would be found: causal, bounded, calibrated by what is written beside the network."""

from __future__ import annotations

import json
from math import inf, log, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mellm.detectors.regions import COUNT, INDEX, NAMES
from mellm.detectors.sensitivity import (
    AFTER,
    BARS,
    BEFORE,
    CONTEXT,
    HALVES,
    LARGEST,
    LIDS,
    REGIONS_OF,
    SHARE,
    SMALLEST,
    HalfModel,
    JudgedTime,
    Meter,
    SensitivityModel,
    Watch,
    half_motion,
    motions,
)
from mellm.detectors.signals import FEATURES, PER_BASELINE
from mellm.detectors.spotting import FakeStepModel, Spotter
from mellm.detectors.stepmodel import OnnxStepModel, outputs
from mellm.detectors.types import F32, Sensitivity
from mellm.detectors.windows import STEP_NS
from mellm.stream.errors import ModelCorrupt, ModelMismatch

OWN = tuple(-1.0 if name == "own" else 0.0 for name in CONTEXT)
MODEL = SensitivityModel(HalfModel(0.0, 1.0, OWN), HalfModel(0.0, 1.0, OWN))
"""80 % are found of what is four times as large as the own motion of its half (and 0.3)."""


def step(upper: float = 0.0, lower: float = 0.0, *, head: float = 0.0) -> F32:
    """One step's features: a brow and the chin move sideways over 0.3 s."""
    row = np.zeros(FEATURES, np.float32)
    row[PER_BASELINE + 2 * INDEX["brow_inner_L"]] = upper
    row[PER_BASELINE + 2 * INDEX["chin"]] = lower
    row[PER_BASELINE + 2 * COUNT] = head
    return row


def said(rows: list[F32 | None], *, fps: float = 50.0) -> list[Sensitivity | None]:
    meter, out = Meter(MODEL, 0.5), []
    for row in rows:
        if row is None:
            meter.reset()
            out.append(None)
        else:
            out.append(meter.push(row, fps))
    return out


def test_every_region_that_moves_by_itself_has_one_half() -> None:
    upper, lower = ({NAMES[i] for i in REGIONS_OF[half]} for half in HALVES)
    assert not upper & lower
    assert {"brow_mid_R", "glabella", "upper_lid_L", "lower_lid_R", "forehead_L"} <= upper
    assert {"cheek_L", "nasolabial_R", "nose_wing_L", "lip_corner_R", "lower_lip", "chin"} <= lower
    assert set(NAMES) - upper - lower == {
        n for n in NAMES if n.startswith(("nose_b", "nose_t", "nose_s", "temple"))
    }
    assert {NAMES[i] for i in LIDS} == {f"{a}_lid_{s}" for a in ("upper", "lower") for s in "LR"}


def test_a_quarter_of_what_is_said_moves_by_itself() -> None:
    last = said([step(upper=1.7, lower=0.2)] * 80)[-1]
    assert last is not None
    assert last.upper == pytest.approx(4 * (0.3 + 1.7), rel=1e-6)
    assert last.lower == pytest.approx(4 * (0.3 + 0.2), rel=1e-6)


def test_talking_hides_the_mouth_and_not_the_brows() -> None:
    still, talking = said([step()] * 80)[-1], said([step(lower=6.0)] * 80)[-1]
    assert still is not None
    assert talking is not None
    assert talking.upper == still.upper
    assert talking.lower == LARGEST


def test_what_is_said_is_where_the_share_is_found() -> None:
    half = HalfModel(-0.4, 2.0, tuple(0.1 for _ in CONTEXT), lapse=0.05)
    context = np.linspace(-1, 1, len(CONTEXT))
    assert half.probability(half.smallest(context), context) == pytest.approx(SHARE, abs=1e-9)
    assert half.probability(half.smallest(context, 0.5), context) == pytest.approx(0.5, abs=1e-9)


@given(
    st.floats(-50, 50),
    st.floats(0.01, 20),
    st.lists(st.floats(-30, 30), min_size=8, max_size=8),
    st.floats(0, 0.19),
)
@settings(max_examples=40)
def test_it_is_always_a_number_in_range(bias: float, size: float, weights: list[float], lapse: float) -> None:
    half = HalfModel(bias, size, tuple(weights), lapse)
    for context in (np.full(8, -3.0), np.zeros(8), np.full(8, 3.0)):
        assert SMALLEST <= half.smallest(context) <= LARGEST
        assert 0 <= half.probability(1.0, context) <= 1


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 20)), min_size=1, max_size=120), st.integers(0, 119))
@settings(max_examples=40)
def test_it_is_causal(moves: list[tuple[float, float]], cut: int) -> None:
    rows: list[F32 | None] = [step(a, b) for a, b in moves]
    whole, part = said(rows), said(rows[: cut + 1])
    assert part == whole[: len(part)]


@given(st.integers(0, 90), st.integers(0, 90))
@settings(max_examples=40)
def test_nothing_reaches_over_a_void(before: int, after: int) -> None:
    rows: list[F32 | None] = [step(9.0, 9.0)] * before + [None] + [step(0.5, 0.5)] * after
    assert said(rows)[before + 1 :] == said([step(0.5, 0.5)] * after)


def test_it_forgets_what_is_longer_ago_than_a_second() -> None:
    calm: list[F32 | None] = [step(0.5)] * (BEFORE + AFTER + 1)
    assert said([step(9.0), step(9.0), *calm])[-1] == said(calm)[-1]


def test_it_knows_nothing_until_it_has_looked_ahead() -> None:
    told = said([step()] * (AFTER + 2))
    assert told[:AFTER] == [None] * AFTER
    assert None not in told[AFTER:]


def test_memory_does_not_grow() -> None:
    watch = Watch()
    size = watch._ring.nbytes
    for k in range(5000):
        watch.push(step(k % 7))
    assert watch._ring.nbytes == size


def test_motion_is_taken_from_the_right_features() -> None:
    row = step(3.0, 4.0, head=-5.0)
    row[2 * INDEX["upper_lid_R"] + 1] = 2.0
    upper, lower, noise_upper, noise_lower, lids, head = motions(row)
    assert (upper, lower, lids, head) == (3.0, 4.0, 2.0, 5.0)
    assert (noise_upper, noise_lower) == (0.0, 0.0)


def test_the_frame_rate_counts_up_to_fifty() -> None:
    watch = Watch()
    for _ in range(20):
        watch.push(step())
    place = CONTEXT.index("rate")

    def rate(fps: float) -> float:
        found = watch.contexts(fps, 0.5)
        assert found is not None
        return float(found[0][place])

    assert rate(50.0) == rate(200.0) == rate(0.0) == 0.0
    assert rate(25.0) == pytest.approx(log(0.5))


# -- the record beside the network ---------------------------------------------------------------


def test_a_record_comes_back() -> None:
    model = SensitivityModel(
        HalfModel(0.1, 1.5, tuple(0.1 * k for k in range(len(CONTEXT))), 0.05), HalfModel(-1.0, 2.0, OWN)
    )
    record = json.loads(json.dumps(model.to_record("abc")))
    assert SensitivityModel.of_record(record, "abc") == model


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"recipe": "mellm-sensitivity/0"}, "recipe"),
        ({"network": "of another"}, "fitted for network"),
        ({"upper": {"bias": 1.0}}, "cannot be read"),
        ({"lower": None}, "cannot be read"),
    ],
)
def test_a_mismatch_is_refused_with_the_command_that_mends_it(change: dict[str, object], told: str) -> None:
    record = {**MODEL.to_record("abc"), **change}
    with pytest.raises((ModelCorrupt, ModelMismatch), match=told) as refused:
        SensitivityModel.of_record(record, "abc")
    assert "mellm train sensitivity" in str(refused.value.remedy)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bias": nan},
        {"size": 0.0},
        {"size": -1.0},
        {"size": inf},
        {"weights": (1.0,)},
        {"lapse": 0.2},
        {"lapse": -0.1},
    ],
)
def test_coefficients_that_cannot_be(wrong: dict[str, object]) -> None:
    good: dict[str, object] = {"bias": 0.0, "size": 1.0, "weights": OWN, "lapse": 0.0}
    with pytest.raises(ValueError, match=r"sensitivity|must lie"):
        HalfModel(**{**good, **wrong})  # type: ignore[arg-type]


def test_the_shipped_network_knows_how_small_a_motion_it_finds() -> None:
    model = OnnxStepModel().sensitivity
    assert model is not None
    still = np.array([log(0.4), log(0.4), log(0.4), log(0.1), log(0.4), log(0.6), 0.0, 0.0])
    moving = still + np.array([2.5, 2.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    for half in HALVES:
        assert model.half(half).smallest(moving) > 1.5 * model.half(half).smallest(still)


# -- in the spotter ------------------------------------------------------------------------------


def spotter(**more: float) -> Spotter:
    """A spotter that spots any motion, and whose sensitivity is known."""

    def script(features: F32) -> F32:
        return outputs(me=0.95, apex=0.95) if features[0] else outputs()

    return Spotter(FakeStepModel(script, sensitivity=MODEL))


def test_scores_carry_it_about_the_same_moment() -> None:
    spot = spotter()
    for k in range(100):
        # the face moves at 1 s only: what is told about 0.7 s knows nothing of it, about 0.72 s it does
        spot.push(k * STEP_NS, step(upper=5.0 if k == 50 else 0.0), 30.0)
    told = {round(s.t_ns / 1e9, 2): s.sensitivity for s in spot.scores}
    calm = told[0.68]
    assert calm is not None
    assert all(said is not None and said.upper > calm.upper for t, said in told.items() if 0.7 <= t <= 1.3)
    assert all(said == calm for t, said in told.items() if t < 0.69 or t > 2.35)


def test_without_a_fit_nothing_is_said() -> None:
    spot = Spotter(FakeStepModel())
    for k in range(40):
        spot.push(k * STEP_NS, step())
    assert {s.sensitivity for s in spot.scores} == {None}


def test_a_spot_carries_what_was_known_before_its_own_motion() -> None:
    def script(features: F32) -> F32:
        t = float(features[0])
        inside = 1.0 <= t <= 1.4
        heat = 0.95 if abs(t - 1.2) < 0.005 else 0.7 if abs(t - 1.2) < 0.025 else 0.1
        return outputs(me=0.95, apex=heat, to_onset=t - 1.0, to_offset=1.4 - t) if inside else outputs()

    spot = Spotter(FakeStepModel(script, sensitivity=MODEL))
    found = []
    for k in range(120):
        row = step(upper=4.0 if 50 < k < 70 else 0.0)
        row[0] = k * STEP_NS / 1e9
        found += spot.push(k * STEP_NS, row, 50.0)
    (one,) = found
    clear = [s for s in spot.scores if s.t_ns <= one.onset_ns - AFTER * STEP_NS][-1]
    assert one.sensitivity == clear.sensitivity
    at_apex = next(s for s in spot.scores if s.t_ns >= one.apex_ns).sensitivity
    assert one.sensitivity is not None
    assert at_apex is not None
    assert one.sensitivity.upper < at_apex.upper


def test_a_spot_at_the_start_of_a_stretch_says_that_it_is_not_known() -> None:
    def script(features: F32) -> F32:
        t = float(features[0])
        return (
            outputs(me=0.95, apex=0.95 if abs(t - 0.4) < 0.005 else 0.5, to_onset=t - 0.2, to_offset=0.6 - t)
            if 0.2 <= t <= 0.6
            else outputs()
        )

    spot = Spotter(FakeStepModel(script, sensitivity=MODEL))
    found = []
    for k in range(80):
        row = step()
        row[0] = k * STEP_NS / 1e9
        found += spot.push(k * STEP_NS, row)
    assert [one.sensitivity for one in found] == [None]


# -- adding up -----------------------------------------------------------------------------------


def test_judged_time_adds_up() -> None:
    judged = JudgedTime(0.02)
    for upper, lower in [(1.0, 5.0)] * 50 + [(2.0, 10.0)] * 25 + [(2.01, 3.0)] * 25:
        judged.add(Sensitivity(upper, lower))
    judged.add(None)
    assert judged.face_s == pytest.approx(101 * 0.02)
    assert judged.seconds("upper", 2.0) == pytest.approx(1.5)
    assert judged.seconds("upper", 3.0) == pytest.approx(2.0)
    assert judged.seconds("lower", 3.0) == pytest.approx(0.5)
    assert judged.median("lower") == 5.0
    assert judged.record() == {
        "face_s": 2.02,
        "upper": {"median": 1.0, "judged_s": {"2": 1.5, "3": 2.0}},
        "lower": {"median": 5.0, "judged_s": {"2": 0.0, "3": 0.5}},
        "either": {"judged_s": {"2": 1.5, "3": 2.0}},
    }


def test_without_a_fit_only_face_time_is_known() -> None:
    judged = JudgedTime(0.02)
    judged.add(None)
    assert judged.record() == {"face_s": 0.02}
    assert judged.median("upper") is None


@given(st.lists(st.floats(SMALLEST, LARGEST), min_size=1, max_size=200))
@settings(max_examples=40)
def test_medians_and_seconds_are_those_of_the_values(values: list[float]) -> None:
    judged = JudgedTime(1.0)
    for value in values:
        judged.add(Sensitivity(value, value))
    for bar in BARS:
        assert judged.seconds("upper", bar) == sum(v <= bar + 1e-9 for v in values)
    middle = judged.median("upper")
    assert middle is not None
    assert abs(middle - sorted(values)[(len(values) - 1) // 2]) <= 0.1 + 1e-9


def test_the_motion_of_the_halves_is_the_same_for_one_step_and_for_many() -> None:
    rows = np.random.default_rng(3).normal(size=(2, 4, FEATURES)).astype(np.float32)
    many = half_motion(rows)
    assert many.shape == (2, 4, 2)
    np.testing.assert_array_equal(many[1, 2], half_motion(rows[1, 2]))
    np.testing.assert_allclose(many[1, 2], motions(rows[1, 2])[:2])
    np.testing.assert_allclose(half_motion(step(upper=1.5, lower=0.5)), [1.5, 0.5])
