"""A worker's death is logged, told and mended; one that stands still is seen, and replaced."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator

import cv2
import pytest

from mellm.stream.capture.reconnect import Backoff, BackoffOptions
from mellm.stream.clock import ManualClock
from mellm.stream.errors import InternalError, MellmError, ModelMissing
from mellm.stream.worker import Turn, Worker

ERRORS = [ValueError("odd"), cv2.error("odd"), MemoryError(), SystemExit(3), ModelMissing("no model")]


class Seen:
    """Vitals that only remember."""

    def __init__(self) -> None:
        self.watched: set[str] = set()
        self.told: list[tuple[str, str]] = []

    def add(self, worker: Worker) -> None:
        self.watched.add(worker.name)

    def remove(self, worker: Worker) -> None:
        self.watched.discard(worker.name)

    def died(self, worker: Worker, error: MellmError) -> None:
        self.told.append(("failed", error.code))

    def recovered(self, worker: Worker) -> None:
        self.told.append(("recovered", ""))


def until(what: Callable[[], bool], passing: ManualClock | None = None) -> None:
    """Wait for progress; with a clock, let its time pass meanwhile."""
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)
        if passing is not None:
            passing.advance(0.05)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def made(clock: ManualClock) -> Iterator[Callable[..., Worker]]:
    workers: list[Worker] = []

    def make(body: Callable[[Turn], None], **more: object) -> Worker:
        backoff = Backoff(BackoffOptions(jitter=0.0), random.Random(0))
        worker = Worker("test", body, clock=clock, backoff=backoff, **more)  # type: ignore[arg-type]
        workers.append(worker)
        worker.start()
        return worker

    yield make
    for worker in workers:
        worker.stop()
        assert worker.join(10)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_death_is_logged_with_its_trace_told_and_mended(
    error: BaseException,
    made: Callable[..., Worker],
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen, deaths, runs, flow = Seen(), [], [], threading.Event()

    def body(turn: Turn) -> None:
        runs.append(clock.now_ns())
        if len(runs) == 1:
            raise error
        while not turn.over:
            turn.heartbeat()
            if flow.wait(0.002):
                turn.worked()

    worker = made(body, vitals=seen, on_death=deaths.append)
    until(lambda: bool(seen.told))
    code = error.code if isinstance(error, MellmError) else "internal"
    assert (worker.fault and worker.fault.code, [d.code for d in deaths]) == (code, [code])
    assert len(runs) == 1  # it waits for its back-off
    until(lambda: len(runs) == 2, clock)
    # a missing file is not asked for four times a second
    assert clock.now_ns() / 1e9 == pytest.approx(0.25 if code == "internal" else 30.0, rel=0.5)
    assert worker.fault is not None  # it runs, and has done nothing yet
    flow.set()
    until(lambda: worker.fault is None)
    assert seen.told == [("failed", code), ("recovered", "")]
    failed = next(r for r in caplog.records if r.levelno == logging.ERROR)
    assert ("in body" in (failed.exc_text or "")) == (code == "internal")
    worker.stop()
    assert worker.join(10)
    assert not seen.watched
    assert not worker.alive


def test_deaths_in_a_row_wait_longer_and_work_in_between_begins_anew(
    made: Callable[..., Worker], clock: ManualClock
) -> None:
    runs: list[int] = []
    works = threading.Event()

    def body(turn: Turn) -> None:
        runs.append(clock.now_ns())
        if works.is_set():
            turn.worked()
            until(lambda: turn.over or clock.now_ns() >= runs[-1] + 2 * 10**9)
        raise ValueError

    worker = made(body)
    until(lambda: len(runs) == 17, clock)
    assert worker.attempt >= 16
    last = runs[-1] - runs[-2]
    assert last == pytest.approx(2 * 10**9, rel=0.1)
    works.set()
    until(lambda: len(runs) == 20, clock)
    assert worker.attempt <= 2
    assert runs[-1] - runs[-2] == pytest.approx(2.25 * 10**9, rel=0.1)


def test_one_that_stands_still_is_seen_and_another_takes_its_place(
    made: Callable[..., Worker], clock: ManualClock
) -> None:
    seen, deaths, hang, passed = Seen(), [], threading.Event(), []
    started: list[int] = []

    def body(turn: Turn) -> None:
        started.append(len(started))
        mine = len(started)
        turn.heartbeat()
        if mine == 1:
            hang.wait(30)
            turn.heartbeat()
            passed.append(mine)  # pragma: no cover - its place was taken
        while not turn.over:
            turn.worked()
            time.sleep(0.002)

    worker = made(body, vitals=seen, on_death=deaths.append, limit_s=2.0, abandon_s=10.0)
    until(lambda: started == [0])
    clock.advance(3.0)
    worker.check()
    assert worker.stall_s == pytest.approx(3.0)
    assert not deaths
    clock.advance(8.0)
    worker.check()
    until(lambda: bool(deaths))
    assert isinstance(deaths[0], InternalError)
    assert "stood still for 11.0 s" in str(deaths[0])
    until(lambda: worker.fault is None, clock)
    assert worker.stall_s is None
    hang.set()  # the first thread wakes, finds its place taken, and ends
    until(lambda: sum(t.name == "mellm-test" for t in threading.enumerate()) == 1)
    assert not passed
    assert seen.told == [("failed", "internal"), ("recovered", "")]


def test_who_owns_what_only_one_may_have_is_seen_and_not_replaced(
    made: Callable[..., Worker], clock: ManualClock
) -> None:
    hang, started = threading.Event(), []

    def body(turn: Turn) -> None:
        started.append(1)
        turn.heartbeat()
        hang.wait(30)
        turn.worked()

    worker = made(body, limit_s=2.0)
    until(lambda: bool(started))
    clock.advance(100.0)
    worker.check()
    assert worker.stall_s == pytest.approx(100.0)
    hang.set()
    assert worker.join(10)
    assert started == [1]


def test_whoever_rests_does_not_stand_still(made: Callable[..., Worker], clock: ManualClock) -> None:
    go, resting = threading.Event(), threading.Event()

    def body(turn: Turn) -> None:
        turn.rest()
        resting.set()
        go.wait(30)

    worker = made(body)
    assert resting.wait(10)
    clock.advance(1000.0)
    assert worker.stall_s is None
    go.set()
    assert worker.join(10)


def test_a_death_while_it_is_stopped_is_told_and_ends_it(made: Callable[..., Worker]) -> None:
    deaths: list[MellmError] = []

    def body(turn: Turn) -> None:
        until(lambda: turn.over)
        raise ValueError

    worker = made(body, on_death=deaths.append)
    worker.stop()
    assert worker.join(10)
    assert [d.code for d in deaths] == ["internal"]


def test_a_callback_that_fails_does_not_end_it(made: Callable[..., Worker], clock: ManualClock) -> None:
    runs: list[int] = []

    def body(turn: Turn) -> None:
        runs.append(1)
        if len(runs) == 1:
            raise ValueError

    def fails(error: MellmError) -> None:
        raise RuntimeError

    worker = made(body, on_death=fails)
    until(lambda: worker.fault is not None)
    while not worker.join(0.01):
        clock.advance(0.3)
    assert len(runs) == 2


def test_one_that_was_never_started_is_joined_at_once() -> None:
    worker = Worker("idle", lambda turn: None)
    worker.stop()
    assert worker.join(0)
    assert not worker.alive
