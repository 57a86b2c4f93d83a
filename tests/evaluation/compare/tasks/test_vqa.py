"""The challenge's questions, with pictures of the clip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mellm.evaluation.compare.config import VqaTask
from mellm.evaluation.compare.tasks import load
from mellm.evaluation.compare.tasks.vqa import Vqa
from mellm.evaluation.compare.types import Answer
from mellm.evaluation.metrics.errors import MetricsError, RowError
from tests.evaluation.datasets.made import pictures

LINES: list[dict[str, Any]] = [
    {"question": "What is the coarse expression class?", "answer": "negative"},
    {"question": "What are the action units?", "answer": "brow lowerer, lid tightener"},
    {"question": "Is the action unit brow lowerer shown on the face?", "answer": "yes"},
    {"question": "What is the fine-grained expression class?"},
]


def written(folder: Path, lines: list[dict[str, Any]]) -> Path:
    file = folder / "vqa.jsonl"
    place = {"dataset": "samm", "subject": 6, "filename": "006_1_2"}
    file.write_text("\n".join(json.dumps({"id": str(k), **place, **line}) for k, line in enumerate(lines)))
    return file


def made(file: Path, **more: Any) -> Vqa:
    task = load(VqaTask(kind="vqa", file=file, **more))
    assert isinstance(task, Vqa)
    return task


def test_pictures_are_spread_from_onset_to_offset_of_the_subjects_own_clip(tmp_path: Path) -> None:
    pictures(tmp_path / "m" / "007" / "006_1_2", ["x1.jpg"])
    own = pictures(tmp_path / "m" / "006" / "006_1_2", [f"006_{k:05d}.jpg" for k in range(100, 120)])
    span = {**LINES[0], "onset_frame": 105, "offset_frame": 113}
    (question,) = made(written(tmp_path, [span]), media=tmp_path / "m", frames=3).questions()
    assert question.images == tuple((own / f"006_{k:05d}.jpg").read_bytes() for k in (105, 109, 113))
    assert question.meta["subtask"] == "coarse"


def test_every_kind_is_scored_and_what_cannot_be_is_counted(tmp_path: Path) -> None:
    task = made(written(tmp_path, LINES))
    right = {q.id: Answer("r", "vqa", q.id, "answered", q.truth or "?") for q in task.questions()}
    failed = {q.id: Answer("n", "vqa", q.id, "failed", reason="timeout") for q in task.questions()}
    (table,) = task.score({"right": right, "nobody": failed})
    best, worst, prior = (dict(zip(table.columns, row.cells, strict=True)) for row in table.rows)
    assert (best["coarse UF1"], best["yes/no"], best["units F1"]) == (1, 1, 1)
    assert (worst["coarse UF1"], worst["yes/no"], worst["units F1"]) == (0, 0, 0)
    assert prior["coarse UF1"] < 1
    assert any(note.startswith("nobody is not better than prior only") for note in table.notes)
    assert not any(note.startswith("right is not better") for note in table.notes)
    assert any("1 questions have no answer" in note for note in table.notes)


def test_clips_without_pictures_are_left_out_and_counted(tmp_path: Path) -> None:
    pictures(tmp_path / "m" / "006_1_2", ["1.jpg"])
    lines = [LINES[0], {**LINES[0], "filename": "028_4_1"}]
    task = made(written(tmp_path, lines), media=tmp_path / "m")
    answers = {q.id: Answer("r", "vqa", q.id, "answered", "negative") for q in task.questions()}
    assert len(answers) == 1
    (table,) = task.score({"r": answers})
    assert "1 questions were left out" in table.notes[0]
    with pytest.raises(MetricsError, match="none of the 1 clips"):
        made(written(tmp_path, lines[1:]), media=tmp_path / "m")


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"answer": "x"}', '{"question": " "}', '{"id":1,"question":"a"}\n{"id":1,"question":"b"}'],
)
def test_a_line_that_is_no_question_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "vqa.jsonl"
    file.write_text(text)
    with pytest.raises(RowError, match=r"vqa\.jsonl"):
        made(file)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(MetricsError, match="cannot be read"):
        made(tmp_path / "none.jsonl")
    with pytest.raises(MetricsError, match="is not a folder"):
        made(written(tmp_path, LINES), media=tmp_path / "none")
