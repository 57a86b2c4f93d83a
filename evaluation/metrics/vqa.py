"""Questions about micro-expressions (ME-VQA of MEGC 2025 and 2026).

The challenge scores the coarse and the fine class by UF1 and UAR and the rest by BLEU and ROUGE-1; no official scorer
is public. Here every kind of question is scored for what it asks: classes by exact match and by extraction, yes/no
by accuracy, units as sets, and everything that is no class by BLEU and ROUGE with the variant named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from mellm.evaluation.metrics.action_units import ActionUnitScore, action_unit_score
from mellm.evaluation.metrics.counts import Plain, mean
from mellm.evaluation.metrics.emotions import KNOWN
from mellm.evaluation.metrics.errors import MetricsError
from mellm.evaluation.metrics.extraction import extract_label, extract_units, extract_yes_no
from mellm.evaluation.metrics.recognition import RecognitionScore, recognition_score
from mellm.evaluation.metrics.texts import TextMeasure, text_measures

Task = Literal["coarse", "fine", "yes_no", "side", "units", "combined", "describe", "other"]
TASKS: Final[tuple[Task, ...]] = get_args(Task)
COARSE: Final = ("negative", "positive", "surprise")

__all__ = ["TASKS", "Row", "VqaScore", "extract_label", "task_of", "vqa_score"]


@dataclass(frozen=True, slots=True)
class Row:
    """One question.

    :param answer: what the model wrote, ``None`` where it gave nothing
    :param task: kind of the question; read from its words where it is not given
    """

    question: str
    truth: str
    answer: str | None
    task: Task | None = None


@dataclass(frozen=True, slots=True)
class ByLabel(Plain):
    """Classes by exact match (blanks and case aside) and by extraction."""

    exact: RecognitionScore
    extracted: RecognitionScore


@dataclass(frozen=True, slots=True)
class YesNo(Plain):
    """Yes/no questions. Accuracy by exact match and by extraction; ``unparsable`` answers are wrong in both."""

    accuracy_exact: float
    accuracy_extracted: float
    rows: int
    unparsable: int


@dataclass(frozen=True, slots=True)
class VqaScore:
    """Scores by what is asked; ``None`` where no such question was asked.

    :param tasks: kind of question → rows
    :param empty: rows without an answer, counted wrong everywhere
    :param combined: ``coarse`` and ``fine`` extracted from answers to questions for several things at once
    :param units: sets of units, over questions for units and combined ones
    :param text: BLEU and ROUGE over all rows that do not ask for a class
    """

    tasks: Mapping[str, int]
    empty: int
    coarse: ByLabel | None = None
    fine: ByLabel | None = None
    combined: Mapping[str, RecognitionScore] = field(default_factory=dict)
    yes_no: YesNo | None = None
    units: ActionUnitScore | None = None
    text: Mapping[str, TextMeasure] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As JSON data."""
        out: dict[str, Any] = {
            "rows": sum(self.tasks.values()),
            "empty": self.empty,
            "tasks": dict(self.tasks),
        }
        for name in ("coarse", "fine", "yes_no", "units"):
            part = getattr(self, name)
            if part is not None:
                out[name] = part.as_dict()
        if self.combined:
            out["combined"] = {name: score.as_dict() for name, score in self.combined.items()}
        if self.text:
            out["text"] = {name: measure.as_dict() for name, measure in self.text.items()}
        return out


def task_of(question: str, truth: str = "") -> Task:
    """The kind of a question by the words of the challenge's templates, else by its truth being yes or no."""
    asked = question.casefold()
    unit = "action unit" in asked
    coarse, fine = "coarse" in asked, re.search(r"\bfine\b", asked) is not None
    if (unit and (coarse or fine)) or (coarse and fine):
        return "combined"
    if coarse or fine:
        return "coarse" if coarse else "fine"
    if "left or right" in asked:
        return "side"
    if _plain(truth).strip(".") in ("yes", "no"):
        return "yes_no"
    if unit and re.match(r"\W*(what|which|name|list)\b", asked):
        return "units"
    return "describe" if re.search(r"\b(analy[sz]e|describe|detail)", asked) else "other"


def vqa_score(rows: Sequence[Row], *, text: bool = True) -> VqaScore:
    """Score answers to questions.

    :param text: whether to compute BLEU and ROUGE
    :raises MetricsError: no rows, or a truth without words
    """
    if not rows:
        raise MetricsError("there are no questions to score", remedy="give at least one row")
    by_task: dict[Task, list[Row]] = {}
    for number, row in enumerate(rows, 1):
        if not row.truth.strip():
            raise MetricsError(f"question {number} has no truth", remedy="give its answer")
        by_task.setdefault(row.task or task_of(row.question, row.truth), []).append(row)
    combined = by_task.get("combined", [])
    united = [*by_task.get("units", []), *combined]
    rest = [r for task, found in by_task.items() if task not in ("coarse", "fine") for r in found]
    return VqaScore(
        {task: len(by_task[task]) for task in TASKS if task in by_task},
        sum(not (r.answer or "").strip() for r in rows),
        _by_label(by_task.get("coarse", []), COARSE),
        _by_label(by_task.get("fine", []), KNOWN),
        _combined(combined),
        _yes_no(by_task.get("yes_no", [])),
        _units(united),
        text_measures([r.truth for r in rest], [r.answer or "" for r in rest]) if text and rest else {},
    )


def _plain(text: str | None) -> str:
    return (text or "").strip().casefold()


def _by_label(rows: Sequence[Row], vocabulary: Sequence[str] | frozenset[str]) -> ByLabel | None:
    if not rows:
        return None
    true = [_plain(r.truth).rstrip(".") for r in rows]
    known = {*true, *vocabulary}
    return ByLabel(
        recognition_score(true, [_plain(r.answer) or None for r in rows]),
        recognition_score(true, [extract_label(r.answer, known) for r in rows]),
    )


def _combined(rows: Sequence[Row]) -> dict[str, RecognitionScore]:
    out = {}
    for about, vocabulary in (("coarse", frozenset(COARSE)), ("fine", KNOWN)):
        pairs = [(extract_label(r.truth, vocabulary, about), r.answer) for r in rows]
        asked = [(true, answer) for true, answer in pairs if true is not None]
        if asked:
            got = [extract_label(answer, vocabulary, about) for _, answer in asked]
            out[about] = recognition_score([true for true, _ in asked], got)
    return out


def _yes_no(rows: Sequence[Row]) -> YesNo | None:
    if not rows:
        return None
    true = [extract_yes_no(r.truth) for r in rows]
    got = [extract_yes_no(r.answer) for r in rows]
    return YesNo(
        mean([float(_plain(r.answer) == t) for r, t in zip(rows, true, strict=True)]),
        mean([float(g is not None and g == t) for g, t in zip(got, true, strict=True)]),
        len(rows),
        got.count(None),
    )


def _units(rows: Sequence[Row]) -> ActionUnitScore | None:
    pairs = [(extract_units(r.truth), extract_units(r.answer)) for r in rows]
    named = [(true, got) for true, got in pairs if true]
    return action_unit_score([t for t, _ in named], [g for _, g in named]) if named else None
