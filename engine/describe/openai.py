"""Describes through any OpenAI-compatible chat endpoint: vLLM, Gemini's and GPT's compatible doors, and others."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import httpx

from mellm.engine.describe import profiles
from mellm.engine.describe.base import DescribeContext, Recipe
from mellm.engine.describe.breaker import CircuitBreaker, State
from mellm.engine.describe.parse import Parsed, clean
from mellm.engine.describe.retry import retry_after
from mellm.engine.types import Description, Evidence, Usage
from mellm.stream.errors import (
    AnswerInvalid,
    DescriberError,
    DescriberPaused,
    DescriberRejected,
    DescriberTimeout,
    DescriberUnavailable,
)

logger = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 1 << 20
FAIR_S = 1.0
"""A call with less time than this that runs out of it says nothing about the endpoint."""


class OpenAIDescriber:
    """One endpoint, one model, one profile.

    One call is one request at the most: who is asked again is decided in :mod:`mellm.engine.describe.retry`. After
    failures in a row the endpoint is left alone for a while and then probed with one call
    (:class:`mellm.engine.describe.breaker.CircuitBreaker`). The deadline bounds the whole call, also when a server
    sends one byte a second.

    :param base_url: up to and including ``/v1``
    :param api_key: sent as bearer token; never logged
    :param timeout_s: longest time for one try
    :param transport: an httpx transport, for tests
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        profile: str = "generic",
        api_key: str | None = None,
        timeout_s: float = 10.0,
        transport: httpx.BaseTransport | None = None,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        self._profile = profiles.get(profile)
        self._model = model
        self._timeout_s = timeout_s
        self._breaker = breaker or CircuitBreaker()
        try:
            url = httpx.URL(base_url)
        except httpx.InvalidURL as error:
            raise DescriberRejected(f"base URL {base_url!r} is not a URL", remedy=str(error)) from error
        if url.scheme not in ("http", "https") or not url.host:
            raise DescriberRejected(
                f"base URL {base_url!r} is not an http address", remedy="write http://host:port/v1"
            )
        self._where = f"{url.scheme}://{url.host}" + (f":{url.port}" if url.port else "")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(
            base_url=str(url).rstrip("/") + "/",
            headers=headers,
            transport=transport,
            follow_redirects=False,
        )

    @property
    def name(self) -> str:
        """The model's name at the endpoint."""
        return self._model

    @property
    def profile(self) -> str:
        """Profile name and prompt version."""
        return f"{self._profile.name}/{self._profile.version}"

    @property
    def recipe(self) -> Recipe:
        """The recipe of the profile."""
        return self._profile.recipe

    def describe(self, evidence: Evidence, context: DescribeContext) -> Description:
        """Ask, wait, read. See :class:`mellm.engine.describe.base.Describer`.

        :raises DescriberTimeout: no whole answer before the deadline
        :raises DescriberUnavailable: connection lost, 429 or 5xx
        :raises DescriberPaused: the endpoint failed several times in a row; it was not asked
        :raises DescriberRejected: 4xx
        :raises AnswerInvalid: a 200 that is not a chat completion
        """
        started = time.monotonic()
        deadline = started + context.deadline_s
        answer = self._guarded(self._body(evidence, context), deadline)
        return self._read(answer, (time.monotonic() - started) * 1e3)

    def close(self) -> None:
        """Close pooled connections."""
        self._client.close()

    def _body(self, evidence: Evidence, context: DescribeContext) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": self._profile.messages(evidence, context),
            "temperature": 0,
            "seed": 0,
            "max_tokens": self._profile.max_tokens,
        }
        if self._profile.response_format is not None:
            body["response_format"] = self._profile.response_format
        return body

    @property
    def state(self) -> State:
        """Of the circuit breaker: ``open`` while the endpoint is left alone."""
        return self._breaker.state(time.monotonic())

    def _guarded(self, body: dict[str, Any], deadline: float) -> dict[str, Any]:
        """One try, if the breaker lets it go. A 4xx or an unreadable answer is an answer: somebody is there."""
        wait = self._breaker.admit(time.monotonic(), self._timeout_s + 1.0)
        if wait > 0:
            raise DescriberPaused(
                f"{self._where} failed several times in a row; it is asked again in {wait:.1f} s",
                retry_after=wait,
            )
        hurried = deadline - time.monotonic() < min(FAIR_S, self._timeout_s)
        try:
            answer = self._ask(body, deadline)
        except DescriberError as error:
            if isinstance(error, DescriberTimeout) and hurried:
                self._breaker.withdrawn()
            elif error.retryable:
                if self._breaker.failed(time.monotonic()):
                    logger.warning("describer %s unavailable (%s); pausing requests", self._where, error.code)
            else:
                self._answered()
            raise
        except BaseException:
            self._breaker.failed(time.monotonic())
            raise
        self._answered()
        return answer

    def _answered(self) -> None:
        if self._breaker.succeeded():
            logger.warning("describer %s answers again", self._where)

    def _ask(self, body: dict[str, Any], deadline: float) -> dict[str, Any]:
        left = min(self._timeout_s, deadline - time.monotonic())
        if left <= 0:
            raise DescriberTimeout(f"no time left to ask {self._where}")
        stop = time.monotonic() + left
        try:
            with self._client.stream("POST", "chat/completions", json=body, timeout=left) as response:
                raw = self._drain(response, stop)
        except httpx.TimeoutException as error:
            raise DescriberTimeout(f"{self._where} did not answer within {left:.1f} s") from error
        except httpx.HTTPError as error:
            raise DescriberUnavailable(
                f"{self._where} cannot be reached ({type(error).__name__})",
                remedy="is the model server up?",
                reached=not isinstance(error, httpx.ConnectError),
            ) from error
        self._check(response, raw)
        try:
            answer = json.loads(raw)
        except ValueError as error:
            raise AnswerInvalid(f"{self._where} answered 200 with something that is not JSON") from error
        if not isinstance(answer, dict):
            raise AnswerInvalid(f"{self._where} answered 200 with {type(answer).__name__}, not an object")
        return answer

    def _drain(self, response: httpx.Response, stop: float) -> bytes:
        raw = bytearray()
        for chunk in response.iter_bytes():
            raw += chunk
            if time.monotonic() > stop:
                raise DescriberTimeout(f"{self._where} was still sending when the time was up")
            if len(raw) > MAX_ANSWER_BYTES:
                raise AnswerInvalid(f"{self._where} sent more than {MAX_ANSWER_BYTES >> 20} MiB")
        return bytes(raw)

    def _check(self, response: httpx.Response, raw: bytes) -> None:
        status = response.status_code
        if status == 200:
            return
        said = clean(raw.decode("utf-8", "replace"), 200)
        if status in (408, 429) or status >= 500:
            pause = retry_after(response.headers, time.time())
            raise DescriberUnavailable(
                f"{self._where} answered {status}: {said}",
                retry_after=pause,
                reached=status not in (429, 503),  # these say that nobody has begun
            )
        remedy = {
            401: "put the API key into MELLM_API_KEY, or into the variable that describer.api_key_env names",
            403: "the API key may not use this model",
            404: f"check the base URL and the model name {self._model!r}",
        }.get(status, "")
        raise DescriberRejected(f"{self._where} answered {status}: {said}", remedy=remedy)

    def _read(self, answer: dict[str, Any], latency_ms: float) -> Description:
        try:
            choice = answer["choices"][0]
            text = choice["message"]["content"] or ""
            finish = choice.get("finish_reason")
        except (KeyError, IndexError, TypeError) as error:
            raise AnswerInvalid(f"{self._where} answered 200 without choices[0].message.content") from error
        if not isinstance(text, str):
            raise AnswerInvalid(f"{self._where} answered with content that is not text")
        parsed = self._profile.parse(text)
        if finish == "length" and parsed.problem is not None:
            parsed = Parsed(parsed.text, problem="cut_answer")
        counted = answer.get("usage")
        used = counted if isinstance(counted, dict) else {}
        return Description(
            text=parsed.text,
            action_units=parsed.action_units,
            emotion=parsed.emotion,
            model=self._model,
            profile=self.profile,
            prompt_version=self._profile.version,
            abstained=parsed.problem,
            usage=Usage(_count(used.get("prompt_tokens")), _count(used.get("completion_tokens"))),
            latency_ms=latency_ms,
        )


def _count(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
