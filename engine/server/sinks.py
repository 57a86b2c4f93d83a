"""Where a live engine's events and pictures go: to a hub and to a store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mellm.engine.analysis.watchdog import OnChange, WorkerState
from mellm.engine.evidence.store import EvidenceStore
from mellm.stream.errors import MellmError
from mellm.stream.log.hub import Hub
from mellm.stream.protocol.client_messages import EvidenceKind
from mellm.stream.protocol.events import SCORE, SERVER_WORKER


def worker_events(hub: Hub) -> OnChange:
    """What happens to workers, as events of the whole server, for :attr:`Watchdog.on_change`."""

    def tell(name: str, state: WorkerState, error: MellmError | None) -> None:
        why = {} if error is None else {"code": error.code, "message": str(error)}
        hub.post(SERVER_WORKER, "", {"worker": name, "state": state, **why})

    return tell


class HubSink:
    """Publishes to a hub, and puts pictures into a store."""

    def __init__(self, hub: Hub, evidence: EvidenceStore) -> None:
        self._hub = hub
        self._evidence = evidence

    def publish(self, kind: str, source: str, data: Mapping[str, Any], t_ns: int | None = None) -> None:
        """See :class:`mellm.engine.analysis.live.Sink`."""
        # each face's scores are coalesced by themselves, or of two faces in one frame only the second would be told
        id = f"{kind}:{source}:{data['track']}" if kind == SCORE else None
        self._hub.post(kind, source, data, t_ns, id=id)

    @property
    def keeps_faces(self) -> bool:
        """See :class:`mellm.engine.analysis.live.Sink`."""
        return self._evidence.keeps_faces

    def evidence(self, expression: str, png: bytes, shown: EvidenceKind = "motion") -> None:
        """See :class:`mellm.engine.analysis.live.Sink`."""
        self._evidence.put(expression, png, shown)
