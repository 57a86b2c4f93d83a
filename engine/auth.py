"""Who may connect: addresses to bind, tokens, origins and hosts.

Scopes come with more than one token; today whoever holds the token may read everything.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from stream.errors import UsageError

LOCAL: Final = "local"
"""Name of whoever connects to a server that asks for no token."""

MIN_TOKEN_CHARS: Final = 16


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
    """Compares tokens in constant time and keeps only their hashes.

    :param token: the one token, ``None`` when nobody is asked for one
    :raises UsageError: if the token is too short to be secret
    """

    def __init__(self, token: str | None = None) -> None:
        if token is not None and len(token) < MIN_TOKEN_CHARS:
            raise UsageError(
                f"the token has {len(token)} characters, fewer than {MIN_TOKEN_CHARS}",
                remedy="make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            )
        self._digest = None if token is None else _digest(token)

    @property
    def needed(self) -> bool:
        """Whether clients must present a token."""
        return self._digest is not None

    def check(self, token: str) -> str | None:
        """The name of whoever holds the token, ``None`` if nobody does."""
        if self._digest is None:
            return LOCAL
        return "token" if hmac.compare_digest(_digest(token), self._digest) else None


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
                    f"{entry!r} is no origin", remedy="write it as https://host or http://host:port"
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


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
