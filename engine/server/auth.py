"""Who may connect: addresses to bind, tokens, origins and hosts."""

from __future__ import annotations

import hmac
import ipaddress
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from mellm.engine.server.tokens import Token, digest
from mellm.stream.errors import UsageError
from mellm.stream.protocol.access import Principal

LOCAL: Final = Principal("local")
"""Whoever connects to a server that asks for no token."""


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine only."""
    name = host.strip().strip("[]").lower()
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or (mapped is not None and mapped.is_loopback)


def check_bind(host: str, *, token: bool, tls: bool, insecure: bool) -> None:
    """Refuse to listen where others can hear.

    :raises UsageError: for another address than loopback without both a token and TLS, unless ``insecure``
    """
    if is_loopback(host) or insecure or (token and tls):
        return
    missing = " and ".join(
        name for name, there in (("a token", token), ("TLS (--tls-cert, --tls-key)", tls)) if not there
    )
    raise UsageError(
        f"refusing to listen on {host or 'all addresses'} without {missing}",
        remedy="bind 127.0.0.1, or add what is missing, or accept the risk with --insecure",
    )


class Authenticator:
    """Compares tokens in constant time; it knows only their hashes.

    :param tokens: who may connect; when there are none, nobody is asked and everybody may everything
    :param clock_ns: wall clock, for tokens that expire
    :raises UsageError: if two tokens have one secret or one name
    """

    def __init__(self, tokens: Sequence[Token] = (), *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        for what, found in (
            ("secret", {token.digest for token in tokens}),
            ("name", {token.principal.name for token in tokens}),
        ):
            if len(found) != len(tokens):
                raise UsageError(f"two tokens have the same {what}", remedy="give each its own")
        self._tokens = tuple(tokens)
        self._clock_ns = clock_ns

    @property
    def needed(self) -> bool:
        """Whether clients must present a token."""
        return bool(self._tokens)

    def check(self, token: str) -> Principal | None:
        """Whoever holds the token, ``None`` if nobody does or it has expired."""
        if not self._tokens:
            return LOCAL
        given = digest(token)
        found = None
        for each in self._tokens:  # all of them: the time taken tells nothing
            if hmac.compare_digest(given, each.digest):
                found = each.principal
        if found is not None and found.expires_ns is not None and found.expires_ns <= self._clock_ns():
            return None
        return found


def bearer(header: str | None) -> str | None:
    """The token of an ``Authorization: Bearer …`` header."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


@dataclass(frozen=True, slots=True)
class OriginPolicy:
    """Which pages may talk to the server. Browsers do not hold WebSockets to the same origin; we do.

    :param allowed: further origins, such as ``https://lab.example``
    :param loopback_only: the server asks for no token and listens on loopback: then the ``Host`` must be a
        loopback name, or a page could reach it under a name of its own that resolves to 127.0.0.1
    """

    allowed: frozenset[str] = frozenset()
    loopback_only: bool = False

    @classmethod
    def of(cls, allowed: Iterable[str], *, loopback_only: bool) -> OriginPolicy:
        """Check the list once.

        :raises UsageError: for an entry that is no origin
        """
        origins = set()
        for entry in allowed:
            parts = urlsplit(entry)
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
                raise UsageError(
                    f"{entry!r} is not a valid origin", remedy="write it as https://host or http://host:port"
                )
            origins.add(f"{parts.scheme}://{parts.netloc}".lower())
        return cls(frozenset(origins), loopback_only)

    def accepts_host(self, host: str | None) -> bool:
        """Whether the ``Host`` header may name this server."""
        if not self.loopback_only:
            return True
        try:
            name = urlsplit(f"//{host or ''}").hostname
        except ValueError:
            return False
        return name is not None and is_loopback(name)

    def accepts_origin(self, origin: str | None, host: str | None) -> bool:
        """Whether a page of this origin may connect. Programs send none."""
        if origin is None:
            return True
        lowered = origin.lower()
        if lowered in self.allowed:
            return True
        return host is not None and lowered in (f"http://{host.lower()}", f"https://{host.lower()}")
