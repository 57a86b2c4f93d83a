"""Tokens and what each allows. The configuration names where a secret is; it does not hold it.

A secret comes from an environment variable or a file, or its SHA-256 stands in the configuration: tokens are long and
random, so the hash gives nothing away.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mellm.stream.errors import UsageError
from mellm.stream.protocol.access import Principal

if TYPE_CHECKING:
    from mellm.engine.config import TokenSettings

MIN_CHARS: Final = 16
MAX_CHARS: Final = 4096
EVERY_SOURCE: Final = "*"

_MAKE: Final = "make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"


@dataclass(frozen=True, slots=True)
class Token:
    """The SHA-256 of a secret and whom it stands for."""

    digest: bytes = field(repr=False)
    principal: Principal

    @classmethod
    def of(cls, secret: str, principal: Principal) -> Token:
        """Hash a secret.

        :raises UsageError: if it is too short to be secret, or too long to be sent; without showing it
        """
        if not MIN_CHARS <= len(secret) <= MAX_CHARS:
            raise UsageError(
                f"the token {principal.name!r} has {len(secret)} characters, not {MIN_CHARS} to {MAX_CHARS}",
                remedy=_MAKE,
            )
        return cls(digest(secret), principal)


def digest(secret: str) -> bytes:
    """SHA-256 of a secret; any text has one."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def load(settings: Iterable[TokenSettings], environment: Mapping[str, str] = os.environ) -> tuple[Token, ...]:
    """The tokens of a configuration.

    :raises UsageError: a variable that is not set, a file that cannot be read, a secret that is too short: a token
        that is configured and missing must not leave the server open
    """
    return tuple(_load(each, environment) for each in settings)


def _load(settings: TokenSettings, environment: Mapping[str, str]) -> Token:
    everything = EVERY_SOURCE in settings.sources
    principal = Principal(
        settings.name,
        frozenset(settings.scopes),
        None if everything else frozenset(settings.sources),
        None if settings.expires is None else _since_1970(settings.expires),
    )
    if settings.sha256 is not None:
        return Token(bytes.fromhex(settings.sha256), principal)
    if settings.env is not None:
        secret = environment.get(settings.env)
        if not secret:
            raise UsageError(
                f"environment variable {settings.env} (token {settings.name!r}) is not set", remedy=_MAKE
            )
        return Token.of(secret, principal)
    assert settings.file is not None  # the settings have exactly one of the three
    return Token.of(_read(settings.file, settings.name), principal)


def _read(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_CHARS + 3)
        return raw.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the token {name!r} cannot be read from {path}: {error}",
            remedy="name a readable text file that holds the token and nothing else",
        ) from None


def _since_1970(moment: datetime) -> int:
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000_000
