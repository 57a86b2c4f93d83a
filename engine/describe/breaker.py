"""A circuit breaker without clock or network: when to leave a failing endpoint alone, and when to try it again.

*closed*: every call may go. After :attr:`~CircuitBreaker.threshold` failures in a row it *opens*: nobody may call until
the pause is over. Then it is *half open*: one call goes as a probe. Its success closes the breaker; its failure opens
it again for twice the pause, up to the longest one.
"""

from __future__ import annotations

import threading
from typing import Literal, TypeAlias

State: TypeAlias = Literal["closed", "open", "half-open"]


class CircuitBreaker:
    """Thread-safe. Times are seconds on any monotonic clock, handed in by the caller.

    :param threshold: failures in a row that open it
    :param pause_s: first and longest time that it stays open. The longest bounds how late a recovered
        endpoint is noticed.
    :param longest_s: as ``pause_s``
    """

    def __init__(self, threshold: int = 5, pause_s: float = 1.0, longest_s: float = 4.0) -> None:
        if threshold < 1 or not 0 < pause_s <= longest_s:
            raise ValueError(f"threshold and pauses must be positive: {threshold}, {pause_s}, {longest_s}")
        self.threshold = threshold
        self._first_s = pause_s
        self._longest_s = longest_s
        self._lock = threading.Lock()
        self._failures = 0
        self._pause_s = pause_s
        self._open_until: float | None = None
        self._probing_until = 0.0

    def admit(self, now: float, patience_s: float = 10.0) -> float:
        """Ask before a call. Every admitted call reports back with :meth:`succeeded`, :meth:`failed` or
        :meth:`withdrawn`.

        :param patience_s: after so long a probe that never reported back counts as lost
        :returns: 0 when the call may go, else seconds to wait before asking again
        """
        with self._lock:
            if self._open_until is None:
                return 0.0
            wait = max(self._open_until, self._probing_until) - now
            if wait > 0:
                return min(wait, self._longest_s)
            self._probing_until = now + patience_s
            return 0.0

    def succeeded(self) -> bool:
        """The endpoint answered.

        :returns: whether this closed the breaker
        """
        with self._lock:
            was_open = self._open_until is not None
            self._failures = 0
            self._pause_s = self._first_s
            self._open_until = None
            self._probing_until = 0.0
            return was_open

    def failed(self, now: float) -> bool:
        """A call failed in a way that may pass.

        :returns: whether this opened a closed breaker
        """
        with self._lock:
            self._failures += 1
            if self._open_until is not None:
                if (
                    now >= self._open_until
                ):  # the probe; calls admitted before the breaker opened change nothing
                    self._pause_s = min(2 * self._pause_s, self._longest_s)
                    self._open_until = now + self._pause_s
                    self._probing_until = 0.0
                return False
            if self._failures < self.threshold:
                return False
            self._open_until = now + self._pause_s
            return True

    def withdrawn(self) -> None:
        """An admitted call proved nothing, such as one that had hardly any time; somebody else may probe."""
        with self._lock:
            self._probing_until = 0.0

    def state(self, now: float) -> State:
        """What :meth:`admit` would find."""
        with self._lock:
            if self._open_until is None:
                return "closed"
            return "open" if now < self._open_until else "half-open"
