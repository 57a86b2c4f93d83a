"""MME from folders: both layouts, the official score, the official files back."""

from __future__ import annotations

from pathlib import Path

import pytest

from mellm.evaluation.compare.config import MmeTask
from mellm.evaluation.compare.published import defaults
from mellm.evaluation.compare.tasks import load
from mellm.evaluation.compare.tasks.mme import Mme
from mellm.evaluation.compare.types import Answer
from mellm.evaluation.metrics import mme
from mellm.evaluation.metrics.errors import MetricsError, RowError
from tests.evaluation.compare.made import png

ASK = " Please answer yes or no."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    flat = tmp_path / "existence"
    flat.mkdir()
    for number in (2, 10, 1):
        (flat / f"{number}.jpg").write_bytes(png(number))
        (flat / f"{number}.txt").write_text(f"Is there a disc?{ASK}\tYes\nIs there a cat?{ASK}\tNo\n")
    deep = tmp_path / "artwork"
    (deep / "images").mkdir(parents=True)
    (deep / "questions_answers_YN").mkdir()
    (deep / "images" / "a.jpg").write_bytes(png(9))
    (deep / "questions_answers_YN" / "a.txt").write_text(f"By him?{ASK}\tno.\nBy her?{ASK}\tYES\n\n")
    return tmp_path


def made(folder: Path, **more: object) -> Mme:
    task = load(MmeTask(kind="mme", folder=folder, **more))  # type: ignore[arg-type]
    assert isinstance(task, Mme)
    return task


def said(task: Mme, text: str, **more: str) -> dict[str, Answer]:
    return {
        q.id: Answer("x", "mme", q.id, "answered", more.get(q.id.replace("/", "_"), text))
        for q in task.questions()
    }


def test_pictures_in_natural_order_with_both_questions(folder: Path) -> None:
    questions = list(made(folder).questions())
    assert [q.id for q in questions[:4]] == [f"existence/{n}.jpg/{k}" for n in (1, 2) for k in (0, 1)]
    assert questions[0].truth == "Yes"
    assert questions[-2].prompt == f"By him?{ASK}"
    assert questions[-2].truth == "No"
    assert questions[-1].meta["subtask"] == "artwork"
    assert len(list(made(folder, limit=1).questions())) == 4
    assert len(list(made(folder, subtasks=("artwork",)).questions())) == 2


def test_the_official_score_and_a_note_where_it_is_not_the_benchmark(folder: Path) -> None:
    task = made(folder)
    right = {q.id: Answer("r", "mme", q.id, "answered", str(q.truth)) for q in task.questions()}
    refused = {q.id: Answer("n", "mme", q.id, "refused", reason="refusal") for q in task.questions()}
    (table,) = task.score({"right": right, "yes": said(task, "Yes, it is."), "none": refused}, defaults())
    rows = {row.name: dict(zip(table.columns, row.cells, strict=True)) for row in table.rows}
    assert rows["right"] == {
        "existence": 200,
        "artwork": 200,
        "perception": 400,
        "cognition": 0,
        "total": 400,
    }
    assert rows["yes"]["total"] == 100
    assert rows["none"]["total"] == 0
    assert rows["Sphinx"]["existence"] == 195.0
    assert any("not the whole benchmark" in note for note in table.notes)


def test_the_official_files_score_the_same(folder: Path, tmp_path: Path) -> None:
    task = made(folder)
    answers = said(task, "Yes\nit is\tso")
    out = tmp_path / "out"
    out.mkdir()
    for name, text in task.results(answers).items():
        (out / name).write_text(text)
    score = mme.mme_score(mme.read_results(out))
    (table,) = task.score({"x": answers})
    assert score.total == table.rows[0].cells[-1]


@pytest.mark.parametrize(
    ("text", "said"), [("Is it?\tYes\n", "1 questions"), ("Is it?\tYes\nIs it?\tMaybe\n", "TAB Yes or No")]
)
def test_a_broken_question_file_is_named_with_its_line(folder: Path, text: str, said: str) -> None:
    (folder / "existence" / "10.txt").write_text(text)
    with pytest.raises(RowError, match=said):
        made(folder)


def test_what_is_not_there_is_a_typed_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MetricsError, match="is not a folder"):
        made(tmp_path / "nowhere")
    with pytest.raises(MetricsError, match="no sub-task 'cats'"):
        made(folder, subtasks=("cats",))
    with pytest.raises(MetricsError, match="no folder 'OCR'"):
        made(folder, subtasks=("OCR",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(MetricsError, match="no sub-task of MME"):
        made(tmp_path / "empty")
    (folder / "artwork" / "questions_answers_YN" / "a.txt").unlink()
    with pytest.raises(MetricsError, match=r"a\.txt cannot be read"):
        made(folder)
