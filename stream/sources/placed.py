"""What sources share that put pictures on a timeline."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque

from mellm.stream.closing import Closing
from mellm.stream.frames import Item, SourceInfo
from mellm.stream.sources.base import EndReport
from mellm.stream.sources.timeline import Timeline


class PlacedSource(Closing):
    """A :class:`~mellm.stream.sources.base.Source` that hands on what its timeline places.

    :ivar _timeline: set by whoever derives from this, as soon as the facts are known
    """

    _timeline: Timeline

    def __init__(self) -> None:
        self._ready: deque[Item] = deque()
        self._end: EndReport | None = None

    @property
    def info(self) -> SourceInfo:
        """Facts; size and measured rate follow what arrives."""
        return self._timeline.info

    @property
    def end(self) -> EndReport | None:
        """How it ended."""
        return self._end

    @property
    def pixel_format(self) -> str:
        """What pictures decode to."""
        return "bgr24"

    def read(self) -> Item | None:
        """The next frame or gap, ``None`` at the end.

        :raises SourceError: the stream broke, or a recording held no picture that could be decoded
        """
        while not self._ready:
            if self._end is not None:
                return None
            self._advance()
        return self._ready.popleft()

    @abstractmethod
    def _advance(self) -> None:
        """Make the next items ready, or none yet, or set the end."""
