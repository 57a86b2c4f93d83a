"""Style, length, speed and cost of answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.evaluation.compare.measures import Prices, measure, percentile, style, words
from mellm.evaluation.compare.types import Answer


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Yes", "direct"),
        ("Yes, there is a dog.", "direct"),
        ("The brow is drawn down. This suggests anger.", "direct"),
        ("3.5 metres. No.", "direct"),
        ("AU4, AU7", "direct"),
        ("因此是惊讶。", "direct"),
        ("First, the brow rises. Then the jaw drops. Therefore it is surprise.", "stepwise"),
        ("Step 1: look at the brow.\nStep 2: look at the mouth.\nSurprise.", "stepwise"),
        ("1. The brow rises.\n2. The jaw drops.\nSo it is surprise.", "stepwise"),
        ("**1.** a\n**2.** b", "stepwise"),
        ("首先看眉毛，然后看嘴，因此是惊讶。", "stepwise"),
        ("The room is bright. A man stands by the door. He holds a cup. It is red.", "other"),
        ("Then she left.", "direct"),
        ("", "direct"),
    ],
)
def test_style_is_told_by_form(text, found):
    assert style(text) == found


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("Yes.", 1), ("The brow isn't down", 4), ("眉毛上升", 4), ("AU4 皱眉", 3), ("— … !", 0)],
)
def test_words(text, count):
    assert words(text) == count


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_the_smallest_value_that_covers_its_share(values, share):
    found = percentile(values, share)
    assert found in values
    assert sum(v <= found for v in values) >= share * len(values) - 1e-9
    below = [v for v in values if v < found]
    assert not below or len(below) < share * len(values) + 1e-9


def test_percentiles():
    assert percentile([], 0.5) is None
    assert percentile([3, 1, 2, 4], 0.5) == 2
    assert percentile(list(range(1, 101)), 0.95) == 95
    assert percentile([7], 0.95) == 7


def answer(state: str = "answered", text: str | None = "Yes.", **more: object) -> Answer:
    reason = more.pop("reason", None if state == "answered" else state)
    return Answer("a", "t", "q", state, text, reason=reason, **more)


def test_everything_is_counted_and_cached_answers_are_paid_once():
    found = measure(
        [
            answer(latency_s=1.0, tokens_in=1000, tokens_out=100),
            answer(
                text="One. Two. Three.", latency_s=3.0, tokens_in=1000, tokens_out=300, cached=True, cut=True
            ),
            answer("refused", "No.", reason="phrase", latency_s=2.0, tokens_in=500, tokens_out=0),
            answer("failed", None, reason="timeout"),
            answer("failed", None, reason="timeout"),
            answer("unsupported", None, reason="no_evidence"),
            answer(text="no count"),
        ],
        Prices(2.0, 10.0),
        "EUR",
    )
    assert found.questions == 7
    assert found.states == {"answered": 3, "refused": 1, "failed": 2, "unsupported": 1}
    assert found.reasons == {"timeout": 2, "phrase": 1, "no_evidence": 1}
    assert (found.cut, found.cached) == (1, 1)
    assert (found.latency_p50_s, found.latency_p95_s) == (2.0, 3.0)
    assert (found.tokens_in, found.tokens_out) == (2500, 400)
    assert found.cost == pytest.approx(0.009)
    assert found.cost_now == pytest.approx(0.004)
    assert (found.unpriced, found.currency) == (1, "EUR")
    assert found.words == 2
    assert found.direct == pytest.approx(2 / 3)
    assert found.stepwise == 0


def test_nothing_is_unknown_not_zero():
    found = measure([answer("failed", None, reason="timeout")])
    assert (found.cost, found.cost_now, found.words, found.direct, found.latency_p50_s) == (None,) * 5
    assert found.unpriced == 0
    assert measure([]).questions == 0
