"""Who a client is and what it may do. Whatever is not granted is refused.

A source that a client may not see does not exist for it: not in lists, not in errors, not in counts.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from mellm.stream.protocol.events import Filter


class Scope(enum.StrEnum):
    """What a token may allow; none includes another."""

    EVENTS_READ = "events:read"
    """Events, live and from the journal."""
    MEDIA_READ = "media:read"
    """Pictures: motion maps and previews."""
    SOURCES_WRITE = "sources:write"
    """The record of a source: markers, pictures that are sent, and withdrawal, which stops and erases."""
    ADMIN = "admin"
    """The server itself: ``/metrics``."""


ALL_SCOPES: Final = frozenset(Scope)
SESSION_SCOPES: Final = frozenset({Scope.EVENTS_READ, Scope.MEDIA_READ, Scope.SOURCES_WRITE})
"""A session without any of these could do nothing."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever holds a token.

    :param name: stands in markers and in the audit log
    :param sources: ids that it may see; ``None`` for all, also future ones, and for events about the whole server
    :param expires_ns: wall clock; the session ends then
    """

    name: str
    scopes: frozenset[Scope] = ALL_SCOPES
    sources: frozenset[str] | None = None
    expires_ns: int | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the scope is granted."""
        return scope in self.scopes

    def sees(self, source: str) -> bool:
        """Whether events of this source (empty: of the whole server) are for this client."""
        return self.sources is None or source in self.sources

    def visible(self, ids: Iterable[str]) -> frozenset[str]:
        """Those of the sources that exist for this client."""
        return frozenset(id for id in ids if self.sees(id))

    def narrow(self, wanted: Filter) -> Filter:
        """What is wanted, without what is not for this client."""
        if self.sources is None:
            return wanted
        sources = self.sources if wanted.sources is None else wanted.sources & self.sources
        return replace(wanted, sources=sources, whole_server=False)
