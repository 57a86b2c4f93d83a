"""Decoding with the cache: alone or together, to a limit, before a deadline."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mellm.detectors.types import U8
from mellm.engine.describe.grammar import BUDGET
from mellm.engine.describe.nano_graph import NanoGraph, shared
from mellm.stream.errors import DescriberTimeout
from tests.engine.describe.nano_models import exported


@pytest.fixture(scope="module")
def graph() -> NanoGraph:
    return shared(exported())


def pictures(graph: NanoGraph, count: int) -> list[U8]:
    side = graph.folder.side
    return list(np.random.default_rng(4).integers(0, 256, (count, side, side, 3), np.uint8))


def test_cached_steps_say_what_one_long_pass_says(graph: NanoGraph) -> None:
    (picture,) = pictures(graph, 1)
    (answer,) = graph.write([picture], limit=20, constrained=False)
    prompt = np.array(graph.folder.prompts["en"])
    whole = np.concatenate([prompt, answer.ids[:-1]])
    logits = graph.logits([picture], whole)
    assert logits[0, len(prompt) - 1 :].argmax(1).tolist() == answer.ids
    shares = np.exp(logits[0, len(prompt) - 1 :].astype(float))
    shares /= shares.sum(1, keepdims=True)
    assert shares[range(len(answer.ids)), answer.ids] == pytest.approx(answer.shares, abs=1e-5)


@pytest.mark.parametrize("constrained", [True, False])
def test_together_is_as_alone(graph: NanoGraph, constrained: bool) -> None:
    shown = pictures(graph, 5)
    alone = [graph.write([p], limit=BUDGET, constrained=constrained)[0] for p in shown]
    together = graph.write(shown, limit=BUDGET, constrained=constrained)
    for one, same in zip(alone, together, strict=True):
        assert one.ids == same.ids
        assert one.whole == same.whole
        assert one.shares == pytest.approx(same.shares, abs=1e-5)


def test_a_constrained_answer_is_whole_within_its_budget(graph: NanoGraph) -> None:
    for answer in graph.write(pictures(graph, 4), limit=BUDGET):
        assert answer.whole
        assert len(answer.ids) < BUDGET
        assert graph.folder.text(answer.ids).endswith('"}')


def test_an_answer_never_runs_past_the_context(graph: NanoGraph) -> None:
    (answer,) = graph.write(pictures(graph, 1), limit=10**6, constrained=False)
    assert answer.whole or len(answer.ids) == graph.folder.context - len(graph.folder.prompts["en"])


def test_the_threshold_decides_whether_to_abstain(graph: NanoGraph) -> None:
    shown = pictures(graph, 3)
    for at, begins in ((0.0, '{"abstain":true'), (1.1, '{"abstain":false')):
        for answer in graph.write(shown, limit=BUDGET, abstain_at=at):
            assert graph.folder.text(answer.ids).startswith(begins)
            assert answer.abstains is not None
            assert 0 <= answer.abstains <= 1


def test_the_deadline_is_looked_at_between_tokens(graph: NanoGraph) -> None:
    ticks = itertools.count()
    with pytest.raises(DescriberTimeout, match="after 5"):
        graph.write(pictures(graph, 1), limit=BUDGET, deadline=5, clock=lambda: float(next(ticks)))


def test_both_languages_are_asked(graph: NanoGraph) -> None:
    (english,), (chinese,) = (
        graph.write(pictures(graph, 1), language=language, limit=8, constrained=False)
        for language in ("en", "zh")
    )
    assert english.shares != chinese.shares


def test_nothing_is_said_of_no_pictures(graph: NanoGraph) -> None:
    assert graph.write([], limit=BUDGET) == []
