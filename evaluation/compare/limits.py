"""When to send, when to send again and when to give up: pure policy, without clock and without network.

Times are seconds on any monotonic clock, handed in by the caller.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mellm.engine.describe.retry import duration, number

WINDOW_S: Final = 60.0
"""Limits are per minute: of any 60 s, not of a minute by the clock."""


class Ticket:
    """A request that was let go. :ivar at: when; :ivar tokens: as estimated, later as counted"""

    __slots__ = ("at", "tokens")

    def __init__(self, at: float, tokens: int) -> None:
        self.at = at
        self.tokens = tokens


class Limiter:
    """Keeps one endpoint's requests and tokens within bounds: ours, and those it tells in its headers.

    Nothing is sent that would make the last 60 s hold more than the bounds; a request larger than the whole bound goes
    alone. What an endpoint tells of itself (``Retry-After``, ``x-ratelimit-*``) holds for all requests to it.

    :param requests: in any 60 s; ``None`` for no bound
    :param tokens: as ``requests``
    """

    def __init__(self, requests: int | None = None, tokens: int | None = None) -> None:
        self._requests = requests
        self._tokens = tokens
        self._sent: deque[Ticket] = deque()
        self._held_until = -math.inf
        self._left = math.inf
        self._left_until = -math.inf

    def wait(self, now: float, tokens: int) -> float:
        """Seconds until a request of so many tokens may go; 0 for now. Ask again after waiting."""
        self._forget(now)
        until = self._held_until
        if self._requests is not None and len(self._sent) >= self._requests:
            until = max(until, self._sent[len(self._sent) - self._requests].at + WINDOW_S)
        if self._tokens is not None:
            until = max(until, self._room_at(min(tokens, self._tokens), self._tokens))
        if now < self._left_until and tokens > self._left:
            until = max(until, self._left_until)
        return max(0.0, until - now)

    def held(self, now: float) -> float:
        """Seconds for which the endpoint itself asked to be left alone."""
        return max(0.0, self._held_until - now)

    def take(self, now: float, tokens: int) -> Ticket:
        """A request goes. Call it only when :meth:`wait` said 0."""
        ticket = Ticket(now, tokens)
        self._sent.append(ticket)
        self._left -= tokens
        return ticket

    def settle(self, ticket: Ticket, tokens: int) -> None:
        """The endpoint counted its tokens."""
        ticket.tokens = tokens

    def hold(self, until: float) -> None:
        """Leave the endpoint alone until then; an earlier and longer hold stays."""
        self._held_until = max(self._held_until, until)

    def observe(self, headers: Mapping[str, str], now: float) -> None:
        """Take notice of ``x-ratelimit-remaining-…`` and ``x-ratelimit-reset-…`` (requests, tokens).

        The reset is the time until the allowance is *whole* again, and it refills all the while: no hold on its
        account is longer than a minute.
        """
        left = number(headers.get("x-ratelimit-remaining-requests"))
        reset = duration(headers.get("x-ratelimit-reset-requests"))
        if left is not None and left < 1 and reset is not None:
            self.hold(now + min(reset, WINDOW_S))
        left = number(headers.get("x-ratelimit-remaining-tokens"))
        reset = duration(headers.get("x-ratelimit-reset-tokens"))
        if left is not None and reset is not None:
            self._left, self._left_until = left, now + min(reset, WINDOW_S)

    def _forget(self, now: float) -> None:
        while self._sent and self._sent[0].at + WINDOW_S <= now:
            self._sent.popleft()

    def _room_at(self, tokens: int, bound: int) -> float:
        """When enough of the sent requests have left the window."""
        total = sum(ticket.tokens for ticket in self._sent)
        at = -math.inf
        for ticket in self._sent:
            if total + tokens <= bound:
                break
            at = ticket.at + WINDOW_S
            total -= ticket.tokens
        return at


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a try brought no answer.

    :param reason: code
    :param message: one sentence
    :param retryable: another try may go better
    :param retry_after: seconds that the endpoint asks to wait
    :param final: no question will fare better: the system is asked no more
    :param away: it says more about the endpoint than about the question
    """

    reason: str
    message: str
    retryable: bool = False
    retry_after: float | None = None
    final: bool = False
    away: bool = False


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that grow, with jitter: those who failed together shall not come back together.

    :param first_s: of the pause before jitter; jitter takes away up to half
    :param factor: as ``first_s``
    :param longest_s: as ``first_s``
    """

    first_s: float = 0.5
    factor: float = 2.0
    longest_s: float = 30.0

    def pause(self, tries: int, spread: float, asked_s: float | None = None) -> float:
        """Seconds to wait.

        :param tries: made so far, from 1
        :param spread: random, 0 to 1
        :param asked_s: the endpoint's own wish; never undercut
        """
        grown = min(self.longest_s, self.first_s * self.factor ** min(tries - 1, 64))
        own = grown * (1 - spread / 2)
        return own if asked_s is None else max(own, asked_s + spread * self.first_s)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one question is tried.

    :param tries: requests at most
    :param deadline_s: from the first one
    """

    tries: int
    deadline_s: float
    backoff: Backoff = Backoff()

    def next_try(self, fault: Fault, tries: int, elapsed_s: float, spread: float) -> float | None:
        """Seconds until the next try, ``None`` to give up."""
        if not fault.retryable or tries >= self.tries:
            return None
        pause = self.backoff.pause(tries, spread, fault.retry_after)
        return pause if elapsed_s + pause < self.deadline_s else None


class Streak:
    """Questions in a row that ended because the endpoint was away.

    :param limit: so many, and nobody is asked any more
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._length = 0

    def reached(self) -> None:
        """Somebody answered, be it with an error about the question."""
        self._length = 0

    def away(self) -> bool:
        """Another one.

        :returns: whether it is time to give up"""
        self._length += 1
        return self._length >= self.limit
