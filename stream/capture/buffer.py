"""A queue of pictures between a reader and the analysis, bounded in seconds and in bytes.

Policies, by name:

``newest``
    for live sources. When the bound is reached, everything that waits is dropped and replaced by one
    :class:`~mellm.stream.frames.Gap`; the analysis goes on with the newest picture. A whole stretch goes, and no holes
    at random. Before that happens the rate is lowered evenly (:meth:`MediaBuffer.thin`,
    :mod:`mellm.engine.analysis.overload`).
``block``
    for recordings. The reader waits.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Literal, TypeAlias

from mellm.stream.frames import Frame, Gap, Item

Policy: TypeAlias = Literal["newest", "block"]


@dataclass(frozen=True, slots=True)
class BufferOptions:
    """Bounds of a :class:`MediaBuffer`.

    :param seconds: media time between the oldest and the newest waiting picture
    :param max_bytes: pixels that wait; a single picture always fits
    """

    seconds: float = 1.0
    max_bytes: int = 128 * 2**20

    def __post_init__(self) -> None:
        if not self.seconds > 0 or self.max_bytes <= 0:
            raise ValueError(f"a buffer holds something: {self.seconds} s, {self.max_bytes} bytes")


class MediaBuffer:
    """Hands items from one reader thread to one analysing thread, in order."""

    def __init__(self, policy: Policy, options: BufferOptions | None = None) -> None:
        self._policy = policy
        self._options = options or BufferOptions()
        self._span_ns = round(self._options.seconds * 1e9)
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._frames = 0
        self._overflowed = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: Item) -> bool:
        """Add an item; under ``block``, wait for room.

        :returns: whether it was taken; ``False`` once the buffer is closed
        """
        with self._changed:
            if self._policy == "block":
                while not self._closed and self._over(item):
                    self._changed.wait()
            if self._closed:
                return False
            if self._policy == "newest" and self._over(item):
                self._drop_for(item)
            self._append(item)
            self._changed.notify_all()
            return True

    def get(self, timeout_s: float | None = None) -> Item | None:
        """The oldest item, or ``None`` when none came within ``timeout_s`` or none will come any more."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while not self._items:
                left = None if deadline is None else deadline - time.monotonic()
                if self._closed or (left is not None and left <= 0):
                    return None
                self._changed.wait(left)
            item = self._items.popleft()
            self._forget(item)
            self._changed.notify_all()
            return item

    def thin(self, keep_every: int) -> int:
        """Keep one of every so many pictures that wait, the newest among them.

        :param keep_every: 0 keeps none
        :returns: how many went
        """
        with self._changed:
            frames, kept = self._frames, deque[Item]()
            count = 0
            for item in reversed(self._items):
                if isinstance(item, Frame):
                    if keep_every and count % keep_every == 0:
                        kept.appendleft(item)
                    count += 1
                else:
                    kept.appendleft(item)
            self._items = kept
            held = [i for i in kept if isinstance(i, Frame)]
            self._frames, self._bytes = len(held), sum(i.picture.nbytes for i in held)
            self._changed.notify_all()
            return frames - self._frames

    def close(self, *, discard: bool = False) -> int:
        """No more items; what waits can still be taken, unless it is discarded.

        :returns: how many frames were discarded
        """
        with self._changed:
            self._closed = True
            discarded = 0
            if discard:
                discarded, self._frames, self._bytes = self._frames, 0, 0
                self._items.clear()
            self._changed.notify_all()
            return discarded

    @property
    def drained(self) -> bool:
        """Whether it is closed and nothing waits."""
        with self._changed:
            return self._closed and not self._items

    @property
    def overflowed(self) -> int:
        """Frames dropped because the analysis was too slow."""
        with self._changed:
            return self._overflowed

    @property
    def lag_s(self) -> float:
        """Media time between the oldest and the newest waiting picture."""
        with self._changed:
            ends = [i.pts_ns for i in self._items if isinstance(i, Frame)]
            return (ends[-1] - ends[0]) / 1e9 if ends else 0.0

    def __len__(self) -> int:
        with self._changed:
            return self._frames

    def _over(self, item: Item) -> bool:
        oldest = next((i for i in self._items if isinstance(i, Frame)), None)
        if oldest is None or not isinstance(item, Frame):
            return False
        return (
            item.pts_ns - oldest.pts_ns > self._span_ns
            or self._bytes + item.picture.nbytes > self._options.max_bytes
        )

    def _drop_for(self, item: Item) -> None:
        """Replace all that waits by one gap up to ``item``."""
        assert isinstance(item, Frame)
        first = self._items[0]
        lost_before = sum(i.frames for i in self._items if isinstance(i, Gap))
        gap = Gap(
            item.source,
            item.segment,
            min(first.from_ns if isinstance(first, Gap) else first.pts_ns, item.pts_ns),
            item.pts_ns,
            "overflow",
            self._frames + lost_before,
        )
        self._overflowed += self._frames
        self._items.clear()
        self._frames = self._bytes = 0
        self._append(gap)

    def _append(self, item: Item) -> None:
        self._items.append(item)
        if isinstance(item, Frame):
            self._frames += 1
            self._bytes += item.picture.nbytes

    def _forget(self, item: Item) -> None:
        if isinstance(item, Frame):
            self._frames -= 1
            self._bytes -= item.picture.nbytes
