"""A copy of a recording with boxes on it, captions below it and motion maps beside it, and clips of its expressions.

Nothing is drawn over a face but its box: the picture stands in the upper left of a larger one. Below it is room for
captions, to its right for the motion map of each face that shows an expression at the same time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from mellm.detectors.types import U8, Face
from mellm.engine.analysis.pipeline import Seen
from mellm.engine.analysis.prefetch import Prefetcher
from mellm.engine.export import lettering, slow_motion, words
from mellm.engine.export.captions import cues
from mellm.engine.export.film import Film
from mellm.engine.export.pictures import evidence
from mellm.engine.export.slow_motion import Moment, Slow
from mellm.engine.results.expressions import DISCLAIMER, ExpressionRecord
from mellm.engine.results.run_reader import Run, time_scale
from mellm.stream.clock import clock
from mellm.stream.errors import RunError, SourceUnsupported
from mellm.stream.frames import Frame, Item
from mellm.stream.sources import Source

logger = logging.getLogger(__name__)

COLOURS: Mapping[str | None, lettering.Colour] = {
    "negative": (80, 150, 255),
    "positive": (160, 220, 90),
    "surprise": (255, 165, 175),
    None: (200, 200, 200),
}
"""As in the report, lighter: they stand on pictures and on the dark panel."""

GROUND: lettering.Colour = (28, 24, 22)
"""Of the panel round the picture."""

NOTE_MS = 6000
"""How long the note about what this is stays, where no caption needs its room."""

SUFFIXES = (".mp4", ".mkv", ".mov")
Lines = list[tuple[str, lettering.Colour]]
MAP_SHARE = 0.45
"""Most height of a motion map, share of the picture's."""

MOST_FACES = 3
"""Captions and maps that have room at the same time; of more, the latest."""


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


@dataclass(frozen=True, slots=True)
class Room:
    """How the larger picture is divided, pixels.

    :param width: of the recording's picture
    :param height: of the recording's picture
    :param below: height of the captions
    :param beside: width of the maps; 0 where there are none
    :param size: of letters
    :param rows: lines that fit below
    :param slots: maps that fit beside
    """

    width: int
    height: int
    below: int
    beside: int
    size: int
    rows: int
    slots: int

    @property
    def step(self) -> int:
        """From one line to the next."""
        return round(1.45 * self.size)


def plan(run: Run) -> list[Shown]:
    """What is shown when, by time."""
    scale = _scale(run)
    times = {cue.id: (cue.from_ms, cue.to_ms) for cue in cues(run, scale=scale)}
    shown = [Shown(r, *times[r.id], evidence(run, r)) for r in run.expressions]
    return sorted(shown, key=lambda s: s.from_ms)


def _scale(run: Run) -> float:
    return time_scale(run, run.sources[0]) if run.sources else 1.0


def room(image: U8, shown: Sequence[Shown]) -> Room:
    """The room that all captions and maps of a recording need at once, for pictures of this size.

    :param image: H×W×3 uint8 BGR
    """
    height, width = image.shape[:2]
    size = max(12, round(min(height, width) / 26))
    together = max((len(_up(shown, s.from_ms)) for s in shown), default=0)
    maps = [s.motion_map for s in shown if s.motion_map is not None]
    slots = min(MOST_FACES, max(1, together)) if maps else 0
    beside = 0
    if maps:
        tall = min(MAP_SHARE, 0.98 / slots) * height - 2 * size
        beside = max(round(tall * m.shape[1] / m.shape[0]) for m in maps) + size
        beside = max(beside, lettering.width("face 88", size) + 2 * size)
    wide = width + beside - size
    rows = [2]  # the note
    for each in shown:
        up = _up(shown, each.from_ms)
        rows.append(1 + len(_captions(up, size, wide)))  # and the label of a repeat
    below = round(1.45 * size) * max(rows) + round(0.7 * size)
    return Room(width, height, below, beside, size, max(rows), slots)


def _up(shown: Iterable[Shown], at_ms: float) -> list[Shown]:
    """Captions that are up: the latest ones, in order of time."""
    return [s for s in shown if s.from_ms <= at_ms < s.to_ms][-MOST_FACES:]


def annotate(
    source: Source,
    recording: Path,
    run: Run,
    out: Path | None,
    look: Callable[[Item], Seen],
    *,
    slow: Slow | None = None,
    clips: Path | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> int:
    """Write the annotated copy, H.264 where PyAV can; with the sound of ``recording`` unless repeats are put in.

    :param source: the recording, opened
    :param run: of this recording alone
    :param out: ``None``: clips only
    :param look: finds and follows faces as the run did, so that their numbers agree: ``SourcePipeline.look``
    :param slow: repeat each expression, slowed down
    :param clips: folder for a clip of each expression: once at its own pace, then slowed down
    :param progress: is told the media time that was written, seconds
    :returns: frames written into the copy; of clips alone, how many clips
    :raises SourceUnsupported: the output's suffix is none of :data:`SUFFIXES`
    :raises RunError: the output cannot be written
    :raises SourceError: the recording breaks while it is read
    """
    if out is not None and out.suffix.lower() not in SUFFIXES:
        raise SourceUnsupported(
            f"{out}: cannot hold the copy", remedy=f"name a file that ends in {', '.join(SUFFIXES)}"
        )
    part = None if out is None else out.with_name(f"{out.stem}.part{out.suffix}")
    painter = _Painter(plan(run), _scale(run))
    try:
        with Prefetcher(_items(source)) as items, Prefetcher(map(look, items)) as seen:
            moments = _moments(seen, painter.scale, progress)
            if part is None or out is None:
                return _clips(moments, painter, run, clips, slow or Slow())
            sound = recording if slow is None else None
            with Film(part, sound, source.info.origin_ns) as film:
                kept = _kept(moments, painter, run, clips, slow)
                count = 0
                for picture, pts_ns in slow_motion.stretched(kept, _windows(run, 0.0), slow, painter.paint):
                    film.add(picture, pts_ns)
                    count += 1
            part.replace(out)
    except (av.FFmpegError, OSError) as error:
        raise RunError(f"{out or clips} cannot be written ({error.strerror or error})") from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
    return count


def _moments(
    seen: Iterable[Seen], scale: float, progress: Callable[[float], None]
) -> Iterator[Moment[tuple[Face, ...]]]:
    count = 0
    for each in seen:
        if not isinstance(each.item, Frame):
            continue
        faces = each.faces.faces if each.faces is not None else ()
        # times of the copy are those of a player, as the sound's are
        yield Moment(each.item.image, scale * each.item.pts_ns / 1e6, faces)
        count += 1
        if count % 50 == 0:
            progress(each.item.pts_ns / 1e9)


def _windows(run: Run, margin_ms: float) -> list[slow_motion.Window]:
    scale = _scale(run)
    return [
        # results are rounded to the microsecond
        slow_motion.Window(
            r.id, scale * r.onset_ms - margin_ms - 0.01, scale * r.offset_ms + margin_ms + 0.01
        )
        for r in run.expressions
    ]


def _kept(
    moments: Iterable[Moment[tuple[Face, ...]]],
    painter: _Painter,
    run: Run,
    clips: Path | None,
    slow: Slow | None,
) -> Iterator[Moment[tuple[Face, ...]]]:
    """The moments, while clips are made of them on the way."""
    if clips is None:
        yield from moments
        return
    maker = _ClipMaker(painter, run, clips, slow or Slow())
    for moment in moments:
        maker.take(moment)
        yield moment
    maker.finish()


def _clips(
    moments: Iterable[Moment[tuple[Face, ...]]], painter: _Painter, run: Run, clips: Path | None, slow: Slow
) -> int:
    if clips is None:
        return 0
    maker = _ClipMaker(painter, run, clips, slow)
    for moment in moments:
        maker.take(moment)
    maker.finish()
    return maker.made


class _ClipMaker:
    """A file for each expression: half a second before it to half a second after, then its repeats."""

    MARGIN_MS = 500.0

    def __init__(self, painter: _Painter, run: Run, folder: Path, slow: Slow) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.made = 0
        self._painter, self._folder, self._slow = painter, folder, slow
        self._records = {r.id: r for r in run.expressions}
        self._buffer = slow_motion.Buffer[tuple[Face, ...]](_windows(run, self.MARGIN_MS))

    def take(self, moment: Moment[tuple[Face, ...]]) -> None:
        """The next moment."""
        for window, moments in self._buffer.take(moment):
            self._write(window, moments)

    def finish(self) -> None:
        """There are no more."""
        for window, moments in self._buffer.rest():
            self._write(window, moments)

    def _write(self, window: slow_motion.Window, moments: Sequence[Moment[tuple[Face, ...]]]) -> None:
        record = self._records[window.id]
        at = clock(record.onset_ms).replace(":", "-")
        path = self._folder / f"{record.source}-{at}-{record.id}.mp4"
        part = path.with_name(f"{path.stem}.part.mp4")
        inner = slow_motion.Window(window.id, window.from_ms + self.MARGIN_MS, window.to_ms - self.MARGIN_MS)
        first = moments[0].at_ms
        try:
            with Film(part) as film:
                for picture, pts_ns in slow_motion.stretched(
                    moments, [inner], self._slow, self._painter.paint
                ):
                    film.add(picture, pts_ns - round(first * 1e6))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        self.made += 1


@dataclass(slots=True)
class _Painter:
    """Paints moments into the larger picture, whose division is fixed with the first one."""

    shown: list[Shown]
    scale: float
    room: Room | None = None

    def paint(self, image: U8, at_ms: float, faces: tuple[Face, ...], note: str) -> U8:
        """See :func:`burn`."""
        if self.room is None:
            self.room = room(image, self.shown)
        return burn(image, at_ms, faces, self.shown, self.room, self.scale, note)


def burn(
    image: U8,
    at_ms: float,
    faces: Iterable[Face],
    shown: Sequence[Shown],
    space: Room | None = None,
    scale: float = 1.0,
    note: str = "",
) -> U8:
    """A frame with what is to be seen at that time; the frame itself is left as it is.

    :param image: H×W×3 uint8 BGR; brought to the size that ``space`` is made for
    :param at_ms: the time that a player shows
    :param space: how the larger picture is divided, see :func:`room`
    :param scale: how many of its seconds are one of media time
    :param note: stands first below, such as how slow this is
    """
    space = space or room(image, shown)
    if image.shape[:2] != (space.height, space.width):
        image = np.asarray(
            cv2.resize(image, (space.width, space.height), interpolation=cv2.INTER_AREA), np.uint8
        )
    canvas = np.empty((space.height + space.below, space.width + space.beside, 3), np.uint8)
    canvas[:] = GROUND
    canvas[: space.height, : space.width] = image
    picture = canvas[: space.height, : space.width]
    up = _up(shown, at_ms)
    moving = {s.record.track: s for s in up if s.record.onset_ms <= at_ms / scale <= s.record.offset_ms}
    for face in faces:
        _box(picture, face.box, f"face {face.track}", space.size, moving.get(face.track))
    _maps(canvas, space, up)
    lines: Lines = [(note, COLOURS["surprise"])] if note else []
    lines += _captions(up, space.size, canvas.shape[1] - space.size)
    if at_ms < NOTE_MS and not note:
        said = _lines(DISCLAIMER, COLOURS[None], space.size, canvas.shape[1] - space.size)
        lines += said if len(lines) + len(said) <= space.rows else []
    for n, (line, colour) in enumerate(lines[: space.rows]):
        base = space.height + space.step * n + round(1.4 * space.size)
        lettering.draw(canvas, line, (space.size // 2, base), space.size, colour)
    return canvas


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


def _captions(up: Sequence[Shown], size: int, most: int) -> Lines:
    """Lines of the captions that are up; each face's begin with its number where there are several."""
    lines: Lines = []
    many = len({s.record.track for s in up}) > 1
    for each in up:
        record = each.record
        who = f"face {record.track}: " if many else ""
        head = f"{clock(record.onset_ms)}  {who}{words.headline(record)} · {record.duration_ms:.0f} ms"
        for text, colour in ((head, each.colour), (words.text(record), (240, 240, 240))):
            lines += _lines(text, colour, size, most)
    return lines


def _lines(text: str, colour: lettering.Colour, size: int, most: int) -> Lines:
    return [(line, colour) for line in lettering.wrap(text, size, most)]


def _maps(canvas: U8, space: Room, up: Sequence[Shown]) -> None:
    """The motion map of each face that has a caption, below each other; of one face the latest."""
    latest = {s.record.track: s for s in up if s.motion_map is not None}
    for slot, (track, each) in enumerate(list(latest.items())[-space.slots :] if space.slots else ()):
        assert each.motion_map is not None
        deep = space.height // space.slots
        wide, tall = space.beside - space.size, deep - 2 * space.size
        scale = min(wide / each.motion_map.shape[1], tall / each.motion_map.shape[0])
        small = cv2.resize(each.motion_map, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        h, w = small.shape[:2]
        x, y = space.width + space.size // 2, deep * slot + round(1.5 * space.size)
        lettering.draw(canvas, f"face {track}", (x, y - round(0.4 * space.size)), space.size, each.colour)
        canvas[y : y + h, x : x + w] = small
        cv2.rectangle(canvas, (x - 1, y - 1), (x + w, y + h), each.colour, 2)


def _items(source: Source) -> Iterator[Item]:
    while (item := source.read()) is not None:
        yield item
