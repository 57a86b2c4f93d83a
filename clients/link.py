"""One connection to a server, from the handshake to the end. :mod:`mellm.clients.client` strings them together."""

from __future__ import annotations

import asyncio
from ssl import SSLCertVerificationError, SSLError
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

from mellm.stream.errors import ProtocolError, UsageError
from mellm.stream.protocol import client_messages as said
from mellm.stream.protocol import wire
from mellm.stream.protocol.events import Event

if TYPE_CHECKING:
    from ssl import SSLContext

    from websockets.asyncio.client import ClientConnection


STREAM = "/v1/stream"
"""Path of the WebSocket, below the server's own."""


class Lost(Exception):
    """The connection has ended; ``error`` says how."""

    def __init__(self, error: ProtocolError) -> None:
        super().__init__(str(error))
        self.error = error


class Link:
    """A connection that has been greeted. Made by :meth:`dial`.

    :ivar hello, created: data of the server's first messages
    """

    def __init__(self, url: str, socket: ClientConnection) -> None:
        self.hello: dict[str, Any] = {}
        self.created: dict[str, Any] = {}
        self._url = url
        self._socket = socket
        self._error = ""

    @classmethod
    async def dial(
        cls, url: str, *, token: str | None, timeout_s: float, ssl: SSLContext | None = None
    ) -> Link:
        """Connect, present the token, wait for ``session.created``.

        :raises ProtocolError: close code 1006 when nobody answers, 4401 when the token is refused
        """
        link = cls(url, await _handshake(url, token, timeout_s, ssl))
        try:
            async with asyncio.timeout(timeout_s):
                await link._greeting()
        except TimeoutError as error:
            await link.close()
            raise ProtocolError(f"{url} does not speak {wire.PROTOCOL}", close_code=1006) from error
        except Lost as lost:
            await link.close()
            raise lost.error from None
        except BaseException:
            await link.close()
            raise
        return link

    async def _greeting(self) -> None:
        while True:
            event = await self.receive()
            if event.type == wire.HELLO:
                self.hello = dict(event.data)
                if event.data.get("auth_needed"):
                    raise ProtocolError(
                        f"{self._url} asks for a token",
                        close_code=wire.UNAUTHORISED,
                        remedy="pass token=…, or set MELLM_TOKEN for `mellm listen`",
                    )
            elif event.type == wire.SESSION_CREATED:
                self.created = dict(event.data)
                return

    async def receive(self) -> Event:
        """The next message. May be cancelled without losing one.

        :raises Lost: at the end
        :raises ProtocolError: if it is no message of the protocol
        """
        from websockets.exceptions import ConnectionClosed

        try:
            payload = await self._socket.recv()
        except ConnectionClosed as error:
            self._lost(error)
        try:
            event = wire.decode(payload) if isinstance(payload, str) else wire.decode_picture(payload)
        except ProtocolError as error:
            raise ProtocolError(f"{self._url} does not speak {wire.PROTOCOL}: {error.message}") from error
        if event.type == wire.ERROR:
            self._error = str(event.data.get("message", ""))
        return event

    async def send(self, message: said.ClientMessage) -> None:
        """Hand a message to the network.

        :raises Lost: if the connection has ended
        """
        from websockets.exceptions import ConnectionClosed

        try:
            await self._socket.send(said.encode_client(message))
        except ConnectionClosed as error:
            self._lost(error)

    async def close(self) -> None:
        """End the connection."""
        await self._socket.close()

    def _lost(self, closed: Any) -> NoReturn:
        frame = closed.rcvd or closed.sent
        code = frame.code if frame is not None else 1006
        why = self._error or (frame.reason if frame is not None and frame.reason else "connection lost")
        raise Lost(ProtocolError(f"{self._url} closed: {why} ({code})", close_code=code)) from closed


async def _handshake(
    url: str, token: str | None, timeout_s: float, ssl: SSLContext | None
) -> ClientConnection:
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI
    from websockets.typing import Subprotocol

    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    trust: dict[str, Any] = {} if ssl is None or not url.startswith("wss:") else {"ssl": ssl}
    try:
        return await connect(
            url,
            subprotocols=[Subprotocol(wire.PROTOCOL)],
            additional_headers=headers,
            **trust,
            open_timeout=timeout_s,
            close_timeout=2.0,
            ping_interval=10.0,
            ping_timeout=10.0,
            max_size=2 * (wire.MAX_EVENT_BYTES + wire.MAX_PICTURE_BYTES),
            compression=None,
        )
    except InvalidStatus as error:
        raise _refused(url, error.response.status_code, error.response.body) from error
    except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as error:
        # asyncio's own words for it name the call, not what happened
        why = "connection refused" if isinstance(error, ConnectionRefusedError) else str(error)
        raise ProtocolError(
            f"cannot reach {url}: {why or 'no answer in time'}",
            close_code=1006,
            remedy=_remedy(error),
        ) from error


def _remedy(error: Exception) -> str:
    """What to do about a connection that did not come to be."""
    if isinstance(error, SSLCertVerificationError):
        if "doesn't match" in str(error) or "mismatch" in str(error):
            return "the certificate is for another name: use the name that it was made for in the address"
        return (
            "this machine does not know who signed the certificate: give it with --ca-cert FILE "
            "(in Python: ssl=ssl.create_default_context(cafile=FILE))"
        )
    if isinstance(error, SSLError):
        return "the server does not answer with TLS: write the address with ws:// or http://"
    if type(error).__name__ == "InvalidMessage":
        return (
            "what answers is not a web server, or one that wants TLS: try the address with wss:// or https://"
        )
    return "check the address, and that the server runs (mellm serve)"


def _refused(url: str, status: int, body: bytes | bytearray | None) -> ProtocolError:
    """An HTTP answer instead of a WebSocket, as the close code it stands for."""
    answer = bytes(body or b"")[:200].decode(errors="replace").strip()
    code = {401: wire.UNAUTHORISED, 403: wire.FORBIDDEN, 503: wire.OVERLOADED}.get(status, 1006)
    remedies = {
        401: "check the token",
        404: "behind a proxy, give the path below which it mounts the server, such as wss://host/mellm",
        502: "the proxy does not reach the server: check that it runs (mellm serve)",
        400: "a proxy must pass the WebSocket on: see docs/how-to/proxy.md",
        426: "a proxy must pass the WebSocket on: see docs/how-to/proxy.md",
    }
    remedy = remedies.get(status, "")
    return ProtocolError(f"{url} answered HTTP {status}: {answer}", close_code=code, remedy=remedy)


def address(url: str) -> str:
    """The WebSocket address of a server, for what a user may write: a path is that of a proxy, below which it is.

    :raises UsageError: for an address of another kind, or one that holds a password or query; without showing it
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise UsageError(f"{url!r} is not an address: {error}") from None
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not host:
        raise UsageError(f"{url!r} is no WebSocket address", remedy="write it as ws://host:port")
    if parts.username or parts.password or parts.query:
        raise UsageError(
            f"the address of {host} holds a password or query", remedy="pass the token separately"
        )
    base = parts.path.rstrip("/")
    path = base if base.endswith("/stream") else base + STREAM
    return urlunsplit((scheme, parts.netloc, path, "", ""))
