from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from mellm.engine.bus import wire
from mellm.engine.bus.base import Message
from mellm.engine.describe.base import DescribeContext
from mellm.engine.describe.scripted import DEFAULT
from mellm.engine.roles.messages import Answer, Asked, Control, Told, camera_of, picture_of, png_of
from mellm.engine.types import Outcome
from mellm.stream.errors import MessageInvalid
from tests import REPO
from tests.cluster.stand_in import evidence

CONTEXT = DescribeContext("e1", 200.0, ((4, 0.5),), source="ward.1")


def test_evidence_comes_back_as_it_was() -> None:
    asked = Asked(evidence(12), CONTEXT, 9.5)
    again = Asked.unpack(asked.pack())
    assert asked.subject == "evidence.ward=1.e1"
    assert (again.context, again.left_s) == (CONTEXT, 9.5)
    assert np.array_equal(again.evidence.motion_map, asked.evidence.motion_map)
    assert again.evidence.regions == asked.evidence.regions
    assert (again.evidence.recipe, again.evidence.flow_stats) == ("live", {"p95": 1.0})


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome("described", None, DEFAULT),
        Outcome("abstained", "unsure", replace(DEFAULT, abstained="unsure", emotion=None)),
        Outcome("dropped", "describer_timeout", None),
    ],
)
def test_an_answer_comes_back_as_it_was(outcome: Outcome) -> None:
    again = Answer.unpack(Answer("ward.1", "e1", outcome, "d1").pack())
    assert (again.source, again.expression, again.by) == ("ward.1", "e1", "d1")
    assert (again.outcome.state, again.outcome.reason) == (outcome.state, outcome.reason)
    said, given = again.outcome.description, outcome.description
    assert (said is None) == (given is None)
    if said is not None and given is not None:
        assert (said.text, said.action_units, said.emotion) == (given.text, given.action_units, given.emotion)


def test_events_and_orders_come_back_as_they_were() -> None:
    told = Told("expression.spotted", "ward.1", "e1", {"id": "e1", "t_ns": "5"}, 3, True)
    assert Told.unpack(told.pack()) == told
    assert told.subject == "event.ward=1.3"
    order = Control("withdraw", "ward.1", "somebody")
    assert Control.unpack(order.pack()) == order
    assert camera_of(Message(told.subject, 1, "", b"")) == "ward.1"


PNG = png_of(np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize(
    "body",
    [
        wire.pack("evidence", {}, PNG),
        wire.pack("evidence", {"source": "s"}, b"GIF89a"),
        Asked(evidence(1), CONTEXT, 1.0).pack()[:-40],
        Asked(evidence(1), CONTEXT, 1.0).pack().replace(b'"dx"', b'"xx"'),
    ],
)
def test_evidence_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(MessageInvalid):
        Asked.unpack(body)


@pytest.mark.parametrize(
    "change",
    [{"type": "no.such"}, {"epoch": "1"}, {"owned": 1}, {"data": []}, {"source": None}],
)
def test_an_event_that_is_none_is_refused(change: dict[str, object]) -> None:
    head = {"type": "source.gap", "source": "s", "id": "i", "data": {}, "epoch": 1, "owned": True}
    assert Told.unpack(wire.pack("event", head)).type == "source.gap"
    with pytest.raises(MessageInvalid):
        Told.unpack(wire.pack("event", {**head, **change}))


def test_a_picture_that_would_fill_the_memory_is_not_decoded() -> None:
    bomb = PNG[:16] + (60_000).to_bytes(4, "big") * 2 + PNG[24:]
    with pytest.raises(ValueError, match="at most"):
        picture_of(bomb)


def test_nothing_on_the_wire_is_pickled() -> None:
    sources = [*(REPO / "engine" / "bus").glob("*.py"), *(REPO / "engine" / "roles").glob("*.py")]
    assert len(sources) > 10
    unsafe = re.compile(
        r"^\s*(import|from) (pickle|marshal|shelve|dill|joblib)\b|allow_pickle=True", re.MULTILINE
    )
    found = [source.name for source in sources if unsafe.search(source.read_text(encoding="utf-8"))]
    assert found == []
