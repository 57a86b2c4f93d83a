"""Numbers pictures: segment, index, media time, gaps. Shared by every source that decodes something."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mellm.stream.clock import Clock
from mellm.stream.errors import SourceTimeUnknown
from mellm.stream.frames import Frame, Gap, GapReason, Item, Picture, Pixels, SourceInfo
from mellm.stream.sources.base import EndReport
from mellm.stream.sources.repeats import RepeatDetector
from mellm.stream.sources.timestamps import RateMeter, StampMender

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_INFO_EVERY: Final = 32
_EARLY_MIN_NS: Final = 200_000_000
MAX_GUESSED: Final = 0.1
"""Share of guessed stamps over which a recording is refused."""


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
        self._repeats = RepeatDetector()
        self._distinct = [0, 0]  # pictures that are no repeats, nanoseconds between them without holes
        self._last_distinct_ns: int | None = None
        self._tail_ns: int | None = None
        self._missing: GapReason = "decode"
        self._segment = first_segment
        self._index = 0
        self._format: tuple[object, ...] | None = None
        self._first_ns: int | None = None
        self._pending = 0
        self.frames = 0
        self.lost = 0
        self.repeated = 0

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
        self._missing = "decode"

    def skip(self, frames: int) -> None:
        """Note pictures that were never there, though the numbering of the others has room for them."""
        if not self._pending:
            self._missing = "pts"
        self._pending += frames

    def tell(self, *remarks: str) -> None:
        """Add to what a person should know about the source."""
        new = tuple(r for r in remarks if r and r not in self._info.remarks)
        self._info = replace(self._info, remarks=self._info.remarks + new)

    def judge_time(self, shown: str) -> None:
        """Refuse a recording for whose pictures nobody knows when they were taken.

        :raises SourceTimeUnknown: more than :data:`MAX_GUESSED` of the stamps are guesses
        """
        guessed = self._mender.guessed
        if guessed > max(MAX_GUESSED * self.frames, 2):
            raise SourceTimeUnknown(
                f"{shown}: for {guessed} of {self.frames} pictures the time had to be guessed "
                f"({100 * guessed / self.frames:.0f} %)",
                remedy="give the true times with --stamps FILE or the rate with --fps, or accept it with "
                "--accept-guessed-time",
            )

    def place(
        self,
        picture: Picture | NDArray[np.uint8],
        raw_ns: int | None,
        *,
        rotation: int = 0,
        flipped: bool = False,
        layout: str = "",
        lasts_ns: int | None = None,
    ) -> Iterator[Item]:
        """The picture as a frame, with a gap before it where something is missing.

        :param raw_ns: time stamp as the source gave it
        :param rotation: degrees already applied
        :param flipped: whether a flip was, before them
        :param lasts_ns: how long the source says that it is shown
        :param layout: pixel format; a change of it begins a segment, as does a change of size
        """
        last = self._mender.last_ns
        stamp = self._mender.push(raw_ns)
        picture = picture if isinstance(picture, Picture) else Pixels(picture)
        shape = (picture.shape, rotation, flipped, layout)
        changed = self._format is not None and shape != self._format
        if stamp.new_segment or changed:
            self._segment += 1
            self._index = 0
        if shape != self._format:
            self._format = shape
            height, width = picture.shape[:2]
            self._info = replace(self._info, width=width, height=height, rotation=rotation, flipped=flipped)
        self._index += self._pending
        if self._pending or stamp.gap_from_ns is not None:
            yield self._gap(stamp.pts_ns if last is None else last, stamp.pts_ns)
        self._rate.push(stamp)
        if stamp.new_segment or changed:
            self._repeats.reset()
        repeated = self._repeats.push(picture)
        self._count(stamp.pts_ns, repeated, hole=stamp.gap_from_ns is not None)
        self._tail_ns = lasts_ns
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
            picture,
            stamp.repaired,
            repeated,
        )
        self._index += 1
        yield frame

    def tail(self) -> Iterator[Item]:
        """What is missing after the last good picture."""
        last = self._mender.last_ns
        if self._pending and last is not None:
            yield self._gap(last, last + self._pending * self._mender.step_ns)

    def report(self, trouble: str = "", *, whole: bool = False) -> EndReport:
        """The end: compare what was seen with what the header declared.

        :param trouble: what is known to be wrong with the end of the recording
        :param whole: no byte of the recording is missing, so a long last picture is not an early end
        """
        self._measure()
        last = self._mender.last_ns
        seen = (
            0
            if last is None or self._first_ns is None
            else last - self._first_ns + max(self._mender.step_ns, self._tail_ns or 0)
        )
        declared = self._info.declared_duration_ns
        missing = 0 if declared is None else declared - seen
        short = missing > max(_EARLY_MIN_NS, 5 * self._mender.step_ns)
        message = ""
        if short and declared is not None and (trouble or not whole):
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
            guessed=self._mender.guessed,
            repeated=self.repeated,
        )

    def _gap(self, from_ns: int, to_ns: int) -> Gap:
        reason: GapReason = self._missing if self._pending else "pts"
        gap = Gap(self._info.id, self._segment, from_ns, to_ns, reason, self._pending)
        self._pending = 0
        return gap

    def _measure(self) -> None:
        fps = self._rate.fps
        if fps is not None:
            self._info = replace(self._info, measured_fps=round(fps, 3))
        count, span_ns = self._distinct
        if span_ns:
            self._info = replace(self._info, effective_fps=round(count * 1e9 / span_ns, 3))

    def _count(self, pts_ns: int, repeated: bool, *, hole: bool) -> None:
        self.repeated += repeated
        if repeated:
            return
        if self._last_distinct_ns is not None and not hole:
            self._distinct[0] += 1
            self._distinct[1] += pts_ns - self._last_distinct_ns
        self._last_distinct_ns = pts_ns
