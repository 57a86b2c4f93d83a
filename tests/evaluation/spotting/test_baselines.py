"""The training-free baseline on planted motion: what it finds, what it leaves alone, and that it cannot see ahead."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="extra `train` is not installed")
pytest.importorskip("scipy", reason="extra `eval` is not installed")

from hypothesis import given, settings
from hypothesis import strategies as st

from mellm.detectors.regions import NAMES, centres, rigid_basis
from mellm.evaluation.spotting.baselines import (
    LIDS,
    LOOKAHEAD,
    TUNED,
    BaselineOptions,
    Form,
    basis,
    curves,
    nose_relative,
    spots,
    stretches,
)
from tests.evaluation.spotting.made import STEP, record, shifted, truth

FORMS: tuple[Form, ...] = ("causal", "whole")
OPTIONS: dict[Form, BaselineOptions] = {
    "causal": BaselineOptions(level=4.0, floor=0.1, half_s=0.2),
    "whole": BaselineOptions(level=0.4, half_s=0.2),
}
FLANKS: dict[Form, BaselineOptions] = {form: replace(o, half_s=None) for form, o in OPTIONS.items()}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("options", [OPTIONS, FLANKS, TUNED])
def test_planted_expressions_are_found(form: Form, options: dict[Form, BaselineOptions]) -> None:
    planted = [truth(3.0), truth(5.5, peak=4.0)]
    found = spots(record(planted, noise=0.03), form, options[form])
    if options is FLANKS:  # side lobes of a band-passed bell lie apart then, and stay
        found = [s for s in found if min(abs(s.interval.apex_s - t.apex_s) for t in planted) < 0.1]
    assert len(found) == 2
    for spot, true in zip(found, planted, strict=True):
        assert spot.interval.apex_s == pytest.approx(true.apex_s, abs=0.021)
        assert spot.interval.onset_s < spot.interval.apex_s < spot.interval.offset_s
    if options is not FLANKS:  # a band-passed bell is narrower than the bell
        assert all(s.interval.iou(t) >= 0.5 for s, t in zip(found, planted, strict=True))


def test_what_the_causal_form_publishes_comes_after_the_offset_and_the_look_ahead() -> None:
    (spot,) = spots(record([truth(3.0)]), "causal", OPTIONS["causal"])
    assert spot.latency_s == pytest.approx(LOOKAHEAD * STEP, abs=STEP)
    (late,) = spots(record([truth(3.0)]), "whole", OPTIONS["whole"])
    assert late.at_s == pytest.approx(7.98)


@settings(max_examples=25)
@given(st.integers(100, 350), st.integers(0, 5), st.sampled_from([None, 0.2]))
def test_the_causal_form_does_not_depend_on_what_comes(cut: int, seed: int, half_s: float | None) -> None:
    whole = record([truth(2.5), truth(3.4, 2.0), truth(6.0)], noise=0.4, name="x" * (seed + 1))
    part = replace(whole, grid_s=whole.grid_s[:cut], features=whole.features[:cut])
    options = replace(OPTIONS["causal"], half_s=half_s)
    now = float(part.grid_s[-1])
    before = [s for s in spots(part, "causal", options) if s.at_s <= now]
    assert before == [s for s in spots(whole, "causal", options) if s.at_s <= now]


@pytest.mark.parametrize("form", FORMS)
def test_a_swinging_head_is_no_expression(form: Form) -> None:
    still, swinging = record(noise=0.02), shifted(record(noise=0.02), 20.0)
    a, b = (curves(r, form, OPTIONS[form])[0].motion.max() for r in (still, swinging))
    assert b == pytest.approx(a, abs=1e-3)
    assert not spots(swinging, "causal", OPTIONS["causal"])


@pytest.mark.parametrize("form", FORMS)
def test_blinks_are_left_alone(form: Form) -> None:
    blink = record([truth(3.0, 2.0)], also=[(truth(3.0, 12.0), LIDS)])
    assert not spots(blink, form, replace(OPTIONS[form], blink=2.0))
    assert len(spots(blink, form, replace(OPTIONS[form], blink=inf))) == 1


@pytest.mark.parametrize("form", FORMS)
def test_long_expressions_are_too_long(form: Form) -> None:
    macro = record([truth(4.0, 6.0, half_s=0.8)])
    assert not [s for s in spots(macro, form, FLANKS[form]) if 3.7 < s.interval.apex_s < 4.3]


def test_of_two_that_overlap_the_higher_stays() -> None:
    close = record([truth(3.0, 2.0, 0.12), truth(3.22, 4.0, 0.12)])
    for form in FORMS:
        found = spots(close, form, OPTIONS[form])
        assert [s.interval.apex_s for s in found] == [pytest.approx(3.22, abs=0.03)]


def test_nothing_reaches_across_a_void() -> None:
    broken = record([truth(3.0)], void_s=(2.98, 3.0, 3.02))
    assert list(stretches(broken)) == [(0, 134), (137, 385)]
    for form in FORMS:
        assert not [
            s for s in spots(broken, form, OPTIONS[form]) if s.interval.onset_s < 3.0 < s.interval.offset_s
        ]
    jumps = record(seconds=4.0)
    grid = jumps.grid_s + np.where(np.arange(len(jumps.grid_s)) >= 50, 1.0, 0.0)
    assert list(stretches(replace(jumps, grid_s=grid))) == [(0, 50), (50, 185)]
    assert (
        spots(replace(jumps, features=np.full_like(jumps.features, np.nan)), "whole", OPTIONS["whole"]) == []
    )


def test_the_nose_is_still_afterwards() -> None:
    relative = nose_relative(shifted(record([truth(3.0)]), 5.0).features)
    nose = relative[:, [NAMES.index("nose_bridge"), NAMES.index("nose_tip")]].mean(1)
    assert np.abs(nose).max() < 1e-6


def test_the_average_face_is_that_of_the_product(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mellm.training.synth.rig import load_rig

    monkeypatch.setenv("MELLM_SHARED", str(shared_data))
    rig = load_rig()
    flat = (rig.mean[rig.lm68, :2] * [1, -1]).astype(np.float32)
    np.testing.assert_allclose(basis(), rigid_basis(centres(flat), flat), atol=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [{"low_hz": 9.0}, {"high_hz": 30.0}, {"strongest": 0}, {"floor": 0.0}, {"flank": 1.0}, {"min_s": 0.6}],
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        BaselineOptions(**wrong)  # type: ignore[arg-type]
