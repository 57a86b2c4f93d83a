"""A copy of a recording with boxes, captions and motion maps burnt in. Its sound and its time stamps are kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from mellm.detectors.types import U8, Face
from mellm.engine.analysis.pipeline import Seen
from mellm.engine.analysis.prefetch import Prefetcher
from mellm.engine.export import lettering, words
from mellm.engine.export.captions import cues
from mellm.engine.export.pictures import evidence
from mellm.engine.results.expressions import DISCLAIMER, ExpressionRecord
from mellm.engine.results.run_reader import Run, time_scale
from mellm.engine.results.video import ENCODERS, add_stream, encode
from mellm.stream.clock import clock
from mellm.stream.errors import RunError, SourceUnsupported
from mellm.stream.frames import Frame, Item
from mellm.stream.sources import Source
from mellm.stream.sources.media import open_container

logger = logging.getLogger(__name__)

COLOURS: Mapping[str | None, lettering.Colour] = {
    "negative": (80, 150, 255),
    "positive": (160, 220, 90),
    "surprise": (255, 165, 175),
    None: (200, 200, 200),
}
"""As in the report, lighter: they stand on pictures and on the dark panel."""

NOTE_MS = 6000
"""How long the note about what this is stays at the top."""

SUFFIXES = (".mp4", ".mkv", ".mov")
Lines = list[tuple[str, lettering.Colour]]
MAP_SHARE = 0.34
"""Height of the motion map, share of the picture's."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An expression and when its caption is up, milliseconds."""

    record: ExpressionRecord
    from_ms: float
    to_ms: float
    motion_map: U8 | None

    @property
    def colour(self) -> lettering.Colour:
        """Of its class."""
        return COLOURS.get(words.coarse(self.record), COLOURS[None])


def plan(run: Run) -> list[Shown]:
    """What is shown when, by time."""
    scale = _scale(run)
    times = {cue.id: (cue.from_ms, cue.to_ms) for cue in cues(run, scale=scale)}
    shown = [Shown(r, *times[r.id], evidence(run, r)) for r in run.expressions]
    return sorted(shown, key=lambda s: s.from_ms)


def _scale(run: Run) -> float:
    return time_scale(run, run.sources[0]) if run.sources else 1.0


def annotate(
    source: Source,
    recording: Path,
    run: Run,
    out: Path,
    look: Callable[[Item], Seen],
    *,
    progress: Callable[[float], None] = lambda _: None,
) -> int:
    """Write the annotated copy, H.264 where PyAV can, with the sound of ``recording``.

    :param source: the recording, opened
    :param run: of this recording alone
    :param look: finds and follows faces as the run did, so that their numbers agree: ``SourcePipeline.look``
    :param progress: is told the media time that was written, seconds
    :returns: frames written
    :raises SourceUnsupported: the output's suffix is none of :data:`SUFFIXES`
    :raises RunError: the output cannot be written
    :raises SourceError: the recording breaks while it is read
    """
    if out.suffix.lower() not in SUFFIXES:
        raise SourceUnsupported(
            f"{out}: cannot hold the copy", remedy=f"name a file that ends in {', '.join(SUFFIXES)}"
        )
    part = out.with_name(f"{out.stem}.part{out.suffix}")
    try:
        with (
            Prefetcher(_items(source)) as items,
            Prefetcher(map(look, items)) as seen,
            _Film(part, recording, source) as film,
        ):
            count = _all(seen, plan(run), film, progress, _scale(run))
        part.replace(out)
    except (av.FFmpegError, OSError) as error:
        raise RunError(f"{out} cannot be written ({error.strerror or error})") from error
    finally:
        part.unlink(missing_ok=True)
    return count


def _all(
    seen: Iterable[Seen], shown: list[Shown], film: _Film, progress: Callable[[float], None], scale: float
) -> int:
    count = 0
    for each in seen:
        if not isinstance(each.item, Frame):
            continue
        frame = each.item
        faces = each.faces.faces if each.faces is not None else ()
        # times of the copy are those of a player, as the sound's are
        film.add(
            burn(frame.image, scale * frame.pts_ns / 1e6, faces, shown, scale), round(scale * frame.pts_ns)
        )
        count += 1
        if count % 50 == 0:
            progress(frame.pts_ns / 1e9)
    return count


def burn(image: U8, at_ms: float, faces: Iterable[Face], shown: Iterable[Shown], scale: float = 1.0) -> U8:
    """A frame with what is to be seen at that time; the frame itself is left as it is.

    :param image: H×W×3 uint8 BGR
    :param at_ms: the time that a player shows
    :param scale: how many of its seconds are one of media time
    """
    picture = image.copy()
    height = picture.shape[0]
    size = max(12, round(height / 26))
    up = [s for s in shown if s.from_ms <= at_ms < s.to_ms]
    moving = {s.record.track: s for s in up if s.record.onset_ms <= at_ms / scale <= s.record.offset_ms}
    boxes = {face.track: face.box for face in faces}
    for track, box in boxes.items():
        _box(picture, box, f"face {track}", size, moving.get(track))
    below = 0
    if at_ms < NOTE_MS:
        below = _panel(picture, _lines(picture, DISCLAIMER, COLOURS[None], size), size, top=True)
    if up:
        latest = up[-1]
        if latest.motion_map is not None:
            _inset(picture, latest.motion_map, boxes.get(latest.record.track), latest.colour, below)
        _captions(picture, up, size, many=len({s.record.track for s in up}) > 1)
    return picture


def _box(
    picture: U8, box: tuple[float, float, float, float], name: str, size: int, moving: Shown | None
) -> None:
    x, y, w, h = (round(v) for v in box)
    colour = moving.colour if moving else COLOURS[None]
    cv2.rectangle(picture, (x, y), (x + w, y + h), colour, max(1, size // (5 if moving else 12)), cv2.LINE_AA)
    small = max(10, round(0.75 * size))
    wide = lettering.width(name, small) + 8
    base = y - 4 if y > small + 8 else y + h + small + 4
    cv2.rectangle(picture, (x, base - small - 3), (x + wide, base + 4), (25, 25, 25), cv2.FILLED)
    lettering.draw(picture, name, (x + 4, base), small, colour)


def _captions(picture: U8, up: list[Shown], size: int, *, many: bool) -> None:
    lines: Lines = []
    for each in up:
        record = each.record
        who = f"face {record.track}: " if many else ""
        length = record.duration_ms
        head = f"{clock(record.onset_ms)}  {who}{words.headline(record)} · {length:.0f} ms"
        for text, colour in ((head, each.colour), (words.text(record), (240, 240, 240))):
            lines += _lines(picture, text, colour, size)
    _panel(picture, lines, size, top=False)


def _lines(picture: U8, text: str, colour: lettering.Colour, size: int) -> Lines:
    return [(line, colour) for line in lettering.wrap(text, size, picture.shape[1] - size)]


def _panel(picture: U8, lines: Lines, size: int, *, top: bool) -> int:
    """Lines on a darkened strip; of many, as many as fit into 40 % of the height.

    :returns: height of the strip, pixels
    """
    step = round(1.45 * size)
    lines = lines[: max(1, int(0.4 * picture.shape[0] / step))]
    deep = step * len(lines) + round(0.7 * size)
    first = 0 if top else picture.shape[0] - deep
    strip = picture[first : first + deep]
    strip[:] = (strip * 0.25).astype(np.uint8)
    for n, (line, colour) in enumerate(lines):
        lettering.draw(picture, line, (size // 2, first + step * n + round(1.4 * size)), size, colour)
    return deep


def _inset(
    picture: U8,
    motion_map: U8,
    box: tuple[float, float, float, float] | None,
    colour: lettering.Colour,
    below: int,
) -> None:
    """The motion map in the upper corner that is farther from the face."""
    height, width = picture.shape[:2]
    scale = min(MAP_SHARE * height / motion_map.shape[0], MAP_SHARE * width / motion_map.shape[1])
    small = cv2.resize(motion_map, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    h, w = small.shape[:2]
    edge = 8
    left = box is not None and box[0] + box[2] / 2 > width / 2
    x, y = (edge if left else width - w - edge), edge + below
    small = small[: max(0, height - y)]
    h = small.shape[0]
    picture[y : y + h, x : x + w] = small
    cv2.rectangle(picture, (x - 1, y - 1), (x + w, y + h), colour, 2)


def _items(source: Source) -> Iterator[Item]:
    while (item := source.read()) is not None:
        yield item


class _Film:
    """The copy while it is written: our pictures, and the packets of the original's sound."""

    def __init__(self, path: Path, recording: Path, source: Source) -> None:
        self._out = open_container(path, "w")
        self._video: Any = None
        self._pads = (0, 0)
        self._sound = _Sound(recording, self._out, source.info.origin_ns)

    def __enter__(self) -> _Film:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        try:
            if kind is None and self._video is not None:
                self._out.mux(self._video.encode())
                self._sound.until(None)
        finally:
            self._sound.close()
            self._out.close()

    def add(self, picture: U8, pts_ns: int) -> None:
        """One frame; its size is that of the first one."""
        if self._video is None:
            self._video = add_stream(self._out, ENCODERS, *picture.shape[:2])
        self._out.mux(encode(self._video, picture, pts_ns))
        self._sound.until(pts_ns)


class _Sound:
    """Sound, copied packet by packet; a recording without any, or with one that the copy cannot hold, stays silent."""

    def __init__(self, recording: Path, out: Any, origin_ns: int) -> None:
        self._origin_ns = origin_ns
        self._out, self._in, self._copy, self._waiting = out, None, None, None
        self._packets: Iterator[Any] = iter(())
        if not recording.is_file():
            return
        self._in = open_container(recording)
        if not self._in.streams.audio:
            return
        stream = self._in.streams.audio[0]
        try:
            self._copy = out.add_stream_from_template(stream)
        except (ValueError, av.FFmpegError) as error:
            logger.warning("%s: the sound is left out, the copy cannot hold it (%s)", recording, error)
            return
        self._packets = (p for p in self._in.demux(stream) if p.dts is not None)

    def until(self, pts_ns: int | None) -> None:
        """Copy what is heard up to that time; all of the rest for ``None``."""
        while True:
            packet = self._waiting or next(self._packets, None)
            if packet is None:
                self._waiting = None
                return
            if self._waiting is None:  # fresh: from the clock of the recording to that of the copy
                shift = round(self._origin_ns / (packet.time_base * 1_000_000_000))
                packet.dts -= shift
                packet.pts = packet.dts if packet.pts is None else packet.pts - shift
            self._waiting = None
            if pts_ns is not None and packet.dts * packet.time_base * 1_000_000_000 > pts_ns:
                self._waiting = packet
                return
            packet.stream = self._copy
            self._out.mux(packet)

    def close(self) -> None:
        """Release the original."""
        if self._in is not None:
            self._in.close()
