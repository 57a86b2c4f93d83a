"""What a server has: sources with their state, models, and whether it is ready. Thread-safe."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from mellm.stream.protocol.events import SOURCE_SESSION

MAX_DRIFT_NS: Final = 1_000_000_000
"""A media clock that has said nothing for longer than this is not extrapolated further."""

_STATES: Final = frozenset({"online", "offline", "reconnecting", "ended"})


class Catalog:
    """Follows the events (register :meth:`observe` with the hub), so that a late client can be told the state.

    :param sources: ids that are configured; others are added when they first say something
    :param previews: those of which clients may ask for previews
    :param pushes: those whose pictures clients may send
    :param models: name → facts (file, hash, provider), for ``session.created``
    :param ready: ``False`` where start-up calls :meth:`set_ready` when everything is loaded
    """

    def __init__(
        self,
        sources: Iterable[str] = (),
        *,
        previews: Iterable[str] = (),
        pushes: Iterable[str] = (),
        models: Mapping[str, Mapping[str, Any]] | None = None,
        ready: bool = True,
    ) -> None:
        self._lock = threading.Lock()
        self._sources: dict[str, dict[str, Any]] = {}
        self._previews = frozenset(previews)
        self._pushes = frozenset(pushes)
        for id in sources:
            self._sources[id] = self._unheard(id)
        self._clocks: dict[str, tuple[int, int]] = {}  # source → media time, monotonic time it was told
        self._models = {name: dict(facts) for name, facts in (models or {}).items()}
        self._unready: str | None = None if ready else "starting"

    def observe(self, type: str, source: str, data: Mapping[str, Any]) -> None:
        """Learn from an event."""
        if not source:
            return
        kind, _, state = type.partition(".")
        with self._lock:
            known = self._sources.setdefault(source, self._unheard(source))
            if kind == "source" and state in _STATES:
                known.update({key: value for key, value in data.items() if key not in self._unheard("")})
                known["state"] = state
            if type == SOURCE_SESSION:
                known["session"] = data["run"] if data["state"] == "begun" else None
            stamp = data.get("t_ns")
            if isinstance(stamp, str) and stamp.lstrip("-").isdigit():
                self._clocks[source] = (int(stamp), time.monotonic_ns())

    def set_ready(self, reason: str | None = None) -> None:
        """Ready from now on, or (with a reason) not ready."""
        with self._lock:
            self._unready = reason

    @property
    def unready(self) -> str | None:
        """Why the server is not ready; ``None`` when it is."""
        return self._unready

    def ids(self) -> frozenset[str]:
        """The sources there are."""
        with self._lock:
            return frozenset(self._sources)

    def sources(self) -> list[dict[str, Any]]:
        """Each source with its state and the facts of its last ``source.*`` event."""
        with self._lock:
            return [dict(facts) for facts in self._sources.values()]

    def _unheard(self, id: str) -> dict[str, Any]:
        return {"id": id, "state": "offline", "preview": id in self._previews, "push": id in self._pushes}

    def models(self) -> dict[str, dict[str, Any]]:
        """The models in use."""
        with self._lock:
            return {name: dict(facts) for name, facts in self._models.items()}

    def media_now(self, source: str) -> int | None:
        """The media time of a source at this moment, nanoseconds: its last word plus the time since, at most
        one second. ``None`` before it has said anything."""
        with self._lock:
            clock = self._clocks.get(source)
        if clock is None:
            return None
        told, at = clock
        return told + min(time.monotonic_ns() - at, MAX_DRIFT_NS)
