"""What a source says of itself, and what it really delivers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median, pstdev

from mellm.stream.clock import Clock, MonotonicClock
from mellm.stream.frames import Frame, Gap
from mellm.stream.sources.base import SourceOptions
from mellm.stream.sources.opening import open_source


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What was seen in a short look.

    :param width: of the pictures, after rotation
    :param height: as ``width``
    :param rotation: degrees counter-clockwise that were applied
    :param flipped: whether a flip was applied, before the rotation
    :param pixel_aspect: width over height of a stored pixel; pictures have square ones already
    :param track: which of the container's tracks is read
    :param time_from: what the times rest on
    :param starts_at_s: what the container's clock shows at media time 0
    :param time_scale: seconds that players show for one second of media time
    :param declared_fps: from the header
    :param measured_fps: from the time stamps
    :param effective_fps: pictures a second that are not repeats of the one before
    :param arrival_fps: live sources only, by the machine's clock
    :param duration_s: from the header
    :param jitter_ms: standard deviation of the distance between frames
    :param longest_step_ms: longest distance between two frames
    :param remarks: what a person should know about the recording, a sentence each
    """

    uri: str
    kind: str
    live: bool
    codec: str
    pixel_format: str
    width: int
    height: int
    rotation: int
    flipped: bool
    pixel_aspect: float
    track: int | None
    time_from: str
    starts_at_s: float
    time_scale: float
    declared_fps: float | None
    measured_fps: float | None
    effective_fps: float | None
    arrival_fps: float | None
    duration_s: float | None
    seconds_seen: float
    frames: int
    segments: int
    gaps: int
    frames_lost: int
    repaired_stamps: int
    repeated_pictures: int
    step_ms: float | None
    jitter_ms: float | None
    longest_step_ms: float | None
    remarks: tuple[str, ...]


def probe(
    uri: str,
    seconds: float = 2.0,
    *,
    fps: float | None = None,
    options: SourceOptions | None = None,
    clock: Clock | None = None,
    look: Callable[[Frame], None] | None = None,
) -> ProbeReport:
    """Read ``seconds`` of media time and report.

    :param look: is shown each frame with its pixels

    A live source that sends nothing is given up after ``seconds`` plus its read time-out.

    :raises SourceError: the source cannot be used
    """
    watch = clock or MonotonicClock()
    frames: list[Frame] = []
    gaps: list[Gap] = []
    with open_source(uri, id="probe", fps=fps, options=options, clock=watch) as source:
        while (item := source.read()) is not None:
            if isinstance(item, Gap):
                gaps.append(item)
                continue
            if look is not None:
                look(item)
            frames.append(_without_pixels(item))
            if item.pts_ns - frames[0].pts_ns >= seconds * 1e9:
                break
        info = source.info
        pixel_format = source.pixel_format
    pairs = [(a, b) for a, b in pairwise(frames) if a.segment == b.segment]
    steps = [(b.pts_ns - a.pts_ns) / 1e6 for a, b in pairs]
    wall_s = (frames[-1].wall_ns - frames[0].wall_ns) / 1e9 if frames else 0.0
    return ProbeReport(
        uri=info.uri_redacted,
        kind=info.kind,
        live=info.live,
        codec=info.codec,
        pixel_format=pixel_format,
        width=info.width,
        height=info.height,
        rotation=info.rotation,
        flipped=info.flipped,
        pixel_aspect=info.pixel_aspect,
        track=info.track,
        time_from=info.time_from,
        starts_at_s=info.origin_ns / 1e9,
        time_scale=info.time_scale,
        declared_fps=info.declared_fps,
        measured_fps=round(1e3 * len(steps) / sum(steps), 3) if steps else None,
        effective_fps=_effective(frames),
        arrival_fps=round((len(frames) - 1) / wall_s, 1) if info.live and wall_s > 0.5 else None,
        duration_s=None if info.declared_duration_ns is None else info.declared_duration_ns / 1e9,
        seconds_seen=round(sum(steps) / 1e3, 3),
        frames=len(frames),
        segments=len({f.segment for f in frames}),
        gaps=len(gaps),
        frames_lost=sum(g.frames for g in gaps),
        repaired_stamps=sum(f.repaired for f in frames),
        repeated_pictures=sum(f.repeated for f in frames),
        step_ms=round(median(steps), 3) if steps else None,
        jitter_ms=round(pstdev(steps), 3) if len(steps) > 1 else None,
        longest_step_ms=round(max(steps), 3) if steps else None,
        remarks=info.remarks,
    )


def _effective(frames: list[Frame]) -> float | None:
    """Pictures a second that are no repeats; holes count, as they do for whoever looks."""
    own = [f for f in frames if not f.repeated]
    span_ns = own[-1].pts_ns - own[0].pts_ns if len(own) > 1 else 0
    return round((len(own) - 1) * 1e9 / span_ns, 3) if span_ns else None


def _without_pixels(frame: Frame) -> Frame:
    """Seconds of video need not be kept to count them."""
    return Frame(
        frame.source,
        frame.segment,
        frame.index,
        frame.pts_ns,
        frame.wall_ns,
        frame.image[:1, :1].copy(),
        frame.repaired,
        frame.repeated,
    )
