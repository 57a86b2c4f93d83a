"""The endpoint system against a stand-in on loopback that misbehaves in every way an endpoint can."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any

import pytest

from mellm.evaluation.compare import endpoint
from mellm.evaluation.compare.config import OpenAISystem
from mellm.evaluation.compare.endpoint import EndpointSystem, Time, key_of
from mellm.evaluation.compare.types import Answer, Question, Shot
from mellm.stream.errors import ConfigError
from tests.engine.servers import until
from tests.engine.serving import free_port
from tests.evaluation.compare import stand_in
from tests.evaluation.compare.stand_in import StandIn, says, status

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8) + (56).to_bytes(4, "big") + (28).to_bytes(4, "big")


class Hand:
    """Time that passes when somebody sleeps, and is remembered."""

    def __init__(self) -> None:
        self.at = 0.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds
        await asyncio.sleep(0)

    def time(self) -> Time:
        return Time(lambda: self.at, lambda: 1e9 + self.at, self.sleep, lambda: 0.0)


def settings(url: str, **changes: Any) -> OpenAISystem:
    return OpenAISystem(**{"kind": "openai", "name": "a", "base_url": url, "model": "m", **changes})


def question(number: int = 1, **changes: Any) -> Question:
    return Question("t", f"q{number}", f"Number {number}?", **changes)


async def ask(
    server: StandIn, *questions: Question, hand: Hand | None = None, **changes: Any
) -> list[Answer]:
    """One after the other."""
    system = EndpointSystem(settings(server.url, **changes), "secret-key", time=(hand or Hand()).time())
    try:
        return [await system.ask(q) for q in questions or (question(),)]
    finally:
        await system.close()


async def test_what_is_sent_and_what_comes_back():
    asked = Question(
        *("t", "q", "What moves?"),
        images=(PNG, b"\xff\xd8\xff\xe0"),
        truth="the brow",
        system="Be brief.",
        shots=(Shot("And here?", "Nothing.", (PNG,)),),
    )
    with StandIn() as server:
        (answer,) = await ask(server, asked, image_detail="low", extra_body={"top_p": 0.5}, max_tokens=9)
    assert (answer.state, answer.text) == ("answered", "You asked: What moves?")
    assert (answer.tokens_in, answer.tokens_out, answer.tries) == (20, 5, 1)
    assert (answer.system, answer.task, answer.question) == ("a", "t", "q")
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    picture = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
    (sent,) = server.requests
    system, shown, solved, last = sent.pop("messages")
    assert sent == {"model": "m", "max_tokens": 9, "temperature": 0.0, "top_p": 0.5}
    assert system == {"role": "system", "content": "Be brief."}
    assert shown == {"role": "user", "content": [picture, {"type": "text", "text": "And here?"}]}
    assert solved == {"role": "assistant", "content": "Nothing."}
    assert [p["type"] for p in last["content"]] == ["image_url", "image_url", "text"]
    assert last["content"][1]["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert "the brow" not in str(server.requests)
    assert server.headers[0]["Authorization"] == "Bearer secret-key"


async def test_what_newer_endpoints_want():
    with StandIn() as server:
        await ask(server, temperature="default", max_tokens_key="max_completion_tokens")
    assert server.requests[0].keys() == {"model", "messages", "max_completion_tokens"}


@pytest.mark.parametrize(
    ("step", "state", "reason", "cut", "text"),
    [
        (says("half of", "length"), "answered", None, True, "half of"),
        (says(None, "content_filter"), "refused", "content_filter", False, ""),
        (says(None, refusal="I will not."), "refused", "refusal", False, "I will not."),
        (says("I'm sorry, but I can't help with that."), "refused", "phrase", False, None),
        (status(400, {"code": "content_filter"}), "refused", "content_filter", False, ""),
    ],
)
async def test_half_answers_and_refusals_are_told_apart(step, state, reason, cut, text):
    with StandIn(step) as server:
        (answer,) = await ask(server)
    assert (answer.state, answer.reason, answer.cut) == (state, reason, cut)
    assert text is None or answer.text == text
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("step", "pauses"),
    [
        (status(500), [0.5]),
        (status(503, retry_after="3"), [3.0]),
        (status(429, retry_after="7"), [7.0]),
        (status(429, retry_after_ms="1500"), [1.5]),
        (status(408), [0.5]),
        (stand_in.truncated_json, [0.5]),
        (stand_in.cut_connection, [0.5]),
        (stand_in.reset, [0.5]),
    ],
)
async def test_what_may_pass_is_tried_again(step, pauses):
    hand = Hand()
    with StandIn(step, stand_in.echo) as server:
        (answer,) = await ask(server, hand=hand)
    assert (answer.state, answer.tries) == ("answered", 2)
    assert hand.slept == pauses


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (status(500), "server_error"),
        (status(429), "rate_limited"),
        (stand_in.truncated_json, "invalid"),
        (stand_in.reset, "connection"),
    ],
)
async def test_patience_ends_in_a_typed_failure(step, reason):
    hand = Hand()
    with StandIn(step) as server:
        (answer,) = await ask(server, hand=hand, tries=4)
    assert (answer.state, answer.reason, answer.tries) == ("failed", reason, 4)
    assert hand.slept == [0.5, 1.0, 2.0]
    assert answer.error


@pytest.mark.parametrize("step", [stand_in.hang, stand_in.drip])
async def test_a_try_has_an_end(step):
    began = time.monotonic()
    with StandIn(step, stand_in.echo) as server:
        system = EndpointSystem(settings(server.url, timeout_s=0.2))
        first = await system.ask(question())
        await system.close()
    assert (first.state, first.tries) == ("answered", 2)
    assert time.monotonic() - began < 10


async def test_time_outs_to_the_end():
    with StandIn(stand_in.hang) as server:
        (answer,) = await ask(server, timeout_s=0.1, tries=2)
    assert (answer.state, answer.reason, answer.tries) == ("failed", "timeout", 2)


@pytest.mark.parametrize(
    ("code", "reason"), [(400, "invalid_request"), (403, "forbidden"), (422, "invalid_request")]
)
async def test_other_4xx_are_never_tried_again_and_stop_nobody(code, reason):
    with StandIn(status(code, {"message": "too many pictures"}), stand_in.echo) as server:
        first, second = await ask(server, question(1), question(2))
    assert (first.state, first.reason, first.tries) == ("failed", reason, 1)
    assert "too many pictures" in str(first.error)
    assert second.state == "answered"


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (status(401), "unauthorized"),
        (status(404, {"message": "no model m"}), "not_found"),
        (status(402), "payment_required"),
        (status(429, {"code": "insufficient_quota"}), "quota"),
        (status(429, retry_after="86400"), "rate_limited"),
    ],
)
async def test_what_holds_for_every_question_is_asked_once(step, reason):
    with StandIn(step) as server:
        answers = await ask(server, *(question(n) for n in range(5)))
    assert len(server.requests) == 1
    assert [(a.state, a.reason) for a in answers] == [("failed", reason)] * 5
    assert [a.tries for a in answers] == [1, 0, 0, 0, 0]


async def test_an_endpoint_that_stays_away_is_given_up():
    system = EndpointSystem(settings(f"http://127.0.0.1:{free_port()}/v1", tries=2), time=Hand().time())
    answers = [await system.ask(question(n)) for n in range(endpoint.GIVE_UP_AFTER + 3)]
    await system.close()
    assert [a.reason for a in answers] == ["unreachable"] * endpoint.GIVE_UP_AFTER + ["away"] * 3
    assert system.stopped == "away"
    assert answers[-1].tries == 0


async def test_retry_after_holds_for_everybody():
    hand = Hand()
    with StandIn(status(429, retry_after="30"), stand_in.echo) as server:
        system = EndpointSystem(settings(server.url), time=hand.time())
        first = asyncio.ensure_future(system.ask(question(1)))
        await until(lambda: hand.slept)
        await system.ask(question(2))
        assert (await first).state == "answered"
        await system.close()
    assert hand.at >= 30
    assert len(server.requests) == 3


async def test_limits_of_the_file_are_kept():
    hand = Hand()
    with StandIn() as server:
        answers = await ask(server, *(question(n) for n in range(7)), hand=hand, requests_per_minute=3)
    assert {a.state for a in answers} == {"answered"}
    assert hand.slept == [60.0, 60.0]


async def test_tokens_are_counted_as_the_endpoint_does():
    hand = Hand()
    with StandIn() as server:
        # 20 + 5 as counted, 12 as estimated: the fifth would make 112
        await ask(server, *(question(n) for n in range(5)), hand=hand, tokens_per_minute=110, max_tokens=5)
    assert hand.slept == [60.0]


async def test_headers_of_the_endpoint_are_kept():
    hand = Hand()
    left = stand_in.with_headers(x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="12s")
    with StandIn(left, stand_in.echo) as server:
        await ask(server, question(1), question(2), hand=hand)
    assert hand.slept == [12.0]


async def test_a_picture_that_endpoints_do_not_take():
    with StandIn() as server:
        (answer,) = await ask(server, question(images=(b"GIF89a",)))
        system = EndpointSystem(settings(server.url))
        assert system.fingerprint(question(images=(b"GIF89a",))) is None
        await system.close()
    assert (answer.state, answer.reason) == ("failed", "picture")
    assert not server.requests


async def test_fingerprints_tell_requests_apart_and_nothing_else():
    def mark(q: Question, **changes: Any) -> str | None:
        return EndpointSystem(settings("http://127.0.0.1:1/v1", **changes)).fingerprint(q)

    plain = mark(question())
    assert plain == mark(Question("other task", "other id", "Number 1?", truth="x", meta={"a": 1}))
    assert plain == mark(question(), name="b", price_in=1, price_out=2, concurrency=9, timeout_s=3)
    different = {
        plain,
        mark(question(2)),
        mark(question(images=(PNG,))),
        mark(question(images=(PNG + b"x",))),
        mark(question(images=(PNG, PNG))),
        mark(question(), model="n"),
        mark(question(), temperature=1.0),
        mark(question(), max_tokens=3),
        mark(question(), extra_body={"seed": 1}),
        mark(question(), base_url="http://127.0.0.1:2/v1"),
        mark(question(system="s")),
        mark(question(shots=(Shot("a", "b"),))),
    }
    assert len(different) == 12


def test_keys_come_from_the_environment(monkeypatch):
    wanted = settings("http://127.0.0.1:1/v1", api_key_env="STAND_IN_KEY")
    monkeypatch.delenv("STAND_IN_KEY", raising=False)
    with pytest.raises(ConfigError, match="STAND_IN_KEY is not set"):
        key_of(wanted)
    monkeypatch.setenv("STAND_IN_KEY", "bad\u00e4key")
    with pytest.raises(ConfigError, match="no API key") as caught:
        key_of(wanted)
    assert "bad" not in str(caught.value)
    monkeypatch.setenv("STAND_IN_KEY", " good \n")
    assert key_of(wanted) == "good"
    assert key_of(settings("http://127.0.0.1:1/v1")) is None
