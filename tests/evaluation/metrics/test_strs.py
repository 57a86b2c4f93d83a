from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.evaluation.metrics.spotting import SpottingScore
from mellm.evaluation.metrics.strs import Row, strs_score


def row(video: str, onset: int, offset: int, emotion: str, subject: str = "1") -> Row:
    return Row(subject, video, onset, offset, emotion)


TRUTH = [
    row("a", 10, 29, "negative"),
    row("a", 100, 119, "positive"),
    row("b", 10, 29, "negative"),
    row("b", 200, 219, "surprise"),
]


def test_a_case_worked_by_hand() -> None:
    got = [
        row("a", 12, 31, "negative"),
        row("a", 101, 120, "negative"),
        row("b", 10, 29, "negative"),
        row("b", 400, 419, "surprise"),
    ]
    score = strs_score(TRUTH, got)
    assert score.spotting == SpottingScore(tp=3, fp=1, fn=1)
    # spotted: negative 2 of 2 right, positive answered as negative; surprise was not spotted and is not judged
    precision, recall = (2 / 3 + 0) / 2, (1 + 0) / 2
    assert score.analysis_f1 == pytest.approx(2 * precision * recall / (precision + recall))
    assert score.strs == pytest.approx(0.75 * score.analysis_f1)
    assert score.as_dict()["analysis"]["uf1"] == pytest.approx((2 * 2 / (4 + 1) + 0) / 2)


def test_analysis_is_the_harmonic_mean_of_the_means_not_the_mean_of_the_f1s() -> None:
    got = [
        Row(t.subject, t.video, t.onset, t.offset, e)
        for t, e in zip(TRUTH, ["negative", "negative", "negative", "surprise"], strict=True)
    ]
    score = strs_score(TRUTH, got)
    precision, recall = (2 / 3 + 0 + 1) / 3, (1 + 0 + 1) / 3
    assert (
        score.strs == pytest.approx(2 * precision * recall / (precision + recall)) == pytest.approx(20 / 33)
    )
    assert score.as_dict()["analysis"]["uf1"] == pytest.approx((0.8 + 0 + 1) / 3)


def test_the_same_frames_of_another_subject_or_video_are_no_match() -> None:
    got = [row("a", 10, 29, "negative", subject="2"), row("c", 10, 29, "negative")]
    score = strs_score(TRUTH, got)
    assert score.spotting == SpottingScore(tp=0, fp=2, fn=4)
    assert (score.analysis, score.strs) == (None, 0)


def test_only_chosen_emotions_are_judged_but_all_are_spotted() -> None:
    got = [row("a", 10, 29, "negative"), row("a", 100, 119, "surprise")]
    assert strs_score(TRUTH, got).analysis_f1 < 1
    chosen = strs_score(TRUTH, got, emotions={"negative", "surprise"})
    assert chosen.analysis_f1 == 1
    assert chosen.spotting.tp == 2


rows = st.lists(
    st.builds(
        lambda s, v, a, n, e: Row(s, v, a, a + n, e),
        st.sampled_from("12"),
        st.sampled_from("ab"),
        st.integers(0, 40),
        st.integers(0, 15),
        st.sampled_from(["negative", "positive", "surprise"]),
    ),
    max_size=12,
)


@given(rows, rows, st.randoms())
def test_order_does_not_matter_and_scores_are_bounded(
    truth: list[Row], got: list[Row], shuffle: random.Random
) -> None:
    before = strs_score(truth, got)
    shuffle.shuffle(truth)
    shuffle.shuffle(got)
    assert strs_score(truth, got) == before
    assert 0 <= before.strs <= min(before.spotting.f1, before.analysis_f1) <= 1
    assert strs_score(truth, truth).strs == (1 if _apart(truth) else strs_score(truth, truth).strs)


def _apart(truth: list[Row]) -> bool:
    """Rows that cannot be taken for one another."""
    places = [(r.subject, r.video, r.onset, r.offset) for r in truth]
    return bool(truth) and len(set(places)) == len(places)
