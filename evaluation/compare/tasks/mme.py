"""MME from its official folders: two yes/no questions about each picture, scored by the official rule.

A sub-task is a folder with pictures and one text file for each, of two lines ``question TAB Yes|No``. Some sub-tasks
keep the pictures in ``images`` and the texts in ``questions_answers_YN``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mellm.evaluation.compare import published as known
from mellm.evaluation.compare.config import MmeTask
from mellm.evaluation.compare.types import Answer, Answers, Published, Question, Row, Table
from mellm.evaluation.datasets.clips import natural
from mellm.evaluation.metrics import mme
from mellm.evaluation.metrics.errors import MetricsError, RowError

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp")
MAX_PICTURE: Final = 32 << 20
DOMAIN: Final = {
    **dict.fromkeys(mme.PERCEPTION, "MME perception"),
    **dict.fromkeys(mme.COGNITION, "MME cognition"),
}


@dataclass(frozen=True, slots=True)
class Item:
    """A picture with its two questions and whether each is to be answered with yes."""

    subtask: str
    picture: Path
    questions: tuple[tuple[str, bool], tuple[str, bool]]


class Mme:
    """The task.

    :raises MetricsError: no such folder, no sub-task in it, or one that is asked for and not there
    :raises RowError: a text file that is not two lines of question and Yes or No
    """

    def __init__(self, settings: MmeTask) -> None:
        self.name = settings.name
        self._parser = settings.parser
        self._items = tuple(_items(settings))

    def __length_hint__(self) -> int:
        return 2 * len(self._items)

    def questions(self) -> Iterator[Question]:
        """Two for each picture, sub-tasks in the order of the benchmark."""
        for item in self._items:
            picture = item.picture.read_bytes()
            for number, (asked, yes) in enumerate(item.questions):
                yield Question(
                    self.name,
                    _id(item, number),
                    asked,
                    (picture,),
                    truth="Yes" if yes else "No",
                    meta={
                        "domain": DOMAIN[item.subtask],
                        "subtask": item.subtask,
                        "image": item.picture.name,
                        "title": f"{item.subtask}: {item.picture.name}",
                    },
                )

    def score(self, answers: Answers, published: Sequence[Published] = ()) -> tuple[Table, ...]:
        """One table, sub-tasks and sums; a share of right questions and pictures behind each score."""
        there = tuple(name for name in mme.TASKS if any(item.subtask == name for item in self._items))
        columns = (*there, *known.SUMS)
        rows = []
        for name, by_id in answers.items():
            score = mme.mme_score(self._pairs(by_id), self._parser)
            sums = (score.perception, score.cognition, score.total)
            rows.append(Row(name, (*(score.tasks[task].score for task in there), *sums)))
        notes = [f"read by the rule {self._parser!r}; guessing gives 75 in a sub-task"]
        sizes = {name: sum(item.subtask == name for item in self._items) for name in there}
        if there != mme.TASKS or any(size != mme.IMAGES[name] for name, size in sizes.items()):
            notes.append("not the whole benchmark: sums and published rows are no match for it")
        if self._parser != "official":
            notes.append("published rows were read by the official rule")
        rows += known.mme_rows(published, columns)
        return (Table("score", "MME", columns, tuple(rows), notes=tuple(notes)),)

    def results(self, answers: Mapping[str, Answer]) -> dict[str, str]:
        """One system's answers as the official text files: name of the file → its text."""
        lines: dict[str, list[str]] = {}
        for item in self._items:
            for number, (asked, yes) in enumerate(item.questions):
                said = " ".join(_answer_text(answers[_id(item, number)]).split())
                line = f"{item.picture.name}\t{asked}\t{'Yes' if yes else 'No'}\t{said}\n"
                lines.setdefault(f"{item.subtask}.txt", []).append(line)
        return {name: "".join(those) for name, those in lines.items()}

    def _pairs(self, answers: Mapping[str, Answer]) -> dict[str, list[mme.Pair]]:
        pairs: dict[str, list[mme.Pair]] = {}
        for item in self._items:
            first, second = (
                mme.Answer(
                    item.picture.name, asked, "yes" if yes else "no", _answer_text(answers[_id(item, number)])
                )
                for number, (asked, yes) in enumerate(item.questions)
            )
            pairs.setdefault(item.subtask, []).append((first, second))
        return pairs


def _id(item: Item, number: int) -> str:
    return f"{item.subtask}/{item.picture.name}/{number}"


def _answer_text(answer: Answer) -> str:
    return (answer.text or "") if answer.state == "answered" else ""


def _items(settings: MmeTask) -> Iterator[Item]:
    root = settings.folder
    if not root.is_dir():
        raise MetricsError(f"{root} is not a folder", remedy="name the folder that holds existence, count, …")
    folders = {path.name.casefold(): path for path in root.iterdir() if path.is_dir()}
    wanted = settings.subtasks or mme.TASKS
    if unknown := sorted(set(wanted) - set(mme.TASKS)):
        raise MetricsError(f"MME has no sub-task {unknown[0]!r}", remedy=f"choose of {', '.join(mme.TASKS)}")
    missing = [name for name in wanted if name.casefold() not in folders]
    if settings.subtasks and missing:
        raise MetricsError(f"{root} holds no folder {missing[0]!r}", remedy="leave it out of subtasks")
    if len(missing) == len(wanted):
        raise MetricsError(f"{root} holds no sub-task of MME", remedy=f"expected folders {mme.TASKS[0]}, …")
    for name in mme.TASKS:
        if name in wanted and name not in missing:
            yield from _subtask(name, folders[name.casefold()], settings.limit)


def _subtask(name: str, folder: Path, limit: int | None) -> Iterator[Item]:
    below = {path.name.casefold(): path for path in folder.iterdir() if path.is_dir()}
    pictures = below.get("images", folder)
    texts = below.get("questions_answers_yn", folder)
    found = sorted(
        (path for path in pictures.iterdir() if path.suffix.lower() in SUFFIXES),
        key=lambda p: natural(p.name),
    )
    if not found:
        raise MetricsError(f"{pictures} holds no pictures", remedy="unpack the benchmark again")
    for picture in found[:limit]:
        if picture.stat().st_size > MAX_PICTURE:
            raise MetricsError(f"{picture} has over {MAX_PICTURE >> 20} MiB", remedy="scale it down")
        yield Item(name, picture, _questions(texts / f"{picture.stem}.txt"))


def _questions(path: Path) -> tuple[tuple[str, bool], tuple[str, bool]]:
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise MetricsError(f"{path} cannot be read ({error})", remedy="unpack the benchmark again") from error
    if len(lines) != 2:
        raise RowError(f"{len(lines)} questions instead of two", file=str(path), line=len(lines))
    read = []
    for number, line in enumerate(lines, 1):
        match = re.fullmatch(r"\s*(.+?)\s*\t\s*(yes|no)\s*\.?\s*", line, re.IGNORECASE)
        if match is None:
            raise RowError("no question TAB Yes or No", file=str(path), line=number)
        read.append((match[1], match[2].lower() == "yes"))
    return read[0], read[1]
