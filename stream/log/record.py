"""An event as it is stored and sent."""

from __future__ import annotations

from dataclasses import dataclass

from mellm.stream.protocol import wire
from mellm.stream.protocol.events import Event, score_of


@dataclass(frozen=True, slots=True)
class Record:
    """An event as it is stored and sent: serialised once, with the columns that filters look at."""

    seq: int | None
    type: str
    source: str
    id: str
    score: float | None
    payload: bytes
    binary: bool = False

    @classmethod
    def of(cls, event: Event) -> Record:
        """Serialise an event.

        :raises TypeError, ValueError: if its data is not JSON, see :func:`mellm.stream.protocol.wire.encode`
        """
        score = score_of(event.type, event.data)
        binary = bool(event.picture)
        payload = wire.encode_picture(event) if binary else wire.encode(event)
        return cls(event.seq, event.type, event.source, event.id, score, payload, binary)

    @property
    def event(self) -> Event:
        """The event, parsed anew."""
        return wire.decode_picture(self.payload) if self.binary else wire.decode(self.payload)
