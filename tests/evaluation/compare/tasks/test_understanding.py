"""A data set's clips, asked with their motion maps. The clip is the shipped sample, its face a photograph."""

from __future__ import annotations

import asyncio
from pathlib import Path

import av
import cv2
import pytest

from mellm.clients.cli.demo import SAMPLE
from mellm.evaluation.compare.config import RulesSystem, UnderstandingTask
from mellm.evaluation.compare.embedded import make
from mellm.evaluation.compare.tasks import load
from mellm.evaluation.compare.tasks.understanding import Understanding
from mellm.evaluation.compare.types import Answer
from mellm.evaluation.datasets import DatasetError
from mellm.evaluation.metrics.priors import PRIOR
from tests.evaluation.datasets.made import CASME2_HEADS, Rows, book

FIRST, ONSET, APEX, OFFSET = 118, 120, 129, 141
"""Frames of the sample: its first expression, AU4 on both sides."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("casme2")
    rows: Rows = [
        CASME2_HEADS,
        [1, "EP02_01f", None, ONSET, APEX, OFFSET, None, "4", "disgust"],
        [1, "EP03_02", None, 10, "/", 30, None, "12", "happiness"],
        [2, "EP01_2", None, 10, 20, 30, None, "12", "happiness"],
    ]
    book(folder / "CASME2-coding-20140508.xlsx", rows)
    clip = folder / "CASME2-RAW" / "sub01" / "EP02_01f"
    clip.mkdir(parents=True)
    with av.open(str(SAMPLE / "sample.mp4")) as video:
        for number, frame in enumerate(video.decode(video=0)):
            if number > APEX:
                break
            if number >= FIRST:
                cv2.imwrite(str(clip / f"img{number}.png"), frame.to_ndarray(format="bgr24"))
    return folder


@pytest.mark.usefixtures("models")
def test_clips_are_asked_with_their_map_and_scored(root: Path) -> None:
    task = load(UnderstandingTask(kind="understanding", dataset="casme2", root=root))
    assert isinstance(task, Understanding)
    (question,) = task.questions()
    assert question.images[0].startswith(b"\x89PNG")
    assert question.evidence is not None
    assert "motion maps of faces" in question.system
    assert "Region table" in question.prompt
    assert question.truth == "units 4; negative (disgust)"

    system = make(RulesSystem(kind="rules"))
    by_rules = asyncio.run(system.ask(question))
    asyncio.run(system.close())
    silent = Answer("n", task.name, question.id, "failed", reason="timeout")
    (table,) = task.score({"rules": {question.id: by_rules}, "nobody": {question.id: silent}})
    assert by_rules.state == "answered", by_rules
    best, worst, prior = (dict(zip(table.columns, row.cells, strict=True)) for row in table.rows)
    assert table.rows[-1].name == PRIOR
    assert prior["units set F1"] == 0, "there is nobody else to know anything from"
    assert any(note.startswith("nobody is not better than prior only") for note in table.notes)
    assert not any(note.startswith("rules is not better") for note in table.notes)
    assert best["units set F1"] == 1
    assert best["coarse UF1"] == 1
    assert (worst["units set F1"], worst["could not be read"]) == (0, 1)
    assert any("1 moment_unknown, 1 frames_missing" in note for note in table.notes)


@pytest.mark.usefixtures("models")
def test_a_data_set_without_one_usable_clip_is_refused(tmp_path: Path) -> None:
    rows: Rows = [
        ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Emotion"],
        [1, "S01-01-001", 1, 8, 15, "4", "disgust"],
    ]
    book(tmp_path / "MMEW_Micro_Exp.xlsx", rows)
    with pytest.raises(DatasetError, match="1 frames_missing"):
        load(UnderstandingTask(kind="understanding", dataset="mmew", root=tmp_path))
