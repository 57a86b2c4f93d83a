"""MME: yes/no questions in pairs over 14 sub-tasks, scored by the official rule or by two other common parsers.

A folder holds one ``<sub-task>.txt`` for each sub-task; a line is ``image TAB question TAB Yes|No TAB response``, and
two successive lines belong to one image. Score of a sub-task = 100·acc + 100·acc+, where acc is over questions and
acc+ over images with both answers right. Source: ``calculation.py`` of the MME evaluation tool
(BradyFU/Awesome-Multimodal-Large-Language-Models, branch Evaluation).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final, Literal

from mellm.evaluation.metrics.counts import Plain
from mellm.evaluation.metrics.errors import MetricsError, RowError

PERCEPTION: Final = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
COGNITION: Final = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
TASKS: Final = (*PERCEPTION, *COGNITION)
IMAGES: Final[Mapping[str, int]] = {
    **dict.fromkeys(TASKS, 20),
    **dict.fromkeys(("existence", "count", "position", "color"), 30),
    **dict.fromkeys(("scene", "landmark", "artwork"), 200),
    "posters": 147,
    "celebrity": 170,
    "commonsense_reasoning": 70,
}
"""Images of each sub-task in the whole benchmark: 1,187 with 2,374 questions."""

Reading = Literal["yes", "no", "other"]
_MARKS: Final = ';/[]"{}()=+\\_-><@`,?!'
_COLUMNS: Final = ("image", "question", "Yes or No", "response")


@dataclass(frozen=True, slots=True)
class Answer:
    """One line: a question about an image, its truth (``yes`` or ``no``) and what a model responded, unstripped."""

    image: str
    question: str
    truth: str
    response: str


Pair = tuple[Answer, Answer]


@dataclass(frozen=True, slots=True)
class Results:
    """A folder of answers.

    :param tasks: sub-task → pairs in the order of its file; in the order of :data:`TASKS`
    :param notes: what was found odd and kept, or ignored
    """

    tasks: Mapping[str, tuple[Pair, ...]]
    notes: tuple[str, ...] = ()


def official(response: str) -> Reading:
    """Lower case; exactly yes or no, else "yes" or "no" within the first four characters.

    "Not sure" is therefore read as no, and "The answer is yes" and "**Yes**" as other, which is wrong.
    """
    return _prefix(response.lower())


def lmms_eval(response: str) -> Reading:
    """The official rule after stripping blanks and all full stops; a single y or n counts as well."""
    text = response.lower().strip().replace(".", "")
    return {"y": "yes", "n": "no"}.get(text) or _prefix(text)  # type: ignore[return-value]


def vlmevalkit(response: str) -> Reading:
    """Whole words anywhere in the text: "yes" without "no", or "no" without "yes"."""
    asked = text = response.lower()
    number = re.search(r"\d,\d", asked) is not None
    for mark in _MARKS:
        # a mark beside a blank goes; one between letters becomes a blank; a number like 1,000 makes all of them go
        gone = number or f"{mark} " in asked or f" {mark}" in asked
        text = text.replace(mark, "" if gone else " ")
    words = re.sub(r"\.(?!\d)", "", text, count=32).split()  # its flag lands in the place of the count
    if ("yes" in words) == ("no" in words):
        return "other"
    return "yes" if "yes" in words else "no"


def _prefix(text: str) -> Reading:
    head = text if text in ("yes", "no") else text[:4]
    return "yes" if "yes" in head else "no" if "no" in head else "other"


PARSERS: Final[Mapping[str, Callable[[str], Reading]]] = {
    "official": official,
    "lmms-eval": lmms_eval,
    "vlmevalkit": vlmevalkit,
}


@dataclass(frozen=True, slots=True)
class TaskScore(Plain):
    """One sub-task.

    :param images: with two questions each
    :param right: questions answered right
    :param both: images with both right
    :param other: responses read as neither yes nor no
    """

    TOLD: ClassVar = ("acc", "acc_plus", "score", "images", "questions", "other")
    images: int
    right: int
    both: int
    other: int = 0

    @property
    def acc(self) -> float:
        """Share of questions that are right."""
        return self.right / (2 * self.images) if self.images else 0.0

    @property
    def acc_plus(self) -> float:
        """Share of images with both questions right."""
        return self.both / self.images if self.images else 0.0

    @property
    def score(self) -> float:
        """100·acc + 100·acc+, 0 to 200; guessing gives 75."""
        return 100 * self.acc + 100 * self.acc_plus

    @property
    def questions(self) -> int:
        """Two for each image."""
        return 2 * self.images


@dataclass(frozen=True, slots=True)
class MmeScore(Plain):
    """All sub-tasks under one parser. Sums go over the sub-tasks that are there; :attr:`missing` names the rest."""

    TOLD: ClassVar = ("parser", "perception", "cognition", "total", "complete", "missing", "tasks")
    parser: str
    tasks: Mapping[str, TaskScore] = field(default_factory=dict)

    @property
    def missing(self) -> tuple[str, ...]:
        """Sub-tasks without a file: sums are then no MME score."""
        return tuple(name for name in TASKS if name not in self.tasks)

    @property
    def complete(self) -> bool:
        """Whether no sub-task is missing."""
        return not self.missing

    @property
    def perception(self) -> float:
        """Sum over the ten perception sub-tasks, at most 2000."""
        return sum(self.tasks[name].score for name in PERCEPTION if name in self.tasks)

    @property
    def cognition(self) -> float:
        """Sum over the four cognition sub-tasks, at most 800."""
        return sum(self.tasks[name].score for name in COGNITION if name in self.tasks)

    @property
    def total(self) -> float:
        """Perception and cognition together, at most 2800."""
        return self.perception + self.cognition


def mme_score(rows: Results | Mapping[str, Sequence[Pair]], parser: str = "official") -> MmeScore:
    """Score pairs of answers.

    :param rows: what :func:`read_results` returned, or sub-task → pairs
    :param parser: one of :data:`PARSERS`
    :raises MetricsError: no such parser, no sub-task, or a sub-task without pairs
    """
    if parser not in PARSERS:
        raise MetricsError(f"there is no MME parser {parser!r}", remedy=f"choose of {', '.join(PARSERS)}")
    tasks = rows.tasks if isinstance(rows, Results) else rows
    if not tasks or not all(tasks.values()):
        empty = ", ".join(name for name, pairs in tasks.items() if not pairs)
        raise MetricsError(f"no answers{f' of {empty}' if empty else ''}", remedy="give two lines an image")
    return MmeScore(parser, {name: task_score(pairs, PARSERS[parser]) for name, pairs in tasks.items()})


def task_score(pairs: Sequence[Pair], read: Callable[[str], Reading]) -> TaskScore:
    """Score the pairs of one sub-task with one parser."""
    readings = [[read(answer.response) for answer in pair] for pair in pairs]
    right = [
        sum(got == answer.truth for got, answer in zip(both, pair, strict=True))
        for both, pair in zip(readings, pairs, strict=True)
    ]
    other = sum(both.count("other") for both in readings)
    return TaskScore(len(pairs), sum(right), right.count(2), other)


def read_results(folder: Path) -> Results:
    """Read a folder of official text files; sub-tasks without a file are left out and noted.

    :raises MetricsError: no such folder, or no file of a sub-task in it
    :raises RowError: a line that is not four columns, a truth that is not Yes or No, an image with one line
    """
    if not folder.is_dir():
        raise MetricsError(f"{folder} is not a folder", remedy="name the folder that holds existence.txt …")
    known = {name.lower(): name for name in TASKS}
    files: dict[str, Path] = {}
    notes = []
    for path in sorted(folder.glob("*.[tT][xX][tT]")):
        name = known.get(path.stem.lower())
        if name is None:
            notes.append(f"{path.name} is not a sub-task of MME: ignored")
        elif name in files:
            raise MetricsError(f"{files[name]} and {path} are one sub-task", remedy="remove one of them")
        else:
            files[name] = path
    if not files:
        raise MetricsError(f"{folder} holds no file of a sub-task", remedy=f"expected {TASKS[0]}.txt …")
    tasks = {}
    for name in TASKS:
        if name in files:
            tasks[name], more = _read_task(files[name], name)
            notes += more
        else:
            notes.append(f"{name}.txt is missing: the sums leave it out")
    return Results(tasks, tuple(notes))


def _read_task(path: Path, task: str) -> tuple[tuple[Pair, ...], list[str]]:
    answers = [_answer(path, number, line) for number, line in enumerate(_lines(path), 1)]
    if not answers:
        raise RowError("the file is empty", file=str(path), line=1, remedy="give two lines for each image")
    if len(answers) % 2:
        raise RowError(
            "this image has one line, but two successive lines belong to one image",
            file=str(path),
            line=len(answers),
        )
    pairs = tuple(zip(answers[::2], answers[1::2], strict=True))
    notes = []
    if count := sum(a.image != b.image for a, b in pairs):
        first = 1 + 2 * next(k for k, (a, b) in enumerate(pairs) if a.image != b.image)
        notes.append(
            f"{path.name}: {count} pairs of lines name two images (the first in line {first}); scored as pairs"
        )
    if count := sum(a.truth == b.truth for a, b in pairs):
        notes.append(
            f"{path.name}: {count} pairs have the same truth twice, where MME asks one yes and one no"
        )
    if count := len(answers) - len({(a.image, a.question) for a in answers}):
        notes.append(f"{path.name}: {count} lines repeat an image and its question, each counted")
    if len(pairs) != IMAGES[task]:
        notes.append(f"{path.name}: {len(pairs)} images, MME has {IMAGES[task]}")
    return pairs, notes


def _lines(path: Path) -> list[str]:
    """Lines without their ends; blank ones at the end of the file do not count."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise RowError(
            "this is no UTF-8 text", file=str(path), line=line, remedy="save it as UTF-8"
        ) from error
    except OSError as error:
        raise MetricsError(f"{path} cannot be read: {error.strerror or error}", remedy="check it") from error
    lines = text.split("\n")  # not splitlines: a response may hold other separators of Unicode
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _answer(path: Path, number: int, line: str) -> Answer:
    cells = line.split("\t")
    if len(cells) != len(_COLUMNS):
        shape = " TAB ".join(_COLUMNS)
        raise RowError(
            f"{len(cells)} columns instead of {shape}",
            file=str(path),
            line=number,
            remedy="take tabs and line breaks out of questions and responses",
        )
    image, question, truth, response = cells
    if truth.strip().lower() not in ("yes", "no"):
        raise RowError(f"the truth is {truth!r}, neither Yes nor No", file=str(path), line=number)
    return Answer(image, question, truth.strip().lower(), response)
