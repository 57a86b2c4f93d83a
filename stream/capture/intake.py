"""How much of what arrives is handed on, when there is more than can be analysed: less, evenly, or nothing at all."""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

from mellm.stream.capture.buffer import MediaBuffer
from mellm.stream.frames import Frame, Gap

RATE_WINDOW: Final = 60
"""Frames over which the rate of arrival is measured."""

LOWERED: Final = "rate_lowered"
SET_ASIDE: Final = "set_aside"


class Intake:
    """Stands before a buffer. Its owner lets one thread in at a time.

    :ivar dropped: frames that were left out, by reason (:data:`LOWERED`, :data:`SET_ASIDE`)
    """

    def __init__(self, source: str, buffer: MediaBuffer) -> None:
        self.dropped: Counter[str] = Counter()
        self._source = source
        self._buffer = buffer
        self._keep_every = 1
        self._passed = 0  # frames since one was kept
        self._missing: tuple[int, int] | None = None  # since when frames are set aside, and how many
        self._times: deque[int] = deque(maxlen=RATE_WINDOW)
        self._segment: int | None = None

    @property
    def fps(self) -> float:
        """Frames a second of media, as they arrive; 0 while not known."""
        span = self._times[-1] - self._times[0] if len(self._times) > 1 else 0
        return (len(self._times) - 1) * 1e9 / span if span > 0 else 0.0

    def lower(self, keep_every: int) -> None:
        """From now on hand on one of every so many frames, of what waits, too. After frames that were set aside comes a
        gap.

        :param keep_every: 1 for all, 0 for none
        """
        before, self._keep_every, self._passed = self._keep_every, keep_every, 0
        if not keep_every and before:
            self._missing = self._times[-1] if self._times else 0, self._leave_out(0, SET_ASIDE)
        elif before and keep_every > before:
            self._leave_out(keep_every // before, LOWERED)

    def takes(self, frame: Frame) -> bool:
        """Whether a frame that has arrived is to be handed on."""
        if frame.segment != self._segment:
            self._times.clear()
        self._segment = frame.segment
        self._times.append(frame.pts_ns)
        if not self._keep_every:
            since, count = self._missing or (frame.pts_ns, 0)
            self._missing = since, count + 1
            self.dropped[SET_ASIDE] += 1
            return False
        if self._missing is not None:
            (since, count), self._missing = self._missing, None
            start = min(since, frame.pts_ns)
            self._buffer.put(Gap(self._source, frame.segment, start, frame.pts_ns, "overflow", count))
        self._passed += 1
        if self._passed < self._keep_every:
            self.dropped[LOWERED] += 1
            return False
        self._passed = 0
        return True

    def _leave_out(self, keep_every: int, reason: str) -> int:
        count = self._buffer.thin(keep_every)
        if count:
            self.dropped[reason] += count
        return count
