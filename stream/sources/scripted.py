"""A source that plays a script: for tests of whatever reads sources."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from mellm.stream.closing import Closing
from mellm.stream.frames import Item, SourceInfo
from mellm.stream.sources.base import EndReport


class ScriptedSource(Closing):
    """Yields items, raises errors, waits for events, then ends.

    :param script: a :class:`~mellm.stream.frames.Frame` or :class:`~mellm.stream.frames.Gap` is returned, an exception
        is raised, an event is waited for without end, as FFmpeg does in a dead connection
    """

    def __init__(self, info: SourceInfo, script: Iterable[Item | Exception | threading.Event]) -> None:
        self._info = info
        self._script = iter(script)
        self._end: EndReport | None = None
        self.closed = False

    @property
    def info(self) -> SourceInfo:
        """As given."""
        return self._info

    @property
    def end(self) -> EndReport | None:
        """Without complaint, once the script is over."""
        return self._end

    @property
    def pixel_format(self) -> str:
        """Scripts hold finished pictures."""
        return "bgr24"

    def read(self) -> Item | None:
        """The next step of the script, ``None`` behind its last."""
        for step in self._script:
            if isinstance(step, threading.Event):
                step.wait()
            elif isinstance(step, Exception):
                raise step
            else:
                return step
        self._end = EndReport(False, "", None, 0, 0, 0, 0)
        return None

    def close(self) -> None:
        """Note it."""
        self.closed = True
