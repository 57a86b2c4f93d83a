"""Tasks and systems that a test makes up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mellm.evaluation.compare.types import Answer, Answers, Kind, Published, Question, Row, Table


@dataclass
class FakeTask:
    """Asks ``count`` questions; a right answer holds the truth."""

    name: str = "numbers"
    count: int = 4
    images: tuple[bytes, ...] = ()
    read: int = 0

    def questions(self) -> Iterator[Question]:
        for number in range(self.count):
            self.read += 1
            yield Question(self.name, f"q{number}", f"Number {number}?", self.images, truth=str(number))

    def score(self, answers: Answers, published: Sequence[Published] = ()) -> tuple[Table, ...]:
        rows = [
            Row(
                name,
                (
                    sum(
                        (a := by_id[q.id]).state == "answered" and str(q.truth) in str(a.text)
                        for q in self.questions()
                    )
                    / self.count,
                ),
            )
            for name, by_id in answers.items()
        ]
        rows += [Row(p.name, (p.scores.get("right"),), published=True) for p in published]
        return (Table("right", "Right answers", ("right",), tuple(rows)),)


@dataclass
class FakeSystem:
    """Says what it was asked, or what it was told to."""

    name: str = "fake"
    concurrency: int = 1
    cached: bool = False
    says: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    closed: int = 0
    kind: Kind = "openai"
    model: str = "fake-model"
    where: str = "nowhere"
    stopped: str | None = None

    def fingerprint(self, question: Question) -> str | None:
        return f"{self.model} {question.prompt}" if self.cached else None

    async def ask(self, question: Question) -> Answer:
        self.asked.append(question.id)
        return self.says.get(
            question.id, Answer(self.name, question.task, question.id, "answered", question.prompt)
        )

    async def close(self) -> None:
        self.closed += 1
