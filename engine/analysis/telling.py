"""What is said of one source and must not get lost: in order, with its pictures, on a thread of its own.

The analysis hands over and goes on. Encoding pictures, writing them and keeping jobs on disk happen here, before the
event that tells of them.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import cv2
import numpy as np

from mellm.detectors.signals import FacePair
from mellm.detectors.types import U8
from mellm.engine.analysis.describe_queue import Job
from mellm.engine.analysis.pipeline import Spotted
from mellm.engine.analysis.wire_events import events_of
from mellm.stream.errors import MellmError
from mellm.stream.protocol.client_messages import EvidenceKind
from mellm.stream.worker import Turn, Vitals, Worker

logger = logging.getLogger(__name__)

BOUND: Final = 64
"""Events that may wait; beyond it the analysis waits, and frames are dropped and told."""

ABANDON_S: Final = 15.0
"""A disk that does not answer for longer loses the picture that it is being given."""


class Sink(Protocol):
    """Where events go. Called from any thread; must not block for long."""

    def publish(self, kind: str, source: str, data: Mapping[str, Any], t_ns: int | None = None) -> None:
        """One event; ``t_ns`` is its media time."""
        ...

    @property
    def keeps_faces(self) -> bool:
        """Whether somebody asked for the faces to be kept; otherwise none leave the chain."""
        ...

    def evidence(self, expression: str, png: bytes, shown: EvidenceKind = "motion") -> None:
        """A picture of an expression, before its ``expression.spotted``."""
        ...


@dataclass(frozen=True, slots=True)
class _Said:
    kind: str
    data: Mapping[str, Any]
    t_ns: int | None


_Item: TypeAlias = _Said | Spotted


class Teller:
    """Says things of one source. :meth:`say` and :meth:`spotted` may be called from any thread.

    :param prepare: makes the job of an expression, safe from a crash
    :param submit: has it described
    :param lost: ends an expression that could not be handed on; it gets whether ``expression.spotted`` was told
    """

    def __init__(
        self,
        source: str,
        sink: Sink,
        prepare: Callable[[Spotted], Job],
        submit: Callable[[Job], None],
        lost: Callable[[Spotted, bool], None],
        vitals: Vitals | None = None,
    ) -> None:
        self._source = source
        self._sink = sink
        self._prepare = prepare
        self._submit = submit
        self._lost = lost
        self._items: deque[_Item] = deque()
        self._hand: _Item | None = None
        self._told = False
        self._changed = threading.Condition()
        self._worker = Worker(
            f"tell-{source}", self._work, on_death=self._died, vitals=vitals, abandon_s=ABANDON_S
        )

    def start(self) -> None:
        """Begin to tell."""
        self._worker.start()

    def stop(self, wait_s: float) -> bool:
        """Tell what waits, and end.

        :returns: whether that was done in time
        """
        self._worker.stop()
        with self._changed:
            self._changed.notify_all()
        return self._worker.join(wait_s)

    @property
    def idle(self) -> bool:
        """Whether everything has been told."""
        with self._changed:
            return not self._items and self._hand is None

    def say(
        self, kind: str, data: Mapping[str, Any], t_ns: int | None = None, turn: Turn | None = None
    ) -> None:
        """One event. With the ``turn`` of the caller it waits for room, and beats meanwhile."""
        self._put(_Said(kind, data, t_ns), turn)

    def spotted(self, output: Spotted, turn: Turn) -> None:
        """An expression: its pictures, its event, its job. Waits for room."""
        self._put(output, turn)

    def _put(self, item: _Item, turn: Turn | None) -> None:
        with self._changed:
            while turn is not None and len(self._items) >= BOUND and self._worker.alive:
                turn.heartbeat()
                self._changed.wait(0.5)
            self._items.append(item)
            self._changed.notify_all()

    def _work(self, turn: Turn) -> None:
        while True:
            with self._changed:
                turn.rest()
                self._changed.wait_for(lambda: self._items or turn.over)
                turn.heartbeat()
                if not self._items:
                    return
                item = self._hand = self._items.popleft()
                self._told = False
                self._changed.notify_all()
            if isinstance(item, Spotted):
                self._expression(item, turn)
            else:
                self._sink.publish(item.kind, self._source, item.data, item.t_ns)
            with self._changed:
                turn.heartbeat()  # before the hand is emptied: it may be another thread's by now
                self._hand = None
            turn.worked()

    def _expression(self, spotted: Spotted, turn: Turn) -> None:
        expression = spotted.expression
        try:
            for shown, png in self._pictures(spotted):
                self._sink.evidence(expression.id, png, shown)
        except Exception:  # an expression without its picture is better than none
            logger.exception("%s: no picture of %s", self._source, expression.id)
        events = events_of(spotted)
        job = self._prepare(spotted)
        turn.heartbeat()  # the disk may have taken too long: then somebody else has told its end
        for event in events:
            self._sink.publish(event.type, self._source, event.data, event.t_ns)
        self._told = True
        turn.heartbeat()
        self._submit(job)

    def _pictures(self, spotted: Spotted) -> Iterator[tuple[EvidenceKind, bytes]]:
        yield "motion", png_of(spotted.evidence.motion_map)
        if spotted.pair is not None and self._sink.keeps_faces:
            yield "faces", png_of(faces_of(spotted.pair))

    def _died(self, error: MellmError) -> None:
        with self._changed:
            item, self._hand = self._hand, None
        if isinstance(item, Spotted):
            self._lost(item, self._told)


def faces_of(pair: FacePair) -> U8:
    """Onset beside apex, grey."""
    return np.asarray(np.hstack((pair.onset_gray, pair.apex_gray)), np.uint8)


def png_of(image: Any) -> bytes:
    """The picture as PNG.

    :raises ValueError: it cannot be encoded
    """
    done, png = cv2.imencode(".png", image)
    if not done:
        raise ValueError(f"a picture of {image.shape} cannot be encoded")
    return bytes(png.tobytes())
