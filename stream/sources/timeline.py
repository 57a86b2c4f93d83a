"""Numbers pictures: segment, index, media time, gaps. Shared by every source that decodes something."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mellm.stream.clock import Clock
from mellm.stream.frames import Frame, Gap, GapReason, Item, SourceInfo
from mellm.stream.sources.base import EndReport
from mellm.stream.sources.timestamps import RateMeter, StampMender

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_INFO_EVERY: Final = 32
_EARLY_MIN_NS: Final = 200_000_000


class Timeline:
    """Gives each decoded picture its place, and remembers what was lost on the way.

    :param info: what the header said; the picture size follows the pictures
    :param mender: judge of the time stamps
    :param first_segment: number of the first segment
    """

    def __init__(self, info: SourceInfo, mender: StampMender, clock: Clock, first_segment: int = 0) -> None:
        self._info = info
        self._mender = mender
        self._clock = clock
        self._rate = RateMeter()
        self._segment = first_segment
        self._index = 0
        self._format: tuple[object, ...] | None = None
        self._first_ns: int | None = None
        self._pending = 0
        self.frames = 0
        self.lost = 0

    @property
    def info(self) -> SourceInfo:
        """Facts as they are now."""
        return self._info

    @property
    def damaged(self) -> bool:
        """Whether pictures were lost since the last good one."""
        return self._pending > 0

    @property
    def last_ns(self) -> int | None:
        """Media time of the last frame."""
        return self._mender.last_ns

    def lose(self, frames: int = 1) -> None:
        """Note pictures that arrived and could not be decoded; a gap is emitted before the next good one."""
        self._pending += frames
        self.lost += frames

    def place(
        self, image: NDArray[np.uint8], raw_ns: int | None, *, rotation: int = 0, layout: str = ""
    ) -> Iterator[Item]:
        """The picture as a frame, with a gap before it where something is missing.

        :param raw_ns: time stamp as the source gave it
        :param rotation: degrees already applied
        :param layout: pixel format; a change of it begins a segment, as does a change of size
        """
        last = self._mender.last_ns
        stamp = self._mender.push(raw_ns)
        shape = (image.shape, rotation, layout)
        changed = self._format is not None and shape != self._format
        if stamp.new_segment or changed:
            self._segment += 1
            self._index = 0
        if shape != self._format:
            self._format = shape
            height, width = image.shape[:2]
            self._info = replace(self._info, width=width, height=height, rotation=rotation)
        self._index += self._pending
        if self._pending or stamp.gap_from_ns is not None:
            yield self._gap(stamp.pts_ns if last is None else last, stamp.pts_ns)
        self._rate.push(stamp)
        if self._first_ns is None:
            self._first_ns = stamp.pts_ns
        if self.frames % _INFO_EVERY == _INFO_EVERY - 1:
            self._measure()
        self.frames += 1
        frame = Frame(
            self._info.id,
            self._segment,
            self._index,
            stamp.pts_ns,
            self._clock.now_ns(),
            image,
            stamp.repaired,
        )
        self._index += 1
        yield frame

    def tail(self) -> Iterator[Item]:
        """What is missing after the last good picture."""
        last = self._mender.last_ns
        if self._pending and last is not None:
            yield self._gap(last, last + self._pending * self._mender.step_ns)

    def report(self, trouble: str = "") -> EndReport:
        """The end: compare what was seen with what the header declared.

        :param trouble: what is known to be wrong with the end of the recording
        """
        self._measure()
        last = self._mender.last_ns
        seen = 0 if last is None or self._first_ns is None else last - self._first_ns + self._mender.step_ns
        declared = self._info.declared_duration_ns
        missing = 0 if declared is None else declared - seen
        short = missing > max(_EARLY_MIN_NS, 5 * self._mender.step_ns)
        message = ""
        if short and declared is not None:
            message = f"it ends at {seen / 1e9:.2f} s, and its header declares {declared / 1e9:.2f} s"
        elif trouble:
            message = f"it could be read up to {seen / 1e9:.2f} s only"
        if message and trouble:
            message += f": {trouble}"
        return EndReport(
            early=bool(message),
            message=message,
            declared_duration_ns=declared,
            seen_ns=seen,
            frames=self.frames,
            lost=self.lost,
            repaired=self._mender.repaired,
        )

    def _gap(self, from_ns: int, to_ns: int) -> Gap:
        reason: GapReason = "decode" if self._pending else "pts"
        gap = Gap(self._info.id, self._segment, from_ns, to_ns, reason, self._pending)
        self._pending = 0
        return gap

    def _measure(self) -> None:
        fps = self._rate.fps
        if fps is not None:
            self._info = replace(self._info, measured_fps=round(fps, 3))
