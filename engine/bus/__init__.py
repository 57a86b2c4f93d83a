"""What goes between machines: a bus of logs, one queue of work and keys that change by compare-and-set.

On one machine there is none. :func:`open_bus` makes one from an address; the libraries of the brokers are imported
then, and are the extra ``bus``.
"""

from __future__ import annotations

from importlib.util import find_spec
from urllib.parse import urlsplit

from mellm.engine.bus.base import Bus, BusOptions
from mellm.stream.errors import MissingExtra, UsageError

SCHEMES = {"memory": "", "nats": "nats", "tls": "nats", "redis": "redis", "rediss": "redis"}
"""Scheme of an address → the package it needs."""


def open_bus(options: BusOptions) -> Bus:
    """A bus that is not connected yet; see :meth:`Bus.open`.

    :raises UsageError: an address of another kind
    :raises MissingExtra: its library is not installed
    """
    scheme = urlsplit(options.url).scheme
    if scheme not in SCHEMES:
        raise UsageError(
            f"no bus has the scheme {scheme!r}",
            remedy="give nats://HOST:4222, tls://… redis://HOST or memory://",
        )
    needed = SCHEMES[scheme]
    if needed and find_spec(needed) is None:
        raise MissingExtra(f"a {scheme} bus needs {needed}", remedy="pip install 'mellm-live[bus]'")
    if needed == "nats":
        from mellm.engine.bus.jetstream import JetStreamBus

        return JetStreamBus(options)
    if needed == "redis":
        from mellm.engine.bus.redis import RedisBus

        return RedisBus(options)
    from mellm.engine.bus.memory import MemoryBus

    return MemoryBus.shared(options.url)
