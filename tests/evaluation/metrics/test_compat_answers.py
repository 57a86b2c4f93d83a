from __future__ import annotations

import pytest

from mellm.evaluation.metrics import compat_answers
from mellm.evaluation.metrics.mme import Answer, Pair
from mellm.evaluation.metrics.vqa import Row


def pair(image: str, first: str, second: str) -> Pair:
    return Answer(image, "?", "yes", first), Answer(image, "?", "no", second)


def test_parsers_side_by_side() -> None:
    tasks = {"OCR": [pair("1", "The answer is yes", "No"), pair("2", "Y", "Not sure")]}
    found = {p.scorer: p.values["total"] for p in compat_answers.mme(tasks)}
    # official: wrong, right, wrong, right ("Not sure" is no); y counts for lmms-eval; words anywhere for vlmevalkit
    assert found == {"official": 50, "lmms-eval": 75 + 50, "vlmevalkit": 50 + 50}


def test_names_of_images_that_occur_twice() -> None:
    tasks = {"OCR": [pair("1", "Yes", "No"), pair("1", "No", "Yes"), pair("2", "Yes", "Yes")]}
    found = {p.scorer: p.values["total"] for p in compat_answers.mme(tasks)}
    assert found["official"] == pytest.approx(100 * 3 / 6 + 100 * 1 / 3)
    assert found["vlmevalkit, by image"] == pytest.approx(100 * 3 / 6 + 100 * 1 / 2)
    lone = {"OCR": [(Answer("1", "?", "yes", "yes"), Answer("2", "?", "no", "no"))]}
    assert compat_answers.mme(lone)[-1].values["total"] is None


COARSE = "What is the coarse expression class?"
UNITS = "What are the action units?"


def test_teams_of_the_challenge() -> None:
    rows = [
        Row(COARSE, "negative", "Negative."),
        Row(COARSE, "positive", "positive"),
        Row(UNITS, "brow lowerer", "brow lowerer"),
        Row(UNITS, "brow lowerer", ""),
    ]
    third, later, base = (p.values for p in compat_answers.vqa(rows))
    assert third["coarse_uf1"] == pytest.approx(1 / 3)  # "negative." is a class of its own there
    assert (later["coarse_uf1"], base["coarse_accuracy"]) == (1, 1)
    assert (third["rouge1"], later["rouge1"]) == (1, 0.5)  # empty answers are left out, or count 0
    assert third["bleu"] > later["bleu"] == 0
