"""Asks every question of every system, each at its own pace, and sees that each ends exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from mellm.evaluation.compare.cache import Cache
from mellm.evaluation.compare.types import Answer, Question, System, Task
from mellm.stream.errors import UsageError

BACKLOG: Final = 32
"""Questions that are read ahead of the slowest system: pictures and evidence in memory are bounded by it."""

Asked = Mapping[str, Mapping[str, Mapping[str, Answer]]]
"""Task's name → system's name → question's id → answer."""


class Runner:
    """One run. Questions are read once and handed to everybody; the slowest system sets the pace of reading.

    :param cache: looked into before asking, written as answers come; ``None`` for neither
    :param send: whether anybody is asked who is not in this process: without it the cache is all there is, and the rest
        ends as *failed* with reason ``not_asked``
    :param on_answer: called for every answer, in the order of their coming
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        systems: Sequence[System],
        cache: Cache | None = None,
        *,
        send: bool = True,
        on_answer: Callable[[Answer], None] | None = None,
    ) -> None:
        self._tasks = tasks
        self._systems = systems
        self._cache = cache
        self._send = send
        self._on_answer = on_answer or (lambda answer: None)
        self._answers: dict[str, dict[str, dict[str, Answer]]] = {
            task.name: {c.name: {} for c in systems} for task in tasks
        }
        self._queues = {c.name: asyncio.Queue[Question | None](BACKLOG) for c in systems}
        self._asking: set[asyncio.Task[Answer]] = set()
        self._interrupted = False

    @property
    def interrupted(self) -> bool:
        """Whether :meth:`interrupt` was called before the end."""
        return self._interrupted

    def interrupt(self) -> None:
        """Ask nobody any more. What is under way is dropped; every question that is left ends as *failed* with reason
        ``interrupted`` unless the cache knows it, and :meth:`run` returns. To be called in the loop of :meth:`run`.
        """
        self._interrupted = True
        for asking in self._asking:
            asking.cancel()

    async def run(self) -> Asked:
        """Ask.

        :raises UsageError: two questions of a task have one id
        :raises MellmError: what a task raises when its questions cannot be read
        """
        try:
            async with asyncio.TaskGroup() as group:
                for system in self._systems:
                    for _ in range(system.concurrency):
                        group.create_task(self._work(system))
                group.create_task(self._read())
        except BaseExceptionGroup as failures:
            raise _first(failures) from None
        finally:
            for system in self._systems:
                await system.close()
        return self._answers

    async def _read(self) -> None:
        for task in self._tasks:
            questions = task.questions()
            seen: set[str] = set()
            # reading pictures and making evidence must not hold up those who wait for answers
            while (question := await asyncio.to_thread(_next, questions)) is not None:
                if question.id in seen or question.task != task.name:
                    raise UsageError(
                        f"the task {task.name} asks {question.id!r} twice"
                        if question.id in seen
                        else f"a question of {task.name} says it is of {question.task!r}",
                        remedy="question ids are unique within a task",
                    )
                seen.add(question.id)
                for queue in self._queues.values():
                    await queue.put(question)
        for system in self._systems:
            for _ in range(system.concurrency):
                await self._queues[system.name].put(None)

    async def _work(self, system: System) -> None:
        queue = self._queues[system.name]
        while (question := await queue.get()) is not None:
            answer = await self._one(system, question)
            self._answers[question.task][system.name][question.id] = answer
            self._on_answer(answer)

    async def _one(self, system: System, question: Question) -> Answer:
        fingerprint = system.fingerprint(question)
        if fingerprint is not None and self._cache is not None:
            known = self._cache.get(fingerprint, system.name, question)
            if known is not None:
                return known
        if self._interrupted:
            return _unasked(system, question, "interrupted", "the run was interrupted before")
        if not self._send and system.kind == "openai":
            return _unasked(system, question, "not_asked", "nothing was sent in this run")
        asking = asyncio.ensure_future(system.ask(question))
        self._asking.add(asking)
        try:
            answer = await asking
        except asyncio.CancelledError:
            if not self._dropped():
                raise
            return _unasked(system, question, "interrupted", "the run was interrupted while it was asked")
        finally:
            self._asking.discard(asking)
        if fingerprint is not None and self._cache is not None:
            self._cache.put(fingerprint, system.model, answer)
        return answer

    def _dropped(self) -> bool:
        """Whether a cancellation is that of a question by :meth:`interrupt`, and not the end of everything."""
        current = asyncio.current_task()
        return self._interrupted and (current is None or not current.cancelling())


def _next(questions: Iterator[Question]) -> Question | None:
    return next(questions, None)


def _unasked(system: System, question: Question, reason: str, error: str) -> Answer:
    return Answer(system.name, question.task, question.id, "failed", reason=reason, error=error)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong, out of the group that says that something did."""
    found: BaseException = failures
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
