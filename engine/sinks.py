"""Where a live engine's events go: to a hub, and motion maps to memory or, when asked for, to a folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from engine.http import EvidenceStore
from stream.events import SCORE
from stream.hub import Hub

logger = logging.getLogger(__name__)


class HubSink:
    """Publishes to a hub.

    :param keep: folder for motion maps; ``None`` keeps them in memory only, for a while
    """

    def __init__(self, hub: Hub, evidence: EvidenceStore, keep: Path | None = None) -> None:
        self._hub = hub
        self._evidence = evidence
        self._keep = keep

    def publish(self, kind: str, source: str, data: dict[str, Any], t_ns: int | None = None) -> None:
        """See :class:`engine.live.Sink`."""
        # each face's scores are coalesced by themselves, or of two faces in one frame only the second would be told
        id = f"{kind}:{source}:{data['track']}" if kind == SCORE else None
        self._hub.publish_threadsafe(kind, source, data, t_ns, id=id)

    def evidence(self, expression: str, png: bytes) -> None:
        """See :class:`engine.live.Sink`."""
        self._evidence.put(expression, png)
        if self._keep is None:
            return
        try:
            self._keep.mkdir(parents=True, exist_ok=True)
            (self._keep / f"{expression}.png").write_bytes(png)
        except OSError as error:
            # a full disk must not stop the camera; the map is still in memory
            logger.warning("motion map %s cannot be kept: %s", expression, error.strerror)
