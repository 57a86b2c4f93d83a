"""The endpoint as a describer meets it: whole and streamed answers, schemas, many at once, and bad requests."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import jsonschema
import pytest

from mellm.detectors.types import Expression, Quality
from mellm.engine.analysis.describe_queue import DescribeQueue, Job
from mellm.engine.describe import profiles
from mellm.engine.describe.base import DescribeContext
from mellm.engine.types import Description, Outcome
from mellm.stream.errors import DescriberRejected
from mellm.stream.frames import FrameRef
from tests.engine.servers import until
from tests.vllm.conftest import KEY, Endpoint, measured
from tests.vllm.pairs import evidences

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

CONTEXT = DescribeContext("e", 400.0, deadline_s=60.0)

# bounded so that it ends before the token limit whatever the model says
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["abstain", "action_units", "text"],
    "properties": {
        "abstain": {"type": "boolean"},
        "action_units": {
            "type": "array",
            "maxItems": 3,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["au", "side"],
                "properties": {
                    "au": {"type": "integer", "enum": [1, 4, 12]},
                    "side": {"type": "string", "enum": ["left", "right", "both"]},
                },
            },
        },
        "text": {"type": "string", "maxLength": 40},
    },
}


def body(endpoint: Endpoint, number: int = 0, **changes: Any) -> dict[str, Any]:
    """A request as the describer sends it."""
    messages = profiles.get(endpoint.profile).messages(evidences()[number], CONTEXT)
    name = endpoint.line.name
    return {
        "model": name,
        "messages": messages,
        "temperature": 0,
        "seed": 0,
        "max_tokens": 64,
        **changes,
    }


def post(endpoint: Endpoint, sent: dict[str, Any]) -> httpx.Response:
    url = f"{endpoint.line.base_url}/chat/completions"
    return httpx.post(url, json=sent, headers=endpoint.headers, timeout=60, trust_env=False)


def pictured(url: str) -> list[dict[str, Any]]:
    """Messages with one picture at this address."""
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Describe."}]
    return [{"role": "user", "content": parts}]


def gauge(endpoint: Endpoint, name: str) -> float:
    text = httpx.get(f"{endpoint.root}/metrics", timeout=10, trust_env=False).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"vllm:{name}{{"))


# -- answers --------------------------------------------------------------------------------------------


def test_the_describer_gets_an_answer_and_the_same_one_again(endpoint):
    describer = endpoint.describer()
    first, again = (describer.describe(evidences()[0], CONTEXT) for _ in range(2))
    describer.close()
    assert (first.model, first.profile.split("/")[0]) == (endpoint.line.name, endpoint.profile)
    assert first.usage.prompt_tokens > 16
    assert first.usage.completion_tokens > 0
    assert (first.text, first.action_units, first.abstained) == (
        again.text,
        again.action_units,
        again.abstained,
    )


def test_a_streamed_answer_is_the_whole_one_in_pieces(endpoint):
    whole = post(endpoint, body(endpoint)).json()
    sent = body(endpoint, stream=True, stream_options={"include_usage": True})
    url = f"{endpoint.line.base_url}/chat/completions"
    pieces, finish, usage, done = [], None, None, False
    with httpx.stream(
        "POST", url, json=sent, headers=endpoint.headers, timeout=60, trust_env=False
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            if not line:
                continue
            data = line.removeprefix("data: ")
            if data == "[DONE]":
                done = True
                continue
            chunk = json.loads(data)
            assert "error" not in chunk
            usage = chunk.get("usage") or usage
            for choice in chunk["choices"]:
                pieces.append(choice["delta"].get("content") or "")
                finish = choice.get("finish_reason") or finish
    assert done
    assert len(pieces) > 1
    assert "".join(pieces) == whole["choices"][0]["message"]["content"]
    assert finish == whole["choices"][0]["finish_reason"]
    assert usage["completion_tokens"] == whole["usage"]["completion_tokens"]


async def test_a_client_that_leaves_frees_its_place(endpoint):
    sent = body(endpoint, stream=True, max_tokens=400, ignore_eos=True)  # fits the context of mellm-nano
    url = f"{endpoint.line.base_url}/chat/completions"
    async with (
        httpx.AsyncClient(trust_env=False, headers=endpoint.headers) as client,
        client.stream("POST", url, json=sent, timeout=60) as response,
    ):
        await anext(response.aiter_lines())
        await until(lambda: gauge(endpoint, "num_requests_running") == 1, 5)
    await until(lambda: gauge(endpoint, "num_requests_running") == 0, 5)


@pytest.mark.parametrize("streamed", [False, True])
def test_answers_under_a_schema_keep_to_it(endpoint, streamed):
    schema = {"type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": SCHEMA}}
    for number in range(0, 16, 2):
        sent = body(endpoint, number, response_format=schema, max_tokens=400, stream=streamed)
        said, finish = read(post(endpoint, sent), streamed)
        assert finish == "stop"
        answer = json.loads(said)
        jsonschema.validate(answer, SCHEMA)
        assert said == json.dumps(answer, ensure_ascii=False, separators=(",", ":"))


def read(response: httpx.Response, streamed: bool) -> tuple[str, str]:
    """Content and finish reason of either kind of answer."""
    assert response.status_code == 200, response.text
    if not streamed:
        choice = response.json()["choices"][0]
        return choice["message"]["content"], choice["finish_reason"]
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    assert lines.pop() == "[DONE]"
    choices = [choice for line in lines for choice in json.loads(line)["choices"]]
    finish = next(c["finish_reason"] for c in reversed(choices) if c.get("finish_reason"))
    return "".join(c["delta"].get("content") or "" for c in choices), finish


def test_what_the_profile_asks_for_is_what_comes_back(endpoint):
    """Every whole answer is valid under the profile's own schema; one that was cut is told apart."""
    profile = profiles.get(endpoint.profile)
    assert profile.response_format is not None
    sent = body(endpoint, response_format=profile.response_format, max_tokens=profile.max_tokens)
    said, finish = read(post(endpoint, sent), False)
    if finish == "stop":
        jsonschema.validate(json.loads(said), profile.response_format["json_schema"]["schema"])
    answered = describe(endpoint)
    assert (answered.abstained == "cut_answer") == (finish == "length")


def describe(endpoint: Endpoint, number: int = 0, **changes: Any) -> Description:
    describer = endpoint.describer(**changes)
    try:
        return describer.describe(evidences()[number], CONTEXT)
    finally:
        describer.close()


# -- many at once ---------------------------------------------------------------------------------------


def test_eight_pairs_at_once_end_each_once_and_say_the_same(endpoint):
    began = time.monotonic()
    alone = [describe(endpoint, number) for number in range(len(evidences()))]
    one_by_one = time.monotonic() - began

    ends: list[tuple[int, Outcome]] = []
    queue = DescribeQueue(
        endpoint.describer(),
        lambda job, outcome: ends.append((job.number, outcome)),
        policy="offline",
        workers=8,
        deadline_s=60,
    )
    with most_running(endpoint) as running:
        began = time.monotonic()
        for number, evidence in enumerate(evidences()):
            queue.submit(Job(number, expression(number), evidence, CONTEXT))
        assert queue.drain(120)
        together = time.monotonic() - began
    queue.close()

    assert sorted(number for number, _ in ends) == list(range(16))
    outcomes = dict(ends)
    assert all(outcome.state in ("described", "abstained") for outcome in outcomes.values())
    assert all(outcome.description is not None for outcome in outcomes.values())
    same = sum(outcomes[number].description.text == alone[number].text for number in range(16))
    measured["pairs/s one by one, 8 at once"] = f"{16 / one_by_one:.1f}, {16 / together:.1f}"
    measured["same words alone and 8 at once"] = f"{same} of 16"
    assert max(running) >= 4
    assert same >= 15


def expression(number: int) -> Expression:
    at = FrameRef(number, number * 10**9)
    quality = Quality(fps=30, face_width=200, blur=100, yaw=0, pitch=0, occlusion=0)
    return Expression(f"e{number}", "s", 0, 1, at, at, at, 0.5, quality)


@contextmanager
def most_running(endpoint: Endpoint) -> Iterator[list[float]]:
    """How many requests the server ran, sampled."""
    seen: list[float] = [0.0]
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(0.1):
            seen.append(gauge(endpoint, "num_requests_running"))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


# -- bad requests ---------------------------------------------------------------------------------------

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(64)).decode()
BAD_PICTURES = {
    "not base64": "data:image/png;base64,@@@@",
    "empty": "data:image/png;base64,",
    "no picture": "data:image/png;base64," + base64.b64encode(b"hello").decode(),
    "cut short": f"data:image/png;base64,{PNG}",
}


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_a_malformed_picture_is_a_4xx(endpoint, name):
    response = post(endpoint, body(endpoint, messages=pictured(BAD_PICTURES[name])))
    assert response.status_code == 400
    assert response.json()["error"]["message"]


class Spoiler(httpx.BaseTransport):
    """Damages the picture on its way."""

    def __init__(self) -> None:
        self._inner = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        sent = json.loads(request.read())
        for message in sent["messages"]:
            for part in message["content"]:
                if isinstance(part, dict) and part["type"] == "image_url":
                    part["image_url"]["url"] = BAD_PICTURES["cut short"]
        headers = {k: v for k, v in request.headers.items() if k.lower() != "content-length"}
        return self._inner.handle_request(
            httpx.Request(request.method, request.url, headers=headers, json=sent)
        )

    def close(self) -> None:
        self._inner.close()


def test_the_describer_turns_it_into_a_typed_error(endpoint):
    with pytest.raises(DescriberRejected, match="answered 400"):
        describe(endpoint, transport=Spoiler())


def test_an_unknown_model_a_wrong_key_and_too_many_tokens_are_typed_too(endpoint):
    with pytest.raises(DescriberRejected, match=r"answered 404.*'nobody'"):
        describe(endpoint, model="nobody")
    for key in (None, "wrong" + KEY):
        with pytest.raises(DescriberRejected, match="answered 401"):
            describe(endpoint, api_key=key)
    assert post(endpoint, body(endpoint, max_tokens=10**6)).status_code == 400


def test_pictures_are_never_fetched(endpoint):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(1.0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/map.png"
        assert post(endpoint, body(endpoint, messages=pictured(url))).status_code == 400
        with pytest.raises(TimeoutError):
            listener.accept()
    refused = post(endpoint, body(endpoint, messages=pictured("file:///etc/hostname")))
    assert refused.status_code >= 400


def test_the_server_is_well_after_all_this(endpoint):
    assert endpoint.server.serves()
    assert describe(endpoint).usage.completion_tokens > 0
