"""What a container says about its pictures: asked once, when it is opened and at the first picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from av.sidedata.sidedata import Type
from av.stream import Disposition

from mellm.stream.errors import SourceUnsupported, UsageError
from mellm.stream.sources.base import MAX_FPS
from mellm.stream.sources.formats import CODECS
from mellm.stream.sources.orientation import UPRIGHT, Orientation, from_matrix

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

CAPTURE_TAGS: Final = ("com.android.capture.fps", "com.apple.quicktime.capture.fps", "capture_fps")
"""Metadata in which phones say at what rate they filmed what they stamped as slow motion."""

SENTINEL_RATE: Final = "1009/97"
"""Given to FFmpeg as the rate of streams that declare none, so that its own default is not taken for theirs."""

HDR: Final = {16: "PQ", 18: "HLG"}
"""Transfer characteristics (ITU-T H.273) whose pictures are grey and dark when they are shown as they are."""

_HIDDEN: Final = Disposition.attached_pic | Disposition.timed_thumbnails
_PRIMING_NS: Final = 150_000_000
_MIN_STRETCH: Final = 0.01
_MAX_STRETCH: Final = 4.0


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What the first picture says.

    :param hdr: name of its transfer function, empty for usual pictures
    """

    orientation: Orientation = UPRIGHT
    interlaced: bool = False
    hdr: str = ""
    full_range: bool = False


def choose_track(container: InputContainer, wanted: int | None, shown: str) -> tuple[VideoStream, list[str]]:
    """The video track to read: the one asked for, else the default one, else the first; and what to say about it.

    Tracks are numbered as FFmpeg, MKVToolNix and VLC's codec window number them, sound included, from 0. Cover pictures
    are no video.

    :raises UsageError: there is no such video track
    :raises SourceUnsupported: its codec is not one that is read
    """
    videos = [s for s in container.streams.video if not s.disposition & _HIDDEN] or list(
        container.streams.video
    )
    if wanted is not None:
        chosen = next((s for s in container.streams.video if s.index == wanted), None)
        if chosen is None:
            names = "; ".join(described(s) for s in container.streams.video)
            raise UsageError(
                f"{shown}: track {wanted} is not a video track", remedy=f"choose one of: {names}"
            )
    else:
        defaults = [s for s in videos if s.disposition & Disposition.default]
        readable = [s for s in defaults or videos if codec_name(s) in CODECS]
        chosen = (readable or defaults or videos)[0]
    if codec_name(chosen) not in CODECS:
        raise SourceUnsupported(
            f"{shown}: its codec ({codec_name(chosen)}) is not one that is read",
            remedy="convert it to H.264 in mp4",
        )
    others = [s for s in videos if s is not chosen]
    if not others:
        return chosen, []
    names = "; ".join(described(s) for s in others)
    return chosen, [f"{described(chosen)}: this track is read; not read: {names} (choose with --track)"]


def codec_name(stream: VideoStream) -> str:
    """Of its decoder; PyAV has none for a codec it lacks."""
    context = stream.codec_context
    return context.name if context is not None else "unknown"


def described(stream: VideoStream) -> str:
    """A track for people: ``track 1: 848×480 h264 50/s, default``."""
    context = stream.codec_context
    size = f" {context.width}×{context.height}" if context is not None else ""
    rate = stream.average_rate
    parts = [f"track {stream.index}:{size} {codec_name(stream)}" + (f" {float(rate):g}/s" if rate else "")]
    title = stream.metadata.get("title", "")[:40]
    parts += [f'"{title}"'] if title else []
    parts += ["default"] if stream.disposition & Disposition.default else []
    return ", ".join(parts)


def declared_fps(stream: VideoStream) -> float | None:
    """From the container's header, ``None`` where it says nothing."""
    context = stream.codec_context
    for rate in (stream.average_rate, stream.guessed_rate, getattr(context, "framerate", None)):
        if rate and 0 < rate <= MAX_FPS and rate != Fraction(SENTINEL_RATE):
            return round(float(rate), 6)
    return None


def stream_rate(stream: VideoStream) -> Fraction | None:
    """Pictures a second that a stream without a container declares in its own headers."""
    rate = getattr(stream.codec_context, "framerate", None)
    return Fraction(rate) if rate and 0 < rate <= MAX_FPS and rate != Fraction(SENTINEL_RATE) else None


def duration_ns(container: InputContainer, stream: VideoStream) -> int | None:
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


def origin_ns(container: InputContainer) -> int | None:
    """What the container's clock shows where players begin: its earliest picture or sound.

    Sound that an encoder put before the beginning to warm up its decoder is not heard, and counts as zero.

    :returns: ``None`` where the container does not say
    """
    starts = []
    for stream in (*container.streams.video, *container.streams.audio):
        if stream.start_time is None or not stream.time_base or stream.disposition & _HIDDEN:
            continue
        start = round(stream.start_time * stream.time_base * 1_000_000_000)
        starts.append(0 if stream.type == "audio" and -_PRIMING_NS < start < 0 else start)
    return min(starts, default=None)


def capture_scale(container: InputContainer, stream: VideoStream, fps: float | None) -> tuple[float, str]:
    """Seconds that players show for one second of life, and a sentence where that is not 1."""
    tags = {**container.metadata, **stream.metadata}
    for name in CAPTURE_TAGS:
        try:
            captured = float(Fraction(tags.get(name, "").strip()))
        except (ValueError, ZeroDivisionError):
            continue
        if not fps or not 0 < captured <= 10_000:
            continue
        scale = captured / fps
        if 0.8 < scale < 1.25:
            continue
        kind = "slow motion" if scale > 1 else "time lapse"
        return scale, (
            f"{kind}: filmed at {captured:g} frames a second and played at {fps:g}; times are those of the scene, "
            f"captions and ELAN files count as players do ({scale:g} s for each second)"
        )
    return 1.0, ""


def pixel_aspect(stream: VideoStream) -> Fraction:
    """Width over height of a stored pixel, 1 where the container says nothing or nonsense."""
    aspect = stream.sample_aspect_ratio
    if not aspect or not 1 / _MAX_STRETCH <= aspect <= _MAX_STRETCH or abs(aspect - 1) < _MIN_STRETCH:
        return Fraction(1)
    return Fraction(aspect)


def square_size(width: int, height: int, aspect: Fraction, max_pixels: int) -> tuple[int, int]:
    """Width and height with square pixels: the side that is too short grows, unless that passes the bound."""
    wide, high = (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))
    if wide * high > max_pixels:
        wide, high = (width, round(height / aspect)) if aspect >= 1 else (round(width * aspect), height)
    return max(1, wide), max(1, high)


def picture_facts(frame: VideoFrame) -> PictureFacts:
    """What a decoded picture says of itself."""
    known: Any = frame.side_data  # PyAV says that its keys are text; they are Type
    matrix = known.get(Type.DISPLAYMATRIX)
    return PictureFacts(
        orientation=UPRIGHT if matrix is None else from_matrix(bytes(matrix)),
        interlaced=bool(frame.interlaced_frame),
        hdr=HDR.get(int(frame.color_trc), ""),
        full_range=int(frame.color_range) == 2,
    )


def picture_remarks(facts: PictureFacts, aspect: Fraction) -> Iterable[str]:
    """What a person should know about them."""
    if aspect != 1:
        yield f"pixels are {aspect.numerator}:{aspect.denominator}, not square; pictures are stretched as players do"
    if facts.orientation.flipped:
        yield "the recording asks for a flip, which is applied as players do"
    if facts.interlaced:
        yield "interlaced: the two halves of a picture are 1/50 to 1/60 s apart, and fast movement looks like a comb"
    if facts.hdr:
        yield f"HDR ({facts.hdr}): brightness is mapped to that of usual pictures"
