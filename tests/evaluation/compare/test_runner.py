"""The run: every question once, at each one's own pace, resumable, interruptible."""

from __future__ import annotations

import asyncio

import pytest

from mellm.evaluation.compare.cache import Cache
from mellm.evaluation.compare.config import OpenAISystem
from mellm.evaluation.compare.endpoint import EndpointSystem
from mellm.evaluation.compare.runner import BACKLOG, Runner
from mellm.evaluation.compare.types import Answer, Question
from mellm.stream.errors import MellmError, UsageError
from tests.engine.servers import until
from tests.evaluation.compare.fakes import FakeSystem, FakeTask
from tests.evaluation.compare.stand_in import StandIn, status


def endpoint(server: StandIn, name: str = "a", **changes: object) -> EndpointSystem:
    return EndpointSystem(
        OpenAISystem(**{"kind": "openai", "name": name, "base_url": server.url, "model": "m", **changes})
    )


async def test_everybody_answers_everything_once_and_pictures_are_read_once():
    tasks = [FakeTask("one", 100), FakeTask("two", 3)]
    people = [FakeSystem("a", 4), FakeSystem("b", 1)]
    told: list[Answer] = []
    answers = await Runner(tasks, people, on_answer=told.append).run()
    for task in tasks:
        assert task.read == task.count
        for person in people:
            assert set(answers[task.name][person.name]) == {f"q{n}" for n in range(task.count)}
    assert len(told) == 2 * 103
    assert [person.closed for person in people] == [1, 1]


async def test_reading_does_not_run_ahead_of_the_slowest():
    task, gate = FakeTask(count=500), asyncio.Event()

    class Slow(FakeSystem):
        async def ask(self, question: Question) -> Answer:
            await gate.wait()
            return await super().ask(question)

    running = asyncio.ensure_future(Runner([task], [Slow("slow", 2), FakeSystem("quick", 8)]).run())
    await until(lambda: task.read > BACKLOG)
    await asyncio.sleep(0.1)
    assert task.read <= BACKLOG + 4
    gate.set()
    answers = await running
    assert len(answers["numbers"]["slow"]) == 500


async def test_concurrency_is_used_and_not_exceeded():
    with StandIn(delay_s=0.02) as server:
        await Runner([FakeTask(count=24)], [endpoint(server, concurrency=3)]).run()
    assert server.most == 3


async def test_what_is_cached_is_not_asked_again(tmp_path):
    with StandIn() as server, Cache(tmp_path / "c") as cache:
        first = await Runner([FakeTask()], [endpoint(server)], cache).run()
        again = await Runner([FakeTask()], [endpoint(server)], cache).run()
        more = await Runner([FakeTask(count=6)], [endpoint(server, "b")], cache).run()
    assert len(server.requests) == 6
    texts = {q: a.text for q, a in first["numbers"]["a"].items()}
    assert {q: a.text for q, a in again["numbers"]["a"].items()} == texts
    assert all(a.cached for a in again["numbers"]["a"].values())
    assert [a.cached for _, a in sorted(more["numbers"]["b"].items())] == [True] * 4 + [False] * 2


async def test_one_that_is_stopped_leaves_the_others_alone(tmp_path):
    with StandIn(status(401)) as locked, StandIn() as open_, Cache(tmp_path / "c") as cache:
        people = [endpoint(locked, "locked", concurrency=1), endpoint(open_, "open")]
        answers = await Runner([FakeTask(count=10)], people, cache).run()
        assert len(cache) == 10
    assert len(locked.requests) == 1
    assert {a.reason for a in answers["numbers"]["locked"].values()} == {"unauthorized"}
    assert {a.state for a in answers["numbers"]["open"].values()} == {"answered"}
    assert people[0].stopped == "unauthorized"


async def test_without_sending_there_is_only_the_cache(tmp_path):
    here = FakeSystem("here", kind="embedded")
    with StandIn() as server, Cache(tmp_path / "c") as cache:
        await Runner([FakeTask(count=2)], [endpoint(server)], cache).run()
        answers = await Runner([FakeTask(count=4)], [endpoint(server), here], cache, send=False).run()
    assert len(server.requests) == 2
    assert [a.reason for _, a in sorted(answers["numbers"]["a"].items())] == [None, None] + ["not_asked"] * 2
    assert len(here.asked) == 4


async def test_an_interrupted_run_ends_every_question_and_goes_on_later(tmp_path):
    with StandIn(delay_s=0.05) as server, Cache(tmp_path / "c") as cache:
        runner = Runner([FakeTask(count=60)], [endpoint(server, concurrency=4)], cache)
        running = asyncio.ensure_future(runner.run())
        await until(lambda: len(cache) >= 6)
        runner.interrupt()
        answers = (await running)["numbers"]["a"]
        assert runner.interrupted
        ends = [(a.state, a.reason) for a in answers.values()]
        assert len(ends) == 60
        assert set(ends) == {("answered", None), ("failed", "interrupted")}
        kept = len(cache)
        assert 6 <= kept == ends.count(("answered", None)) < 60
        sent = len(server.requests)
        again = await Runner([FakeTask(count=60)], [endpoint(server)], cache).run()
        assert {a.state for a in again["numbers"]["a"].values()} == {"answered"}
        assert len(server.requests) == sent + 60 - kept


class Twice(FakeTask):
    def questions(self):
        yield from super().questions()
        yield from super().questions()


class Broken(FakeTask):
    def questions(self):
        yield from super().questions()
        raise MellmError("row 5 is no question")


class Stranger(FakeTask):
    def questions(self):
        yield Question("another", "q0", "?")


@pytest.mark.parametrize(
    ("task", "error", "said"),
    [
        (Twice(), UsageError, "asks 'q0' twice"),
        (Broken(), MellmError, "row 5"),
        (Stranger(), UsageError, "says it is of 'another'"),
    ],
)
async def test_a_task_that_cannot_be_read_is_a_typed_error(task, error, said):
    person = FakeSystem()
    with pytest.raises(error, match=said):
        await Runner([task], [person]).run()
    assert person.closed


async def test_a_bug_in_a_system_is_not_hidden():
    class Bad(FakeSystem):
        async def ask(self, question: Question) -> Answer:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Runner([FakeTask(count=200)], [Bad(), FakeSystem("b", 3)]).run()


async def test_a_run_that_is_cancelled_ends():
    class Never(FakeSystem):
        async def ask(self, question: Question) -> Answer:
            await asyncio.Event().wait()
            raise AssertionError

    running = asyncio.ensure_future(Runner([FakeTask()], [Never()]).run())
    await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
