"""What would be sent: counts and costs per endpoint, the limits' least time, and what cannot be sent."""

from __future__ import annotations

from pathlib import Path

from mellm.evaluation.compare.config import parse
from mellm.evaluation.compare.dry_run import dry_run, lines
from tests.evaluation.compare.fakes import FakeTask

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8) + (28).to_bytes(4, "big") + (28).to_bytes(4, "big")
A = {"kind": "openai", "name": "a", "base_url": "http://127.0.0.1:1/v1", "model": "m", "max_tokens": 50}
TASK = {"kind": "qualitative"}


def planned(*systems: dict[str, object], task: FakeTask | None = None):
    read = parse({"systems": list(systems), "tasks": [TASK]}, Path("c.toml"))
    return dry_run(read, [task or FakeTask(count=10)])


def test_costs_are_the_most_that_the_answers_may_take():
    (plan,) = planned({**A, "price_in": 1.0, "price_out": 4.0}).plans
    assert (plan.tokens_in, plan.tokens_out_most) == (10 * 7, 10 * 50)
    assert plan.cost_most == (70 * 1.0 + 500 * 4.0) / 1e6
    assert plan.minutes is None
    assert plan.key == "none needed"


def test_the_tighter_limit_sets_the_time():
    (plan,) = planned({**A, "requests_per_minute": 5, "tokens_per_minute": 7}).plans
    assert plan.minutes == 10


def test_pictures_that_endpoints_do_not_take_are_counted():
    found = planned(A, {"kind": "rules"}, task=FakeTask(count=3, images=(b"GIF89a",)))
    (plan,) = found.plans
    assert (plan.send, plan.unsendable, plan.example) == (0, 3, None)
    said = "\n".join(lines(found))
    assert "3 questions have a picture" in said
    assert "no prices in the file" in said
    assert "rules: answers in this process" in said


def test_the_same_endpoint_twice_is_planned_twice():
    found = planned(A, {**A, "name": "b"}, task=FakeTask(count=2, images=(PNG,)))
    assert [(p.name, p.send, p.tokens_in) for p in found.plans] == [("a", 2, 2 * 8), ("b", 2, 2 * 8)]
    assert found.questions == {"numbers": 2}
