"""Reads files, streams and cameras through FFmpeg (PyAV): packets in, frames and gaps out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from threading import Lock
from typing import TYPE_CHECKING, Final

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from mellm.stream.clock import Clock
from mellm.stream.errors import SourceCorrupt, SourceError, SourceTooLarge
from mellm.stream.frames import Item, Picture, SourceInfo, SourceKind
from mellm.stream.sources import facts, hdr, times
from mellm.stream.sources.base import SourceOptions
from mellm.stream.sources.decoded import PLANAR, DecodedPicture
from mellm.stream.sources.decoding import depth_of, to_8_bits
from mellm.stream.sources.failures import no_picture
from mellm.stream.sources.formats import DECODE_ORDER, ENDS_DECLARED, RAW, WRAPS
from mellm.stream.sources.headers import jpeg_end
from mellm.stream.sources.placed import PlacedSource
from mellm.stream.sources.timeline import Timeline
from mellm.stream.sources.timestamps import WRAP_33_BIT_NS, StampMender

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

_RESYNC_NS: Final = 1_000_000_000
"""After damage, pictures are built on wrong ones until a key frame; this long is waited for one."""

_MAX_READ_ERRORS: Final = 16
_JUDGE_EVERY: Final = 250
_ORDER_LOOK: Final = 32
"""Packets that are looked at to learn whether stamps come in the order of decoding."""


@dataclass(frozen=True, slots=True)
class Target:
    """What to open and how.

    :param url: for FFmpeg, credentials included
    :param shown: for people, without them
    :param options: of the container; must hold the white lists of protocols and formats
    :param failure: turns an FFmpeg error into ours; its second argument: while opening?
    :param live: ``None`` if that depends on what is found
    :param trouble: what is already known to be wrong with a recording
    :param whole: no byte of the recording is missing
    :param fps: rate that the user gives to a stream without time stamps
    """

    url: str = field(repr=False)
    shown: str
    kind: SourceKind
    options: dict[str, str] = field(repr=False)
    failure: Callable[[Exception, bool], SourceError]
    format: str | None = None
    live: bool | None = None
    trouble: str = ""
    whole: bool = False
    fps: float | None = None


class AvSource(PlacedSource):
    """A :class:`~mellm.stream.sources.base.Source` on an FFmpeg container.

    :raises SourceError: it cannot be opened, is not allowed, or holds no video
    """

    def __init__(
        self, target: Target, *, id: str, options: SourceOptions, clock: Clock, first_segment: int = 0
    ) -> None:
        super().__init__()
        self._target = target
        self._options = options
        self._clock = clock
        self._trouble = target.trouble
        self._read_errors = 0
        self._container = self._open()
        try:
            self._stream, remarks = self._video_stream()
            self._aspect = facts.pixel_aspect(self._stream)
            self._packets: Iterator[Packet[VideoStream]] = self._container.demux(self._stream)
            self._times = self._time_line()
            info = self._describe(id, remarks)
        except BaseException:
            self.close()
            raise
        step = 1e9 / info.declared_fps if info.declared_fps and info.time_from != "arrival" else None
        mender = StampMender(
            None if step is None else round(step),
            # a recording's stamps mean something; its origin is taken off already, where there is one
            from_zero=self._times.origin_ns is None,
            wrap_ns=WRAP_33_BIT_NS if self._container.format.name in WRAPS else None,
            steady=info.time_from == "decode stamps",
        )
        self._timeline = Timeline(info, mender, clock, first_segment)
        self._seen_first: facts.PictureFacts | None = None
        self._reformatting = Lock()
        self._reformatter = VideoReformatter()  # a frame's own would be built anew for every frame
        self._bits: int | None = None
        self._resync_from: int | None = None

    @property
    def pixel_format(self) -> str:
        """As the decoder names it."""
        return self._stream.pix_fmt or ""

    def close(self) -> None:
        """Close the container."""
        self._container.close()

    def _advance(self) -> None:
        packet = self._next_packet()
        if packet is None:
            self._finish()
        else:
            self._ready.extend(self._decode(packet))

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

    def _video_stream(self) -> tuple[VideoStream, list[str]]:
        streams = self._container.streams
        shown = self._target.shown
        if len(streams) > self._options.max_streams:
            raise SourceTooLarge(
                f"{shown}: {len(streams)} tracks, more than {self._options.max_streams}",
                remedy="keep the video track only",
            )
        if not streams.video:
            raise self._undecodable() if self._trouble else no_picture(shown, bool(streams.audio))
        stream, remarks = facts.choose_track(self._container, self._options.track, shown)
        context = stream.codec_context
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
        return stream, remarks

    def _time_line(self) -> times.TimeLine:
        """Where the times of the pictures come from."""
        target, options = self._target, self._options
        name = self._container.format.name
        if name in ("mpjpeg", "mjpeg") and target.kind == "http":
            return times.Arrival(self._clock)
        if target.kind == "file" and (name in RAW or options.stamps):
            return times.counted(self._stream, target.shown, name, options, target.fps)
        origin = facts.origin_ns(self._container) if target.kind == "file" or not target.live else None
        if target.kind == "file" and name not in DECODE_ORDER:
            looked = list(islice(iter(self._next_packet, None), _ORDER_LOOK))
            self._packets = chain(looked, self._packets)
            decoding = times.in_decode_order(self._stream, looked)
        else:
            decoding = name in DECODE_ORDER
        scale, said = facts.capture_scale(self._container, self._stream, facts.declared_fps(self._stream))
        return times.Stamps(origin, scale, decoding=decoding, remark=said)

    def _describe(self, id: str, remarks: list[str]) -> SourceInfo:
        target, context = self._target, self._stream.codec_context
        line = self._times
        duration = None if line.fps else facts.duration_ns(self._container, self._stream)
        if duration is not None and self._container.format.name in ENDS_DECLARED:
            duration = max(0, duration - max(0, line.origin_ns or 0)) or None
        live = target.live if target.live is not None else duration is None
        limit = self._options.max_duration_s
        if not (live and target.kind != "file") and duration is not None and duration > limit * 1e9:
            raise SourceTooLarge(
                f"{target.shown}: it declares {duration / 3.6e12:.1f} hours, more than {limit / 3600:g}",
                remedy="cut it into parts",
            )
        fps = line.fps or facts.declared_fps(self._stream)
        if target.fps is not None and line.time_from != "--fps" and target.kind == "file":
            remarks.append("it has time stamps of its own: --fps is not used")
        wide, high = facts.square_size(context.width, context.height, self._aspect, self._options.max_pixels)
        return SourceInfo(
            id=id,
            uri_redacted=target.shown,
            kind=target.kind,
            width=wide,
            height=high,
            declared_fps=None if fps is None else round(fps * line.scale, 6),
            live=live,
            codec=context.name,
            declared_duration_ns=None
            if duration is None or (live and target.kind != "file")
            else round(duration / line.scale),
            mirrored=self._options.mirrored,
            pixel_aspect=round(float(self._aspect), 6),
            track=self._stream.index,
            origin_ns=line.origin_ns or 0,
            time_scale=round(line.scale, 6),
            time_from=line.time_from,
            remarks=(*remarks, *filter(None, [line.remark])),
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
        try:
            frames = self._stream.decode(_without_padding(packet, self._stream))
        except (av.FFmpegError, ValueError):
            if packet.size:  # the empty packet at the end only drains the decoder
                self._lose()
                self._resync_from = self._resync_from if self._resync_from is not None else -1
            return
        for frame in frames:
            yield from self._take(frame)

    def _lose(self) -> None:
        self._times.lost()
        self._timeline.lose()

    def _take(self, frame: VideoFrame) -> Iterator[Item]:
        raw = self._times.of(frame, self._stream.time_base)
        if frame.is_corrupt or not self._resynced(frame, raw):
            self._timeline.lose()
            return
        self._check_size(frame.width, frame.height)
        seen = facts.picture_facts(frame)
        if seen != self._seen_first:
            self._seen_first = seen
            self._timeline.tell(*facts.picture_remarks(seen, self._aspect))
        try:
            picture = self._picture(frame, seen)
        except (av.FFmpegError, ValueError):
            self._timeline.lose()
            return
        yield from self._timeline.place(
            picture,
            raw,
            rotation=seen.orientation.rotation,
            flipped=seen.orientation.flipped,
            layout=frame.format.name,
            lasts_ns=self._times.lasts(frame, self._stream.time_base),
        )
        if self._target.kind == "file" and self._timeline.frames % _JUDGE_EVERY == 0:
            self._judge_time()

    def _picture(self, frame: VideoFrame, seen: facts.PictureFacts) -> Picture | NDArray[np.uint8]:
        """Upright, with square pixels; without colours for now where the decoder's luma is grey enough."""
        size = facts.square_size(frame.width, frame.height, self._aspect, self._options.max_pixels)
        if frame.format.name in PLANAR and not seen.hdr and size == (frame.width, frame.height):
            turn = seen.orientation
            return DecodedPicture(
                frame, turn, seen.full_range, lambda: turn.apply(self._pixels(frame, seen, size))
            )
        return seen.orientation.apply(self._pixels(frame, seen, size))

    def _pixels(
        self, frame: VideoFrame, seen: facts.PictureFacts, size: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """H×W×3 BGR of a size, as stored otherwise."""
        wide, high = (None, None) if size == (frame.width, frame.height) else size
        kind = "bgr48le" if seen.hdr or _deep_gray(frame) else "bgr24"
        with self._reformatting:  # colours are asked for by other threads than the one that reads
            made = self._reformatter.reformat(
                frame, format=kind, width=wide, height=high, interpolation="BICUBIC" if wide else None
            ).to_ndarray()
        if kind == "bgr24":
            return np.asarray(made, np.uint8)
        if seen.hdr:
            return hdr.to_usual(np.asarray(made, np.uint16), seen.hdr)
        if self._bits is None:
            self._bits = depth_of(np.asarray(made, np.uint16))
            if self._bits < 16:
                self._timeline.tell(f"16-bit pictures of which {self._bits} bits are used: scaled by those")
        return to_8_bits(np.asarray(made, np.uint16), self._bits)

    def _judge_time(self) -> None:
        if self._target.kind == "file" and not self._options.accept_guessed_time:
            self._timeline.judge_time(self._target.shown)

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

    def _finish(self) -> None:
        self._ready.extend(self._timeline.tail())
        # a file without pictures is broken however it is played; a stream may merely have been lost
        if self._timeline.frames == 0 and (self._target.kind == "file" or not self.info.live):
            if self._timeline.lost or self._trouble:
                raise self._undecodable()
            raise no_picture(self._target.shown, False)
        self._judge_time()
        self._end = self._timeline.report(self._trouble, whole=self._target.whole)

    def _undecodable(self) -> SourceCorrupt:
        why = f" ({self._trouble})" if self._trouble else ""
        return SourceCorrupt(
            f"{self._target.shown}: none of its pictures can be decoded{why}",
            remedy="copy or record it again",
        )


def _without_padding(packet: Packet[VideoStream], stream: VideoStream) -> Packet[VideoStream]:
    """A JPEG whose camera left the end marker out and filled up with zeros, which would be decoded as pixels."""
    if stream.codec_context.name != "mjpeg" or not packet.size:
        return packet
    data = bytes(memoryview(packet))
    if not data.endswith(b"\0") or jpeg_end(data) is not None:
        return packet
    packet.update(data.rstrip(b"\0") or data[:1])
    return packet


def _deep_gray(frame: VideoFrame) -> bool:
    """Samples of 16 bits, of which cameras fill 10 to 14; formats of 10 or 12 bits say so themselves."""
    return frame.format.name.startswith(("gray16", "rgb48", "bgr48", "gbrp16"))
