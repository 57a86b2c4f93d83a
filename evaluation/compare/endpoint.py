"""A system behind an OpenAI-compatible endpoint: vLLM, the compatible doors of Gemini and GPT, and others."""

from __future__ import annotations

import asyncio
import json
import os
import random
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import httpx

from mellm.engine.server.auth import is_loopback
from mellm.evaluation.compare import requests
from mellm.evaluation.compare.config import OpenAISystem
from mellm.evaluation.compare.limits import Fault, Limiter, Patience, Streak, Ticket
from mellm.evaluation.compare.replies import Reply, read_error, read_reply
from mellm.evaluation.compare.types import Answer, Kind, Question
from mellm.stream.errors import ConfigError, UsageError

MAX_ANSWER_BYTES: Final = 4 << 20
GIVE_UP_AFTER: Final = 10
"""Questions in a row that found nobody: each has been tried for minutes by then."""


@dataclass(frozen=True, slots=True)
class Time:
    """Clocks and chance, for tests to replace."""

    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    spread: Callable[[], float] = field(default_factory=lambda: random.Random().random)


class _Faulty(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def key_of(settings: OpenAISystem) -> str | None:
    """The API key from the environment.

    :raises ConfigError: the variable that the file names is not set, or holds what no header can
    """
    if settings.api_key_env is None:
        return None
    key = os.environ.get(settings.api_key_env, "").strip()
    if not key:
        raise ConfigError(
            f"{settings.name} needs a key, and {settings.api_key_env} is not set",
            remedy=f"export {settings.api_key_env}=…, or leave {settings.name} out with --only",
        )
    if not key.isascii() or not key.isprintable():
        raise ConfigError(f"what {settings.api_key_env} holds is no API key (letters, digits and signs only)")
    return key


@cache
def _tls() -> ssl.SSLContext:
    """One for all: reading the certificates takes a tenth of a second."""
    return httpx.create_ssl_context()


class EndpointSystem:
    """Asks one model at one endpoint.

    Transient failures (no connection, connection lost, time-outs, 408, 429, 5xx, an answer that is no JSON) are tried
    again with growing, jittered pauses until tries or deadline are used up; other 4xx never. 401, 402, 404, an
    exhausted account, a ``Retry-After`` beyond the deadline, or ten questions in a row that found nobody end the
    asking: what is left ends as *failed* with that reason, and the other systems go on.

    :param key: sent as bearer token; never logged, never part of a message
    :param time: clocks and chance, for tests
    """

    kind: Kind = "openai"

    def __init__(self, settings: OpenAISystem, key: str | None = None, *, time: Time | None = None) -> None:
        self._settings = settings
        self.name, self.model, self.concurrency = settings.name, settings.model, settings.concurrency
        self.where = settings.base_url  # the file's check keeps credentials out of it
        self._time = time or Time()
        self._limiter = Limiter(settings.requests_per_minute, settings.tokens_per_minute)
        self._patience = Patience(settings.tries, settings.deadline_s)
        self._streak = Streak(GIVE_UP_AFTER)
        self._turn = asyncio.Lock()
        self._stopped: Fault | None = None
        url = httpx.URL(settings.base_url)
        self._client = httpx.AsyncClient(
            base_url=settings.base_url + "/",
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=None,  # each try has a deadline of its own, which also ends answers that drip
            limits=httpx.Limits(max_connections=settings.concurrency),
            follow_redirects=False,  # the key stays with the host it was meant for
            trust_env=not is_loopback(url.host),
            verify=_tls(),
        )

    @property
    def stopped(self) -> str | None:
        """Reason of the failure that ended the asking."""
        return None if self._stopped is None else self._stopped.reason

    def fingerprint(self, question: Question) -> str | None:
        """Of the request and the endpoint; ``None`` for a picture that cannot be sent."""
        try:
            return requests.fingerprint(self._settings, question)
        except UsageError:
            return None

    async def close(self) -> None:
        """Close pooled connections."""
        await self._client.aclose()

    async def ask(self, question: Question) -> Answer:
        """Ask, and ask again, within limits and patience."""
        try:
            raw = json.dumps(requests.body(self._settings, question)).encode()
        except UsageError as error:
            return self._failed(question, Fault("picture", error.message), 0)
        # endpoints count the whole allowance of an answer against their limits until they know better; so do we
        cost = requests.tokens(self._settings, question) + self._settings.max_tokens
        tries, started = 0, 0.0
        last: Fault | None = None
        try:
            while True:
                ticket = await self._admitted(cost, started, last)
                tries += 1
                began = self._time.now()
                started = began if last is None else started
                try:
                    reply = await self._try(raw, started)
                except _Faulty as failure:
                    last = failure.fault
                    await self._again(last, tries, started)
                    continue
                took = self._time.now() - began
                if reply.tokens_in is not None:
                    self._limiter.settle(ticket, reply.tokens_in + (reply.tokens_out or 0))
                self._streak.reached()
                return self._ended(question, reply, took, tries)
        except _Faulty as failure:
            return self._failed(question, failure.fault, tries)

    async def _admitted(self, cost: int, started: float, last: Fault | None) -> Ticket:
        """Wait for one's turn. Before the first try our own limits are waited for as long as it takes.

        :param last: why the last try failed, ``None`` before the first
        :raises _Faulty: the system is asked no more, or the turn would come too late
        """
        async with self._turn:  # in the order of asking: a large request is not overtaken for ever
            while True:
                if self._stopped is not None:
                    raise _Faulty(self._stopped)
                now = self._time.now()
                wait = self._limiter.wait(now, cost)
                if wait <= 0:
                    return self._limiter.take(now, cost)
                held = self._limiter.held(now)
                if last is None and held > self._settings.deadline_s:
                    late = f"the endpoint wants {held:.0f} s of rest, longer than deadline_s"
                    raise _Faulty(Fault("rate_limited", late, away=True))
                if last is not None and now + wait >= started + self._settings.deadline_s:
                    raise _Faulty(last)
                await self._time.sleep(wait)

    async def _again(self, fault: Fault, tries: int, started: float) -> None:
        """Wait before the next try.

        :raises _Faulty: there is none
        """
        now = self._time.now()
        if not fault.away:
            self._streak.reached()
        asked = fault.retry_after
        if asked is not None:
            self._limiter.hold(now + asked)  # for everybody: the limit is the endpoint's, not the question's
        if fault.final:
            self._stopped = fault
        elif fault.reason == "rate_limited" and asked is not None and asked > self._settings.deadline_s:
            self._stopped = Fault(
                "rate_limited",
                f"{fault.message} – asked to wait {asked:.0f} s, longer than deadline_s",
                away=True,
            )
        pause = self._patience.next_try(fault, tries, now - started, self._time.spread())
        if self._stopped is not None or pause is None:
            raise _Faulty(fault)
        if fault.reason == "rate_limited":
            self._limiter.hold(now + pause)
        await self._time.sleep(pause)

    async def _try(self, raw: bytes, started: float) -> Reply:
        """One request.

        :raises _Faulty: it brought no answer
        """
        settings = self._settings
        left = min(settings.timeout_s, settings.deadline_s - (self._time.now() - started))
        try:
            async with (
                asyncio.timeout(left),
                self._client.stream(
                    "POST", "chat/completions", content=raw, headers={"Content-Type": "application/json"}
                ) as response,
            ):
                said = await _drained(response)
        except (TimeoutError, httpx.TimeoutException):
            raise _Faulty(
                Fault("timeout", f"no whole answer within {left:g} s", retryable=True, away=True)
            ) from None
        except httpx.ConnectError:
            raise _Faulty(
                Fault("unreachable", "cannot be reached; is it up?", retryable=True, away=True)
            ) from None
        except httpx.HTTPError as error:
            lost = f"the connection was lost ({type(error).__name__})"
            raise _Faulty(Fault("connection", lost, retryable=True, away=True)) from None
        self._limiter.observe(response.headers, self._time.now())
        found = self._read(response, said)
        if isinstance(found, Fault):
            raise _Faulty(found)
        return found

    def _read(self, response: httpx.Response, said: bytes) -> Reply | Fault:
        if response.status_code != 200:
            return read_error(response.status_code, said, response.headers, self._time.wall())
        try:
            data = json.loads(said)
        except (ValueError, RecursionError):
            return Fault("invalid", "answered 200 with something that is not JSON", retryable=True)
        return read_reply(data)

    def _ended(self, question: Question, reply: Reply, took: float, tries: int) -> Answer:
        return Answer(
            self.name,
            question.task,
            question.id,
            "answered" if reply.reason is None else "refused",
            reply.text,
            reason=reply.reason,
            cut=reply.cut,
            latency_s=took,
            tokens_in=reply.tokens_in,
            tokens_out=reply.tokens_out,
            tries=tries,
        )

    def _failed(self, question: Question, fault: Fault, tries: int) -> Answer:
        if fault.away and self._stopped is None and self._streak.away():
            self._stopped = Fault(
                "away", f"{GIVE_UP_AFTER} questions in a row found nobody; last: {fault.message}"
            )
        return Answer(
            self.name,
            question.task,
            question.id,
            "failed",
            reason=fault.reason,
            error=fault.message,
            tries=tries,
        )


async def _drained(response: httpx.Response) -> bytes:
    said = bytearray()
    async for chunk in response.aiter_bytes():
        said += chunk
        if len(said) > MAX_ANSWER_BYTES:
            raise _Faulty(Fault("invalid", f"sent more than {MAX_ANSWER_BYTES >> 20} MiB"))
    return bytes(said)
