"""When a decoded picture is shown: presentation stamps, decode stamps put in order, a declared rate, a table, arrival.

A raw time leaves here in nanoseconds of media time, before :mod:`mellm.stream.sources.timestamps` judges it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

import av

from mellm.stream.clock import Clock
from mellm.stream.errors import SourceTimeUnknown
from mellm.stream.frames import TimeFrom
from mellm.stream.sources.base import SourceOptions
from mellm.stream.sources.facts import stream_rate
from mellm.stream.sources.stamps import read_stamps

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


class TimeLine(Protocol):
    """Gives decoded pictures their raw times. Fed by one thread, in the order of decoding.

    :ivar origin_ns: what the source's clock shows at 0, ``None`` where the first picture is 0 whatever it shows
    :ivar scale: seconds that a player shows for one second of media time
    :ivar fps: of streams whose pictures are counted, else ``None``
    """

    time_from: TimeFrom
    origin_ns: int | None
    scale: float
    fps: float | None
    remark: str

    def of(self, frame: VideoFrame, time_base: Fraction | None) -> int | None:
        """Raw time of a picture that came out of the decoder."""
        ...

    def lost(self) -> None:
        """A picture that did not come out."""
        ...

    def lasts(self, frame: VideoFrame, time_base: Fraction | None) -> int | None:
        """How long the container says that it is shown."""
        ...


class Stamps:
    """Stamps of the container.

    :param decoding: they come in the order of decoding. A decoder hands a picture out once it has read as many packets
        more as pictures may be out of order: the stamp of the last of these is later than the picture's time by what it
        is for the first picture, which is at 0
    """

    fps: float | None = None

    def __init__(
        self, origin_ns: int | None, scale: float = 1.0, *, decoding: bool, remark: str = ""
    ) -> None:
        self.origin_ns, self.scale, self.remark = 0 if decoding else origin_ns, scale, remark
        self.time_from: TimeFrom = "decode stamps" if decoding else "presentation stamps"
        self._first_ns: int | None = None

    def of(self, frame: VideoFrame, time_base: Fraction | None) -> int | None:
        """See :class:`TimeLine`."""
        base = frame.time_base or time_base
        decoding = self.time_from == "decode stamps"
        ticks = frame.dts if decoding else frame.pts
        if ticks is None or not base:
            return None
        at = nanoseconds(ticks, base)
        if decoding:
            self._first_ns = at if self._first_ns is None else self._first_ns
        at -= self._first_ns or self.origin_ns or 0
        return at if self.scale == 1.0 else round(at / self.scale)

    def lost(self) -> None:
        """Stamps say it themselves."""

    def lasts(self, frame: VideoFrame, time_base: Fraction | None) -> int | None:
        """See :class:`TimeLine`."""
        base = frame.time_base or time_base
        return round(nanoseconds(frame.duration, base) / self.scale) if base and frame.duration else None


class Counted:
    """Pictures that are counted, since nothing stamps them.

    :param times_ns: of each picture, from a table
    :param fps: else their rate
    """

    origin_ns: int | None = 0
    scale = 1.0

    def __init__(
        self, time_from: TimeFrom, fps: Fraction, times_ns: Sequence[int] | None = None, remark: str = ""
    ) -> None:
        self.time_from = time_from
        self.fps: float | None = float(fps)
        self.remark = remark
        self._period = 1_000_000_000 / fps
        self._times = times_ns
        self._count = 0

    def of(self, frame: VideoFrame, time_base: Fraction | None) -> int | None:
        """See :class:`TimeLine`."""
        number, self._count = self._count, self._count + 1
        if self._times is None:
            return None if self.time_from == "guess" and number else round(number * self._period)
        return self._times[number] if number < len(self._times) else None

    def lost(self) -> None:
        """It has a place in the count."""
        self._count += 1

    def lasts(self, frame: VideoFrame, time_base: Fraction | None) -> int | None:
        """One step, as all."""
        return None


class Arrival:
    """Pictures are stamped by this machine as they come: multipart JPEG over HTTP carries no time."""

    time_from: TimeFrom = "arrival"
    origin_ns: int | None = None
    scale = 1.0
    fps: float | None = None
    remark = ""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def of(self, frame: VideoFrame, time_base: Fraction | None) -> int | None:
        """See :class:`TimeLine`."""
        return self._clock.now_ns()

    def lost(self) -> None:
        """Time passes by itself."""

    def lasts(self, frame: VideoFrame, time_base: Fraction | None) -> int | None:
        """Nobody knows."""
        return None


GUESSED_FPS = Fraction(25)
"""What a stream that says nothing is played at by most programs."""


def counted(
    stream: VideoStream, shown: str, kind: str, options: SourceOptions, fps: float | None
) -> TimeLine:
    """Times of a stream without stamps: a table, the user's rate, or the one that its own headers declare.

    :raises SourceTimeUnknown: none of them is there, and guessing was not accepted
    :raises UsageError: the table cannot be used
    """
    declared = stream_rate(stream)
    if options.stamps:
        table = read_stamps(options.stamps)
        known = [table.by_number[n] for n in sorted(table.by_number)]
        rate = (
            Fraction(len(known) - 1, 1) * 1_000_000_000 / (known[-1] - known[0])
            if len(known) > 1
            else Fraction(25)
        )
        return Counted("--stamps", rate, [at - known[0] for at in known])
    if fps is not None:
        return Counted("--fps", Fraction(fps).limit_denominator(1_000_000))
    if declared is not None:
        said = f"a raw {kind} stream without time stamps: pictures are {float(declared):g} a second, as its headers say"
        return Counted("declared rate", declared, remark=said)
    if options.accept_guessed_time:
        said = f"nothing says how fast it was recorded: {float(GUESSED_FPS):g} pictures a second are a guess"
        return Counted("guess", GUESSED_FPS, remark=said)
    raise SourceTimeUnknown(
        f"{shown}: a raw {kind} stream that does not say how many pictures a second it has",
        remedy="give the rate with --fps, or the times with --stamps FILE",
    )


def in_decode_order(stream: VideoStream, packets: Sequence[Packet[VideoStream]]) -> bool:
    """Whether the stamps of the first packets rise, and the pictures come out of the decoder in another order.

    Such stamps are those of decoding, whatever the container calls them. Only where the codec may put pictures out of
    order and the stamps do not are the packets decoded for this.
    """
    if not getattr(stream.codec_context, "has_b_frames", 0):
        return False
    stamps = [p.pts if p.pts is not None else p.dts for p in packets if p.size]
    known = [s for s in stamps if s is not None]
    if len(known) < 2 or known != sorted(known):
        return False
    context: Any = av.CodecContext.create(stream.codec_context.name, "r")
    context.extradata = stream.codec_context.extradata
    last: int | None = None
    try:
        for packet in packets:
            for frame in context.decode(packet if packet.size else None):
                at = frame.pts
                if at is not None and last is not None and at < last:
                    return True
                last = at if at is not None else last
    except (av.FFmpegError, ValueError):
        return False  # damaged: the reading says so
    return False


def nanoseconds(ticks: int, base: Fraction) -> int:
    """Integers all the way: a float is too coarse for stamps that count from 1970."""
    return (2 * ticks * base.numerator * 1_000_000_000 + base.denominator) // (2 * base.denominator)
