"""The threshold comes from validation clips, through the product's own spotter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="extra `train` is not installed")

from mellm.detectors.signals import FEATURES, PER_BASELINE
from mellm.detectors.spotting import FakeStepModel, SpottingOptions
from mellm.detectors.stepmodel import outputs
from mellm.training.spotter import card
from mellm.training.spotter.evaluate import Interval
from mellm.training.spotter.records import Record, spot
from mellm.training.spotter.validation import Scored, choose_threshold, score_at


def record(bumps: dict[float, float], truths: tuple[float, ...]) -> Record:
    """Motion bumps (centre in s → height), of which some are true."""
    grid = 0.34 + 0.02 * np.arange(400)
    features = np.zeros((400, FEATURES), np.float32)
    for at, height in bumps.items():
        features[:, PER_BASELINE] += height * np.exp(-0.5 * ((grid - at) / 0.06) ** 2)
    true = tuple(Interval(t - 0.1, t, t + 0.1, (4,), 2.0) for t in truths)
    return Record("r", "still-001", grid, features, true, 8.0, 50, 90)


def model() -> FakeStepModel:
    def script(features: np.ndarray) -> np.ndarray:
        p = float(np.clip(features[PER_BASELINE], 0.01, 0.99))
        return outputs(me=p, apex=p, to_onset=0.1, to_offset=0.1, aus={4: p})

    return FakeStepModel(script)


def test_the_strictest_of_equal_thresholds_is_chosen() -> None:
    clips = [Scored.of_record(record({2.0: 0.7, 4.0: 0.9, 6.0: 0.5}, (2.0, 4.0)))]
    threshold, scores = choose_threshold(model(), clips)
    assert threshold == pytest.approx(0.675)  # above the false bump of 0.5, below the true one of 0.7
    assert scores.f1 == 1


def test_people_are_left_in_peace() -> None:
    free = replace(record({2.0: 0.8, 4.0: 0.8}, ()), name="free-a", groups=("talking",))
    clips = [Scored.of_record(record({2.0: 0.7, 4.0: 0.9}, (2.0, 4.0))), Scored.of_record(free)]
    assert choose_threshold(model(), clips[:1])[0] < 0.7
    threshold, scores = choose_threshold(model(), clips)
    assert 0.8 < threshold < 0.9  # half of what could be found is given up for nobody being disturbed
    assert scores.recall == 0.5


def test_replayed_answers_equal_fresh_ones() -> None:
    r = record({2.0: 0.7, 4.0: 0.9}, (2.0,))
    clip, net = Scored.of_record(r), model()
    assert clip.kind == "r"
    for threshold in (0.5, 0.8, 0.5):
        options = SpottingOptions(threshold=threshold)
        assert clip.spots(net, options) == [p.interval for p in spot(r, net, options)]
    other = FakeStepModel(lambda features: outputs())
    assert clip.spots(other, SpottingOptions(threshold=0.5)) == []
    assert score_at(net, [clip], 0.8).hits == 0


def test_a_card_names_weaknesses_before_numbers() -> None:
    scores = score_at(model(), [Scored.of_record(record({2.0: 0.9}, (2.0,)))], 0.5).flat()
    made = {
        "validation": scores,
        "validation_parts": {"still": scores},
        "hours": {"simulated": 1.0},
        "command": "mellm train spotter",
        "iterations": 5,
        "date": "2026-11-23",
        "device": "cpu",
        "torch": "2",
    }
    written = card.text("spotter.onnx", made, 0.5)
    assert written.index("Weaknesses") < written.index("1.000")
    assert "mellm train spotter" in written
    assert "Lie detection" in written


def test_each_talker_is_judged_by_a_network_that_never_saw_him() -> None:
    """The main network would be disturbed by nobody; the one that speaks for these people is."""
    clips = [Scored.of_record(record({2.0: 0.7, 4.0: 0.9}, (2.0, 4.0)))]
    talker = Scored.of_record(replace(record({2.0: 0.4}, ()), name="free-a", groups=("talking",)))

    def loud(features: np.ndarray) -> np.ndarray:
        p = float(np.clip(2 * features[PER_BASELINE], 0.01, 0.99))
        return outputs(me=p, apex=p, to_onset=0.1, to_offset=0.1)

    assert choose_threshold(model(), [*clips, talker])[0] < 0.7
    assert 0.8 < choose_threshold(model(), clips, [(FakeStepModel(loud), talker)])[0] < 0.9


def test_actors_do_not_bound_the_threshold() -> None:
    clips = [Scored.of_record(record({2.0: 0.7, 4.0: 0.9}, (2.0, 4.0)))]
    actor = Scored.of_record(replace(record({2.0: 0.8}, ()), name="free-b", groups=("acting",)))
    assert choose_threshold(model(), [*clips, actor])[0] < 0.7
