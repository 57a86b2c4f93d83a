"""Time for whoever has to wait: a protocol, the real clock, and one that a test moves by hand.

All of it is monotonic: a wall clock that is stepped by an hour changes nothing here.
"""

from __future__ import annotations

import threading
import time
from typing import Final, Protocol

NS_PER_S: Final = 1_000_000_000
_POLL_S: Final = 0.002


class Clock(Protocol):
    """A monotonic clock that can also wait."""

    def now_ns(self) -> int:
        """Nanoseconds since an arbitrary moment; never runs backwards."""
        ...

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait until ``event`` is set or ``timeout_s`` have passed; tell whether it is set."""
        ...


class MonotonicClock:
    """The clock of the machine."""

    def now_ns(self) -> int:
        """:func:`time.monotonic_ns`."""
        return time.monotonic_ns()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """:meth:`threading.Event.wait`."""
        return event.wait(max(0.0, timeout_s))


class ManualClock:
    """A clock that stands still until :meth:`advance`; waits end when the time has come.

    :param start_ns: its first reading
    """

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns
        self._lock = threading.Lock()

    def now_ns(self) -> int:
        """What :meth:`advance` has summed up to."""
        with self._lock:
            return self._now_ns

    def advance(self, seconds: float) -> None:
        """Let time pass.

        :raises ValueError: for negative ``seconds``
        """
        if seconds < 0:
            raise ValueError(f"time does not run backwards: {seconds} s")
        with self._lock:
            self._now_ns += round(seconds * NS_PER_S)

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait for the event or for manual time; polls, since an event cannot be asked to call back."""
        deadline = self.now_ns() + round(timeout_s * NS_PER_S)
        while not event.wait(_POLL_S):
            if self.now_ns() >= deadline:
                return event.is_set()
        return True


def clock(milliseconds: float, decimals: int = 3, *, hours: bool = False, mark: str = ".") -> str:
    """Media time as ``mm:ss.mmm``, or ``h:mm:ss.mmm`` after an hour.

    :param decimals: of seconds
    :param hours: show them always, with two digits, as captions want it
    :param mark: before the decimals
    """
    unit = 10**decimals
    whole, rest = divmod(round(milliseconds * unit / 1000), unit)
    minutes, seconds = divmod(whole, 60)
    above, minutes = divmod(minutes, 60)
    tail = f"{minutes:02d}:{seconds:02d}" + (f"{mark}{rest:0{decimals}d}" if decimals else "")
    return f"{above:02d}:{tail}" if hours else f"{above}:{tail}" if above else tail
