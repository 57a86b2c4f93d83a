"""Reads files, streams and cameras through FFmpeg (PyAV): packets in, frames and gaps out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from mellm.stream.clock import Clock
from mellm.stream.errors import SourceCorrupt, SourceError, SourceTooLarge, SourceUnsupported
from mellm.stream.frames import Item, SourceInfo, SourceKind
from mellm.stream.sources.base import MAX_FPS, Closing, EndReport, SourceOptions
from mellm.stream.sources.failures import no_picture
from mellm.stream.sources.timeline import Timeline
from mellm.stream.sources.timestamps import WRAP_33_BIT_NS, StampMender

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

CODECS: Final = frozenset(
    (
        *("h264", "hevc", "mpeg4", "mpeg2video", "msmpeg4v2", "msmpeg4v3", "h263", "theora"),
        *("vp8", "libvpx", "vp9", "libvpx-vp9", "av1", "libdav1d", "mjpeg", "png", "gif"),
        *("rawvideo", "ffv1", "huffyuv", "ffvhuff", "prores", "dvvideo"),
    )
)
"""Decoders that may run on untrusted data."""

_RESYNC_NS: Final = 1_000_000_000
"""After damage, pictures are built on wrong ones until a key frame; this long is waited for one."""

_MAX_READ_ERRORS: Final = 16
_JPEG_END: Final = b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class Target:
    """What to open and how.

    :param url: for FFmpeg, credentials included
    :param shown: for people, without them
    :param options: of the container; must hold the white lists of protocols and formats
    :param failure: turns an FFmpeg error into ours; its second argument: while opening?
    :param live: ``None`` if that depends on what is found
    :param trouble: what is already known to be wrong with a recording
    """

    url: str = field(repr=False)
    shown: str
    kind: SourceKind
    options: dict[str, str] = field(repr=False)
    failure: Callable[[Exception, bool], SourceError]
    format: str | None = None
    live: bool | None = None
    trouble: str = ""


class AvSource(Closing):
    """A :class:`~mellm.stream.sources.base.Source` on an FFmpeg container.

    :raises SourceError: it cannot be opened, is not allowed, or holds no video
    """

    def __init__(
        self, target: Target, *, id: str, options: SourceOptions, clock: Clock, first_segment: int = 0
    ) -> None:
        self._target = target
        self._options = options
        self._clock = clock
        self._trouble = target.trouble
        self._container = self._open()
        try:
            self._stream = self._video_stream()
            info = self._describe(id)
        except BaseException:
            self.close()
            raise
        self._by_arrival = self._container.format.name in ("mpjpeg", "mjpeg") and info.kind == "http"
        step = 1e9 / info.declared_fps if info.declared_fps and not self._by_arrival else None
        mender = StampMender(
            None if step is None else round(step),
            from_zero=info.live and info.kind != "file",  # a recording's stamps mean something
            wrap_ns=_wrap_ns(self._container.format.name),
        )
        self._timeline = Timeline(info, mender, clock, first_segment)
        self._packets = self._container.demux(self._stream)
        self._reformatter = VideoReformatter()  # a frame's own would be built anew for every frame
        self._ready: deque[Item] = deque()
        self._read_errors = 0
        self._resync_from: int | None = None
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
        """As the decoder names it."""
        return self._stream.pix_fmt or ""

    def close(self) -> None:
        """Close the container."""
        self._container.close()

    def read(self) -> Item | None:
        """The next frame or gap, ``None`` at the end.

        :raises SourceError: the stream broke, or a recording held no picture that could be decoded
        """
        while not self._ready:
            if self._end is not None:
                return None
            packet = self._next_packet()
            if packet is None:
                self._finish()
            else:
                self._ready.extend(self._decode(packet))
        return self._ready.popleft()

    # -- opening --------------------------------------------------------------------------------------

    def _open(self) -> InputContainer:
        timeout = (self._options.open_timeout_s, self._options.read_timeout_s)
        began = self._clock.now_ns()
        try:
            return av.open(
                self._target.url,
                "r",
                format=self._target.format,
                options=self._target.options,
                timeout=None if self._target.kind == "file" else timeout,
                metadata_errors="replace",
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            late = self._clock.now_ns() - began >= timeout[0] * 1e9 and self._target.kind != "file"
            # once its time is over, FFmpeg gives whatever error it trips over next
            raise self._target.failure(TimeoutError() if late else error, True) from None

    def _video_stream(self) -> VideoStream:
        streams = self._container.streams
        shown = self._target.shown
        if len(streams) > self._options.max_streams:
            raise SourceTooLarge(
                f"{shown}: {len(streams)} tracks, more than {self._options.max_streams}",
                remedy="keep the video track only",
            )
        if not streams.video:
            raise self._undecodable() if self._trouble else no_picture(shown, bool(streams.audio))
        stream = streams.video[0]
        context = stream.codec_context
        name = context.name if context is not None else "unknown"  # PyAV has none for a codec it lacks
        if name not in CODECS:
            raise SourceUnsupported(
                f"{shown}: its codec ({name}) is not one that is read", remedy="convert it to H.264 in mp4"
            )
        self._check_size(context.width, context.height)
        context.options = {
            "err_detect": "explode",  # a concealed error looks like a movement
            "max_pixels": str(self._options.max_pixels + 1),
        }
        if self._target.kind != "file":
            # frame threads hold back as many frames as there are threads
            stream.thread_type, context.thread_count = "SLICE", self._options.threads or 1
        else:
            stream.thread_type, context.thread_count = "AUTO", self._options.threads
        return stream

    def _describe(self, id: str) -> SourceInfo:
        target, context = self._target, self._stream.codec_context
        duration = _duration_ns(self._container, self._stream)
        live = target.live if target.live is not None else duration is None
        limit = self._options.max_duration_s
        if not (live and target.kind != "file") and duration is not None and duration > limit * 1e9:
            raise SourceTooLarge(
                f"{target.shown}: it declares {duration / 3.6e12:.1f} hours, more than {limit / 3600:g}",
                remedy="cut it into parts",
            )
        return SourceInfo(
            id=id,
            uri_redacted=target.shown,
            kind=target.kind,
            width=context.width,
            height=context.height,
            declared_fps=_declared_fps(self._stream),
            live=live,
            codec=context.name,
            declared_duration_ns=None if live and target.kind != "file" else duration,
            mirrored=self._options.mirrored,
        )

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._options.max_pixels:
            raise SourceTooLarge(
                f"{self._target.shown}: {width}×{height} pixels, more than {self._options.max_pixels}",
                remedy="scale it down",
            )

    # -- reading --------------------------------------------------------------------------------------

    def _next_packet(self) -> Packet[VideoStream] | None:
        while True:
            began = self._clock.now_ns()
            try:
                packet = next(self._packets, None)
            except (av.FFmpegError, OSError, ValueError) as error:
                if self._target.kind != "file":
                    raise self._target.failure(error, False) from None
                # a recording may be readable behind the damage
                self._read_errors += 1
                self._trouble = self._trouble or "the file is damaged"
                if self._read_errors >= _MAX_READ_ERRORS:
                    return None
                self._packets = self._container.demux(self._stream)
                continue
            waited_s = (self._clock.now_ns() - began) / 1e9
            if self._target.kind != "file" and waited_s >= self._options.read_timeout_s:
                # a time-out makes FFmpeg hand out the picture it had begun, as if one had just arrived
                raise self._target.failure(TimeoutError(), False)
            return packet

    def _decode(self, packet: Packet[VideoStream]) -> Iterator[Item]:
        if self._half_jpeg(packet):
            self._timeline.lose()
            return
        try:
            frames = self._stream.decode(packet)
        except (av.FFmpegError, ValueError):
            if packet.size:  # the empty packet at the end only drains the decoder
                self._timeline.lose()
                self._resync_from = self._resync_from if self._resync_from is not None else -1
            return
        arrived = self._clock.now_ns() if self._by_arrival else None
        for frame in frames:
            yield from self._take(frame, arrived)

    def _take(self, frame: VideoFrame, arrived_ns: int | None) -> Iterator[Item]:
        raw = arrived_ns if arrived_ns is not None else _stamp_ns(frame, self._stream.time_base)
        if frame.is_corrupt or not self._resynced(frame, raw):
            self._timeline.lose()
            return
        self._check_size(frame.width, frame.height)
        try:
            image = np.asarray(self._reformatter.reformat(frame, format="bgr24").to_ndarray(), np.uint8)
        except (av.FFmpegError, ValueError):
            self._timeline.lose()
            return
        rotation = round(frame.rotation / 90) * 90 % 360
        yield from self._timeline.place(
            _turned(image, rotation), raw, rotation=rotation, layout=frame.format.name
        )

    def _resynced(self, frame: VideoFrame, raw_ns: int | None) -> bool:
        """Whether the picture no longer builds on a damaged one."""
        if self._resync_from is None:
            return True
        if self._resync_from < 0:
            self._resync_from = raw_ns if raw_ns is not None and raw_ns >= 0 else 0
        waited = raw_ns is not None and raw_ns - self._resync_from >= _RESYNC_NS
        if frame.key_frame or waited:
            self._resync_from = None
            return True
        return False

    def _half_jpeg(self, packet: Packet[VideoStream]) -> bool:
        """FFmpeg decodes half a JPEG into half a picture and grey, without an error."""
        if self._stream.codec_context.name != "mjpeg" or not packet.size:
            return False
        return _JPEG_END not in bytes(memoryview(packet)[-4096:])

    def _finish(self) -> None:
        self._ready.extend(self._timeline.tail())
        # a file without pictures is broken however it is played; a stream may merely have been lost
        if self._timeline.frames == 0 and (self._target.kind == "file" or not self.info.live):
            if self._timeline.lost or self._trouble:
                raise self._undecodable()
            raise no_picture(self._target.shown, False)
        self._end = self._timeline.report(self._trouble)

    def _undecodable(self) -> SourceCorrupt:
        why = f" ({self._trouble})" if self._trouble else ""
        return SourceCorrupt(
            f"{self._target.shown}: none of its pictures can be decoded{why}",
            remedy="copy or record it again",
        )


def _turned(image: NDArray[np.uint8], rotation: int) -> NDArray[np.uint8]:
    """Rotate counter-clockwise by a multiple of 90°."""
    return np.ascontiguousarray(np.rot90(image, rotation // 90)) if rotation else image


def _stamp_ns(frame: VideoFrame, time_base: Fraction | None) -> int | None:
    base = frame.time_base or time_base
    if frame.pts is None or not base:
        return None
    # integers all the way: a float is too coarse for stamps that count from 1970
    return (2 * frame.pts * base.numerator * 1_000_000_000 + base.denominator) // (2 * base.denominator)


def _declared_fps(stream: VideoStream) -> float | None:
    rate = stream.average_rate or stream.guessed_rate
    return round(float(rate), 6) if rate and 0 < rate <= MAX_FPS else None


def _duration_ns(container: InputContainer, stream: VideoStream) -> int | None:
    """Of the video track, else of the whole recording."""
    if stream.duration and stream.time_base:
        return round(stream.duration * stream.time_base * 1_000_000_000)
    tag = stream.metadata.get("DURATION", "")  # Matroska keeps the track's own duration as text
    parts = tag.split(":")
    if len(parts) == 3:
        try:
            end = round((int(parts[0]) * 3600 + int(parts[1]) * 60 + float(parts[2])) * 1e9)
        except ValueError:
            end = 0
        if end > 0:
            return end
    return container.duration * 1000 if container.duration and container.duration > 0 else None


def _wrap_ns(name: str) -> int | None:
    """Only MPEG-TS counts in 33 bits; RTP's 32 bits are unwrapped by FFmpeg."""
    return WRAP_33_BIT_NS if name in ("mpegts", "rtsp", "mpeg") else None
