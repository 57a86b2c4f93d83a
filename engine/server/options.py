"""How a server listens: address, token, TLS, bounds."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from mellm.engine.governance.purpose import Declaration
from mellm.engine.server.auth import check_bind
from mellm.engine.server.connection import Timing
from mellm.engine.server.tokens import Token
from mellm.stream.errors import UsageError
from mellm.stream.protocol.access import Principal


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to listen.

    :param declaration: the accepted purpose, see :func:`mellm.engine.governance.purpose.require`
    :param port: 0 for any free one
    :param token: allows everything; a must beyond loopback, as long as there are no ``tokens``
    :param tokens: further ones, each with what it allows
    :param insecure: listen beyond loopback without token and TLS
    :param origins: further origins whose pages may connect
    :param max_clients_per_address: not applied to loopback, where proxies live
    :param heartbeat_s: between pings; a client that does not answer one in the same time is gone
    :param stats_s: between the server's own ``stats`` events
    :param drain_s: how long clients may take to read what waits when the server stops
    """

    declaration: Declaration
    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = field(default=None, repr=False)
    tokens: tuple[Token, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False
    origins: tuple[str, ...] = ()
    max_clients: int = 1024
    max_clients_per_address: int = 64
    messages_per_s: float = 20.0
    heartbeat_s: float = 20.0
    stats_s: float = 5.0
    drain_s: float = 5.0
    timing: Timing = field(default_factory=Timing)

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("TLS needs both a certificate and a key", remedy="give --tls-cert and --tls-key")
        check_bind(
            self.host,
            token=bool(self.accepted),
            tls=self.tls_cert is not None,
            insecure=self.insecure,
        )

    @property
    def accepted(self) -> tuple[Token, ...]:
        """All tokens; empty when nobody is asked for one.

        :raises UsageError: if one is too short to be secret
        """
        if self.token is None:
            return self.tokens
        return (Token.of(self.token, Principal("token")), *self.tokens)


def tls_context(options: ServerOptions) -> ssl.SSLContext | None:
    """The server's side of TLS 1.2 or later; ``None`` without a certificate.

    :raises UsageError: certificate and key cannot be used
    """
    if options.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(options.tls_cert, options.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"cannot use the certificate {options.tls_cert}: {error}", remedy="give PEM files that match"
        ) from error
    return context
