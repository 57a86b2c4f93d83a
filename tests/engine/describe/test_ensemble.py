"""Three voices, one answer: weights, thresholds, agreement."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mellm.engine.describe import create
from mellm.engine.describe.au_templates import templates
from mellm.engine.describe.base import DescribeContext
from mellm.engine.describe.ensemble import (
    FILE,
    SIGNS,
    UNITS,
    EnsembleDescriber,
    Gate,
    basis,
    class_shares,
    judge,
    load,
    weights,
)
from mellm.engine.describe.observation import CUES, Observation, observe
from mellm.engine.types import Emotion, Evidence
from mellm.stream.errors import ModelCorrupt
from tests.engine.describe.test_rules import evidence, motion_of

AU4, AU7, AU12 = (UNITS.index(au) for au in (4, 7, 12))


def seen(rules, nano=None, opinion=None, sides=None, votes=None) -> Observation:
    """Readings by the log-odds that each voice gives."""
    count = len(rules)
    return Observation(
        rules,
        rules if nano is None else nano,
        np.full((count, 3), np.nan),
        np.full(len(UNITS), np.nan) if opinion is None else opinion,
        np.ones((len(UNITS), 2)) if sides is None else sides,
        np.zeros((len(UNITS), 3)) if votes is None else votes,
        np.full(len(CUES), np.nan),
    )


def rows(*named: tuple[int, ...]) -> np.ndarray:
    """One reading for each tuple of places that it is sure of."""
    found = np.full((len(named), len(UNITS)), -6.0)
    for k, places in enumerate(named):
        found[k, list(places)] = 6.0
    return found


def test_what_all_voices_and_readings_name_is_told_with_its_count():
    told = judge(seen(rows(*[(AU4,)] * 7, (AU4, AU7))), weights())
    assert [(u.au, u.readings) for u in told.units] == [(4, 8)]
    assert told.reason is None
    assert told.emotion.coarse == "negative"
    assert sum(told.emotion.scores.values()) == pytest.approx(1, abs=1e-3)


def test_one_reading_has_no_count():
    told = judge(seen(rows((AU4,))), weights())
    assert [(u.au, u.readings) for u in told.units] == [(4, None)]


def test_no_unit_is_named_under_its_threshold():
    w = weights()
    for level in np.linspace(-6, 6, 25):
        told = judge(seen(np.full((3, len(UNITS)), -6.0) + np.eye(len(UNITS))[AU12] * (level + 6)), w)
        assert all(u.score >= w.threshold for u in told.units)
        assert (told.shares[12] >= w.threshold) == bool(told.units)


def test_readings_that_do_not_agree_are_unstable():
    told = judge(seen(rows((AU4,), (AU7,), (AU12,), (AU4, AU12), (AU7,))), weights())
    assert (told.reason, told.units, told.emotion) == ("unstable", (), None)
    assert judge(seen(rows((), (), ())), weights()).reason == "no_unit"


def test_the_spotter_has_a_say_and_its_silence_is_not_a_no():
    doubtful = np.full((1, len(UNITS)), -6.0)
    doubtful[0, AU4] = -1.0
    asked = {name: judge(seen(doubtful, opinion=o), weights()).shares[4] for name, o in (
        ("yes", np.full(len(UNITS), 4.0)), ("unasked", None), ("no", np.full(len(UNITS), -6.0))
    )}  # fmt: skip
    assert asked["yes"] > asked["unasked"] > asked["no"]


def test_the_side_is_the_models_or_where_the_motion_is():
    left = np.tile([3.0, 0.5], (len(UNITS), 1))
    votes = np.zeros((len(UNITS), 3))
    votes[AU12] = (1, 0, 7)
    for told, side in (
        (seen(rows((AU12,)), sides=left), "left"),
        (seen(rows((AU12,)), sides=left, votes=votes), "both"),
    ):
        (unit,) = judge(told, weights()).units
        assert unit.side == side


def test_classes_are_a_distribution_whatever_is_known():
    w = replace(weights(), classes=np.array([1.0, 1.0]))
    known = replace(seen(rows((AU4,))), classes=np.array([[0.1, 0.1, 0.8]]))
    for o in (seen(rows((AU4,))), known):
        assert class_shares(o, {4: 0.9}, w).sum() == pytest.approx(1)
    assert class_shares(known, {4: 0.9}, w)[2] > class_shares(seen(rows((AU4,))), {4: 0.9}, w)[2]


def test_it_reads_the_motion_of_a_face():
    shown = evidence(motion_of({(12, "left"): 3}))
    told = create("ensemble").describe(shown, DescribeContext(unit_scores=((12, 0.9),)))
    assert told.abstained in (None, "no_unit")
    observed = observe(
        (shown,), EnsembleDescriber()._nano.read_many((shown,)), DescribeContext(), templates()
    )
    assert observed.rules[0, AU12] == observed.rules[0].max()
    assert observed.sides[AU12][0] > observed.sides[AU12][1]
    mirrored = replace(shown, mirrored=True)
    again = observe(
        (mirrored,), EnsembleDescriber()._nano.read_many((mirrored,)), DescribeContext(), templates()
    )
    assert again.sides[AU12][0] < again.sides[AU12][1]


def test_what_is_refused_is_not_read():
    refused = Evidence(np.zeros((8, 8, 3), np.uint8), (), {}, "live", "motion_large", again=lambda: 1 / 0)
    told = create("ensemble").describe(refused, DescribeContext())
    assert (told.abstained, told.readings, told.agreement) == ("motion_large", 1, None)


def test_the_sentence_says_what_the_number_rests_on_and_names_no_other_unit():
    plain = evidence(motion_of({(4, "both"): 3}))
    shown = replace(plain, again=lambda: (plain,) * 7)
    describer = EnsembleDescriber()
    describer._weights = replace(weights(), measured=((0.0, 1.01, 41, 50),))
    told = describer.describe(shown, DescribeContext(unit_scores=((4, 0.95),)))
    assert told.readings == 8
    assert told.abstained is None
    assert "of 8 readings" in told.text
    assert "Of 50 such readings 41 were right, on synthetic faces." in told.text


def test_a_number_of_too_few_readings_is_not_told():
    w = replace(weights(), measured=((0.0, 0.5, 3, 4), (0.5, 1.01, 41, 50)))
    assert basis(Emotion("negative", {"negative": 0.4, "positive": 0.3, "surprise": 0.3}), w) == ()
    (told,) = basis(Emotion("negative", {"negative": 0.8, "positive": 0.1, "surprise": 0.1}), w)
    assert told == "Of 50 such readings 41 were right, on synthetic faces."


def test_what_looks_like_no_expression_gets_no_words():
    gate = Gate(np.zeros(len(SIGNS)), np.ones(len(SIGNS)), np.zeros(len(SIGNS)), 0.0, 0.4)
    assert judge(seen(rows((AU4,))), replace(weights(), gate=gate)).reason is None
    shut = judge(seen(rows((AU4,))), replace(weights(), gate=replace(gate, threshold=0.6)))
    assert (shut.reason, shut.units, shut.likely) == ("unlikely", (), 0.5)


def test_a_sign_that_is_not_known_counts_as_usual():
    gate = Gate(np.full(len(SIGNS), 2.0), np.ones(len(SIGNS)), np.ones(len(SIGNS)), 0.0, 0.5)
    assert gate.likely(np.full(len(SIGNS), np.nan)) == gate.likely(np.full(len(SIGNS), 2.0)) == 0.5
    assert gate.likely(np.full(len(SIGNS), 3.0)) > 0.99


@pytest.mark.parametrize(
    "change",
    [{"voices": [1, 2]}, {"threshold": "x"}, {"classes": [1, float("nan")]}, {"gate": {}}, {"bias": 1.0}],
)
def test_weights_that_cannot_be_used_are_refused(tmp_path, change):
    record = json.loads(FILE.read_text()) | change
    path = tmp_path / "ensemble.json"
    path.write_text(json.dumps(record))
    with pytest.raises(ModelCorrupt, match="cannot be used"):
        load(path)
    with pytest.raises(ModelCorrupt):
        load(tmp_path / "none.json")
