from __future__ import annotations

import threading
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest

from mellm.detectors.types import Expression, Quality
from mellm.engine.analysis.describe_queue import DescribeQueue, Job, Policy
from mellm.engine.analysis.watchdog import Watchdog
from mellm.engine.describe.base import DescribeContext
from mellm.engine.describe.scripted import DEFAULT, ScriptedDescriber
from mellm.engine.types import Description, Evidence, Outcome
from mellm.stream.errors import DescriberPaused, DescriberRejected, DescriberTimeout, DescriberUnavailable
from mellm.stream.frames import FrameRef
from tests import PATIENCE_S


def job(number: int, score: float = 0.5, refused: str | None = None) -> Job:
    ref = FrameRef(number, number * 10**9)
    quality = Quality(fps=30, face_width=200, blur=100, yaw=0, pitch=0, occlusion=0)
    expression = Expression(f"e{number}", "s", 0, 1, ref, ref, ref, score, quality)
    evidence = Evidence(np.zeros((4, 4, 3), np.uint8), (), {}, "live", refused)
    return Job(number, expression, evidence, DescribeContext(expression=expression.id))


class Done:
    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.order: list[str] = []

    def __call__(self, job: Job, outcome: Outcome) -> None:
        assert job.expression.id not in self.outcomes, "a job ended twice"
        self.outcomes[job.expression.id] = outcome
        self.order.append(job.expression.id)


class Gate:
    """A describer step that waits until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    def __call__(self, evidence: Evidence, context: DescribeContext) -> Description:
        self.entered.set()
        assert self.open.wait(PATIENCE_S)
        return DEFAULT


def test_every_job_ends_in_one_state_and_the_counts_balance() -> None:
    done = Done()
    steps = [DEFAULT, DescriberRejected("no"), DescriberTimeout("late"), DEFAULT]
    queue = DescribeQueue(ScriptedDescriber(steps), done, policy="offline", capacity=2)
    for i in range(8):
        queue.submit(job(i))
    queue.submit(job(8, refused="motion_floor"))
    assert queue.drain(PATIENCE_S)
    stats = queue.stats()
    assert (stats.submitted, stats.described, stats.abstained, stats.pending) == (9, 4, 1, 0)
    assert stats.dropped == {"describer_rejected": 2, "describer_timeout": 2}
    assert done.order == [f"e{i}" for i in range(9)]
    queue.close()


def test_live_overflow_gives_up_the_lowest_score_and_answers_the_highest_first() -> None:
    done, gate = Done(), Gate()
    queue = DescribeQueue(ScriptedDescriber([gate]), done, policy="live", capacity=2)
    queue.submit(job(0))
    assert gate.entered.wait(PATIENCE_S)
    for number, score in ((1, 0.6), (2, 0.9), (3, 0.7)):
        queue.submit(job(number, score))
    assert done.outcomes["e1"] == Outcome("dropped", "overflow", None)
    gate.open.set()
    assert queue.drain(PATIENCE_S)
    assert done.order == ["e1", "e0", "e2", "e3"]
    queue.close()


def test_live_job_past_its_deadline_is_dropped_unasked() -> None:
    done, gate, now = Done(), Gate(), [0]
    describer = ScriptedDescriber([gate])
    queue = DescribeQueue(describer, done, policy="live", deadline_s=10, clock_ns=lambda: now[0])
    queue.submit(job(0))
    assert gate.entered.wait(PATIENCE_S)
    queue.submit(job(1))
    now[0] = 11 * 10**9
    gate.open.set()
    assert queue.drain(PATIENCE_S)
    assert done.outcomes["e1"] == Outcome("dropped", "deadline", None)
    assert len(describer.calls) == 1
    queue.close()


def test_close_drops_what_waits_and_refuses_what_comes_after() -> None:
    done, gate = Done(), Gate()
    describer = ScriptedDescriber([gate])
    queue = DescribeQueue(describer, done, policy="live")
    queue.submit(job(0))
    assert gate.entered.wait(PATIENCE_S)
    queue.submit(job(1))
    gate.open.set()
    queue.close()
    queue.submit(job(2))
    assert {k: v.state for k, v in done.outcomes.items()} == {
        "e0": "described",
        "e1": "dropped",
        "e2": "dropped",
    }
    assert queue.stats().pending == 0
    assert describer.closed


def test_a_bug_in_a_describer_still_ends_the_job() -> None:
    def broken(evidence: Evidence, context: DescribeContext) -> Description:
        raise RuntimeError("bug")

    done = Done()
    queue = DescribeQueue(ScriptedDescriber([broken]), done, policy="offline")
    queue.submit(job(0))
    assert queue.drain(PATIENCE_S)
    assert done.outcomes["e0"] == Outcome("dropped", "internal", None)
    queue.close()


@pytest.mark.parametrize("error", [ValueError("odd"), cv2.error("odd"), MemoryError(), SystemExit(3)])
@pytest.mark.parametrize("where", ["describer", "told"])
def test_an_exception_anywhere_in_a_job_ends_that_job_and_no_other(error: BaseException, where: str) -> None:
    told: list[tuple[str, Outcome]] = []

    def describe(evidence: Evidence, context: DescribeContext) -> Description:
        if where == "describer" and context.expression == "e1":
            raise error
        return DEFAULT

    def done(job: Job, outcome: Outcome) -> None:
        if where == "told" and job.expression.id == "e1" and outcome.state == "described":
            raise error
        told.append((job.expression.id, outcome))

    queue = DescribeQueue(ScriptedDescriber([describe]), done, policy="live")
    for number in range(3):
        queue.submit(job(number))
    assert queue.drain(PATIENCE_S)
    assert sorted(told, key=lambda each: each[0]) == [
        ("e0", Outcome("described", None, DEFAULT)),
        ("e1", Outcome("dropped", "internal", None)),
        ("e2", Outcome("described", None, DEFAULT)),
    ]
    assert queue.stats().dropped == {"internal": 1}
    queue.close()


def test_nobody_can_be_told_and_the_queue_goes_on() -> None:
    def fails(job: Job, outcome: Outcome) -> None:
        raise ValueError

    queue = DescribeQueue(ScriptedDescriber(), fails, policy="live")
    for number in range(3):
        queue.submit(job(number))
    assert queue.drain(PATIENCE_S)
    assert queue.stats().dropped == {"internal": 3}
    queue.close()


@pytest.mark.parametrize("where", ["describer", "told"])
def test_a_call_that_never_returns_ends_its_job_and_another_thread_goes_on(where: str) -> None:
    gate, told = Gate(), []

    def describe(evidence: Evidence, context: DescribeContext) -> Description:
        return gate(evidence, context) if where == "describer" and context.expression == "e0" else DEFAULT

    def done(each: Job, outcome: Outcome) -> None:
        if where == "told" and each.expression.id == "e0":
            gate(each.evidence, each.context)
        told.append((each.expression.id, outcome.state))

    with Watchdog(tick_s=0.05) as watchdog:
        queue = DescribeQueue(
            ScriptedDescriber([describe]), done, policy="live", deadline_s=1.0, vitals=watchdog
        )
        queue.submit(job(0))
        assert gate.entered.wait(30)
        assert queue.drain(60)
        assert watchdog.unhealthy is not None
        queue.submit(job(1))
        assert queue.drain(60)
        assert queue.stats().pending == 0
        gate.open.set()
        until = time.monotonic() + PATIENCE_S
        while not any(name == "e0" for name, _ in told) and time.monotonic() < until:
            time.sleep(0.01)  # the thread that was given up comes back
        queue.close()
    assert told[-1] == ("e1", "described") or where == "told"
    assert [state for name, state in told if name == "e0"] in (["dropped"], ["described"])


def test_step_by_step_without_a_thread_or_a_pause() -> None:
    done, now = Done(), [0]
    steps = [away(2.0), DEFAULT, away(2.0), DEFAULT]
    queue = DescribeQueue(
        ScriptedDescriber(steps), done, policy="live", deadline_s=5, workers=0, clock_ns=lambda: now[0]
    )
    assert not queue.step()
    for number in range(3):
        queue.submit(job(number, score=0.5 + number / 10))
    assert queue.step()  # the best one is asked for, and held
    assert not queue.step()
    assert queue.stats().held
    now[0] = 2 * 10**9
    assert queue.step()
    assert done.order == ["e2"]
    assert queue.step()
    now[0] = 5 * 10**9
    assert queue.step()
    assert queue.step()
    assert not queue.step()
    assert [done.outcomes[f"e{n}"].reason for n in (0, 1)] == ["deadline", "deadline"]
    queue.close()


def test_a_failing_endpoint_is_told_once_for_each_cause(caplog: pytest.LogCaptureFixture) -> None:
    down, rejected = DescriberTimeout("down"), DescriberRejected("no key")
    queue = DescribeQueue(
        ScriptedDescriber([down, down, rejected, rejected, DEFAULT, down]), Done(), policy="offline"
    )
    for number in range(6):
        queue.submit(job(number))
    assert queue.drain(PATIENCE_S)
    queue.close()
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert told == ["e0: down", "e2: no key", "e5: down"]


@pytest.mark.parametrize(
    "bad", [{"capacity": 0}, {"workers": -1}, {"deadline_s": 0}, {"deadline_s": float("nan")}]
)
def test_bounds_are_checked(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        DescribeQueue(ScriptedDescriber(), Done(), policy="live", **bad)  # type: ignore[arg-type]


def away(seconds: float = 0.02, *, reached: bool = False) -> DescriberUnavailable:
    return DescriberUnavailable("gone", retry_after=seconds, reached=reached)


@pytest.mark.parametrize("policy", ["live", "offline"])
def test_jobs_are_held_while_the_model_is_away_and_keep_their_order(policy: Policy) -> None:
    done = Done()
    paused = DescriberPaused("left alone", retry_after=0.02)
    queue = DescribeQueue(ScriptedDescriber([away(), away(), paused, paused, DEFAULT]), done, policy=policy)
    for number in range(4):
        queue.submit(job(number))
    assert queue.drain(PATIENCE_S)
    assert [done.outcomes[f"e{i}"].state for i in range(4)] == 4 * ["described"]
    assert done.order == ["e0", "e1", "e2", "e3"]
    assert not queue.stats().held
    queue.close()


def test_a_held_job_ends_at_its_deadline() -> None:
    done = Done()
    describer = ScriptedDescriber([away(0.05)])
    queue = DescribeQueue(describer, done, policy="live", deadline_s=0.3)
    queue.submit(job(0))
    queue.submit(job(1))
    assert queue.drain(PATIENCE_S)
    assert {o.reason for o in done.outcomes.values()} <= {"deadline", "describer_unavailable"}
    assert queue.stats().held
    assert 4 <= len(describer.calls) <= 14
    queue.close()


def test_offline_gives_up_after_the_deadline_and_then_drops_without_waiting() -> None:
    done, now = Done(), [0]
    describer = ScriptedDescriber([away(0.01)])
    queue = DescribeQueue(describer, done, policy="offline", deadline_s=1.0, clock_ns=lambda: now[0])
    queue.submit(job(0))
    while not describer.calls:
        threading.Event().wait(0.005)
    now[0] = 2 * 10**9
    for number in range(1, 50):
        queue.submit(job(number))
    assert queue.drain(PATIENCE_S)
    assert queue.stats().dropped == {"describer_unavailable": 50}
    queue.close()


def test_a_request_that_may_bring_the_model_down_is_asked_twice_at_most() -> None:
    done = Done()
    describer = ScriptedDescriber([away(reached=True)])
    queue = DescribeQueue(describer, done, policy="live")
    queue.submit(job(0))
    assert queue.drain(PATIENCE_S)
    assert len(describer.calls) == 2
    assert done.outcomes["e0"].reason == "describer_unavailable"
    queue.close()


def test_close_ends_what_is_held() -> None:
    done = Done()
    describer = ScriptedDescriber([away(5)])
    queue = DescribeQueue(describer, done, policy="live")
    queue.submit(job(0))
    while not queue.stats().held:
        threading.Event().wait(0.005)
    queue.close()
    assert done.outcomes["e0"] == Outcome("dropped", "shutdown", None)
    assert queue.stats().pending == 0


def of(source: str, each: Job) -> Job:
    return replace(each, expression=replace(each.expression, source=source))


def test_withdrawn_jobs_end_at_once_once_and_unheard_and_the_others_go_on() -> None:
    done, gate = Done(), Gate()
    queue = DescribeQueue(ScriptedDescriber([gate]), done, policy="live", capacity=8)
    queue.submit(of("a", job(0)))
    assert gate.entered.wait(PATIENCE_S)
    queue.submit(of("a", job(1)))
    queue.submit(of("b", job(2)))
    queue.withdraw("a")
    gone = Outcome("dropped", "withdrawn", None)
    assert done.outcomes == {"e0": gone, "e1": gone}  # while the call is still running
    queue.submit(of("a", job(3)))
    assert done.outcomes["e3"] == gone
    gate.open.set()
    assert queue.drain(PATIENCE_S)
    assert done.outcomes["e2"].state == "described"
    stats = queue.stats()
    assert (stats.submitted, stats.described, stats.dropped) == (4, 1, {"withdrawn": 3})
    queue.close()
    assert done.outcomes["e0"] == gone


def test_a_job_that_is_to_be_held_is_not_when_its_source_was_withdrawn() -> None:
    done, gate = Done(), Gate()

    def refuse(evidence: Evidence, context: DescribeContext) -> Description:
        gate(evidence, context)
        raise DescriberUnavailable("away", retry_after=0.01)

    queue = DescribeQueue(ScriptedDescriber([refuse]), done, policy="live", deadline_s=60)
    queue.submit(job(0))
    assert gate.entered.wait(PATIENCE_S)
    queue.withdraw("s")
    gate.open.set()
    assert queue.drain(PATIENCE_S)
    assert queue.stats().dropped == {"withdrawn": 1}
    queue.close()
    assert len(done.order) == 1
