"""The describers of this project as systems: what they answer, in whose words, and what they leave."""

from __future__ import annotations

import json

import pytest

from mellm.engine.describe import create
from mellm.engine.describe.parse import parse_json
from mellm.engine.describe.scripted import ScriptedDescriber
from mellm.engine.evidence.motion_map import build
from mellm.engine.types import ActionUnit, Description, Emotion, Evidence
from mellm.evaluation.compare import embedded
from mellm.evaluation.compare.config import EmbeddedSystem, RulesSystem
from mellm.evaluation.compare.embedded import DescriberSystem, reply
from mellm.evaluation.compare.types import Question
from mellm.stream.errors import DescriberTimeout, ModelError
from tests.engine.faces import LANDMARKS, moved, skin

COARSE = "What is the coarse expression class?"
UNITS = "What are the action units?"
SAID = Description(
    "The brow is drawn down.",
    (ActionUnit(12, "left", 0.7), ActionUnit(4, "both", 0.9)),
    Emotion("negative", {"negative": 0.8, "positive": 0.1, "surprise": 0.1}),
    *("m", "p", "1"),
)
NOTHING = Description("", (), None, "m", "p", "1", abstained="no_unit")


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return build(skin(), moved("brow_inner_L", (0.0, -3.2)), LANDMARKS, "live")


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (COARSE, "negative"),
        ("What is the action unit?", "brow lowerer, lip corner puller"),
        (UNITS, "brow lowerer, lip corner puller"),
        ("Is the action unit brow lowerer shown on the face?", "yes"),
        ("Is the action unit  Dimpler shown on the face?", "no"),
        ("Is the action unit lip corner puller located on the left or right face?", "left"),
        ("Is the action unit brow lowerer located on the left or right face?", None),
        ("Please analyse the micro-expression shown in this video in detail.", "The brow is drawn down."),
    ],
)
def test_the_challenges_questions_in_the_challenges_words(prompt, said):
    assert reply(prompt, SAID) == said
    assert reply(prompt, NOTHING) is None


def test_anything_else_is_answered_with_the_generic_profiles_object():
    parsed = parse_json(str(reply("Describe it as JSON.", SAID)))
    assert parsed.problem is None
    assert parsed.text == SAID.text
    assert parsed.emotion == SAID.emotion
    assert {(u.au, u.side, u.score) for u in parsed.action_units} == {(12, "left", 0.7), (4, "both", 0.9)}
    assert parse_json(str(reply("Describe it as JSON.", NOTHING))).problem == "model_abstained"


@pytest.mark.parametrize(
    ("prompt", "state", "reason"),
    [
        ("What is the fine-grained expression class?", "unsupported", "fine_class"),
        (
            "What are the action units present, and based on them, what is the fine-grained expression and the "
            "coarse expression class?",
            *("unsupported", "fine_class"),
        ),
        ("Is the action unit eyes left shown on the face?", "unsupported", "unit"),
        (COARSE, "answered", None),
    ],
)
async def test_what_they_cannot_tell_is_unsupported(evidence, prompt, state, reason):
    system = embedded.make(RulesSystem(kind="rules"))
    answer = await system.ask(Question("t", "q", prompt, evidence=evidence))
    assert (answer.state, answer.reason) == (state, reason)


async def test_pictures_alone_are_unsupported():
    system = embedded.make(RulesSystem(kind="rules"))
    answer = await system.ask(Question("t", "q", "How many dogs?", (b"\xff\xd8\xff",)))
    assert (answer.state, answer.reason, answer.tries) == ("unsupported", "no_evidence", 0)
    assert system.fingerprint(Question("t", "q", "x")) is None
    await system.close()


async def test_the_embedded_model_says_what_it_says_elsewhere(evidence):
    system = embedded.make(EmbeddedSystem(kind="embedded"))
    asked = Question("t", "q", "Describe it.", evidence=evidence, meta={"duration_ms": 300})
    answer = await system.ask(asked)
    await system.close()
    describer = create("nano")
    alone = describer.describe(evidence, embedded.DescribeContext("q", 300.0))
    describer.close()
    assert (answer.state, answer.system) == ("answered", "mellm-nano")
    assert json.loads(str(answer.text)) == json.loads(embedded.as_json(alone))
    assert (system.kind, system.where) == ("embedded", "this process")
    assert answer.tokens_out == alone.usage.completion_tokens > 0
    assert answer.latency_s is not None


async def test_abstaining_from_a_plain_question_is_a_refusal():
    still = build(skin(), skin(), LANDMARKS, "live")
    assert still.refused
    system = embedded.make(RulesSystem(kind="rules"))
    plain = await system.ask(Question("t", "q", COARSE, evidence=still))
    asked = await system.ask(Question("t", "q", "Describe it.", evidence=still))
    assert (plain.state, plain.reason) == ("refused", still.refused)
    assert asked.state == "answered"
    assert json.loads(str(asked.text))["abstain"] is True


async def test_an_error_is_a_failure(evidence):
    class Late(ScriptedDescriber):
        def describe(self, evidence, context):
            raise DescriberTimeout("too late")

    system = DescriberSystem("late", "embedded", Late())
    answer = await system.ask(Question("t", "q", COARSE, evidence=evidence))
    assert (answer.state, answer.reason, answer.error) == ("failed", "describer_timeout", "too late")


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(ModelError):
        embedded.make(EmbeddedSystem(kind="embedded", folder=tmp_path))
