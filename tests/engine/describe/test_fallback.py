import logging

import numpy as np
import pytest

from mellm.engine.describe import create
from mellm.engine.describe.base import DescribeContext
from mellm.engine.describe.fallback import FallbackDescriber
from mellm.engine.describe.scripted import DEFAULT, ScriptedDescriber
from mellm.engine.results.expressions import description_json
from mellm.engine.types import Description, Evidence, Fallback
from mellm.stream.errors import (
    DescriberError,
    DescriberPaused,
    DescriberRejected,
    DescriberTimeout,
    UsageError,
)

EVIDENCE = Evidence(np.zeros((8, 8, 3), np.uint8), (), {}, "live")
SECOND = Description("Read by the second.", (), None, "second", "second-1", "1")


def pair(*steps: object) -> tuple[FallbackDescriber, ScriptedDescriber, ScriptedDescriber]:
    first, second = ScriptedDescriber(steps), ScriptedDescriber([SECOND])  # type: ignore[arg-type]
    return FallbackDescriber(first, second), first, second


def test_the_stand_in_is_asked_only_when_the_first_fails_and_is_marked():
    both, first, second = pair(DEFAULT, DescriberPaused("away", retry_after=1))
    assert both.describe(EVIDENCE, DescribeContext()) == DEFAULT
    assert not second.calls
    answer = both.describe(EVIDENCE, DescribeContext())
    assert answer.fallback == Fallback("scripted", "describer_paused")
    assert answer.model == "second"
    assert description_json(answer)["fallback"] == {"model": "scripted", "reason": "describer_paused"}
    assert "fallback" not in description_json(DEFAULT)
    both.close()
    assert first.closed
    assert second.closed


def test_time_is_kept_for_the_stand_in():
    both, first, second = pair(DescriberTimeout("late"))
    both.describe(EVIDENCE, DescribeContext(deadline_s=10))
    both.describe(EVIDENCE, DescribeContext(deadline_s=1))
    assert [c.deadline_s for c in first.calls] == [9, 0.5]
    assert [c.deadline_s for c in second.calls] == [1, 0.5]


def test_it_is_told_once_for_each_cause_and_when_it_is_over(caplog):
    late, refused = DescriberTimeout("late"), DescriberRejected("no key")
    both, _, _ = pair(late, late, refused, DEFAULT)
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            both.describe(EVIDENCE, DescribeContext())
    assert [r.getMessage() for r in caplog.records] == [
        "scripted answers for scripted: late",
        "scripted answers for scripted: no key",
        "scripted answers again",
    ]


def test_when_both_fail_the_error_is_told():
    both = FallbackDescriber(
        ScriptedDescriber([DescriberTimeout("late")]), ScriptedDescriber([DescriberRejected("broken")])
    )
    with pytest.raises(DescriberError, match="broken"):
        both.describe(EVIDENCE, DescribeContext())


def test_describers_that_read_different_evidence_are_refused():
    with pytest.raises(UsageError, match="evidence, not mellm-v1"):
        create("openai", base_url="http://127.0.0.1:9/v1", model="m", profile="mellm-v1", fallback="nano")
    assert isinstance(
        create("openai", base_url="http://127.0.0.1:9/v1", model="m", fallback="rules"), FallbackDescriber
    )
    assert not isinstance(create("rules", fallback="rules"), FallbackDescriber)
