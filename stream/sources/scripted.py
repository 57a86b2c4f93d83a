"""A source that plays a script: for tests of whatever reads sources."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from mellm.stream.frames import Item, SourceInfo
from mellm.stream.sources.base import EndReport
from mellm.stream.sources.placed import PlacedSource


class ScriptedSource(PlacedSource):
    """Yields items, raises errors, waits for events, then ends.

    :param script: a :class:`~mellm.stream.frames.Frame` or :class:`~mellm.stream.frames.Gap` is returned, an exception
        is raised, an event is waited for without end, as FFmpeg does in a dead connection
    """

    def __init__(self, info: SourceInfo, script: Iterable[Item | Exception | threading.Event]) -> None:
        super().__init__()
        self._info = info
        self._script = iter(script)
        self.closed = False

    @property
    def info(self) -> SourceInfo:
        """As given."""
        return self._info

    def _advance(self) -> None:
        for step in self._script:
            if isinstance(step, threading.Event):
                step.wait()
            elif isinstance(step, Exception):
                raise step
            else:
                self._ready.append(step)
                return
        self._end = EndReport(False, "", None, 0, 0, 0, 0)

    def close(self) -> None:
        """Note it."""
        self.closed = True
