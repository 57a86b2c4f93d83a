"""The server's side of one session, without sockets: messages in, actions out.

::

    OPENING ──open()──▶ WAITING (for session.auth) ──▶ READY ◀──▶ STREAMING
                └──────────── authorised ────────────▶ │
    any of them ──▶ CLOSED

A shell (:mod:`mellm.engine.server.connection`) carries the actions out in order. Time comes in as an argument.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from mellm.stream.errors import ProtocolError
from mellm.stream.protocol import client_messages as said
from mellm.stream.protocol import wire
from mellm.stream.protocol.access import SESSION_SCOPES, Principal, Scope
from mellm.stream.protocol.client_messages import EvidenceKind, Refused
from mellm.stream.protocol.events import PREVIEW, Filter, Position


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
    """Stop what is being streamed, subscribe, send ``subscribed`` and stream.

    :param wanted: what the client asked for, for the answer
    :param granted: what of it may be streamed
    """

    wanted: Filter
    granted: Filter
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
class FetchEvidence:
    """Look for a picture of an expression and send it, or the error."""

    expression: str
    ref: str | None
    shown: EvidenceKind = "motion"


@dataclass(frozen=True, slots=True)
class StartPush:
    """Take the source's inlet for this client and answer; :meth:`ServerSession.push_refused` if it is taken."""

    source: str
    ref: str | None


@dataclass(frozen=True, slots=True)
class TakePicture:
    """A pushed picture, not looked at yet."""

    jpeg: bytes
    time_ns: int


@dataclass(frozen=True, slots=True)
class StopPush:
    """Leave the inlet to others and answer."""

    ref: str | None


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Stop a source, erase what it showed, and answer."""

    source: str
    ref: str | None


@dataclass(frozen=True, slots=True)
class ChangeRun:
    """Begin or save the session of a source, or take note of a consent that was given on the page; and answer.

    :param sha256: of the consent text, with ``agree``
    """

    what: Literal["agree", "begin", "save"]
    source: str
    ref: str | None
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Hangup:
    """Send ``session.closed`` and close the connection with this code."""

    code: int
    reason: str


Action: TypeAlias = (
    Send
    | StartStream
    | StopStream
    | AddMarker
    | FetchEvidence
    | StartPush
    | TakePicture
    | StopPush
    | Withdraw
    | ChangeRun
    | Hangup
)


@dataclass(frozen=True, slots=True)
class SessionRules:
    """What the session must know of its server.

    :param hello: data of ``hello``
    :param created: makes the data of ``session.created``
    :param authenticate: token → whoever holds it, ``None`` if nobody does
    :param sources: ids that exist now; empty where nobody keeps a list
    :param pushable: ids of sources whose pictures clients may send
    :param messages_per_s: how fast a client may talk
    :param burst: as ``messages_per_s``
    :param pictures_per_s: how fast it may send pictures
    :param max_errors: refused messages until the session is closed
    """

    hello: Callable[[], Mapping[str, Any]]
    created: Callable[[Principal], Mapping[str, Any]]
    authenticate: Callable[[str], Principal | None]
    sources: Callable[[], frozenset[str]]
    pushable: Callable[[], frozenset[str]] = frozenset
    messages_per_s: float = 20.0
    burst: int = 40
    pictures_per_s: float = 120.0
    max_errors: int = 8


class ServerSession:
    """One client's session. ``principal`` is whoever is on the other side, once known."""

    def __init__(self, rules: SessionRules) -> None:
        self._rules = rules
        self._errors = 0
        self._words = _Bucket(rules.messages_per_s, rules.burst)
        self._pictures = _Bucket(rules.pictures_per_s, rules.pictures_per_s)
        self.state = State.OPENING
        self.principal: Principal | None = None
        self.pushing: str | None = None

    def open(self, principal: Principal | None) -> list[Action]:
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
        if isinstance(payload, bytes):
            return self._picture(payload, now_s)
        if not self._words.take(now_s):
            return self._hang_up(wire.TOO_MANY_MESSAGES, "rate", "too many messages")
        if len(payload) > wire.MAX_CLIENT_BYTES:
            return self._hang_up(wire.BAD_MESSAGE, "too_large", f"over {wire.MAX_CLIENT_BYTES} bytes")
        try:
            return self._obey(said.decode_client(payload))
        except Refused as error:
            return self._refuse(error)
        except ProtocolError as error:
            return self._hang_up(error.close_code, "bad_message", error.message)

    @property
    def pictures_per_s(self) -> float:
        """How fast pictures may come."""
        return self._rules.pictures_per_s

    def push_refused(self) -> None:
        """Somebody else has the inlet."""
        self.pushing = None

    def auth_expired(self) -> list[Action]:
        """The time to present a token is over; nothing happens once the session is past that."""
        if self.state is not State.WAITING:
            return []
        return self._hang_up(wire.AUTH_TIMEOUT, "auth_timeout", "no session.auth in time")

    def token_expired(self) -> list[Action]:
        """What the client may do has ended."""
        if self.state is State.CLOSED:
            return []
        return self._hang_up(wire.UNAUTHORISED, "expired", "the token has expired")

    def closed(self) -> None:
        """The connection is gone."""
        self.state = State.CLOSED

    def _obey(self, message: said.ClientMessage) -> list[Action]:
        if isinstance(message, said.Close):
            self.state = State.CLOSED
            return [Hangup(1000, "client")]
        if self.principal is None:
            if not isinstance(message, said.Auth):
                return self._hang_up(
                    wire.UNAUTHORISED, "auth_needed", "the first message must be session.auth", message.id
                )
            principal = self._rules.authenticate(message.token)
            if principal is None:
                return self._hang_up(wire.UNAUTHORISED, "unauthorised", "unknown token", message.id)
            return self._admit(principal)
        match message:
            case said.Auth():
                raise Refused("unexpected", "this session needs no session.auth", ref=message.id)
            case said.Subscribe():
                return self._subscribe(message, self.principal)
            case said.Unsubscribe():
                if self.state is not State.STREAMING:
                    raise Refused("not_subscribed", "there is no subscription", ref=message.id)
                self.state = State.READY
                return [StopStream(), Send(wire.UNSUBSCRIBED, {"ref": message.id})]
            case said.MarkerAdd():
                return self._mark(message, self.principal)
            case said.EvidenceGet(expression=expression, shown=shown):
                _need(self.principal, Scope.MEDIA_READ, message.id)
                return [FetchEvidence(expression, message.id, shown)]
            case said.PushStart(source=source):
                return self._push(source, self.principal, message.id)
            case said.PushStop():
                if self.pushing is None:
                    raise Refused("not_pushing", "no pictures are being sent", ref=message.id)
                self.pushing = None
                return [StopPush(message.id)]
            case said.ConsentWithdraw(source=source):
                _need(self.principal, Scope.SOURCES_WRITE, message.id)
                self._known(frozenset({source}), self.principal, message.id)
                return [Withdraw(source, message.id)]
            case said.ConsentGive(source=source, sha256=sha256):
                return self._run(ChangeRun("agree", source, message.id, sha256), self.principal)
            case said.RunBegin(source=source):
                return self._run(ChangeRun("begin", source, message.id), self.principal)
            case said.RunSave(source=source):
                return self._run(ChangeRun("save", source, message.id), self.principal)

    def _admit(self, principal: Principal) -> list[Action]:
        self.principal = principal
        if not principal.scopes & SESSION_SCOPES:
            scopes = ", ".join(sorted(SESSION_SCOPES))
            return self._hang_up(wire.FORBIDDEN, "forbidden", f"a session needs a scope: {scopes}")
        self.state = State.READY
        return [Send(wire.SESSION_CREATED, self._rules.created(principal))]

    def _subscribe(self, message: said.Subscribe, principal: Principal) -> list[Action]:
        wanted = message.filter
        _need(principal, Scope.EVENTS_READ, message.id)
        if wanted.types is not None and PREVIEW in wanted.types:
            _need(principal, Scope.MEDIA_READ, message.id)
        self._known(wanted.sources or frozenset(), principal, message.id)
        self.state = State.STREAMING
        return [StartStream(wanted, principal.narrow(wanted), message.after, message.id)]

    def _push(self, source: str, principal: Principal, ref: str | None) -> list[Action]:
        _need(principal, Scope.SOURCES_WRITE, ref)
        self._known(frozenset({source}), principal, ref)
        if source not in self._rules.pushable():
            raise Refused("not_pushable", f"the address of {source!r} is not push:", ref=ref)
        if self.pushing is not None:
            raise Refused("busy", f"you send pictures of {self.pushing!r} already", ref=ref)
        self.pushing = source
        return [StartPush(source, ref)]

    def _run(self, change: ChangeRun, principal: Principal) -> list[Action]:
        _need(principal, Scope.SOURCES_WRITE, change.ref)
        self._known(frozenset({change.source}), principal, change.ref)
        return [change]

    def _picture(self, payload: bytes, now_s: float) -> list[Action]:
        if self.pushing is None:
            return self._hang_up(wire.BAD_MESSAGE, "bad_message", "pictures come after push.start only")
        if not self._pictures.take(now_s):
            return self._hang_up(wire.TOO_MANY_MESSAGES, "rate", "too many pictures")
        try:
            jpeg, time_ns = said.decode_push(payload)
        except ProtocolError as error:
            return self._hang_up(error.close_code, "bad_message", error.message)
        return [TakePicture(jpeg, time_ns)]

    def _mark(self, message: said.MarkerAdd, principal: Principal) -> list[Action]:
        _need(principal, Scope.SOURCES_WRITE, message.id)
        source = message.source
        if not source and not principal.sees(""):
            # without a source it would stand in the record of all of them
            own = sorted(principal.sources or ())
            if len(own) != 1:
                raise Refused("missing_field", "this token needs the field 'source'", ref=message.id)
            (source,) = own
        self._known(frozenset({source} - {""}), principal, message.id)
        return [AddMarker(message.label, source, message.time_ns, message.id)]

    def _known(self, asked: frozenset[str], principal: Principal, ref: str | None) -> None:
        existing = self._rules.sources()
        known = principal.visible(existing)
        unknown = sorted(asked - known) if existing else sorted(asked - principal.visible(asked))
        if unknown:
            there = ", ".join(sorted(known)) or "none"
            raise Refused("unknown_source", f"unknown source {unknown[0]!r}; there are: {there}", ref=ref)

    def _refuse(self, error: Refused) -> list[Action]:
        self._errors += 1
        if self.state is State.WAITING or self._errors >= self._rules.max_errors:
            code = wire.FORBIDDEN if error.reason == "forbidden" else wire.BAD_MESSAGE
            return self._hang_up(code, error.reason, error.message, error.ref)
        return [Send(wire.ERROR, {"code": error.reason, "message": error.message, "ref": error.ref})]

    def _hang_up(self, close_code: int, code: str, message: str, ref: str | None = None) -> list[Action]:
        self.state = State.CLOSED
        return [Send(wire.ERROR, {"code": code, "message": message, "ref": ref}), Hangup(close_code, code)]


class _Bucket:
    """Holds ``size`` messages and refills at ``per_s``."""

    def __init__(self, per_s: float, size: float) -> None:
        self._per_s = per_s
        self._size = self._left = float(size)
        self._at_s: float | None = None

    def take(self, now_s: float) -> bool:
        """Whether one more may come now."""
        since = 0.0 if self._at_s is None else max(0.0, now_s - self._at_s)
        self._at_s = now_s
        self._left = min(self._size, self._left + since * self._per_s) - 1.0
        return self._left >= 0


def _need(principal: Principal, scope: Scope, ref: str | None) -> None:
    if not principal.may(scope):
        raise Refused("forbidden", f"this needs the scope {scope}", ref=ref)
