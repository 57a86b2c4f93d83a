"""A comparison against a real vLLM: answers, half answers, and failures as vLLM words them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import pytest

from mellm.engine.describe.parse import parse_json
from mellm.engine.describe.profiles import nano
from mellm.evaluation.compare import embedded
from mellm.evaluation.compare.cache import Cache
from mellm.evaluation.compare.config import EmbeddedSystem, OpenAISystem
from mellm.evaluation.compare.endpoint import EndpointSystem
from mellm.evaluation.compare.measures import measure
from mellm.evaluation.compare.runner import Runner
from mellm.evaluation.compare.types import Answer, Answers, Published, Question, System, Table
from mellm.stream.errors import MellmError
from tests.vllm.conftest import KEY, Endpoint, measured
from tests.vllm.pairs import evidences

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

SAME_SHARE = 0.9
"""As between the two doors of the describer; see test_same_answers.py."""


class Maps:
    """Sixteen motion maps, asked about as mellm-nano is used to."""

    name = "maps"

    def questions(self) -> Iterator[Question]:
        for number, evidence in enumerate(evidences()):
            ok, png = cv2.imencode(".png", nano.picture(evidence))
            assert ok
            yield Question("maps", f"q{number}", nano.QUESTIONS["en"], (png.tobytes(),), evidence=evidence)

    def score(self, answers: Answers, published: Sequence[Published] = ()) -> tuple[Table, ...]:
        return ()


def system(endpoint: Endpoint, name: str, key: str | None = KEY, **changes: object) -> EndpointSystem:
    settings = {
        "kind": "openai",
        "name": name,
        "base_url": endpoint.line.base_url,
        "model": endpoint.line.name,
        "max_tokens": nano.MAX_TOKENS,
        "extra_body": {"response_format": nano.PROFILE.response_format, "seed": 0},
        "timeout_s": 120.0,
        **changes,
    }
    return EndpointSystem(OpenAISystem(**settings), key)


def said(answer: Answer) -> object:
    parsed = parse_json(str(answer.text))
    units = tuple((unit.au, unit.side) for unit in parsed.action_units)
    return parsed.text, units, parsed.emotion and parsed.emotion.coarse, parsed.problem


async def test_many_systems_at_once_each_end_as_they_should(endpoint, tmp_path):
    people: list[System] = [
        system(endpoint, "whole", concurrency=8),
        system(endpoint, "half", max_tokens=4),
        system(endpoint, "locked out", "wrong" + KEY),
        system(endpoint, "unknown", model="nobody"),
        system(endpoint, "too long", max_tokens=1_000_000),
    ]
    with Cache(tmp_path / "answers.sqlite") as cache:
        answers = (await Runner([Maps()], people, cache).run())["maps"]
        again = (await Runner([Maps()], [system(endpoint, "whole")], cache).run())["maps"]["whole"]
    ends = {name: {(a.state, a.reason, a.cut) for a in found.values()} for name, found in answers.items()}
    assert {len(found) for found in answers.values()} == {16}
    assert ends["half"] == {("answered", None, True)}
    assert ends["locked out"] == {("failed", "unauthorized", False)}
    assert ends["unknown"] == {("failed", "not_found", False)}
    assert ends["too long"] == {("failed", "invalid_request", False)}
    assert {state for state, _, _ in ends["whole"]} == {"answered"}
    assert [person.stopped for person in people] == [None, None, "unauthorized", "not_found", None]
    assert all(a.cached and a.text == answers["whole"][q].text for q, a in again.items())
    found = measure(answers["whole"].values())
    assert found.tokens_in > 16 * 16
    assert {a.tokens_out for a in answers["half"].values()} == {4}
    measured["compare, 16 questions, 8 at once"] = (
        f"{found.latency_p50_s:.2f} s p50, {found.latency_p95_s:.2f} s p95"
    )


async def test_the_endpoint_and_the_embedded_model_give_the_same_answers(endpoint):
    if endpoint.profile != "nano":
        pytest.skip("mellm-nano is not in this checkout")
    try:
        here = embedded.make(EmbeddedSystem(kind="embedded", name="here"))
    except MellmError as error:
        pytest.skip(f"no embedded describer here: {error}")
    answers = (await Runner([Maps()], [here, system(endpoint, "there")]).run())["maps"]
    assert {a.state for found in answers.values() for a in found.values()} == {"answered"}
    same = sum(said(a) == said(answers["there"][q]) for q, a in answers["here"].items())
    measured["same answers compared, embedded and served"] = f"{same} of 16"
    assert same >= SAME_SHARE * 16
