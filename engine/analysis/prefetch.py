"""Work ahead on another thread: the next items are made while the last ones are used.

Reading a recording and finding its faces takes about as long as measuring their motion. On two cores both at the same
time are nearly twice as fast, and since the order of items does not change, neither do results.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from queue import Empty, Full, Queue
from typing import Final, Generic, Self, TypeVar

from mellm.engine.analysis.watchdog import stacks
from mellm.stream.errors import InternalError

logger = logging.getLogger(__name__)

T = TypeVar("T")

DEPTH: Final = 2
"""Items made ahead: landmarks are placed in every second frame, so two even out what there is to do. More was measured
to be no faster, and a frame of 4096×2304 has 28 MB."""

STILL_S: Final = 60.0
"""For one item: a frame takes milliseconds to read and to analyse."""

LEAVE_S: Final = 5.0
"""For the thread to end; one that stands still is left behind."""

_POLL_S: Final = 0.1


class Prefetcher(Generic[T], Iterator[T]):
    """Runs an iterable on a thread of its own, at most ``depth`` items ahead of whoever takes them.

    An exception of the iterable is raised in its place among the items. Leaving the ``with`` block ends the thread at
    its next item and waits for it, so what it uses may be closed afterwards.

    :param still_s: an iterable that brings no item for so long stands still: whoever waits gets an
        :class:`~mellm.stream.errors.InternalError`, and the thread is left behind
    """

    def __init__(
        self,
        items: Iterable[T],
        *,
        depth: int = DEPTH,
        name: str = "mellm-ahead",
        still_s: float | None = None,
    ) -> None:
        self._still_s = STILL_S if still_s is None else still_s
        self._stands_still = False
        self._items = items
        self._made: Queue[T | _End] = Queue(depth)
        self._leaving = threading.Event()
        self._ended: _End | None = None
        # a daemon, so that a second Ctrl-C need not wait for a read that hangs
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._leaving.set()
        self._thread.join(LEAVE_S if self._stands_still else None)

    def __next__(self) -> T:
        if self._ended is None:
            try:
                made = self._made.get(timeout=self._still_s)
            except Empty:
                self._stands_still = True
                logger.error("%s stands still\n%s", self._thread.name, stacks())
                raise InternalError(
                    f"the analysis has stood still for {self._still_s:g} s",
                    remedy="the log says where; try it without an own describer or spotter",
                ) from None
            if not isinstance(made, _End):
                return made
            self._ended = made
            if made.error is not None:
                raise made.error
        raise StopIteration

    def _work(self) -> None:
        end = _End()
        try:
            for item in self._items:
                if not self._put(item):
                    return
        except BaseException as error:  # whatever it is, it belongs to whoever takes the items
            end = _End(error)
        self._put(end)

    def _put(self, item: T | _End) -> bool:
        while not self._leaving.is_set():
            try:
                self._made.put(item, timeout=_POLL_S)
            except Full:
                continue
            return True
        return False


class _End:
    """Nothing more comes."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
