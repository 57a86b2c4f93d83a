"""The describer against a real HTTP server on loopback that misbehaves in every way an endpoint can."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from mellm.engine.analysis.describe_queue import DescribeQueue
from mellm.engine.describe import create
from mellm.engine.describe.base import DescribeContext
from mellm.engine.describe.breaker import CircuitBreaker
from mellm.engine.describe.fallback import FallbackDescriber
from mellm.engine.describe.openai import OpenAIDescriber
from mellm.engine.describe.retry import ask
from mellm.engine.describe.scripted import ScriptedDescriber
from mellm.engine.types import Description, Evidence, Outcome, RegionMotion
from mellm.stream.errors import (
    AnswerInvalid,
    DescriberPaused,
    DescriberRejected,
    DescriberTimeout,
    DescriberUnavailable,
    UsageError,
)
from tests import PROMPT_S
from tests.engine.analysis.test_describe_queue import job

Handler = Callable[[BaseHTTPRequestHandler], None]

ANSWER = {
    "text": "The brows were drawn together.",
    "action_units": [{"au": 4, "side": "both", "score": 0.9}],
    "emotion": {"negative": 0.8, "positive": 0.1, "surprise": 0.1},
    "abstain": False,
}


class Endpoint:
    """A chat endpoint that plays a list of behaviours and remembers what it was sent."""

    def __init__(self) -> None:
        self.steps: list[Handler] = []
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        endpoint = self

        class Request(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                endpoint.requests.append(json.loads(body))
                endpoint.headers.append(dict(self.headers))
                step = endpoint.steps.pop(0) if len(endpoint.steps) > 1 else endpoint.steps[0]
                step(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Request)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    yield server
    server.close()


def answer(status: int = 200, body: object = None, headers: dict[str, str] | None = None) -> Handler:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    def handle(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(raw)))
        request.end_headers()
        request.wfile.write(raw)

    return handle


def chat(content: object, finish: str = "stop") -> Handler:
    text = content if isinstance(content, str) else json.dumps(content)
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return answer(body={"choices": [choice], "usage": {"prompt_tokens": 90, "completion_tokens": 40}})


def hang(request: BaseHTTPRequestHandler) -> None:
    time.sleep(1.5)


def drip(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    for _ in range(30):
        try:
            request.wfile.write(b" ")
            request.wfile.flush()
        except OSError:
            return
        time.sleep(0.05)


def cut(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b'{"choices": [')
    request.close_connection = True


EVIDENCE = Evidence(
    np.zeros((32, 32, 3), np.uint8),
    (RegionMotion("glabella", 0.1, 2.0, 1.1, 1.4, "down (270°)"),),
    {},
    "live",
)


def describer(endpoint: Endpoint, **options: Any) -> OpenAIDescriber:
    return OpenAIDescriber(endpoint.url, "tiny", **options)


def patiently(model: OpenAIDescriber, deadline_s: float = 10.0) -> Description:
    """As whoever has no queue asks: again where that is right, without the pauses."""
    return ask(model, EVIDENCE, DescribeContext(deadline_s=deadline_s), sleep=lambda s: None)


def test_a_good_answer_and_what_was_asked(endpoint: Endpoint) -> None:
    endpoint.steps = [chat(ANSWER)]
    model = describer(endpoint, api_key="sesame")
    got = model.describe(EVIDENCE, DescribeContext(duration_ms=200))
    model.close()
    assert got.abstained is None
    assert [(u.au, u.side) for u in got.action_units] == [(4, "both")]
    assert got.emotion is not None
    assert got.emotion.coarse == "negative"
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (90, 40)
    sent = endpoint.requests[0]
    assert sent["temperature"] == 0
    assert sent["response_format"]["json_schema"]["schema"]["required"]
    image, text = sent["messages"][1]["content"]
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    assert "glabella" in text["text"]
    assert endpoint.headers[0]["Authorization"] == "Bearer sesame"


@pytest.mark.parametrize(
    ("profile", "prose"),
    [("mellm-v1", "结论: AU4, 愤怒"), ("mellm-v3", "AUs: AU4. Micro-expression: Negative")],
)
def test_mellm_profiles(endpoint: Endpoint, profile: str, prose: str) -> None:
    endpoint.steps = [chat(prose)]
    got = describer(endpoint, profile=profile).describe(EVIDENCE, DescribeContext())
    assert got.profile.startswith(profile)
    assert [u.au for u in got.action_units] == [4]
    content = endpoint.requests[0]["messages"][0]["content"]
    assert isinstance(content, str) == (profile == "mellm-v3"), "v3 reads the table, without a picture"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_transient_answers_are_retried(endpoint: Endpoint, status: int) -> None:
    endpoint.steps = [answer(status, {"error": "busy"}), chat(ANSWER)]
    assert patiently(describer(endpoint)).abstained is None
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize("step", [answer(500), answer(502), answer(408), cut])
def test_one_call_is_one_request_and_a_request_that_may_have_been_begun_on_is_made_twice_at_most(
    endpoint: Endpoint, step: Handler
) -> None:
    endpoint.steps = [step]
    with pytest.raises(DescriberUnavailable):
        describer(endpoint).describe(EVIDENCE, DescribeContext())
    assert len(endpoint.requests) == 1
    ends: list[Outcome] = []
    queue = DescribeQueue(
        describer(endpoint), lambda job, end: ends.append(end), policy="live", deadline_s=60, workers=0
    )
    queue.submit(job(0))
    wait = time.monotonic() + 30
    while not ends and time.monotonic() < wait:
        queue.step()
    queue.close()
    assert ends == [Outcome("dropped", "describer_unavailable", None)]
    assert len(endpoint.requests) == 3


def test_with_a_stand_in_the_first_is_asked_once(endpoint: Endpoint) -> None:
    endpoint.steps = [answer(500)]
    both = FallbackDescriber(describer(endpoint), ScriptedDescriber())
    assert ask(both, EVIDENCE, DescribeContext()).fallback is not None
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_refusals_are_not_retried(endpoint: Endpoint, status: int) -> None:
    endpoint.steps = [answer(status, {"error": "no"})]
    with pytest.raises(DescriberRejected, match=str(status)):
        patiently(describer(endpoint))
    assert len(endpoint.requests) == 1


def test_retry_after_beyond_the_deadline_gives_up_at_once(endpoint: Endpoint) -> None:
    endpoint.steps = [answer(429, {}, {"Retry-After": "60"})]
    with pytest.raises(DescriberUnavailable):
        patiently(describer(endpoint), deadline_s=2)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("step", [hang, drip])
def test_the_deadline_holds_for_silent_and_for_dripping_servers(endpoint: Endpoint, step: Handler) -> None:
    endpoint.steps = [step]
    started = time.monotonic()
    with pytest.raises(DescriberTimeout):
        describer(endpoint).describe(EVIDENCE, DescribeContext(deadline_s=0.5))
    assert time.monotonic() - started < PROMPT_S


def test_a_cut_connection_is_asked_once_again_then_unavailable(endpoint: Endpoint) -> None:
    endpoint.steps = [cut]
    with pytest.raises(DescriberUnavailable):
        patiently(describer(endpoint))
    assert len(endpoint.requests) == 2


def test_an_endpoint_that_fails_five_times_is_left_alone_and_then_probed_once() -> None:
    model = OpenAIDescriber("http://127.0.0.1:9/v1", "tiny", breaker=CircuitBreaker(5, 0.2, 0.2))
    tries: list[int] = []
    model._ask = lambda body, deadline: tries.append(1) or _refuse()  # type: ignore[method-assign,func-returns-value]
    codes = []
    for _ in range(8):
        with pytest.raises(DescriberUnavailable) as raised:
            model.describe(EVIDENCE, DescribeContext())
        codes.append(raised.value.code)
    assert codes == 5 * ["describer_unavailable"] + 3 * ["describer_paused"]
    assert len(tries) == 5
    assert model.state == "open"
    time.sleep(0.21)
    with pytest.raises(DescriberUnavailable) as probed:
        model.describe(EVIDENCE, DescribeContext())
    assert probed.value.code == "describer_unavailable"
    with pytest.raises(DescriberPaused) as paused:
        model.describe(EVIDENCE, DescribeContext())
    assert len(tries) == 6
    assert 0 < (paused.value.retry_after or 0) <= 0.2


def test_a_recovered_endpoint_closes_the_breaker(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.steps = [answer(500), answer(500), answer(500), answer(500), answer(500), chat(ANSWER)]
    model = describer(endpoint, breaker=CircuitBreaker(5, 0.05, 0.05))
    for _ in range(5):
        with pytest.raises(DescriberUnavailable):
            model.describe(EVIDENCE, DescribeContext())
    time.sleep(0.06)
    assert model.describe(EVIDENCE, DescribeContext()).abstained is None
    assert model.state == "closed"
    told = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert ["unavailable" in m for m in told] == [True, False]
    assert "answers again" in told[1]


def test_a_refused_request_does_not_open_the_breaker(endpoint: Endpoint) -> None:
    endpoint.steps = [answer(400)]
    model = describer(endpoint)
    for _ in range(8):
        with pytest.raises(DescriberRejected):
            model.describe(EVIDENCE, DescribeContext())
    assert model.state == "closed"


def test_calls_without_time_do_not_open_the_breaker(endpoint: Endpoint) -> None:
    endpoint.steps = [hang]
    model = describer(endpoint, breaker=CircuitBreaker(1, 1.0, 1.0))
    with pytest.raises(DescriberTimeout):
        model.describe(EVIDENCE, DescribeContext(deadline_s=0.1))
    assert model.state == "closed"
    with pytest.raises(DescriberTimeout):
        model.describe(EVIDENCE, DescribeContext(deadline_s=1.05))
    assert model.state == "open"


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [("7", 7, 7), ("date", 20, 31), ("soon", None, None), ("-3", 0, 0), ("nan", None, None)],
)
def test_retry_after_in_every_form(
    endpoint: Endpoint, header: str, low: float | None, high: float | None
) -> None:
    value = formatdate(time.time() + 30, usegmt=True) if header == "date" else header
    endpoint.steps = [answer(429, headers={"Retry-After": value})]
    with pytest.raises(DescriberUnavailable) as raised:
        describer(endpoint).describe(EVIDENCE, DescribeContext(deadline_s=2.0))
    after = raised.value.retry_after
    assert after is None if low is None or high is None else after is not None and low <= after <= high
    assert not raised.value.reached


def _refuse() -> dict[str, Any]:
    raise DescriberUnavailable("refused")


def test_nobody_listens() -> None:
    with pytest.raises(DescriberUnavailable, match="cannot be reached"):
        OpenAIDescriber("http://127.0.0.1:9/v1", "tiny").describe(EVIDENCE, DescribeContext())


@pytest.mark.parametrize(
    "body", [b"<html>", {"choices": []}, {"choices": [{"message": {"content": 5}}]}, [1]]
)
def test_a_200_that_is_no_completion_is_an_error(endpoint: Endpoint, body: object) -> None:
    endpoint.steps = [answer(200, body)]
    with pytest.raises(AnswerInvalid):
        describer(endpoint).describe(EVIDENCE, DescribeContext())


@pytest.mark.parametrize(
    ("content", "finish", "reason"),
    [
        ("", "stop", "empty_answer"),
        ("I think it is sad", "stop", "unparsable"),
        ('{"text": "The', "length", "cut_answer"),
    ],
)
def test_answers_that_cannot_be_read_abstain(
    endpoint: Endpoint, content: str, finish: str, reason: str
) -> None:
    endpoint.steps = [chat(content, finish)]
    got = describer(endpoint).describe(EVIDENCE, DescribeContext())
    assert got.abstained == reason
    assert got.action_units == ()


@pytest.mark.parametrize("url", ["ftp://host/v1", "localhost:8000", "http://"])
def test_bad_base_urls(url: str) -> None:
    with pytest.raises(DescriberRejected):
        OpenAIDescriber(url, "tiny")


def test_create_names_what_is_missing() -> None:
    with pytest.raises(UsageError, match="--base-url"):
        create("openai")
    with pytest.raises(UsageError, match="generic"):
        create("openai", base_url="http://127.0.0.1:9/v1", model="m", profile="nope")
    with pytest.raises(UsageError, match="rules"):
        create("oracle")
