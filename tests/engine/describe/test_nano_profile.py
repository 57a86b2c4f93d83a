"""How a served mellm-nano is asked: what it was trained on, and an answer that can only be canonical."""

from __future__ import annotations

import base64
import json

import cv2
import jsonschema
import numpy as np
import pytest

from mellm.engine.describe import profiles
from mellm.engine.describe.base import DescribeContext
from mellm.engine.describe.profiles import nano
from mellm.engine.types import ActionUnit, Evidence
from mellm.training.instruct import answers

PROFILE = profiles.get("nano")


def test_the_question_is_the_one_it_was_trained_with() -> None:
    assert dict(nano.QUESTIONS) == dict(answers.QUESTION)


def test_one_turn_with_a_small_picture() -> None:
    shown = np.random.default_rng(0).integers(0, 256, (368, 320, 3), np.uint8)
    (message,) = PROFILE.messages(Evidence(shown, (), {}, "live"), DescribeContext())
    image, text = message["content"]
    assert message["role"] == "user"
    assert text == {"type": "text", "text": "Describe the expression."}
    kind, data = image["image_url"]["url"].split(",")
    assert kind == "data:image/png;base64"
    seen = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(seen, cv2.resize(shown, (128, 128), interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_schema_takes_every_canonical_answer(language: answers.Language) -> None:
    checker = jsonschema.Draft202012Validator(nano.SCHEMA)
    for answer in answers.draw_many(100, 2, language):
        assert checker.is_valid(json.loads(answer)), answer


@pytest.mark.parametrize(
    "wrong",
    [
        '{"abstain":true,"action_units":[{"au":4,"side":"both"}],"emotion":null,"text":"x"}',
        '{"abstain":false,"action_units":[],"emotion":null,"text":"x"}',
        '{"abstain":true,"action_units":[],"emotion":null,"text":""}',
        '{"abstain":true,"action_units":[],"emotion":null}',
    ],
)
def test_the_schema_takes_no_other(wrong: str) -> None:
    assert not jsonschema.Draft202012Validator(nano.SCHEMA).is_valid(json.loads(wrong))


def test_guided_decoding_takes_canonical_answers_to_the_byte() -> None:
    guidance = pytest.importorskip("llguidance")
    grammar = guidance.LLMatcher.grammar_from_json_schema(
        nano.SCHEMA, defaults={"whitespace_flexible": False}
    )
    tokens = guidance.LLTokenizer("byte")
    for answer in answers.draw_many(20, 3):
        matcher = guidance.LLMatcher(tokens, grammar)
        assert not matcher.get_error()
        assert matcher.try_consume_tokens(tokens.tokenize_str(answer)) == len(tokens.tokenize_str(answer))
        assert matcher.is_accepting()


def test_units_of_a_server_count_in_full() -> None:
    parsed = PROFILE.parse(
        '{"abstain":false,"action_units":[{"au":4,"side":"both"}],'
        '"emotion":{"negative":0.91,"positive":0.04,"surprise":0.05},"text":"The brow is lowered (AU4)."}'
    )
    assert parsed.action_units == (ActionUnit(4, "both", 1.0),)
    assert parsed.emotion is not None
    assert parsed.emotion.coarse == "negative"


def test_an_abstention_has_no_emotion() -> None:
    parsed = PROFILE.parse('{"abstain":true,"action_units":[],"emotion":null,"text":"No expression."}')
    assert (parsed.problem, parsed.emotion, parsed.text) == ("model_abstained", None, "No expression.")
