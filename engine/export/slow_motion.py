"""Stretches of a video played again, slower: which frames, and when. Knows no codec and no picture's content."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

import cv2
import numpy as np

from mellm.detectors.types import U8
from mellm.stream.errors import UsageError

With = TypeVar("With")
Paint: TypeAlias = Callable[[U8, float, With, str], U8]
"""Picture, time in milliseconds, what goes with it, note → picture."""

FRAME_MS = 40.0
"""How long a frame lasts that nothing follows."""

QUALITY = 95
"""Of JPEG: pictures that wait for their repeat are packed, for half a second at 200 a second is 100 of them."""


@dataclass(frozen=True, slots=True)
class Slow:
    """How expressions are repeated.

    :param repeat: how often
    :param factor: how many times slower
    :raises UsageError: fewer than one repeat, or not slower
    """

    repeat: int = 1
    factor: float = 4.0

    def __post_init__(self) -> None:
        if not 1 <= self.repeat <= 20 or not 1 <= self.factor <= 100:
            raise UsageError(
                f"{self.repeat} repeats, {self.factor:g} times slower",
                remedy="1 to 20 repeats, 1 to 100 times slower",
            )


@dataclass(frozen=True, slots=True)
class Moment(Generic[With]):
    """A picture, when it is shown (milliseconds), and what goes with it."""

    image: U8
    at_ms: float
    extra: With


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch that is repeated, milliseconds, both ends included."""

    id: str
    from_ms: float
    to_ms: float


@dataclass(slots=True)
class _Open(Generic[With]):
    window: Window
    packed: list[tuple[bytes, float, With]] = field(default_factory=list)

    def add(self, packed: bytes, moment: Moment[With]) -> None:
        self.packed.append((packed, moment.at_ms, moment.extra))

    def moments(self) -> list[Moment[With]]:
        return [Moment(_unpacked(data), at, extra) for data, at, extra in self.packed]


class Buffer(Generic[With]):
    """Keeps the moments of windows until they are over. Windows may overlap; memory holds those that are open."""

    def __init__(self, windows: Iterable[Window]) -> None:
        self._waiting = sorted(windows, key=lambda w: w.from_ms, reverse=True)
        self._open: list[_Open[With]] = []

    def take(self, moment: Moment[With]) -> list[tuple[Window, list[Moment[With]]]]:
        """The next moment: windows that ended before it, with their moments; one that nothing lay in is left out."""
        over = [each for each in self._open if each.window.to_ms < moment.at_ms]
        self._open = [each for each in self._open if each.window.to_ms >= moment.at_ms]
        while self._waiting and self._waiting[-1].from_ms <= moment.at_ms:
            window = self._waiting.pop()
            if window.to_ms >= moment.at_ms:
                self._open.append(_Open(window))
        if self._open:
            packed = _packed(moment.image)
            for each in self._open:
                each.add(packed, moment)
        return [(each.window, each.moments()) for each in over if each.packed]

    def rest(self) -> list[tuple[Window, list[Moment[With]]]]:
        """There are no more moments: windows that are still open."""
        found = [(each.window, each.moments()) for each in self._open if each.packed]
        self._open = []
        return found


def stretched(
    moments: Iterable[Moment[With]], windows: Iterable[Window], slow: Slow | None, paint: Paint[With]
) -> Iterator[tuple[U8, int]]:
    """Pictures with their times (nanoseconds): every moment once, and after each window its repeats.

    :param windows: what is repeated; nothing for ``slow`` ``None``
    """
    buffer = Buffer[With](windows if slow is not None else ())
    shift = 0.0
    last = None
    for moment in moments:
        for _, kept in buffer.take(moment):
            assert slow is not None
            assert last is not None
            begin = moment.at_ms + shift
            for picture, at in _again(kept, slow, paint, begin):
                yield picture, round(1e6 * at)
            shift += _length(kept, slow)
        yield paint(moment.image, moment.at_ms, moment.extra, ""), round(1e6 * (moment.at_ms + shift))
        last = moment
    for _, kept in buffer.rest():
        assert slow is not None
        assert last is not None
        begin = last.at_ms + shift + _gap(kept)
        for picture, at in _again(kept, slow, paint, begin):
            yield picture, round(1e6 * at)
        shift += _length(kept, slow)


def _again(
    kept: Sequence[Moment[With]], slow: Slow, paint: Paint[With], begin: float
) -> Iterator[tuple[U8, float]]:
    each = _length(kept, slow) / slow.repeat
    for number in range(slow.repeat):
        note = f"{slow.factor:g} times slower, {number + 1} of {slow.repeat}"
        for moment in kept:
            at = begin + number * each + slow.factor * (moment.at_ms - kept[0].at_ms)
            yield paint(moment.image, moment.at_ms, moment.extra, note), at


def _length(kept: Sequence[Moment[With]], slow: Slow) -> float:
    """Of all repeats together, milliseconds."""
    return slow.repeat * slow.factor * (kept[-1].at_ms - kept[0].at_ms + _gap(kept))


def _gap(kept: Sequence[Moment[With]]) -> float:
    """How long the last picture stays: as long as the others, on average."""
    return (kept[-1].at_ms - kept[0].at_ms) / (len(kept) - 1) if len(kept) > 1 else FRAME_MS


def _packed(image: U8) -> bytes:
    ok, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
    assert ok
    return data.tobytes()


def _unpacked(data: bytes) -> U8:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)
