from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mellm.evaluation.metrics import inputs
from mellm.evaluation.metrics import scorers as kinds
from mellm.evaluation.metrics.errors import MetricsError, RowError
from mellm.evaluation.metrics.inputs import Files
from mellm.evaluation.metrics.moments import Moments
from mellm.evaluation.metrics.strs import Row
from mellm.evaluation.metrics.videos import spotting
from mellm.evaluation.metrics.vqa import Row as Question


def write(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


# --- spotting


def test_spotting_cases(tmp_path: Path) -> None:
    videos = [{"video": "a", "pred": [[0, 9]], "gt": []}, {"video": 7, "pred": [], "gt": [[1.0, "5"]]}]
    given = spotting(Files(cases=write(tmp_path, "v.json", {"videos": videos})))
    assert [(v.video, v.predicted, v.true) for v in given.rows] == [
        ("7", (), ((1, 5),)),
        ("a", ((0, 9),), ()),
    ]
    assert given.subjects == [None, None]
    assert given.notes == ()


def test_a_plain_list_of_videos_will_do(tmp_path: Path) -> None:
    videos = [{"video": "a", "pred": [[0, 9]], "gt": []}]
    whole, lines = {"videos": videos}, "\n".join(map(json.dumps, videos))
    found = [
        spotting(Files(cases=write(tmp_path, name, content))).rows
        for name, content in (("w.json", whole), ("v.json", videos), ("v.jsonl", lines))
    ]
    assert found[0] == found[1] == found[2]


def test_spotting_from_two_files_of_different_shapes(tmp_path: Path) -> None:
    pred = write(tmp_path, "p.csv", "subject,vid,onset,offset,type\ns1,a,0,9,me\ns1,a,0,9,me\ns2,z,5,9,mae\n")
    truth = write(
        tmp_path,
        "t.json",
        {"videos": [{"subject": "s1", "video": "a", "gt": [{"onset": 1, "offset": 9, "type": "me"}]}]},
    )
    given = spotting(Files(pred, truth))
    assert [(v.subject, v.video, v.predicted, v.true) for v in given.rows] == [
        ("s1", "a", ((0, 9), (0, 9)), ((1, 9),)),
        ("s2", "z", ((5, 9),), ()),
    ]
    assert given.rows[0].types == (("me", "me"), ("me",))
    assert given.notes == (
        "1 videos only predicted, all false: s2 z",
        "1 predicted intervals repeat another one, each counted: a 0 9",
    )


def test_spotting_without_any_prediction_is_told(tmp_path: Path) -> None:
    pred = write(tmp_path, "p.csv", "video,onset,offset\n")
    truth = write(tmp_path, "t.csv", "video,onset,offset\na,1,2\n")
    given = spotting(Files(pred, truth))
    assert "no predictions at all" in given.notes[0]
    assert "1 videos only in the truth, all missed: a" in given.notes[1]


@pytest.mark.parametrize(
    ("videos", "said"),
    [
        ([{"video": "a", "pred": [[5, 3]], "gt": []}], "item 1: interval 5–3 ends before it begins"),
        ([{"video": "a", "pred": [[1, float("nan")]], "gt": []}], "offset is nan, no frame number"),
        ([{"video": "a", "pred": [[1]], "gt": []}], r"\[1\] is not an interval"),
        ([{"video": "a", "gt": []}], "video 'a' has no list 'pred'"),
        ([{"video": "a", "pred": None, "gt": []}], "video 'a' has no list 'pred'"),
        ([{"pred": [], "gt": []}], "no 'video'"),
        ([{"video": "a", "pred": [], "gt": []}] * 2, "item 2: video 'a' occurs twice"),
        ([], "no videos to score"),
        (
            [{"video": "a", "pred": [], "gt": []}, {"video": "b", "subject": 1, "pred": [], "gt": []}],
            "some rows name a subject",
        ),
    ],
)
def test_spotting_cases_that_are_refused(tmp_path: Path, videos: list[Any], said: str) -> None:
    with pytest.raises(MetricsError, match=said):
        spotting(Files(cases=write(tmp_path, "v.json", {"videos": videos})))


def test_a_csv_row_that_is_refused_names_its_line(tmp_path: Path) -> None:
    pred = write(tmp_path, "p.csv", "video,onset,offset\na,1,2\na,9,\n")
    with pytest.raises(RowError, match=r"p\.csv, line 3: offset is nothing, no frame number"):
        spotting(Files(pred, pred))


# --- which files


def test_files_must_fit_together(tmp_path: Path) -> None:
    path = write(tmp_path, "x.json", [])
    for files, said in (
        (Files(), "no predictions"),
        (Files(true=path), "no predictions"),
        (Files(predicted=path, cases=path), "one file with both sides and one for a side"),
    ):
        with pytest.raises(MetricsError, match=said):
            files.both()
    assert Files(predicted=path).both() == path
    assert Files(predicted=path, true=path).both() is None


# --- labels


def test_labels_in_one_file(tmp_path: Path) -> None:
    whole = {"gt": ["a", 1, 2.0], "pred": [None, "1", ""], "subjects": [6, 6, 7], "folds": [0, 0, 1]}
    given = inputs.labels(Files(cases=write(tmp_path, "l.json", whole)))
    assert given.rows == [("a", None), ("1", "1"), ("2", None)]
    assert (given.subjects, given.folds) == (["6", "6", "7"], ["0", "0", "1"])
    table = write(tmp_path, "l.csv", "gt,pred,subject\na,b,s1\nb,,s2\n")
    assert inputs.labels(Files(table)).rows == [("a", "b"), ("b", None)]


def test_labels_in_two_files(tmp_path: Path) -> None:
    assert inputs.labels(
        Files(write(tmp_path, "p.json", ["a", None]), write(tmp_path, "t.json", {"gt": ["a", "b"]}))
    ).rows == [("a", "a"), ("b", None)]
    pred = write(tmp_path, "p.csv", "id,label\n3,a\n1,b\n9,a\n")
    truth = write(tmp_path, "t.csv", "id,emotion,subject\n1,b,s\n2,a,s\n3,c,s\n")
    given = inputs.labels(Files(pred, truth))
    assert given.rows == [("b", "b"), ("a", None), ("c", "a")]
    assert given.notes == (
        "1 true rows without a prediction, counted wrong: 2",
        "1 predictions without a true row, ignored: 9",
    )


def test_labels_without_names_meet_by_their_order(tmp_path: Path) -> None:
    given = inputs.labels(
        Files(write(tmp_path, "p.csv", "label\na\nb\n"), write(tmp_path, "t.csv", "emotion\nb\nb\n"))
    )
    assert given.rows == [("b", "a"), ("b", "b")]
    assert given.notes == ("rows have no names: paired by their order",)


@pytest.mark.parametrize(
    ("pred", "truth", "said"),
    [
        (["a"], ["a", "b"], "2 in 'gt' and 1 in 'pred'"),
        (["a"], [None], "item 1: there is no truth"),
        (["a"], [float("nan")], "item 1: there is no truth"),
        ([["a"]], ["a"], "is not a label"),
        ([{"id": 1, "label": "a"}] * 2, [{"id": 1, "label": "a"}], "'1' occurs twice, first in item 1"),
        ([{"label": "a"}], [{"id": 1, "label": "a"}], "have no name that those of the prediction share"),
        (["a"], [{"id": 1, "label": "a"}], "one side is a plain list"),
        ([{"id": 1, "label": "a"}], [{"id": 1}], "there is no truth"),
        ([], [], "no labels|no rows"),
    ],
)
def test_labels_that_are_refused(tmp_path: Path, pred: Any, truth: Any, said: str) -> None:
    files = Files(write(tmp_path, "p.json", pred), write(tmp_path, "t.json", truth))
    with pytest.raises(MetricsError, match=said):
        kinds.recognition(files, kinds.Options())


def test_one_file_of_labels_needs_both_sides(tmp_path: Path) -> None:
    for content, said in (({"pred": ["a"]}, "no lists 'gt' and 'pred'"), ([{"gt": "a"}], "no column 'pred'")):
        with pytest.raises(MetricsError, match=said):
            inputs.labels(Files(write(tmp_path, "l.json", content)))


# --- rows of subjects and videos


def test_strs_rows(tmp_path: Path) -> None:
    head = "subject,video,onset,offset,emotion\n"
    truth = write(tmp_path, "t.csv", head + "1,a,5,9,happy\n1,b,5,9,sad\n")
    pred = write(tmp_path, "p.csv", head + "1,a,-3,9,\n2,a,5,9,fear\n")
    rows, found, notes = inputs.strs(Files(pred, truth))
    assert rows == [Row("1", "a", 5, 9, "happy"), Row("1", "b", 5, 9, "sad")]
    assert found == [Row("1", "a", -3, 9, ""), Row("2", "a", 5, 9, "fear")]
    assert notes == (
        "1 videos only in the truth, all missed: 1 b",
        "1 videos only predicted, all false: 2 a",
        "1 predictions without an emotion, counted wrong where they are spotted",
        "emotions that no truth has, counted wrong: fear",
    )
    with pytest.raises(RowError, match="no 'emotion'"):
        inputs.strs(Files(truth, pred))


def test_strs_cases(tmp_path: Path) -> None:
    row = {"subject": 1, "video": "a", "onset": 5, "offset": 9, "emotion": "happy"}
    rows, found, notes = inputs.strs(Files(cases=write(tmp_path, "c.json", {"gt": [row], "pred": [row]})))
    assert rows == found == [Row("1", "a", 5, 9, "happy")]
    assert notes == ()
    with pytest.raises(MetricsError, match="the truth has no rows"):
        inputs.strs(Files(cases=write(tmp_path, "c.json", {"gt": [], "pred": [row]})))


def test_moments_of_rows(tmp_path: Path) -> None:
    truth = write(tmp_path, "t.csv", "subject,id,onset,apex,offset\n1,a,5,,9\n1,b,5,7,9\n")
    pred = write(tmp_path, "p.json", [{"subject": 1, "id": "b", "onset": 4, "apex": 8.0}])
    given = inputs.moments(Files(pred, truth))
    assert given.rows == [(Moments(5, None, 9), Moments()), (Moments(5, 7, 9), Moments(4, 8, None))]
    assert given.subjects == ["1", "1"]
    assert "1 true rows without a prediction" in given.notes[0]
    with pytest.raises(RowError, match="line 2: interval 5–4 ends"):
        inputs.moments(Files(pred, write(tmp_path, "w.csv", "subject,id,onset,offset\n1,b,5,4\n")))


def test_units_of_rows_and_lists(tmp_path: Path) -> None:
    truth = write(tmp_path, "t.csv", "id,action_units\n1,L12A+R14B\n2,4+7?\n3,\n")
    pred = write(tmp_path, "p.json", [{"id": 1, "action_units": [12]}, {"id": 2, "action_units": None}])
    given = inputs.units(Files(pred, truth))
    assert given.rows == [(frozenset({12, 14}), frozenset({12})), (frozenset({4}), None), (frozenset(), None)]
    assert "1 cells with more than sure units, of which the sure ones count: 4+7?" in given.notes
    lists = inputs.units(Files(cases=write(tmp_path, "c.json", {"gt": [[1, 2], "4"], "pred": [[1], None]})))
    assert lists.rows == [(frozenset({1, 2}), frozenset({1})), (frozenset({4}), None)]
    for cell, said in (([1214], "1214 is not an action unit"), ([float("nan")], "a unit is nan")):
        with pytest.raises(RowError, match=said):
            inputs.units(Files(cases=write(tmp_path, "c.json", {"gt": [[1]], "pred": [cell]})))


# --- questions

ASKED = "What is the coarse expression class?"


def test_questions_with_answers_beside_them_or_in_a_second_file(tmp_path: Path) -> None:
    rows = [
        {"subject": 6, "filename": "a", "question": ASKED, "answer": "negative", "prediction": "Negative."},
        {"subject": 6, "filename": "b", "question": ASKED, "answer": "positive", "prediction": None},
    ]
    one = inputs.questions(Files(write(tmp_path, "q.jsonl", "\n".join(map(json.dumps, rows)))))
    assert one.rows == [Question(ASKED, "negative", "Negative."), Question(ASKED, "positive", None)]
    assert one.subjects == ["6", "6"]
    truth = write(tmp_path, "t.json", [{k: v for k, v in row.items() if k != "prediction"} for row in rows])
    pred = write(tmp_path, "p.json", [{**rows[0], "answer": "Negative.", "prediction": None}])
    two = inputs.questions(Files(pred, truth))
    assert two.rows == one.rows
    assert two.notes == (f"1 true rows without a prediction, counted wrong: 6 b {ASKED}",)
    both = inputs.questions(Files(cases=write(tmp_path, "c.json", {"gt": rows, "pred": rows})))
    assert both.rows[0] == one.rows[0]


def test_questions_that_are_refused(tmp_path: Path) -> None:
    row = {"id": 1, "question": ASKED, "answer": "negative"}
    for rows, said in (
        ([row], "item 1: no column 'prediction'"),
        ([{**row, "prediction": "x", "task": "riddle"}], "'riddle' is not a kind of question"),
        ([{"id": 1, "answer": "a", "prediction": "b"}], "no 'question'"),
        ([{"id": 1, "question": ASKED, "answer": None, "prediction": "b"}], "no 'gt'"),
    ):
        with pytest.raises(RowError, match=said):
            inputs.questions(Files(write(tmp_path, "q.json", rows)))
