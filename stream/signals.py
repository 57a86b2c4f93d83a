"""Ctrl-C and SIGTERM: the first one asks, the second one insists."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def until_signal(
    asked: Callable[[], object] | None = None, stop: threading.Event | None = None
) -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; a second one raises :class:`KeyboardInterrupt` at once.

    Outside the main thread, which alone hears signals, nobody sets it.

    :param asked: called with the first one, in the middle of whatever the main thread does; a loop wants
        ``lambda: loop.call_soon_threadsafe(…)``
    :param stop: the event, where somebody has it already
    """
    stop = stop or threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def heard(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        if asked is not None:
            asked()

    before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
