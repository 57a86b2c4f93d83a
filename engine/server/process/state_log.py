"""One log line for each change of a source's state, so that a night can be read in the morning.

Register :class:`StateLog` with :meth:`mellm.stream.log.hub.Hub.observe`. Expressions and numbers are events, not log
lines.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any, Final

from mellm.stream.protocol.events import (
    SOURCE_DEGRADED,
    SOURCE_ENDED,
    SOURCE_GAP,
    SOURCE_OFFLINE,
    SOURCE_ONLINE,
    SOURCE_PICTURE,
    SOURCE_RECONNECTING,
)

logger = logging.getLogger(__name__)

_CALM: Final = frozenset({SOURCE_ONLINE, SOURCE_ENDED})
_WATCHED: Final = _CALM | {SOURCE_OFFLINE, SOURCE_RECONNECTING, SOURCE_PICTURE}


class StateLog:
    """Remembers each source's last state and tells of the next. Thread-safe.

    A camera that stays away is told once for each reason, however often it is tried. Gaps are counted and told
    with the next change: a bad network makes many.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, tuple[str, str]] = {}
        self._gaps: dict[str, int] = {}

    def __call__(self, type: str, source: str, data: Mapping[str, Any]) -> None:
        """The observer."""
        if type == SOURCE_GAP:
            with self._lock:
                self._gaps[source] = self._gaps.get(source, 0) + 1
            return
        if type == SOURCE_DEGRADED:  # beside the state, and each step is new
            level = logging.WARNING if data["degraded"] else logging.INFO
            logger.log(
                level, "%s: %s", source, data["message"], extra={"source": source, "reason": data["reason"]}
            )
            return
        if type not in _WATCHED:
            return
        state, reason = _state(type, data)
        with self._lock:
            if self._last.get(source) == (state, reason):
                return
            self._last[source] = state, reason
            gaps = self._gaps.pop(source, 0)
        extra: dict[str, Any] = {"source": source, "state": state}
        words = f"{source} {state}"
        if reason:
            extra["reason"] = reason
            words += f": {reason}"
        if gaps:
            extra["gaps"] = gaps
            words += f" ({gaps} gaps before)"
        calm = type in _CALM or state == "picture live"
        logger.log(logging.INFO if calm else logging.WARNING, "%s", words, extra=extra)


def _state(type: str, data: Mapping[str, Any]) -> tuple[str, str]:
    """State and reason, without what changes from try to try."""
    if type == SOURCE_PICTURE:
        return f"picture {data.get('state', '')}", ""
    name = type.partition(".")[2]
    if type == SOURCE_ONLINE:
        # a picture of another size is another state
        return name, "×".join(str(data[key]) for key in ("width", "height") if data.get(key))
    return name, str(data.get("code") or data.get("reason") or "")
