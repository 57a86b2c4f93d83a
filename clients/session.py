"""Follow a server from Python. Needs ``websockets`` and nothing else of this project's dependencies.

::

    import asyncio
    from clients.session import connect

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
import logging
import random
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit, urlunsplit

from stream import client_messages as said
from stream import wire
from stream.errors import ProtocolError, UsageError
from stream.events import Event, Filter, Position

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

logger = logging.getLogger(__name__)

FINAL_CODES: Final = frozenset(
    {wire.BAD_MESSAGE, wire.UNAUTHORISED, wire.FORBIDDEN, wire.AUTH_TIMEOUT, wire.TOO_MANY_MESSAGES, 1009}
)
"""Close codes after which coming back would only repeat the mistake."""

START: Final = "start"
NOTICES: Final = frozenset({wire.REPLAY_DONE, wire.REPLAY_TRUNCATED, wire.STREAM_SKIPPED})


class Session:
    """One following of one server, over as many connections as it takes. Made by :func:`connect`.

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
    ) -> None:
        self.url = _address(url)
        self.hello: dict[str, Any] = {}
        self.created: dict[str, Any] = {}
        self.position: Position | None = None
        self.reconnects = 0
        self._token = token
        self._reconnect = reconnect
        self._open_timeout_s = open_timeout_s
        self._backoff_s = backoff_s
        self._max_backoff_s = max_backoff_s
        self._socket: ClientConnection | None = None
        self._stream: EventStream | None = None
        self._receiving = False
        self._closed = False
        self._asked = 0
        self._error = ""

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
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()

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
            ``replay.truncated``, which tell of the stream itself. All when left out or empty
        :param after: replay what came after a :class:`~stream.events.Position`, ``"EPOCH:SEQ"`` or
            ``"start"``; without it, from now on
        :raises UsageError: when ``after`` is no place in a log
        """
        names = frozenset(types or ()) or None
        wanted = Filter(frozenset(sources or ()) or None, names, min_score or 0.0)
        self.position = self._place(after)
        self._stream = EventStream(self, wanted)
        return self._stream

    async def add_marker(self, label: str, *, source: str = "", time_ns: int | None = None) -> None:
        """Put an outside event on the media clock, now unless ``time_ns`` says when."""
        await self._send(said.MarkerAdd(label, source, time_ns))

    # -- one connection -------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Connect, present the token, wait for ``session.created``.

        :raises ProtocolError: close code 1006 when nobody answers, 4401 when the token is refused
        """
        from websockets.asyncio.client import connect as dial
        from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI
        from websockets.typing import Subprotocol

        self._error = ""
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        try:
            self._socket = await dial(
                self.url,
                subprotocols=[Subprotocol(wire.PROTOCOL)],
                additional_headers=headers,
                open_timeout=self._open_timeout_s,
                close_timeout=2.0,
                ping_interval=10.0,
                ping_timeout=10.0,
                max_size=4 * wire.MAX_EVENT_BYTES,
                compression=None,
            )
        except InvalidStatus as error:
            raise _refused(self.url, error.response.status_code, error.response.body) from error
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as error:
            # asyncio's own words for it name the call, not what happened
            why = "connection refused" if isinstance(error, ConnectionRefusedError) else str(error)
            raise ProtocolError(
                f"cannot reach {self.url}: {why or 'no answer in time'}",
                close_code=1006,
                remedy="check the address, and that the server runs (mellm serve)",
            ) from error
        try:
            async with asyncio.timeout(self._open_timeout_s):
                while True:
                    event = await self._receive()
                    if event.type == wire.HELLO:
                        self.hello = dict(event.data)
                        if event.data.get("auth_needed"):
                            raise ProtocolError(
                                f"{self.url} asks for a token",
                                close_code=wire.UNAUTHORISED,
                                remedy="pass token=…, or set MELLM_TOKEN for `mellm listen`",
                            )
                    elif event.type == wire.SESSION_CREATED:
                        self.created = dict(event.data)
                        return
        except TimeoutError as error:
            await self._drop()
            raise ProtocolError(f"{self.url} does not speak {wire.PROTOCOL}", close_code=1006) from error
        except _Lost as lost:
            await self._drop()
            raise lost.error from None
        except ProtocolError:
            await self._drop()
            raise

    async def _subscribe(self, wanted: Filter) -> str:
        """Subscribe from where the session is; the reference by which the answer is known."""
        self._asked += 1
        ref = f"subscribe-{self._asked}"
        await self._send(said.Subscribe(wanted, self.position, ref))
        return ref

    async def _receive(self) -> Event:
        from websockets.exceptions import ConnectionClosed

        if self._socket is None:
            raise _Lost(ProtocolError("the session is closed", close_code=1000))
        if self._receiving:
            raise UsageError(
                "this session is being iterated already", remedy="open a second one with connect()"
            )
        self._receiving = True
        try:
            return wire.decode(await self._socket.recv())
        except ProtocolError as error:
            raise ProtocolError(f"{self.url} does not speak {wire.PROTOCOL}: {error.message}") from error
        except ConnectionClosed as error:
            frame = error.rcvd or error.sent
            code = frame.code if frame is not None else 1006
            why = self._error or (frame.reason if frame is not None and frame.reason else "connection lost")
            raise _Lost(ProtocolError(f"{self.url} closed: {why} ({code})", close_code=code)) from error
        finally:
            self._receiving = False

    async def _send(self, message: said.ClientMessage) -> None:
        from websockets.exceptions import ConnectionClosed

        if self._socket is None:
            raise ProtocolError("the session is closed", close_code=1000)
        try:
            await self._socket.send(said.encode_client(message))
        except ConnectionClosed:
            pass  # whoever receives finds out why

    async def _drop(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()

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
            raise UsageError(f"{after!r} is no place in a log", remedy="write it as EPOCH:SEQ, or start")
        return Position(epoch, int(seq))


def connect(
    url: str,
    *,
    token: str | None = None,
    reconnect: bool = True,
    open_timeout_s: float = 10.0,
    backoff_s: float = 0.25,
    max_backoff_s: float = 15.0,
) -> Session:
    """A session to enter with ``async with``.

    :param url: ``ws://``, ``wss://``, or the server's ``http(s)://`` address
    :param token: for servers that ask for one; sent as a header, never in the address
    :param backoff_s, max_backoff_s: pauses between tries, doubled each time
    :raises UsageError: for an address of another kind, or one that holds a password or query
    """
    return Session(
        url,
        token=token,
        reconnect=reconnect,
        open_timeout_s=open_timeout_s,
        backoff_s=backoff_s,
        max_backoff_s=max_backoff_s,
    )


class EventStream:
    """What :meth:`Session.events` returns: an asynchronous iterator that outlives connections.

    It ends when the session is closed, and raises :class:`~stream.errors.ProtocolError` (with the close code)
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
        while True:
            if session._stream is not self:
                raise UsageError("a later call of events() has replaced this stream")
            try:
                if self._ref is None:
                    self._subscribed = False
                    self._ref = await session._subscribe(self._wanted)
                event = self._sort(await session._receive())
            except _Lost as lost:
                error = lost.error
            else:
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
            session._error = str(event.data.get("message", ""))
            if event.data.get("ref") == self._ref:
                raise ProtocolError(f"the subscription was refused: {session._error}")
            logger.warning("%s: %s", session.url, session._error)
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


class _Lost(Exception):
    """The connection ended; ``error`` says how."""

    def __init__(self, error: ProtocolError) -> None:
        super().__init__(str(error))
        self.error = error


def _refused(url: str, status: int, body: bytes | bytearray | None) -> ProtocolError:
    """An HTTP answer instead of a WebSocket, as the close code it stands for."""
    said = bytes(body or b"")[:200].decode(errors="replace").strip()
    code = {401: wire.UNAUTHORISED, 403: wire.FORBIDDEN, 503: wire.OVERLOADED}.get(status, 1006)
    remedy = "check the token" if status == 401 else ""
    return ProtocolError(f"{url} answered HTTP {status}: {said}", close_code=code, remedy=remedy)


def _position(value: Any) -> Position | None:
    try:
        return Position(value["epoch"], value["seq"])
    except (KeyError, TypeError, ValueError):
        return None


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise UsageError(f"{url!r} is no address: {error}") from None
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not host:
        raise UsageError(f"{url!r} is no WebSocket address", remedy="write it as ws://host:port")
    if parts.username or parts.password or parts.query:
        # not echoed: it may hold a secret
        raise UsageError(
            f"the address of {host} holds a password or query", remedy="pass the token separately"
        )
    path = parts.path if parts.path.strip("/") else "/v1/stream"
    return urlunsplit((scheme, parts.netloc, path, "", ""))
