from __future__ import annotations

import pytest

from mellm.evaluation.metrics.errors import MetricsError
from mellm.evaluation.metrics.vqa import Row, task_of, vqa_score

COARSE = "What is the coarse expression class?"
FINE = "What is the fine-grained expression class?"
UNITS = "What are the action units?"
SHOWN = "Is the action unit brow lowerer shown on the face?"
SIDE = "Is the action unit dimpler located on the left or right face?"
ALL = (
    "What are the action units present, and based on them, what is the fine-grained expression and the coarse "
    "expression class?"
)
TOLD = (
    "The action units present are: {}. Therefore, the fine-grained expression class is {}, and the coarse "
    "expression class is {}."
)


@pytest.mark.parametrize(
    ("question", "truth", "task"),
    [
        (COARSE, "negative", "coarse"),
        (FINE, "disgust", "fine"),
        ("What is the action unit?", "dimpler", "units"),
        (UNITS, "dimpler", "units"),
        (SHOWN, "yes", "yes_no"),
        (SIDE, "left", "side"),
        (ALL, "…", "combined"),
        ("Please analyse the micro-expression shown in this video in detail.", "…", "describe"),
        ("Is there a face?", "Yes.", "yes_no"),
        ("Who is it?", "nobody", "other"),
    ],
)
def test_questions_are_told_apart_by_their_words(question: str, truth: str, task: str) -> None:
    assert task_of(question, truth) == task


def test_a_case_worked_by_hand() -> None:
    score = vqa_score(
        [
            Row(COARSE, "negative", "Negative."),
            Row(COARSE, "positive", "positive"),
            Row(FINE, "disgust", "It is disgust, not fear"),
            Row(FINE, "fear", None),
            Row(UNITS, "brow lowerer, lid tightener", "lid tightener, brow lowerer"),
            Row(SHOWN, "yes", "Yes, it is"),
            Row(SHOWN, "no", "no"),
            Row(
                ALL,
                TOLD.format("dimpler", "disgust", "negative"),
                TOLD.format("dimpler", "anger", "negative"),
            ),
        ]
    )
    assert score.tasks == {"coarse": 2, "fine": 2, "yes_no": 2, "units": 1, "combined": 1}
    assert score.coarse
    assert (score.coarse.exact.uf1, score.coarse.extracted.uf1) == (0.5, 1)
    assert score.fine
    assert (score.fine.exact.uar, score.fine.extracted.uar) == (0, 0.5)
    assert score.yes_no
    assert (score.yes_no.accuracy_exact, score.yes_no.accuracy_extracted, score.yes_no.unparsable) == (
        0.5,
        1,
        0,
    )
    assert score.units
    assert (score.units.jaccard, score.units.clips) == (1, 2)
    assert {name: s.accuracy for name, s in score.combined.items()} == {"coarse": 1, "fine": 0}
    assert score.empty == 1
    assert 0 < score.text["rouge1_f1"].value < 1
    told = score.as_dict()
    assert told["text"]["bleu"]["variant"].startswith("sacrebleu ")
    assert (told["rows"], told["coarse"]["extracted"]["uf1"]) == (8, 1)


def test_classes_alone_have_no_text_measures() -> None:
    score = vqa_score([Row(COARSE, "negative", "negative")])
    assert (score.text, score.yes_no, score.units, score.fine) == ({}, None, None, None)


def test_a_given_task_wins_over_the_words() -> None:
    assert vqa_score([Row("?", "negative", "negative", "coarse")]).tasks == {"coarse": 1}


def test_bad_input_is_refused() -> None:
    with pytest.raises(MetricsError, match="no questions"):
        vqa_score([])
    with pytest.raises(MetricsError, match="question 2 has no truth"):
        vqa_score([Row(COARSE, "negative", None), Row(COARSE, " ", "x")])
