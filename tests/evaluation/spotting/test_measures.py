"""Numbers that can be counted by hand."""

from __future__ import annotations

from dataclasses import replace
from math import isnan

import pytest

pytest.importorskip("torch", reason="extra `train` is not installed")
pytest.importorskip("scipy", reason="extra `eval` is not installed")

from hypothesis import given
from hypothesis import strategies as st

from mellm.evaluation.metrics.spotting import SpottingScore
from mellm.evaluation.spotting.measures import (
    Point,
    best_within,
    frame_wait_s,
    frames,
    judge,
    pooled,
    result,
)
from mellm.training.spotter.evaluate import Interval
from mellm.training.spotter.records import Event, Published
from tests.evaluation.spotting.made import Scripted, published, record, truth


def _spot(apex: float, half: float = 0.2, score: float = 0.7, aus: tuple[int, ...] = (4,)) -> Published:
    return published(Interval(apex - half, apex, apex + half, aus, score=score))


def _clips() -> tuple[list, Scripted]:
    """Ann: two expressions, one found 20 ms late, one missed at a blink, one false alarm in speech. Bob: one found."""
    ann = record(
        [truth(2.0, 3.0), truth(5.0, 0.5)],
        name="ann",
        subject="ann",
        iod_px=100,
        events=[Event("blink", 5.0, 5.2), Event("speech", 6.0, 7.0)],
        groups=("talking",),
    )
    bob = record(
        [truth(4.0, 0.9)], name="bob", subject="bob", iod_px=50, fps=25.0, groups=("silent", "25 fps")
    )
    spots = {
        "ann": [_spot(2.02, aus=(4, 7)), _spot(6.5), _spot(7.5, score=0.3)],
        "bob": [_spot(4.0, 0.1), _spot(3.9, 0.25, score=0.2)],
    }
    return [ann, bob], Scripted(spots)


def test_scores_on_two_clips() -> None:
    records, spotter = _clips()
    r = result(spotter, records)
    assert r.score == SpottingScore(tp=2, fp=1, fn=1)
    assert r.ratios.f1.value == pytest.approx(2 / 3)
    minutes = 2 * 7.7 / 60
    assert r.false_per_minute.value == pytest.approx(1 / minutes)
    assert r.errors["apex"].mean == pytest.approx(10)
    assert r.errors["apex"].bias == pytest.approx(10)
    assert r.errors["onset"].mean == pytest.approx((20 + 100) / 2)
    assert r.errors["offset"].bias == pytest.approx((20 - 100) / 2)
    assert r.unit_f1 is None  # only networks tell units
    assert not r.seen_in_training


def test_recall_by_size_unit_and_rate() -> None:
    records, spotter = _clips()
    r = result(spotter, records)
    # peaks: .03·100 = 3 px, .005·100 = .5 px, .009·50 = .45 px
    assert [(x.label, x.truths, x.found) for x in r.recalls["peak_px"]] == [
        ("≤ 0.5 px", 2, 1),
        ("0.5–1 px", 0, 0),
        ("1–2 px", 0, 0),
        ("2–4 px", 1, 1),
        ("> 4 px", 0, 0),
    ]
    # over 2.24 eye distances: 1.34 %, .22 %, .40 %
    assert [(x.truths, x.found) for x in r.recalls["peak_face"]] == [(1, 0), (1, 1), (0, 0), (1, 1), (0, 0)]
    assert [(x.label, x.truths, x.found) for x in r.recalls["unit"]] == [("AU4", 3, 2)]
    assert [(p.label, p.score.tp, p.score.fp) for p in r.parts["fps"]] == [("25 fps", 1, 0), ("50 fps", 1, 1)]
    assert [(p.label, p.clips) for p in r.parts["group"]] == [("silent", 1), ("talking", 1)]
    assert r.parts["person"] == ()


def test_distractors() -> None:
    records, spotter = _clips()
    by_kind = {d.kind: d for d in result(spotter, records).distractors}
    assert set(by_kind) == {"blink", "speech", "none"}
    assert (by_kind["blink"].truths, by_kind["blink"].found, by_kind["blink"].false_alarms) == (1, 0, 0)
    assert (by_kind["speech"].truths, by_kind["speech"].false_alarms) == (0, 1)
    assert by_kind["speech"].time_share == pytest.approx(1 / 15.4, rel=0.03)
    assert by_kind["speech"].false_per_minute == pytest.approx(60, rel=0.03)
    assert (by_kind["none"].truths, by_kind["none"].found, by_kind["none"].false_alarms) == (2, 2, 0)
    assert sum(by_kind[k].time_share for k in by_kind) == pytest.approx(1)


def test_each_expression_pays_once_and_half_an_overlap_is_enough() -> None:
    clip = record([Interval(2.0, 2.1, 2.18, (4,), 2.0)], name="c")  # steps 100…109
    half = Interval(2.0, 2.1, 2.38)  # 100…119: 10 of 20
    over = Interval(2.0, 2.1, 2.40)
    assert frames(half) == (100, 119)
    assert pooled(judge(Scripted({"c": [published(half)]}), [clip])) == SpottingScore(1, 0, 0)
    assert pooled(judge(Scripted({"c": [published(over)]}), [clip])) == SpottingScore(0, 1, 1)
    twice = [published(clip.truths[0]), published(half)]
    assert pooled(judge(Scripted({"c": twice}), [clip])) == SpottingScore(1, 1, 0)


def test_curves_and_equal_false_alarms() -> None:
    records, spotter = _clips()
    curve = result(spotter, records).curve
    assert [p.level for p in curve] == [0.1, 0.5, 0.9]
    assert curve[0].recall == curve[1].recall == pytest.approx(2 / 3)
    assert curve[0].precision == pytest.approx(2 / 5)
    assert curve[2] == Point(0.9, 0, 0, 0, 0)
    assert best_within(curve, 4.0) == curve[1]
    assert best_within(curve, 3.0) == curve[2]
    assert best_within([], 3.0) is None


def test_latency_counts_the_wait_for_the_next_frame() -> None:
    records, _ = _clips()
    at = Interval(4.0, 4.1, 4.2)
    spotter = Scripted({"bob": [Published(at, 4.50), Published(replace(at, onset_s=1), 7.98)]})
    found = result(spotter, records).latency
    assert found is not None
    assert (found.spots, found.at_end) == (1, 1)
    assert found.p50 == pytest.approx(
        300 + 20
    )  # 25 frames a second: the frame at 4.52 settles the step at 4.50
    assert isnan(found.step_p50)
    quiet = result(Scripted({}), records)
    assert quiet.latency is not None
    assert isnan(quiet.latency.p95)
    assert quiet.errors == {}


@given(st.floats(0, 100), st.sampled_from([23.976, 25.0, 30.0, 50.0, 200.0]))
def test_the_wait_is_less_than_a_frame(at: float, fps: float) -> None:
    assert 0 <= frame_wait_s(at, fps) <= 1 / fps
    assert frame_wait_s(at, 0.0) == 0
