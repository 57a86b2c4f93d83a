"""Rules of other scorers, each on a case where it must differ from ours in a known way."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.evaluation.metrics import compat
from mellm.evaluation.metrics.matching import Interval
from mellm.evaluation.metrics.recognition import recognition_score
from mellm.evaluation.metrics.spotting import spotting_score
from mellm.evaluation.metrics.strs import Row, strs_score


def by_name(printed: tuple[compat.Printed, ...]) -> dict[str, Mapping[str, float | None]]:
    assert all(p.why for p in printed)
    return {p.scorer.rpartition("/")[2]: p.values for p in printed}


def counts(values: Mapping[str, float | None]) -> tuple[float | None, ...]:
    return values["tp"], values["fp"], values["fn"]


def test_two_predictions_of_one_truth() -> None:
    video = ([(100, 109), (101, 110)], [(100, 110)])
    assert spotting_score([video]).tp == 1
    found = by_name(compat.spotting([video]))
    assert counts(found["STRS-Metric"]) == (2, 0, 0)
    assert counts(found["SoftNet-SpotME"]) == (1, 1, 0)
    assert counts(found["LGSNet"]) == (1, 1, 0)
    assert counts(found["spotting_evaluation (of several projects)"]) == (1, 0, 0)


def test_one_prediction_of_two_truths() -> None:
    video = ([(0, 19)], [(0, 9), (10, 19)])
    found = by_name(compat.spotting([video]))
    assert counts(found["STRS-Metric"]) == (2, 0, 0)
    assert counts(found["SoftNet-SpotME"]) == (1, 0, 1)
    assert counts(found["LGSNet"]) == (2, -1, 0)
    assert found["LGSNet"]["precision"] == 2  # as its formula TP / N has it


def test_a_greedy_scorer_loses_a_match() -> None:
    video = ([(0, 18), (0, 9)], [(0, 9), (200, 219)])
    assert counts(by_name(compat.spotting([video]))["SoftNet-SpotME"]) == (1, 1, 1)
    both = ([(0, 19), (10, 19)], [(0, 9), (10, 19)])
    assert spotting_score([both]).tp == 2
    assert counts(by_name(compat.spotting([both]))["SoftNet-SpotME"]) == (
        1,
        1,
        1,
    )  # of a tie it takes the later


def test_videos_without_predictions_or_truth() -> None:
    videos: list[compat.Sides] = [([], [(10, 19)]), ([(5, 9)], [])]
    assert counts(spotting_score(videos).as_dict()) == (0, 1, 1)
    found = by_name(compat.spotting(videos))
    assert counts(found["STRS-Metric"]) == (0, 0, 1)
    assert counts(found["SoftNet-SpotME"]) == (0, 1, 1)  # the made-up prediction of the silent video
    assert counts(found["LGSNet"]) == (0, 1, 1)


def test_ends_that_do_not_count() -> None:
    video = ([(0, 3)], [(2, 5)])  # 2 of 6 frames, or 1 of 5 lengths
    near = ([(0, 3)], [(1, 4)])  # 3 of 5 frames, or 2 of 4 lengths
    other = ([(0, 2)], [(1, 3)])  # 2 of 4 frames, or 1 of 3 lengths
    assert [spotting_score([v]).tp for v in (video, near, other)] == [0, 1, 1]
    name = "ends excluded (temporal action localisation)"
    assert [by_name(compat.spotting([v]))[name]["tp"] for v in (video, near, other)] == [0, 1, 0]


def test_a_mean_over_videos_is_not_pooled() -> None:
    videos = [([(0, 9)], [(0, 9)]), ([], [(10 * k, 10 * k + 5) for k in range(9)])]
    assert spotting_score(videos).f1 == pytest.approx(2 / 11)
    assert by_name(compat.spotting(videos))["mean over videos"]["f1"] == 0.5


apart = st.lists(st.integers(0, 40), unique=True, max_size=8).map(
    lambda ks: [(20 * k, 20 * k + 9) for k in ks]
)


@given(apart, apart)
def test_all_agree_where_nothing_is_ambiguous(predicted: list[Interval], true: list[Interval]) -> None:
    predicted = predicted or [(5000, 5009)]
    true = true or [(6000, 6009)]
    ours = spotting_score([(predicted, true)])
    for printed in compat.spotting([(predicted, true)]):
        assert printed.values["f1"] == pytest.approx(ours.f1), printed.scorer


def test_labels() -> None:
    true = ["negative", "negative", "positive", "positive"]
    got = ["negative", "positive", "positive", None]
    ours = recognition_score(true, got)
    assert ours.uf1 == pytest.approx((2 / 3 + 1 / 2) / 2)
    found = by_name(compat.recognition(true, got, ["s1", "s1", "s2", "s2"]))
    assert found["MEGC2025)"] == pytest.approx(
        {"uf1": (2 / 3 + 1 / 2 + 0) / 3, "uar": (1 / 2 + 1 / 2 + 0) / 3}
    )
    assert found["STRS-Metric"]["uar"] == pytest.approx((1 + 1 / 2 + 0) / 3)  # mean precision
    assert found["MEAN, fixed list of 3"]["uf1"] == pytest.approx(ours.uf1)  # nobody has surprise: left out
    assert found["mean over folds"]["uar"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert "MEAN, fixed list of 3" not in by_name(compat.recognition(["disgust"], ["disgust"]))


def test_one_class_all_right_stops_a_fixed_list() -> None:
    assert recognition_score(["positive"] * 3, ["positive"] * 3).uf1 == 1
    found = by_name(compat.recognition(["positive"] * 3, ["positive"] * 3))
    assert found["MEAN, fixed list of 3"] == {"uf1": None, "uar": None}


def rows(*emotions: str) -> list[Row]:
    return [Row("1", "a", 100 * k, 100 * k + 9, emotion) for k, emotion in enumerate(emotions)]


def test_the_published_row_whose_uar_is_its_precision() -> None:
    # MEGC 2025 baseline, SAMM: precision 0.1667, recall 0.3333, "UAR" 0.1667, with 1 true and 1 false positive
    values = by_name(compat.strs(rows("negative", "positive", "surprise"), rows("negative", "negative")))[
        "STRS-Metric"
    ]
    assert values["precision_analysis"] == values["uar"] == pytest.approx(0.1667, abs=1e-4)
    assert values["recall_analysis"] == pytest.approx(0.3333, abs=1e-4)
    assert (values["tp_analysis"], values["fp_analysis"], values["fn_analysis"]) == (1, 1, 1)
    ours = strs_score(rows("negative", "positive", "surprise"), rows("negative", "negative")).analysis
    assert ours is not None
    assert ours.uar == 0.5  # surprise was not spotted


def test_strs_of_a_perfect_single_class_is_not_a_number_there() -> None:
    truth = rows("negative", "negative")
    assert strs_score(truth, truth).strs == 1
    assert by_name(compat.strs(truth, truth))["STRS-Metric"]["strs"] is None


def test_strs_skips_people_without_predictions() -> None:
    truth = [*rows("negative", "positive"), Row("2", "a", 0, 9, "negative")]
    values = by_name(compat.strs(truth, rows("negative", "positive")))["STRS-Metric"]
    assert (values["fn_spotting"], values["strs"]) == (0, 1)
    assert strs_score(truth, rows("negative", "positive")).spotting.fn == 1
