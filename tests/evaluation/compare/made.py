"""A finished comparison for tests of the report: four systems, two tasks, texts that would like to be markup."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mellm.evaluation.compare.measures import Prices, measure
from mellm.evaluation.compare.published import defaults, mme_rows
from mellm.evaluation.compare.types import (
    Answer,
    Answers,
    Change,
    Entry,
    Kind,
    Published,
    Question,
    Row,
    RunResult,
    Table,
    TaskResult,
)
from mellm.evaluation.metrics.mme import TASKS

NASTY = '<script>alert(1)</script> <img src=x onerror="alert(2)"> </style> {{ 7*7 }} | a\u202eb [x](http://evil.example)'
LONG = (
    "First, look at the mouth. "
    + "It is raised on both sides, by about a pixel. " * 60
    + "Therefore: a smile."
)
NAMES = ("qwen", "gemini <b>", "mellm-nano", "sphinx answers")
KINDS: tuple[Kind, ...] = ("openai", "openai", "embedded", "recorded")


def png(colour: int, width: int = 320, height: int = 200, text: str = "") -> bytes:
    image = np.full((height, width, 3), (colour, 190, 230 - colour), np.uint8)
    cv2.circle(image, (width // 2, height // 2), min(width, height) // 3, (60, 60, 220), -1)
    cv2.putText(image, text, (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 0, 0), 2)
    return cv2.imencode(".png", image)[1].tobytes()


@dataclass
class Suite:
    """Samples of three domains, and an abstract one without a picture."""

    name: str = "suite"
    nasty: bool = True

    def questions(self) -> Iterator[Question]:
        told = NASTY if self.nasty else "What is drawn here, and where is it?"
        for number in range(6):
            domain = ("Fundamental Perception", "Advanced Cognition", "Expert Capacity")[number % 3]
            yield Question(
                self.name,
                f"s{number}",
                told if number == 0 else f"What do you see in picture {number}? Answer in one sentence.",
                ()
                if number == 5
                else tuple(png(40 * number, text=f"no. {number}") for _ in range(1 + 9 * (number == 4))),
                truth="a circle" if number < 3 else None,
                technique=("plain", "chain-of-thought")[number % 2],
                meta={
                    "domain": domain,
                    "subtask": f"sub-task {number}",
                    "title": NASTY if self.nasty and number == 0 else f"A disc on a ground ({number})",
                    "points": ["names the disc", "names its colour"],
                },
            )

    def score(self, answers: Answers, published: Sequence[Published] = ()) -> tuple[Table, ...]:
        rows = [
            Row(
                name,
                tuple(0.25 * ((k + c) % 4) for c in range(3)),
                note=NASTY if self.nasty and not k else "",
            )
            for k, name in enumerate(answers)
        ]
        columns = ("Fundamental Perception", "Advanced Cognition", "Expert Capacity")
        return (Table("points", "Share of expected points, by domain", columns, tuple(rows)),)


@dataclass
class Mme:
    """Two questions about each of many pictures."""

    name: str = "mme"
    images: int = 80

    def questions(self) -> Iterator[Question]:
        for number in range(self.images):
            picture = (png(number % 200, 160, 120),)
            for asked in ("a disc", "a cat"):
                yield Question(
                    self.name,
                    f"count/{number}/{asked}",
                    f"Is there {asked} in this image? Please answer yes or no.",
                    picture,
                    truth="yes" if asked == "a disc" else "no",
                    meta={"subtask": "count"},
                )

    def score(self, answers: Answers, published: Sequence[Published] = ()) -> tuple[Table, ...]:
        columns = (*TASKS, "perception", "cognition", "total")
        rows = [
            Row(name, tuple(100.0 + 7 * k + c for c in range(len(columns)))) for k, name in enumerate(answers)
        ]
        return (
            Table(
                "mme",
                "MME, official rule",
                columns,
                (*rows, *mme_rows(published, columns)),
                notes=("A note.",),
            ),
        )


def answer(name: str, question: Question, number: int) -> Answer:
    at = (name, question.task, question.id)
    if name == NAMES[1] and number % 5 == 1:
        return Answer(
            *at, "refused", "I cannot help with that.", "phrase", "it declined", latency_s=0.4, tokens_in=50
        )
    if name == NAMES[1] and number == 2:
        return Answer(*at, "failed", reason="timeout", error="no answer within 60 s")
    if name == NAMES[2] and number % 2:
        return Answer(
            *at, "unsupported", reason="no_evidence", error="it reads motion evidence, not pictures"
        )
    said = {0: NASTY, 3: LONG}.get(number, "yes") if name == NAMES[0] else "A red disc on a green ground."
    return Answer(
        *at, "answered", said, cut=number == 3, latency_s=0.05 + 0.3 * number, tokens_in=300, tokens_out=40
    )


def finished(
    *, nasty: bool = True, interrupted: bool = False, tasks: Sequence[object] | None = None
) -> RunResult:
    made = tasks if tasks is not None else (Suite(nasty=nasty), Mme())
    results = []
    for task in made:
        answers = {
            name: {q.id: answer(name, q, k) for k, q in enumerate(task.questions())}  # type: ignore[attr-defined]
            for name in NAMES
        }
        results.append(TaskResult(task, answers, task.score(answers, defaults())))  # type: ignore[attr-defined,arg-type]
    entries = []
    for name, kind in zip(NAMES, KINDS, strict=True):
        prices = Prices(0.5, 2.0) if kind == "openai" else None
        by_task = {r.task.name: measure(r.answers[name].values(), prices) for r in results}
        entries.append(
            Entry(
                name,
                kind,
                "Qwen/Qwen2.5-VL-7B" if kind == "openai" else name,
                {"openai": "http://127.0.0.1:8000/v1", "recorded": "sphinx"}.get(kind, "this process"),
                measure((a for r in results for a in r.answers[name].values()), prices),
                by_task,
                "unauthorized" if name == NAMES[1] else None,
            )
        )
    changes = (
        Change("mme", "mme", NAMES[0], "count", 98.0, 101.0),
        Change("mme", "mme", NAMES[0], "OCR", None, 109.0),
    )
    return RunResult(
        "2026-11-23T15:00:00Z",
        "models.toml",
        tuple(entries),
        defaults(),
        tuple(results),
        interrupted,
        "2026-11-22T09:00:00Z",
        changes,
    )
