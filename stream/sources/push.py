"""Pictures that a client sends: a browser's camera, a phone, a program of the user's own.

A :class:`PushInlet` stands between the connection, which must never wait, and the reader of a
:class:`~mellm.stream.capture.runner.SourceRunner`, which may. It holds a few encoded pictures; when the reader is
slower than the sender the oldest goes, and is counted.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mellm.stream.clock import Clock, MonotonicClock
from mellm.stream.errors import SourceTooLarge, SourceUnreachable
from mellm.stream.frames import SourceInfo
from mellm.stream.sources.base import SourceOptions
from mellm.stream.sources.decoding import decode
from mellm.stream.sources.headers import HEAD_BYTES, picture_size
from mellm.stream.sources.placed import PlacedSource
from mellm.stream.sources.timeline import Timeline
from mellm.stream.sources.timestamps import StampMender

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ADDRESS: Final = "push:"
DEPTH: Final = 8
"""Encoded pictures that may wait for the reader: a quarter of a second, 8 MiB at the most."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """An encoded picture as it arrived.

    :param time_ns: the sender's clock at capture
    """

    jpeg: bytes
    time_ns: int


class PushInlet:
    """Where one sender at a time may put pictures for one source. Thread-safe."""

    def __init__(self, id: str, *, clock: Clock | None = None) -> None:
        self.id = id
        self._clock = clock or MonotonicClock()
        self._changed = threading.Condition()
        self._sender: str | None = None
        self._waiting: deque[Pushed] = deque()
        self._overrun = 0
        self._reader = 0
        self._shut = False

    # -- for whoever sends ----------------------------------------------------------------------------

    def begin(self, sender: str) -> bool:
        """Take the inlet; ``False`` while somebody else has it."""
        with self._changed:
            if self._sender not in (None, sender) or self._shut:
                return False
            self._sender = sender
            self._waiting.clear()
            self._changed.notify_all()
            return True

    def offer(self, sender: str, picture: Pushed) -> bool:
        """Put a picture in; never waits. ``False`` if this sender has not (or no longer) the inlet."""
        with self._changed:
            if self._sender != sender:
                return False
            if len(self._waiting) >= DEPTH:
                self._waiting.popleft()
                self._overrun += 1
            self._waiting.append(picture)
            self._changed.notify_all()
            return True

    def finish(self, sender: str) -> None:
        """Leave the inlet to others; what waits is still read."""
        with self._changed:
            if self._sender == sender:
                self._sender = None
                self._changed.notify_all()

    def shut(self) -> None:
        """Nobody sends or reads any more."""
        with self._changed:
            self._shut = True
            self._sender = None
            self._changed.notify_all()

    def reopen(self) -> None:
        """Forget what waits and whoever sends: pictures of somebody else follow."""
        with self._changed:
            self._waiting.clear()
            self._overrun = 0
            self._sender = None
            self._shut = False
            self._changed.notify_all()

    # -- for whoever reads ----------------------------------------------------------------------------

    def open(self, first_segment: int, options: SourceOptions | None = None) -> PushSource:
        """Wait until somebody sends, however long it takes.

        :raises SourceError: the inlet was shut, or another reader came
        """
        with self._changed:
            self._reader += 1
            reader = self._reader
            self._changed.notify_all()
        first = self.take(reader, patient=True)
        return PushSource(self, reader, first, options or SourceOptions(), self._clock, first_segment)

    def take(self, reader: int, *, patient: bool = False) -> tuple[Pushed, int]:
        """The oldest picture and how many were overrun before it; waits for one.

        :param patient: wait for a sender too
        :raises SourceUnreachable: the sender has gone
        """
        with self._changed:
            while not self._waiting:
                if self._shut or reader != self._reader:
                    raise SourceUnreachable(f"{ADDRESS}{self.id} was closed")
                if self._sender is None and not patient:
                    raise SourceUnreachable(f"{ADDRESS}{self.id}: nobody sends", remedy="send pictures again")
                self._changed.wait()
            if reader != self._reader:
                raise SourceUnreachable(f"{ADDRESS}{self.id} was closed")
            overrun, self._overrun = self._overrun, 0
            return self._waiting.popleft(), overrun


class PushSource(PlacedSource):
    """One stretch of pictures from one sender. Made by :meth:`PushInlet.open`.

    Media time is the sender's clock, from 0. A picture that is damaged is lost and counted; one that is too large ends
    the stretch with an error. :meth:`read` waits for the next.
    """

    def __init__(
        self,
        inlet: PushInlet,
        reader: int,
        first: tuple[Pushed, int],
        options: SourceOptions,
        clock: Clock,
        first_segment: int,
    ) -> None:
        super().__init__()
        width, height = picture_size(first[0].jpeg[:HEAD_BYTES]) or (0, 0)
        info = SourceInfo(
            inlet.id,
            f"{ADDRESS}{inlet.id}",
            "push",
            width,
            height,
            live=True,
            codec="jpeg",
            mirrored=options.mirrored,
        )
        # a browser's clock neither wraps nor starts at 0
        self._timeline = Timeline(info, StampMender(from_zero=True, wrap_ns=None), clock, first_segment)
        self._inlet = inlet
        self._reader = reader
        self._first: tuple[Pushed, int] | None = first
        self._max_pixels = options.max_pixels

    def close(self) -> None:
        """Nothing is held; the inlet is the server's."""

    def _advance(self) -> None:
        picture, overrun = self._first or self._inlet.take(self._reader)
        self._first = None
        if overrun:
            self._timeline.lose(overrun)
        image = self._decode(picture.jpeg)
        if image is None:
            self._timeline.lose()
        else:
            self._ready.extend(self._timeline.place(image, picture.time_ns))

    def _decode(self, jpeg: bytes) -> NDArray[np.uint8] | None:
        size = picture_size(jpeg[:HEAD_BYTES])
        if size is None or not jpeg.startswith(b"\xff\xd8"):
            return None
        if size[0] * size[1] > self._max_pixels:
            raise SourceTooLarge(
                f"{ADDRESS}{self._inlet.id}: {size[0]}×{size[1]} pixels, more than {self._max_pixels}",
                remedy="send smaller pictures",
            )
        return decode(jpeg, max_pixels=self._max_pixels)


def is_push(uri: str) -> bool:
    """Whether a source's address says that clients send it."""
    return uri == ADDRESS
