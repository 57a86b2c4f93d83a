"""What flows through a comparison: questions out, answers back, tables at the end.

A *task* asks questions and scores answers; a *system* answers them. Neither knows the other: a task sees answers by
system's name, a system sees one question at a time. Every question ends, for every system, in exactly one
state (:data:`State`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from mellm.engine.types import Evidence

State: TypeAlias = Literal["answered", "refused", "failed", "unsupported"]
"""How a question ended. *answered*: there is text, perhaps half of it (:attr:`Answer.cut`). *refused*: the model, or a
filter before it, would not answer. *failed*: nobody answered; :attr:`Answer.reason` says why. *unsupported*: the
system has no means to answer questions of this kind, or no record of this one; it was not asked."""

Kind: TypeAlias = Literal["openai", "embedded", "rules", "recorded"]
Technique: TypeAlias = Literal["plain", "pointer", "chain-of-thought", "few-shot"]
"""How a question is put, after the survey that this comparison follows: plain words, a mark drawn into the picture, a
request to reason first, solved examples before it."""

Cell: TypeAlias = float | int | str | None
"""``None`` is "not known" and printed as a dash; ratios lie between 0 and 1 unless the column says otherwise."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A solved example before a question.

    :param images: as in :class:`Question`"""

    prompt: str
    answer: str
    images: tuple[bytes, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that is asked.

    :param task: name of its task
    :param id: unique within the task and the same in every run
    :param images: files as they are (PNG, JPEG or WebP), in the order in which they are shown, before the prompt
    :param truth: what a right answer says, where there is one; never sent
    :param system: system message, empty for none
    :param shots: solved examples, asked and answered before the question
    :param evidence: motion evidence of a micro-expression: what embedded describers answer from; others never see it
    :param meta: what the task and its report want to know again, JSON data; never sent. Names with a meaning:
        ``domain``, ``subtask``, ``title`` and ``points`` (list of what a good answer says) place and explain it on the
        page, ``subtask`` and ``image`` (file name) find it in recorded MME results, ``duration_ms`` is the expression's
    """

    task: str
    id: str
    prompt: str
    images: tuple[bytes, ...] = field(default=(), repr=False)
    truth: str | None = None
    technique: Technique = "plain"
    system: str = ""
    shots: tuple[Shot, ...] = ()
    evidence: Evidence | None = field(default=None, compare=False)
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one question to one system.

    :param text: what was said; of a refusal its words, if any; ``None`` where nothing was said
    :param reason: code of a failure (``timeout``, ``rate_limited``, ``server_error``, ``unauthorized``, ``invalid``,
        …), of a refusal (``content_filter``, ``refusal``, ``phrase``) or of what is unsupported
    :param error: one sentence for people about :attr:`reason`
    :param cut: the answer ends at the token limit (``finish_reason`` ``length``)
    :param latency_s: seconds of the try that was answered, without waiting for limits; ``None`` where not measured
    :param tokens_in: as the endpoint counted them; ``None`` where it did not say
    :param tokens_out: as ``tokens_in``
    :param tries: requests that were sent for it; 0 where nobody was asked
    :param cached: it came from an earlier run
    """

    system: str
    task: str
    question: str
    state: State
    text: str | None = None
    reason: str | None = None
    error: str | None = None
    cut: bool = False
    latency_s: float | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    tries: int = 0
    cached: bool = False

    def __post_init__(self) -> None:
        if (self.state == "answered") != (self.reason is None):
            raise ValueError(f"an answer that is {self.state} with reason {self.reason!r}")
        if self.state == "answered" and self.text is None:
            raise ValueError("an answer without text")


@dataclass(frozen=True, slots=True)
class Published:
    """A row that is printed and was not run.

    :param model: which row of the task's own list of published scores; empty where :attr:`scores` are given
    :param task: the task whose tables show it; empty for every task that knows the model
    :param scores: sub-task → score in the task's unit, given in the file
    :param source: where the numbers were published
    """

    name: str
    model: str = ""
    task: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table.

    :param name: a system's, or a published row's
    :param cells: one for each column
    :param published: it was not run
    """

    name: str
    cells: tuple[Cell, ...]
    published: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Scores of one task.

    :param key: the same in every run; with row and column it finds a number again in the last run
    :param columns: headings of the cells; the row's name has none
    :param digits: decimals of a float
    """

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    higher_is_better: bool = True
    digits: int = 2
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(
                    f"{self.key}, {row.name}: {len(row.cells)} cells, {len(self.columns)} columns"
                )


Answers: TypeAlias = Mapping[str, Mapping[str, Answer]]
"""System's name → question's id → answer. Every system has an answer to every question."""


class Task(Protocol):
    """Asks and scores."""

    @property
    def name(self) -> str:
        """As the file calls it."""
        ...

    def questions(self) -> Iterator[Question]:
        """All of them, in the same order each time it is called. Pictures are read as the iterator goes."""
        ...

    def score(self, answers: Answers, published: Sequence[Published] = ()) -> tuple[Table, ...]:
        """Tables over all systems. What is not *answered* counts as wrong and is never left out.

        :param published: those of this task, see :attr:`Published.task`; a model that the task's list does not know
            is left to other tasks
        """
        ...


class System(Protocol):
    """Answers questions, one in each call; several calls may run at once."""

    @property
    def name(self) -> str:
        """As the file calls it: the row's name in every table."""
        ...

    @property
    def kind(self) -> Kind:
        """What sort of system it is."""
        ...

    @property
    def model(self) -> str:
        """As the endpoint calls it."""
        ...

    @property
    def where(self) -> str:
        """Address without credentials, file or package."""
        ...

    @property
    def concurrency(self) -> int:
        """How many calls may run at once."""
        ...

    @property
    def stopped(self) -> str | None:
        """Why it is asked no more; ``None`` while it is."""
        ...

    def fingerprint(self, question: Question) -> str | None:
        """The same for questions that need not be asked twice; ``None`` where asking costs nothing."""
        ...

    async def ask(self, question: Question) -> Answer:
        """Ends in one of the four states; it raises nothing that another question would not meet as well."""
        ...

    async def close(self) -> None:
        """Release connections and sessions. Safe to call twice."""
        ...


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured of one system over some questions.

    :param states: state → questions
    :param reasons: reason → questions
    :param cut: half answers
    :param latency_p50_s: of answers that came over a wire or were computed; ``None`` without any
    :param latency_p95_s: as ``latency_p50_s``
    :param words: median number of words of an answer
    :param direct: shares of answers that state the result at once, and that reason step by step
    :param stepwise: as ``direct``
    :param cost: in :attr:`currency`, of answered and cut questions at the file's prices; ``None`` without prices
    :param cost_now: the part of it that this run spent (cached answers cost nothing again)
    :param unpriced: answered questions whose tokens the endpoint did not count; they are not in the cost
    """

    questions: int
    states: Mapping[State, int]
    reasons: Mapping[str, int]
    cut: int
    cached: int
    latency_p50_s: float | None
    latency_p95_s: float | None
    tokens_in: int
    tokens_out: int
    words: float | None
    direct: float | None
    stepwise: float | None
    cost: float | None
    cost_now: float | None
    unpriced: int = 0
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class Entry:
    """A system as the report shows it.

    :param model: as the endpoint calls it
    :param where: address without credentials, file or package
    :param stopped: why it was asked no more (``unauthorized`` …), ``None`` where it was asked to the end
    :param measures: over all tasks
    :param by_task: task → over that task
    """

    name: str
    kind: Kind
    model: str
    where: str
    measures: Measures
    by_task: Mapping[str, Measures]
    stopped: str | None = None


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A task with what was answered and scored. The pictures are read again from :attr:`task`."""

    task: Task
    answers: Answers
    tables: tuple[Table, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A number that differs from the last run.

    :param before: ``None`` where the last run had no such number"""

    task: str
    table: str
    row: str
    column: str
    before: float | None
    after: float


@dataclass(frozen=True, slots=True)
class RunResult:
    """Everything a report is written from.

    :param started: UTC, ISO 8601, to the second
    :param file: the comparison's file as it was named
    :param interrupted: Ctrl-C: unasked questions ended as *failed* with reason ``interrupted``
    :param previous: start of the run that :attr:`changes` are against, ``None`` for the first
    """

    started: str
    file: str
    entries: tuple[Entry, ...]
    published: tuple[Published, ...]
    tasks: tuple[TaskResult, ...]
    interrupted: bool = False
    previous: str | None = None
    changes: tuple[Change, ...] = ()
