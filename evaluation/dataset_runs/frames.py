"""Frames of a data set as the engine reads any recording: media time is (label - first label) / frames a second.

A frame that is missing, or that cannot be decoded, leaves its time empty. So a video with holes keeps its clock, which
a folder read picture by picture would lose.
"""

from __future__ import annotations

from fractions import Fraction

from mellm.evaluation.dataset_runs.recordings import Recording
from mellm.evaluation.datasets import DatasetError
from mellm.stream.clock import Clock, MonotonicClock
from mellm.stream.frames import SourceInfo
from mellm.stream.sources.placed import PlacedSource
from mellm.stream.sources.timeline import Timeline
from mellm.stream.sources.timestamps import StampMender


class LabelledFrames(PlacedSource):
    """A :class:`mellm.stream.sources.Source` on a recording.

    :ivar missing: labels between the first and the last that have no file
    :ivar unreadable: labels whose file is no picture
    :raises DatasetError: no frames, or no frame rate
    """

    def __init__(self, recording: Recording, clock: Clock | None = None) -> None:
        super().__init__()
        self.labels = recording.labels()
        self.fps = recording.rate()
        self.first, self.last = self.labels[0], self.labels[-1]
        self.missing = self.last - self.first + 1 - len(self.labels)
        self.unreadable: list[int] = []
        self._frames = recording.frames
        self._period = Fraction(1_000_000_000) / Fraction(self.fps).limit_denominator(1_000_000)
        self._next = 0
        info = SourceInfo(
            id=recording.key,
            uri_redacted=str(recording.frames.folder),
            kind="images",
            width=0,
            height=0,
            declared_fps=self.fps,
            declared_duration_ns=self.time_of(self.last + 1),
        )
        self._timeline = Timeline(
            info, StampMender(round(self._period), wrap_ns=None), clock or MonotonicClock()
        )

    def time_of(self, label: int) -> int:
        """Media time of a label, nanoseconds."""
        return round((label - self.first) * self._period)

    def label_at(self, t_ns: int) -> int:
        """The label nearest to a media time, within the recording."""
        return min(max(self.first + round(t_ns / self._period), self.first), self.last)

    def close(self) -> None:
        """Nothing is held open."""
        self._next = len(self.labels)

    def _advance(self) -> None:
        if self._next >= len(self.labels):
            self._ready.extend(self._timeline.tail())
            self._end = self._timeline.report()
            return
        label, self._next = self.labels[self._next], self._next + 1
        try:
            image = self._frames.read(label)
        except (DatasetError, OSError):
            self.unreadable.append(label)
            self._timeline.lose()
        else:
            self._ready.extend(self._timeline.place(image, self.time_of(label)))
