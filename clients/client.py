"""Follow a server from Python. Needs ``websockets`` and nothing else of this project's dependencies.

::

    import asyncio
    from mellm.clients.client import connect

    async def main() -> None:
        async with connect("ws://127.0.0.1:8765") as session:
            async for event in session.events(types=["expression.*"]):
                print(event.type, event.data["onset_ms"], event.data.get("description"))

    asyncio.run(main())

A break in the connection is repaired: the client comes back and resumes after the last event it yielded,
without loss and without repetition.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from mellm.clients.link import Link, Lost, address
from mellm.stream.errors import ProtocolError, UsageError
from mellm.stream.protocol import client_messages as said
from mellm.stream.protocol import wire
from mellm.stream.protocol.client_messages import EvidenceKind
from mellm.stream.protocol.events import Event, Filter, Position

if TYPE_CHECKING:
    from ssl import SSLContext

logger = logging.getLogger(__name__)

FINAL_CODES: Final = frozenset(
    {wire.BAD_MESSAGE, wire.UNAUTHORISED, wire.FORBIDDEN, wire.AUTH_TIMEOUT, wire.TOO_MANY_MESSAGES, 1009}
)
"""Close codes after which coming back would only repeat the mistake."""

START: Final = "start"
MAX_HELD: Final = 4096
"""Events that may wait while something else reads on for its answer."""

ANSWERS: Final = frozenset(
    {wire.EVIDENCE, wire.CONSENT_WITHDRAWN, wire.CONSENT_GIVEN, wire.RUN_CHANGED, wire.ERROR}
)
NOTICES: Final = frozenset({wire.REPLAY_DONE, wire.REPLAY_TRUNCATED, wire.STREAM_SKIPPED})


class Session:
    """One following of one server, over as many connections as it takes. Enter it with ``async with``.

    :param url: ``ws://``, ``wss://``, or the server's ``http(s)://`` address; behind a proxy with the path it has there
    :param token: for servers that ask for one; sent as a header, never in the address
    :param backoff_s: pauses between tries, doubled each time
    :param max_backoff_s: as ``backoff_s``
    :param ssl: for servers whose certificate this machine does not know:
        ``ssl.create_default_context(cafile="server.pem")``
    :raises UsageError: for an address of another kind, or one that holds a password or query
    :ivar hello: the server's greeting: versions, limits, purpose notice
    :ivar created: the latest ``session.created``: sources, models, replay range
    :ivar position: where the session would resume
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        reconnect: bool = True,
        open_timeout_s: float = 10.0,
        backoff_s: float = 0.25,
        max_backoff_s: float = 15.0,
        ssl: SSLContext | None = None,
    ) -> None:
        self.url = address(url)
        self.hello: dict[str, Any] = {}
        self.created: dict[str, Any] = {}
        self.position: Position | None = None
        self.reconnects = 0
        self._token = token
        self._ssl = ssl
        self._reconnect = reconnect
        self._open_timeout_s = open_timeout_s
        self._backoff_s = backoff_s
        self._max_backoff_s = max_backoff_s
        self._link: Link | None = None
        self._stream: EventStream | None = None
        self._iterating = False
        self._reading = asyncio.Lock()
        self._held: deque[Event] = deque()
        self._answers: dict[str, asyncio.Future[Event]] = {}
        self._closed = False
        self._asked = 0

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Say goodbye. Safe to call twice."""
        self._closed = True
        await self._drop()

    def events(
        self,
        *,
        sources: Iterable[str] | None = None,
        types: Iterable[str] | None = None,
        min_score: float | None = None,
        after: Position | str | None = None,
    ) -> EventStream:
        """Events as they come. A second call replaces the first.

        :param types: names or families (``expression.*``); also ``stream.skipped``, ``replay.done`` and
            ``replay.truncated``, which tell of the stream itself. All when left out or empty, but for
            ``preview``, which must be named
        :param after: replay what came after a :class:`~mellm.stream.protocol.events.Position`, ``"EPOCH:SEQ"`` or
            ``"start"``; without it, from now on
        :raises UsageError: when ``after`` is no place in a log
        """
        names = frozenset(types or ()) or None
        wanted = Filter(frozenset(sources or ()) or None, names, min_score or 0.0)
        self.position = self._place(after)
        self._stream = EventStream(self, wanted)
        return self._stream

    async def add_marker(self, label: str, *, source: str = "", time_ns: int | None = None) -> None:
        """Put an outside event on the media clock, now unless ``time_ns`` says when.

        :raises ProtocolError: if there is no connection at the moment
        """
        try:
            await self._linked().send(said.MarkerAdd(label, source, time_ns))
        except Lost as lost:
            raise lost.error from None

    async def evidence(
        self, expression: str, *, shown: EvidenceKind = "motion", timeout_s: float = 10.0
    ) -> bytes | None:
        """A picture of an expression as PNG; ``None`` when the server has none (any more).

        :param shown: ``motion`` for the motion map; ``faces`` for onset beside apex, which are there only where the
            operator keeps evidence on disk

        May be called while events are iterated, in the loop's body or beside it.

        :raises ProtocolError: without the scope ``media:read`` (close code 4403), or when the connection breaks
        :raises TimeoutError: when no answer comes
        """
        event = await self._ask(said.EvidenceGet(expression, self._ref("evidence"), shown), timeout_s)
        if event.type == wire.EVIDENCE:
            return event.picture
        if event.data.get("code") == "no_evidence":
            return None
        raise _refusal(f"no picture of {expression}", event)

    async def withdraw(self, source: str, *, timeout_s: float = 60.0) -> dict[str, Any]:
        """Withdraw the consent for a source: it stops for good, and what it showed is erased. Not to be undone.

        :returns: how many ``events``, ``expressions`` and ``files`` were erased
        :raises ProtocolError: without the scope ``sources:write``, for an unknown source, when the connection
            breaks, or when not everything could be erased yet (the server goes on at its next start)
        :raises TimeoutError: when no answer comes; the source may have been stopped all the same
        """
        event = await self._ask(said.ConsentWithdraw(source, self._ref("withdraw")), timeout_s)
        if event.type == wire.CONSENT_WITHDRAWN:
            return {name: event.data[name] for name in ("events", "expressions", "files")}
        raise _refusal(f"{source} was not withdrawn", event)

    async def agree(self, source: str, sha256: str, *, timeout_s: float = 30.0) -> str:
        """The person before this source has read the consent text in ``created["sessions"]`` and answered yes: the
        source starts.

        :param sha256: ``consent_sha256`` of the text that was shown
        :returns: the reference of the consent record
        :raises ProtocolError: without the scope ``sources:write``, for another text, or when the connection breaks
        :raises TimeoutError: when no answer comes
        """
        event = await self._ask(said.ConsentGive(source, sha256, self._ref("agree")), timeout_s)
        if event.type == wire.CONSENT_GIVEN:
            return str(event.data["reference"])
        raise _refusal(f"consent for {source} was not taken", event)

    async def begin(self, source: str, *, timeout_s: float = 60.0) -> str:
        """Begin a session of a source; one that is open is saved first.

        :returns: the name of its run folder
        :raises ProtocolError: without the scope ``sources:write``, on a server that keeps no sessions, or when the
            connection breaks
        :raises TimeoutError: when no answer comes
        """
        return str((await self._run(said.RunBegin(source, self._ref("run")), timeout_s))["run"])

    async def save(self, source: str, *, timeout_s: float = 60.0) -> tuple[str, int]:
        """End the session of a source and keep it.

        :returns: the name of its run folder, and how many expressions it holds
        :raises ProtocolError: as :meth:`begin`, or when there is no session
        :raises TimeoutError: when no answer comes
        """
        done = await self._run(said.RunSave(source, self._ref("run")), timeout_s)
        return str(done["run"]), int(done["expressions"])

    async def _run(self, message: said.RunBegin | said.RunSave, timeout_s: float) -> Mapping[str, Any]:
        event = await self._ask(message, timeout_s)
        if event.type == wire.RUN_CHANGED:
            return event.data
        raise _refusal(f"the session of {message.source} was not changed", event)

    async def _ask(
        self,
        message: said.EvidenceGet | said.ConsentWithdraw | said.ConsentGive | said.RunBegin | said.RunSave,
        timeout_s: float,
    ) -> Event:
        ref = str(message.id)
        answer = self._answers[ref] = asyncio.get_running_loop().create_future()
        try:
            await self._linked().send(message)
            async with asyncio.timeout(timeout_s):
                return await self._answered(answer)
        except Lost as lost:
            raise lost.error from None
        finally:
            del self._answers[ref]

    # -- one connection -------------------------------------------------------------------------------

    async def _open(self) -> None:
        self._link = await Link.dial(
            self.url, token=self._token, timeout_s=self._open_timeout_s, ssl=self._ssl
        )
        self.hello, self.created = self._link.hello, self._link.created

    async def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    def _linked(self) -> Link:
        if self._link is None:
            code = 1000 if self._closed else 1006
            raise Lost(ProtocolError("the session is not connected", close_code=code))
        return self._link

    def _ref(self, what: str) -> str:
        self._asked += 1
        return f"{what}-{self._asked}"

    async def _subscribe(self, wanted: Filter) -> str:
        """Subscribe from where the session is; the reference by which the answer is known."""
        ref = self._ref("subscribe")
        await self._linked().send(said.Subscribe(wanted, self.position, ref))
        return ref

    async def _receive(self) -> Event | None:
        """The next event for a stream; ``None`` for one that somebody else has waited for."""
        async with self._reading:
            return self._held.popleft() if self._held else await self._read()

    async def _read(self) -> Event | None:
        try:
            event = await self._linked().receive()
        except Lost as lost:
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(lost)
            raise
        if event.type in ANSWERS:
            asked = self._answers.get(str(event.data.get("ref")))
            if asked is not None and not asked.done():
                asked.set_result(event)
                return None
        return event

    async def _answered(self, answer: asyncio.Future[Event]) -> Event:
        """Wait for an answer: whoever iterates reads it, or else we do, and put by what comes before it."""

        async def read_on() -> None:
            async with self._reading:
                while not answer.done() and len(self._held) < MAX_HELD:
                    event = await self._read()
                    if event is not None:
                        self._held.append(event)

        reading = asyncio.create_task(read_on())
        try:
            waiting: tuple[asyncio.Future[Any], ...] = (answer, reading)
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if reading.done() and not answer.done():
                reading.result()  # what broke the reading is the answer; without a fault somebody else may read on
            return await answer
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, Lost, ProtocolError):
                await reading

    # -- many connections -----------------------------------------------------------------------------

    async def _come_back(self) -> bool:
        """Reconnect with exponential backoff and jitter, for as long as it takes.

        :returns: ``False`` when the session was closed meanwhile
        """
        delay = self._backoff_s
        while True:
            await self._drop()
            # jitter: a thousand clients of a restarted server must not come back in one moment
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, self._max_backoff_s)
            if self._closed:
                return False
            try:
                await self._open()
            except ProtocolError as error:
                if error.close_code in FINAL_CODES:
                    raise
                logger.debug("%s", error)
            else:
                self.reconnects += 1
                return True

    def _place(self, after: Position | str | None) -> Position | None:
        if after is None or isinstance(after, Position):
            return after
        if after == START:
            return Position(str(self.created.get("replay", {}).get("epoch", "")), 0)
        epoch, _, seq = after.rpartition(":")
        if not epoch or not seq.isascii() or not seq.isdigit() or len(seq) > 18:
            raise UsageError(f"{after!r} is not a place in a log", remedy="write it as EPOCH:SEQ, or start")
        return Position(epoch, int(seq))


connect = Session
"""What :func:`mellm.connect` is: ``async with mellm.connect("ws://…") as session``."""


class EventStream:
    """What :meth:`Session.events` returns: an asynchronous iterator that outlives connections.

    It ends when the session is closed, and raises :class:`~mellm.stream.errors.ProtocolError` (with the close code)
    when the server refuses, or is lost and must not be tried again.
    """

    def __init__(self, session: Session, wanted: Filter) -> None:
        self._session = session
        self._wanted = wanted
        self._ref: str | None = None
        self._subscribed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        session = self._session
        if session._stream is not self:
            raise UsageError("a later call of events() has replaced this stream")
        if session._iterating:
            raise UsageError(
                "this session is being iterated already", remedy="open a second one with connect()"
            )
        session._iterating = True
        try:
            return await self._next()
        finally:
            session._iterating = False

    async def _next(self) -> Event:
        session = self._session
        while True:
            if session._stream is not self:
                raise UsageError("a later call of events() has replaced this stream")
            try:
                if self._ref is None:
                    self._subscribed = False
                    self._ref = await session._subscribe(self._wanted)
                received = await session._receive()
            except Lost as lost:
                error = lost.error
            else:
                event = None if received is None else self._sort(received)
                if event is not None:
                    return event
                continue
            if session._closed or error.close_code == 1000:
                raise StopAsyncIteration
            if not session._reconnect or error.close_code in FINAL_CODES:
                raise error
            logger.info("%s; coming back", error.message)
            self._ref = None
            if not await session._come_back():
                raise StopAsyncIteration
            logger.info("%s is back", session.url)

    def _sort(self, event: Event) -> Event | None:
        """The event, if it is for the caller and new."""
        session = self._session
        if event.type == wire.ERROR:
            message = event.data.get("message", "")
            if event.data.get("ref") == self._ref:
                raise ProtocolError(f"the subscription was refused: {message}")
            logger.warning("%s: %s", session.url, message)
        elif event.type == wire.SUBSCRIBED and event.data.get("ref") == self._ref:
            self._subscribed = True
            if session.position is None:
                session.position = _position(event.data.get("from"))
        if not self._subscribed:
            return None  # what an earlier subscription left on the way
        if event.type == wire.REPLAY_TRUNCATED:
            logger.warning("%s: not everything can be replayed: %s", session.url, dict(event.data))
            session.position = _position(event.data.get("from")) or session.position
        if event.type in wire.CONTROL:
            chosen = self._wanted.types
            return event if event.type in NOTICES and (chosen is None or event.type in chosen) else None
        if event.seq is not None:
            at = session.position
            if at is not None and at.epoch == event.epoch and event.seq <= at.seq:
                return None
            session.position = event.position
        return event


def _refusal(what: str, event: Event) -> ProtocolError:
    forbidden = event.data.get("code") == "forbidden"
    message = f"{what}: {event.data.get('message')}"
    return ProtocolError(message, close_code=wire.FORBIDDEN if forbidden else wire.BAD_MESSAGE)


def _position(value: Any) -> Position | None:
    try:
        return Position(value["epoch"], value["seq"])
    except (KeyError, TypeError, ValueError):
        return None
