from mellm.evaluation.metrics.priors import PRIOR, answered, figures, likeliest, no_better
from mellm.evaluation.metrics.vqa import Row, vqa_score


def test_what_is_true_of_the_person_asked_about_is_not_known():
    told = likeliest(["q"] * 5, ["a", "a", "a", "b", "c"], ["x", "x", "x", "y", "y"])
    assert told == ["y", "y", "y", "x", "x"]


def test_nobody_else_was_asked():
    assert likeliest(["p", "q"], ["a", "b"], ["x", "y"]) == [None, None]


def test_questions_get_the_likeliest_answer_of_their_words_then_of_their_kind():
    rows = [
        Row("Is the action unit lid tightener shown on the face?", "no", None),
        Row("Is the action unit brow lowerer shown on the face?", "yes", None),
        Row("Is the action unit brow lowerer shown on the face?", "yes", None),
        Row("What is the coarse expression class?", "negative", None),
    ]
    assert [row.answer for row in answered(rows, ["a", "b", "c", "d"])] == ["yes", "yes", "yes", None]


def test_who_answers_the_commonest_is_no_better_and_who_looks_is():
    rows = [
        Row("What is the coarse expression class?", truth, None)
        for truth in ("negative", "negative", "positive")
    ]
    people = ["a", "b", "c"]
    prior = figures(vqa_score(answered(rows, people)))
    constant = figures(vqa_score([Row(r.question, r.truth, "negative") for r in rows]))
    right = figures(vqa_score([Row(r.question, r.truth, r.truth) for r in rows]))
    told = no_better("m", {"coarse UF1": prior["coarse UF1"]}, prior)
    assert told is not None
    assert PRIOR in told
    assert "coarse UF1" in told
    assert no_better("m", right, prior) is None
    assert set(constant) == {"coarse UF1"}
