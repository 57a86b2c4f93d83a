"""Published decoders: as their papers give them, and a causal form that keeps its word."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mellm.detectors.stepmodel import FakeStepModel
from mellm.evaluation.spotting import rivals
from mellm.evaluation.spotting.measures import judge, pooled
from mellm.evaluation.spotting.rivals import Curve, DecoderOptions, PublishedDecoder
from mellm.training.spotter.records import Record

from .made import record, truth

OPTIONS = DecoderOptions()
K = OPTIONS.k


def curve(values: np.ndarray, lag_s: float = 0.0) -> Curve:
    return Curve(0.02 * np.arange(len(values)), values, lag_s)


def bump(length: int, at: int, height: float = 1.0) -> np.ndarray:
    return height * np.exp(-0.5 * ((np.arange(length) - at) / 5.0) ** 2)


def test_k_is_half_of_a_mean_expression() -> None:
    assert K == 9
    assert DecoderOptions(half_s=0.001).k == 1


def test_smoothing_is_a_mean_over_two_k() -> None:
    values = np.zeros(61)
    values[30] = 1.0
    smoothed = rivals.smooth(values, K)
    assert len(smoothed) == len(values)
    assert smoothed[30 - K : 31 + K] == pytest.approx(1 / (2 * K + 1))
    assert smoothed[: 30 - K].max() == 0


def test_peaks_lie_k_apart_and_the_higher_stays() -> None:
    values = np.zeros(60)
    values[[10, 10 + K - 1, 40]] = 0.8, 1.0, 0.7
    assert rivals.peaks(values, 0.5, K) == [10 + K - 1, 40]
    assert rivals.peaks(values, 0.75, K) == [10 + K - 1]


def test_the_threshold_is_a_share_of_the_videos_own_range() -> None:
    values = bump(400, 100, 1.0) + bump(400, 300, 0.4)
    both = rivals.whole([curve(values)], replace(OPTIONS, p=0.2))
    one = rivals.whole([curve(values)], OPTIONS)
    assert [round(p.interval.apex_s, 2) for p in both] == [2.0, 6.0]
    assert [round(p.interval.apex_s, 2) for p in one] == [2.0]
    spot = one[0]
    assert spot.interval.offset_s - spot.interval.onset_s == pytest.approx(2 * K * 0.02)
    assert spot.at_s == pytest.approx(399 * 0.02)  # it has seen the whole video


def test_a_video_without_any_motion_has_no_spots() -> None:
    assert rivals.whole([curve(np.full(200, 0.3))], OPTIONS) == []
    assert rivals.causal([curve(np.full(200, 0.3))], OPTIONS) == []
    assert rivals.whole([], OPTIONS) == []


@given(st.integers(0, 2**32 - 1), st.integers(20, 400))
@settings(max_examples=40)
def test_the_causal_form_is_causal(seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.abs(rng.normal(0, 1, 400))
    whole = rivals.causal([curve(values)], OPTIONS)
    part = rivals.causal([curve(values[:cut])], OPTIONS)
    seen = (cut - 1) * 0.02
    assert part == [p for p in whole if p.at_s <= seen + 1e-9]


def test_the_causal_form_tells_how_late_it_is() -> None:
    (spot,) = rivals.causal([curve(bump(400, 200), lag_s=0.3)], OPTIONS)
    assert spot.interval.apex_s == pytest.approx(4.0, abs=0.021)
    assert spot.at_s == pytest.approx(spot.interval.apex_s + 2 * K * 0.02 + 0.3)


def test_flow_finds_a_lone_expression_on_a_still_face() -> None:
    clip = record([truth(4.0, peak=4.0)])
    for form in ("causal", "whole"):
        found = pooled(judge(PublishedDecoder("flow", form), [clip]))
        assert found.tp == 1, form


def test_score_is_that_of_the_network_that_judges() -> None:
    clip = record([truth(4.0, peak=4.0)])
    model = FakeStepModel()
    asked: list[Record] = []

    def model_of(asked_for: Record) -> FakeStepModel:
        asked.append(asked_for)
        return model

    whole = PublishedDecoder("score", "whole", model_of=model_of, seen=lambda r: r is clip)
    (one,) = [p for p in whole.spots(clip) if p.interval.score > 0.3]
    assert abs(one.interval.apex_s - 4.0) < 0.25
    whole.spots(clip, 0.9)
    assert len(asked) == 1  # the network runs once
    assert whole.seen_in_training(clip)
    (stretch,) = rivals.score_curves(clip, model)
    assert stretch.lag_s == pytest.approx(0.3)


def test_a_void_ends_a_stretch() -> None:
    clip = record(void_s=(4.0,))
    assert len(rivals.flow_curves(clip)) == 2
    assert len(rivals.score_curves(clip, FakeStepModel())) == 2


def test_a_score_needs_a_network_and_flow_needs_none() -> None:
    with pytest.raises(ValueError, match="network"):
        PublishedDecoder("score", "whole")
    with pytest.raises(ValueError, match="network"):
        PublishedDecoder("flow", "whole", model_of=lambda r: FakeStepModel())
