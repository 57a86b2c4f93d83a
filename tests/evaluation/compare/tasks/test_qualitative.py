"""The suite that ships, and suites of one's own."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mellm.evaluation.compare.config import QualitativeTask
from mellm.evaluation.compare.suite import draw
from mellm.evaluation.compare.tasks import load
from mellm.evaluation.compare.tasks.qualitative import SHIPPED, Qualitative, read, share
from mellm.evaluation.compare.types import Answer
from mellm.evaluation.metrics.errors import MetricsError
from mellm.stream.errors import ConfigError
from tests.evaluation.compare.made import png

SUBTASKS = {
    "Fundamental Perception": """spatial relation; object counting; difference spotting; optical illusion; scene
        understanding from image; scene understanding from video; commonsense; subject knowledge; multicultural customs;
        world memory""",
    "Advanced Cognition": """table and chart reasoning; visual code generation; abstract visual stimuli; Wechsler Adult
        Intelligence Scale; Raven's Progressive Matrices; mathematics; physics; facial expression analysis; image
        emotion analysis; emotion-conditioned output; games""",
    "Challenging Vision": """object detection; referring expression comprehension; phrase localisation; face detection
        and recognition; object tracking; video action recognition; visual story generation""",
    "Expert Capacity": """autonomous driving; defect detection; medical diagnosis; economic analysis; surveillance and
        security; remote sensing; robot motion planning""",
}


def made(**settings: object) -> Qualitative:
    task = load(QualitativeTask(kind="qualitative", **settings))  # type: ignore[arg-type]
    assert isinstance(task, Qualitative)
    return task


def test_the_shipped_suite_covers_every_subtask_and_technique_of_the_survey() -> None:
    samples = read(SHIPPED).samples
    for domain, names in SUBTASKS.items():
        wanted = {" ".join(name.split()) for name in names.split(";")}
        assert {sample.subtask for sample in samples if sample.domain == domain} == wanted
    assert {sample.technique for sample in samples} == {"plain", "pointer", "chain-of-thought", "few-shot"}
    assert all(sample.points for sample in samples)


def test_every_truth_says_its_own_points() -> None:
    for sample in read(SHIPPED).samples:
        if sample.truth is not None and len(sample.points) < 3:
            answer = Answer("x", "q", sample.id, "answered", sample.truth)
            assert share(sample, answer) > 0, sample.id


def test_the_pictures_are_the_ones_that_the_code_draws() -> None:
    stored = {path.stem: path for path in (SHIPPED / "pictures").glob("*.png")}
    assert stored.keys() == draw.PICTURES.keys()
    used = {image.stem for sample in read(SHIPPED).samples for image in sample.images}
    used |= {image.stem for s in read(SHIPPED).samples for shot in s.shots for image in shot.images}
    assert used == stored.keys()
    for name in list(stored)[::9]:
        old, new = (
            cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE).astype(float)
            for data in (stored[name].read_bytes(), draw.png(draw.PICTURES[name]))
        )
        # fonts differ a little from one release of matplotlib to the next
        assert np.abs(old - new).mean() < 3, name
    assert sum(path.stat().st_size for path in stored.values()) < 2 << 20


def test_words_are_found_whole_and_in_any_wording() -> None:
    sample = next(s for s in read(SHIPPED).samples if s.id == "count")

    def of(text: str) -> float:
        return share(sample, Answer("x", "q", "count", "answered", text))

    assert of("There are 7 circles and three squares.") == 1
    assert of("There are 17 circles and 3.") == 0.5
    assert of("") == 0
    assert share(sample, Answer("x", "q", "count", "failed", reason="timeout")) == 0


def test_tables_by_domain_subtask_and_technique() -> None:
    task = made(domains=("Expert Capacity",))
    answers = {
        q.id: Answer("x", "qualitative", q.id, "answered", "stop at the sign") for q in task.questions()
    }
    domains, subtasks, techniques = task.score({"x": answers})
    assert domains.columns == ("Expert Capacity", "all")
    assert dict(zip(subtasks.columns, subtasks.rows[0].cells, strict=True))["autonomous driving"] == 0.75
    assert techniques.columns == ("plain", "all")
    assert "understands nothing" in domains.notes[0]


def test_few_shot_samples_show_their_example() -> None:
    question = next(q for q in made().questions() if q.technique == "few-shot")
    assert question.shots[0].answer == "surprise"
    assert question.shots[0].images[0][:4] == b"\x89PNG"


def suite(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "a.png").write_bytes(png(3))
    (folder / "suite.toml").write_text(text)
    return folder


GOOD = """title = "mine"
[[samples]]
id = "a"
domain = "d"
subtask = "s"
title = "t"
prompt = "p"
images = ["a.png"]
"""


def test_a_suite_of_ones_own(tmp_path: Path) -> None:
    task = made(folder=suite(tmp_path / "mine", GOOD))
    (question,) = task.questions()
    assert question.images == (png(3),)
    assert task.score({"x": {"a": Answer("x", "q", "a", "answered", "hm")}})[0].columns == ("all",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("a.png", "b.png"), "no picture b.png"),
        (GOOD.replace("a.png", "../../secret.png"), "no picture"),
        (GOOD + GOOD.partition("\n")[2], "two samples are called 'a'"),
        (GOOD + 'poinst = [["x"]]', r"samples\[1\]\.poinst.*did you mean 'points'"),
        (GOOD.replace('"p"', '""'), "prompt"),
        ("title = ", "is not TOML"),
    ],
)
def test_a_suite_that_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises((ConfigError, MetricsError), match=said):
        made(folder=suite(tmp_path / "mine", text))


def test_domains_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(MetricsError, match="no domain 'Cooking'"):
        made(domains=("Cooking",))
