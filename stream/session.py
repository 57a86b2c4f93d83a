"""The server's side of one session, without sockets: messages in, actions out.

::

    OPENING ──open()──▶ WAITING (for session.auth) ──▶ READY ◀──▶ STREAMING
                └──────────── authorised ────────────▶ │
    any of them ──▶ CLOSED

A shell (:mod:`engine.connection`) carries the actions out in order. Time comes in as an argument.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from stream import wire
from stream.errors import ProtocolError
from stream.events import Filter, Position


class State(enum.Enum):
    """Where a session stands."""

    OPENING = "opening"
    WAITING = "waiting for session.auth"
    READY = "ready"
    STREAMING = "streaming"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Send:
    """Send a control message."""

    type: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StartStream:
    """Stop what is being streamed, subscribe, send ``subscribed`` and stream."""

    wanted: Filter
    after: Position | None
    ref: str | None


@dataclass(frozen=True, slots=True)
class StopStream:
    """Stop streaming."""


@dataclass(frozen=True, slots=True)
class AddMarker:
    """Publish a marker; ``time_ns`` is ``None`` for now."""

    label: str
    source: str
    time_ns: int | None
    ref: str | None


@dataclass(frozen=True, slots=True)
class Hangup:
    """Send ``session.closed`` and close the connection with this code."""

    code: int
    reason: str


Action: TypeAlias = Send | StartStream | StopStream | AddMarker | Hangup


@dataclass(frozen=True, slots=True)
class SessionRules:
    """What the session must know of its server.

    :param hello: data of ``hello``; :param created: makes the data of ``session.created``
    :param authenticate: token → name of whoever holds it, ``None`` if nobody does
    :param sources: ids that exist now; empty where nobody keeps a list
    :param messages_per_s, burst: how fast a client may talk
    :param max_errors: refused messages until the session is closed
    """

    hello: Callable[[], Mapping[str, Any]]
    created: Callable[[], Mapping[str, Any]]
    authenticate: Callable[[str], str | None]
    sources: Callable[[], frozenset[str]]
    messages_per_s: float = 20.0
    burst: int = 40
    max_errors: int = 8


class ServerSession:
    """One client's session. ``principal`` names who is on the other side, once known."""

    def __init__(self, rules: SessionRules) -> None:
        self._rules = rules
        self._errors = 0
        self._allowance = float(rules.burst)
        self._heard_s: float | None = None
        self.state = State.OPENING
        self.principal: str | None = None

    def open(self, principal: str | None) -> list[Action]:
        """Greet.

        :param principal: who the client is, if the handshake has settled it; ``None`` to ask for a token
        """
        if self.state is not State.OPENING:
            raise RuntimeError(f"cannot open a session that is {self.state.value}")
        actions: list[Action] = [Send(wire.HELLO, {**self._rules.hello(), "auth_needed": principal is None})]
        if principal is None:
            self.state = State.WAITING
            return actions
        return actions + self._admit(principal)

    def receive(self, payload: str | bytes, now_s: float) -> list[Action]:
        """One message from the client.

        :param now_s: monotonic seconds
        """
        if self.state in (State.CLOSED, State.OPENING):
            return []
        if not self._within_rate(now_s):
            return self._hang_up(wire.TOO_MANY_MESSAGES, "rate", "too many messages")
        if isinstance(payload, bytes):
            return self._hang_up(wire.BAD_MESSAGE, "bad_message", "clients send text messages only")
        if len(payload) > wire.MAX_CLIENT_BYTES:
            return self._hang_up(wire.BAD_MESSAGE, "too_large", f"over {wire.MAX_CLIENT_BYTES} bytes")
        try:
            return self._obey(wire.decode_client(payload))
        except wire.Refused as error:
            return self._refuse(error)
        except ProtocolError as error:
            return self._hang_up(error.close_code, "bad_message", error.message)

    def auth_expired(self) -> list[Action]:
        """The time to present a token is over; nothing happens once the session is past that."""
        if self.state is not State.WAITING:
            return []
        return self._hang_up(wire.AUTH_TIMEOUT, "auth_timeout", "no session.auth in time")

    def closed(self) -> None:
        """The connection is gone."""
        self.state = State.CLOSED

    def _obey(self, message: wire.ClientMessage) -> list[Action]:
        if isinstance(message, wire.Close):
            self.state = State.CLOSED
            return [Hangup(1000, "client")]
        if self.state is State.WAITING:
            if not isinstance(message, wire.Auth):
                return self._hang_up(
                    wire.UNAUTHORISED, "auth_needed", "the first message must be session.auth", message.id
                )
            principal = self._rules.authenticate(message.token)
            if principal is None:
                return self._hang_up(wire.UNAUTHORISED, "unauthorised", "unknown token", message.id)
            return self._admit(principal)
        match message:
            case wire.Auth():
                raise wire.Refused("unexpected", "this session needs no session.auth", ref=message.id)
            case wire.Subscribe(filter=wanted, after=after):
                self._known(wanted.sources or frozenset(), message.id)
                self.state = State.STREAMING
                return [StartStream(wanted, after, message.id)]
            case wire.Unsubscribe():
                if self.state is not State.STREAMING:
                    raise wire.Refused("not_subscribed", "there is no subscription", ref=message.id)
                self.state = State.READY
                return [StopStream(), Send(wire.UNSUBSCRIBED, {"ref": message.id})]
            case wire.MarkerAdd(label=label, source=source, time_ns=time_ns):
                self._known(frozenset({source} - {""}), message.id)
                return [AddMarker(label, source, time_ns, message.id)]

    def _admit(self, principal: str) -> list[Action]:
        self.principal = principal
        self.state = State.READY
        return [Send(wire.SESSION_CREATED, self._rules.created())]

    def _known(self, asked: frozenset[str], ref: str | None) -> None:
        known = self._rules.sources()
        unknown = sorted(asked - known)
        if known and unknown:
            raise wire.Refused(
                "unknown_source",
                f"unknown source {unknown[0]!r}; there are: {', '.join(sorted(known))}",
                ref=ref,
            )

    def _refuse(self, error: wire.Refused) -> list[Action]:
        self._errors += 1
        if self.state is State.WAITING or self._errors >= self._rules.max_errors:
            return self._hang_up(wire.BAD_MESSAGE, error.reason, error.message, error.ref)
        return [Send(wire.ERROR, {"code": error.reason, "message": error.message, "ref": error.ref})]

    def _hang_up(self, close_code: int, code: str, message: str, ref: str | None = None) -> list[Action]:
        self.state = State.CLOSED
        return [Send(wire.ERROR, {"code": code, "message": message, "ref": ref}), Hangup(close_code, code)]

    def _within_rate(self, now_s: float) -> bool:
        """A bucket that holds ``burst`` messages and refills at ``messages_per_s``."""
        since = 0.0 if self._heard_s is None else max(0.0, now_s - self._heard_s)
        self._heard_s = now_s
        refill = since * self._rules.messages_per_s
        self._allowance = min(float(self._rules.burst), self._allowance + refill) - 1.0
        return self._allowance >= 0
