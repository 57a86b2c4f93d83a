"""The automaton: every canonical answer is allowed, and nothing else can be written."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mellm.engine.describe.grammar import BUDGET, NEVER, Grammar, State, need, step
from mellm.engine.describe.parse import parse_json
from mellm.engine.facs import action_units as facs
from mellm.training.instruct import answers

WORDS = [
    b'{"abstain":',
    b"true",
    b'false,"action_units":[{"au":',
    b'"}],"emotion":',
    b" (AU",
    b"AU12",
    b'12,"',
    "眉".encode(),
]
TOKENS = [*(bytes((i,)) for i in range(256)), b"", *WORDS]
END = 256
GRAMMAR = Grammar(TOKENS, frozenset({END}))


def written(rng: np.random.Generator, budget: int) -> str:
    """An answer by somebody who knows nothing but what is allowed."""
    state, said = State(), b""
    for left in range(budget, 0, -1):
        allowed = np.flatnonzero(GRAMMAR.allowed(state, left))
        assert len(allowed), f"no way on from {state} with {left} tokens left"
        token = int(rng.choice(allowed))
        if token == END:
            return said.decode()
        state, said = GRAMMAR.advance(state, token), said + TOKENS[token]
    raise AssertionError("the budget did not do")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_canonical_answer_is_allowed(language: answers.Language) -> None:
    for answer in answers.draw_many(30, 5, language):
        state: State | None = State()
        for byte in answer.encode():
            assert state is not None
            state = step(state, byte)
        assert state == State("end", b"", state.units if state else ()), answer


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from([BUDGET, 200, 400]))
def test_whatever_is_written_can_be_read(seed: int, budget: int) -> None:
    answer = written(np.random.default_rng(seed), budget)
    data = json.loads(answer)
    assert list(data) == ["abstain", "action_units", "emotion", "text"]
    units = [unit["au"] for unit in data["action_units"]]
    assert units == sorted(set(units))
    assert {int(n) for n in re.findall(r"AU(\d+)", data["text"])} <= set(units)
    for unit in data["action_units"]:
        assert unit["side"] == "both" or facs.UNITS[unit["au"]].sided
    if data["abstain"]:
        assert not units
        assert data["emotion"] is None
    else:
        assert units
        assert sum(data["emotion"].values()) == pytest.approx(1)
    assert parse_json(answer).problem == ("model_abstained" if data["abstain"] else None)


@settings(max_examples=4)
@given(st.integers(0, 2**32))
def test_what_is_known_of_tokens_is_what_their_bytes_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    state = State()
    for _ in range(60):
        needs = np.full(len(TOKENS), NEVER)
        for i, token in enumerate(TOKENS):
            after: State | None = state
            for byte in token:
                after = step(after, byte) if after is not None else None
            if token and after is not None:
                needs[i] = need(after)
        if state.phase == "end" and not state.said:
            needs[END] = 0
        allowed = GRAMMAR.allowed(state, NEVER)
        assert (allowed == (needs < NEVER)).all()
        for budget in (5, 60, 120):
            assert (GRAMMAR.allowed(state, budget) == (needs < budget)).all()
        # what is rare is tried as often as what is common
        kinds = {TOKENS[i][:1]: i for i in rng.permutation(np.flatnonzero(allowed)).tolist()}
        token = kinds[list(kinds)[int(rng.integers(len(kinds)))]]
        if token == END:
            return
        state = GRAMMAR.advance(state, token)


@pytest.mark.parametrize(
    "wrong",
    [
        '{"abstain":true,"action_units":[{',
        '{"abstain":false,"action_units":[]',
        '{"abstain":false,"action_units":[{"au":3',
        '{"abstain":false,"action_units":[{"au":12,"side":"u',
        '{"abstain":false,"action_units":[{"au":26,"side":"l',
        '{"abstain":false,"action_units":[{"au":12,"side":"both"},{"au":4',
        '{"abstain":false,"action_units":[{"au":12,"side":"both"},{"au":12',
        '{"abstain":false,"action_units":[{"au":12,"side":"both"}],"emotion":{"negative":0.60,"positive":0.41',
        '{"abstain":true,"action_units":[],"emotion":null,"text":""',
        '{"abstain":true,"action_units":[],"emotion":null,"text":"AU1',
        '{"abstain":true,"action_units":[],"emotion":null,"text":"a\n',
        '{"abstain":true,"action_units":[],"emotion":null,"text":"a\\',
        '{"abstain":true,"action_units":[],"emotion":null,"text":"a"}}',
    ],
)
def test_what_is_not_canonical_is_stopped_at_its_last_byte(wrong: str) -> None:
    state: State | None = State()
    for byte in wrong.encode()[:-1]:
        assert state is not None
        state = step(state, byte)
    assert state is not None
    assert step(state, wrong.encode()[-1]) is None
    with pytest.raises(ValueError, match="not allowed"):
        GRAMMAR.advance(state, wrong.encode()[-1])


def test_a_text_may_name_a_listed_unit_only_in_full() -> None:
    state = State("text", units=(12, 14), began=True)
    for text, fits in (
        ("AU12.", True),
        ("AU1.", False),
        ("AU15", False),
        ("AU14 AU2", False),
        ("AUA AU.", True),
    ):
        after: State | None = state
        for byte in text.encode():
            after = step(after, byte) if after is not None else None
        assert (after is not None) == fits, text
