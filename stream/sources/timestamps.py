"""Turns the stamps that a container or camera gives into media time that only ever rises.

Pure: stamps in, verdicts out; no picture, no clock. What can be wrong with a stamp, and what is done:

===============================  =============================================================
missing                          one usual step after the last one; flagged; guessed unless the next stamp agrees
repeated, a little backwards     squeezed in just after the last one; flagged, guessed
a clock that stands still        after some repeats, one usual step each; flagged, guessed
33-bit wrap (MPEG-TS, RTP)       unwrapped; nothing to see
forward jump                     kept, with a gap before it
far backwards (a restart)        time goes on one usual step later, in a new segment, gap before it
===============================  =============================================================
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median_low
from typing import Final

WRAP_33_BIT_NS: Final = (1 << 33) * 1_000_000_000 // 90_000
"""MPEG time stamps count 90 kHz ticks in 33 bits: 26.5 hours."""

DEFAULT_STEP_NS: Final = 33_333_333
_FORWARD_MIN_NS: Final = 200_000_000  # four frames at 20 a second, the least that is analysed
_BACKWARD_MIN_NS: Final = 100_000_000
_MAX_SQUEEZED: Final = 8
_STEPS_KEPT: Final = 15


@dataclass(frozen=True, slots=True)
class Stamp:
    """The verdict on one stamp.

    :param pts_ns: media time; larger than that of every stamp before
    :param repaired: it is not what the source said
    :param gap_from_ns: where a hole before this stamp begins, ``None`` where there is none
    :param new_segment: nothing before this stamp may be compared with it
    """

    pts_ns: int
    repaired: bool = False
    gap_from_ns: int | None = None
    new_segment: bool = False


class StampMender:
    """State of one source's time line.

    :param step_ns: usual distance of two frames, from the header; measured as soon as frames arrive
    :param from_zero: the first stamp becomes 0 (cameras and streams count from anywhere)
    :param wrap_ns: where the source's counter starts over, ``None`` if it never does
    :param steady: the container declares one rate and keeps to it: a missing stamp is one step later, and no guess
    :ivar repaired: stamps that are not what the source said
    :ivar guessed: those of them that nothing confirms
    """

    def __init__(
        self,
        step_ns: int | None = None,
        *,
        from_zero: bool = False,
        wrap_ns: int | None = WRAP_33_BIT_NS,
        steady: bool = False,
    ) -> None:
        self._step_ns = step_ns if step_ns and step_ns > 0 else DEFAULT_STEP_NS
        self._from_zero = from_zero
        self._wrap_ns = wrap_ns
        self._steps: deque[int] = deque(maxlen=_STEPS_KEPT)
        self._offset_ns: int | None = None
        self._last_ns: int | None = None
        self._squeezed = 0
        self._steady = steady
        self._filled = 0
        self.repaired = 0
        self.guessed = 0

    @property
    def step_ns(self) -> int:
        """Usual distance of two frames: the median of the last regular ones."""
        return median_low(self._steps) if len(self._steps) >= 3 else self._step_ns

    @property
    def last_ns(self) -> int | None:
        """Media time of the last frame."""
        return self._last_ns

    def push(self, raw_ns: int | None) -> Stamp:
        """Judge the next stamp (nanoseconds as the source counts them, ``None`` where it gave none)."""
        last = self._last_ns
        stamp = self._judge(raw_ns)
        self._last_ns = stamp.pts_ns
        self.repaired += stamp.repaired
        if raw_ns is None:
            self._filled += not self._steady
            self.guessed += not self._steady
        else:
            agrees = last is not None and 2 * abs(stamp.pts_ns - last - self.step_ns) <= self.step_ns
            if agrees and not stamp.repaired:
                self.guessed -= self._filled
            self._filled = 0
            self.guessed += stamp.repaired
        return stamp

    def _judge(self, raw_ns: int | None) -> Stamp:
        last = self._last_ns
        if raw_ns is None:
            return Stamp(0 if last is None else last + self.step_ns, repaired=True)
        if self._offset_ns is None:
            # a stream's first frame often has no stamp: the first known one comes a step after it
            expected = 0 if last is None else last + self.step_ns
            self._offset_ns = expected - raw_ns if self._from_zero else 0
        if last is None:
            return Stamp(raw_ns + self._offset_ns)
        now = self._unwrapped(raw_ns, last)
        forward_ns = max(_FORWARD_MIN_NS, 4 * self.step_ns)
        backward_ns = max(_BACKWARD_MIN_NS, 3 * self.step_ns)
        step = now - last
        if step > forward_ns:
            self._squeezed = 0
            return Stamp(now, gap_from_ns=last)
        if step > 0:
            if not self._squeezed:
                self._steps.append(step)
            self._squeezed = 0
            return Stamp(now)
        if step > -backward_ns:
            return self._squeeze(raw_ns, last)
        self._squeezed = 0
        now = last + self.step_ns
        self._offset_ns = now - raw_ns
        return Stamp(now, repaired=True, gap_from_ns=last, new_segment=True)

    def _unwrapped(self, raw_ns: int, last_ns: int) -> int:
        assert self._offset_ns is not None
        now = raw_ns + self._offset_ns
        wrap = self._wrap_ns
        if wrap and now - last_ns < -wrap // 2 and 0 < now + wrap - last_ns <= _FORWARD_MIN_NS * 50:
            self._offset_ns += wrap
            return now + wrap
        return now

    def _squeeze(self, raw_ns: int, last_ns: int) -> Stamp:
        """Place a repeated stamp so that a run of them never overtakes the next regular frame."""
        self._squeezed += 1
        if self._squeezed <= _MAX_SQUEEZED:
            return Stamp(last_ns + max(1, self.step_ns >> self._squeezed), repaired=True)
        now = last_ns + self.step_ns
        self._offset_ns = now - raw_ns
        return Stamp(now, repaired=True)


class RateMeter:
    """Frames a second from the stamps that arrived, over the last two seconds, holes left out."""

    def __init__(self, window_ns: int = 2_000_000_000) -> None:
        self._window_ns = window_ns
        self._steps: deque[int] = deque()
        self._sum_ns = 0
        self._last_ns: int | None = None

    def push(self, stamp: Stamp) -> None:
        """Take one more frame into account."""
        if self._last_ns is not None and stamp.gap_from_ns is None:
            step = stamp.pts_ns - self._last_ns
            self._steps.append(step)
            self._sum_ns += step
            while self._sum_ns > self._window_ns and len(self._steps) > 2:
                self._sum_ns -= self._steps.popleft()
        self._last_ns = stamp.pts_ns

    @property
    def fps(self) -> float | None:
        """Frames a second, ``None`` until two frames have come."""
        return len(self._steps) * 1e9 / self._sum_ns if self._sum_ns else None
