"""ME-VQA questions about annotated clips, and the answers that a description gives to them. Pure.

The forms are those of the challenge's templates (MEGC 2025 and 2026). Answers are read off one description of a clip,
so every describer can take part; a model that is asked each question in words belongs to ``mellm compare``.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mellm.engine.facs.names import UNITS
from mellm.evaluation.dataset_runs.describing import key_of
from mellm.evaluation.datasets import Clip
from mellm.evaluation.metrics.emotions import KNOWN
from mellm.evaluation.metrics.errors import RowError
from mellm.evaluation.metrics.extraction import extract_label, extract_units
from mellm.evaluation.metrics.vqa import Row, Task, task_of
from mellm.evaluation.protocols.composite import CLASSES
from mellm.stream.errors import SourceNotFound

COARSE: Final = "What is the coarse expression class?"
FINE: Final = "What is the fine-grained expression class?"
WHICH: Final = "What are the action units?"
SHOWN: Final = "Is the action unit {} shown on the face?"
SIDE: Final = "Is the action unit {} located on the left or right face?"
BOTH: Final = (
    "What are the action units present, and based on them, what is the fine-grained expression and the coarse "
    "expression class?"
)
SIDES: Final = {"L": "left", "R": "right"}


@dataclass(frozen=True, slots=True)
class Question:
    """:param clip: key of the clip it is about

    :param truth: as the challenge writes it"""

    clip: str
    question: str
    truth: str

    @property
    def task(self) -> Task:
        """What it asks for."""
        return task_of(self.question, self.truth)


def name_of(unit: int) -> str:
    """The name of a unit as FACS has it, else ``AU43``."""
    return UNITS[unit][0] if unit in UNITS else f"AU{unit}"


def generated(clips: Sequence[Clip], seed: int = 0) -> list[Question]:
    """Every form that the annotation of a clip answers.

    "Is the unit shown" is asked about each sure unit, and as often about one that is not shown and is common in the
    data set, so that a constant answer is right half of the time. Possible units are asked about nowhere.
    """
    common = Counter(unit for clip in clips for unit in clip.action_units.numbers)
    out: list[Question] = []
    for clip in clips:
        key, units = key_of(clip), sorted(clip.action_units.numbers)
        names = ", ".join(name_of(u) for u in units)
        if clip.coarse:
            out.append(Question(key, COARSE, clip.coarse))
        if clip.emotion:
            out.append(Question(key, FINE, clip.emotion))
        if not units:
            continue
        out.append(Question(key, WHICH, names))
        out += [Question(key, SHOWN.format(name_of(u)), "yes") for u in units]
        doubtful = clip.action_units.possible_numbers
        hidden = [u for u in sorted(common) if u not in units and u not in doubtful]
        out += [
            Question(key, SHOWN.format(name_of(u)), "no")
            for u in _some(hidden, common, len(units), f"{seed} {key}")
        ]
        sided = sorted({(u.number, u.side) for u in clip.action_units.sure if u.side in SIDES})
        twice = Counter(number for number, _ in sided)
        out += [Question(key, SIDE.format(name_of(n)), SIDES[s]) for n, s in sided if twice[n] == 1]
        if clip.coarse and clip.emotion:
            out.append(Question(key, BOTH, _sentence(names, clip.emotion, clip.coarse)))
    return out


def _some(hidden: Sequence[int], common: Mapping[int, int], count: int, seed: str) -> list[int]:
    """Up to ``count`` different units, common ones more often."""
    drawn: list[int] = []
    left, rng = list(hidden), random.Random(seed)
    while left and len(drawn) < count:
        (unit,) = rng.choices(left, [common[u] for u in left])
        left.remove(unit)
        drawn.append(unit)
    return sorted(drawn)


def _sentence(names: str, fine: str, coarse: str) -> str:
    return (
        f"The action units present are: {names}. Therefore, the fine-grained expression class is {fine}, and the "
        f"coarse expression class is {coarse}."
    )


def answer(question: Question, row: Mapping[str, Any]) -> str | None:
    """What a description says to a question; ``None`` where it says nothing (abstained, failed, no fine class)."""
    if row["state"] != "described":
        return None
    units = {u["au"]: u["side"] for u in row["units"]}
    names = ", ".join(name_of(u) for u in sorted(units))
    fine = extract_label(row["text"], KNOWN - {*CLASSES})
    task = question.task
    if task == "coarse":
        return str(row["coarse"]) if row["coarse"] else None
    if task == "fine":
        return fine
    if task == "units":
        return names or None
    if task in ("yes_no", "side"):
        asked = extract_units(question.question) or frozenset()
        if len(asked) != 1:
            return None
        (unit,) = asked
        if task == "yes_no":
            return "yes" if unit in units else "no"
        return units[unit] if units.get(unit) in SIDES.values() else None
    if task == "combined":
        return _sentence(names or "none", fine or "unknown", row["coarse"] or "unknown")
    return row["text"] or None


def scored_row(question: Question, row: Mapping[str, Any]) -> Row:
    """For :func:`mellm.evaluation.metrics.vqa.vqa_score`."""
    return Row(question.question, question.truth, answer(question, row), question.task)


def read(path: Path, clips: Sequence[Clip]) -> tuple[list[Question], int]:
    """Questions of a file in the challenge's form: JSON lines with ``subject``, ``filename``, ``question``, ``answer``.

    :returns: questions about clips that are there, and how many are about others
    :raises SourceNotFound: there is no such file
    :raises RowError: a line is no question with an answer
    """
    known = {(_digits(c.subject), c.id.split("~")[0].casefold()): key_of(c) for c in clips}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceNotFound(
            f"{path} cannot be read ({error})", remedy="give a file of JSON lines"
        ) from error
    out, others = [], 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
            place = (_digits(str(said["subject"])), str(said["filename"]).casefold())
            question = Question(known.get(place, ""), str(said["question"]), str(said["answer"]))
        except (ValueError, KeyError, TypeError) as error:
            raise RowError(f"no question with an answer ({error})", file=str(path), line=number) from error
        if question.clip:
            out.append(question)
        else:
            others += 1
    return out, others


def _digits(subject: str) -> str:
    found = re.findall(r"\d+", subject)
    return str(int(found[-1])) if found else subject.casefold()
