"""The events of a run once more, in order of media time, at any pace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from mellm.engine.results.run_reader import Run, media_ns
from mellm.stream.protocol.events import Event

Sleep = Callable[[float], object]
"""Waits so many seconds."""


def events(run: Run) -> Iterator[Event]:
    """Every event of the run as on the wire, recording after recording, by media time."""
    for _, part in run.each():
        yield from sorted(part.events, key=media_ns)


def paced(found: Iterable[Event], speed: float, sleep: Sleep) -> Iterator[Event]:
    """The same, each at its time.

    :param speed: 1 is real time, 10 ten times as fast, 0 without any waiting
    """
    before: tuple[str, int] | None = None
    for event in found:
        at = media_ns(event)
        if speed and before is not None and before[0] == event.source:
            sleep(max(0, at - before[1]) / 1e9 / speed)
        before = event.source, at
        yield event
