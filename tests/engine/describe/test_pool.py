from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mellm.engine.describe import create
from mellm.engine.describe.base import DescribeContext
from mellm.engine.describe.breaker import CircuitBreaker, State
from mellm.engine.describe.pool import PoolDescriber
from mellm.engine.describe.scripted import DEFAULT, ScriptedDescriber
from mellm.engine.types import Evidence
from mellm.stream.errors import DescriberRejected, DescriberUnavailable, UsageError
from tests import PATIENCE_S

EVIDENCE = Evidence(np.zeros((8, 8, 3), np.uint8), (), {}, "live")


class Endpoint(ScriptedDescriber):
    def __init__(self, steps: Any = (DEFAULT,)) -> None:
        super().__init__(steps)
        self.breaker = CircuitBreaker()
        self.left_alone = False

    @property
    def state(self) -> State:
        return "open" if self.left_alone else "closed"


def held(gate: threading.Event, began: threading.Semaphore) -> Callable[[Evidence, DescribeContext], Any]:
    def step(evidence: Evidence, context: DescribeContext) -> Any:
        began.release()
        assert gate.wait(PATIENCE_S)
        return DEFAULT

    return step


def test_each_has_its_turn_and_the_least_busy_is_asked() -> None:
    gate, began = threading.Event(), threading.Semaphore(0)
    ends = [Endpoint([held(gate, began)]) for _ in range(3)]
    pool = PoolDescriber(ends)
    threads = [threading.Thread(target=pool.describe, args=(EVIDENCE, DescribeContext())) for _ in range(9)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert began.acquire(timeout=PATIENCE_S)
    assert pool.busy == (3, 3, 3)
    gate.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert [len(each.calls) for each in ends] == [3, 3, 3]
    assert pool.busy == (0, 0, 0)


def test_one_that_is_down_costs_nobody_his_answer() -> None:
    down = Endpoint([DescriberUnavailable("refused")])
    pool = PoolDescriber([down, Endpoint()])
    assert all(pool.describe(EVIDENCE, DescribeContext()) is DEFAULT for _ in range(10))
    before = len(down.calls)
    down.left_alone = True  # its own breaker has opened
    assert all(pool.describe(EVIDENCE, DescribeContext()) is DEFAULT for _ in range(10))
    assert len(down.calls) == before


@pytest.mark.parametrize("error", [DescriberUnavailable("cut", reached=True), DescriberRejected("no")])
def test_what_a_model_may_have_begun_on_is_not_asked_elsewhere(error: Exception) -> None:
    other = Endpoint()
    pool = PoolDescriber([Endpoint([error]), other])
    outcomes = []
    for _ in range(4):
        try:
            outcomes.append(pool.describe(EVIDENCE, DescribeContext()))
        except type(error):
            outcomes.append(None)
    assert outcomes.count(None) == 2
    assert len(other.calls) == 2


def test_when_all_are_down_the_last_error_is_told() -> None:
    ends = [Endpoint([DescriberUnavailable("refused")]) for _ in range(2)]
    with pytest.raises(DescriberUnavailable):
        PoolDescriber(ends).describe(EVIDENCE, DescribeContext())
    assert [len(each.calls) for each in ends] == [1, 1]


def test_several_addresses_make_a_pool_and_other_evidence_is_refused() -> None:
    made = create("openai", base_url="http://a:1/v1,http://b:1/v1", model="m", several=False)
    assert isinstance(made, PoolDescriber)
    assert (made.name, made.recipe) == ("m", "live")
    made.close()
    other = Endpoint()
    other.recipe = "mellm-v1"
    with pytest.raises(UsageError):
        PoolDescriber([Endpoint(), other])
