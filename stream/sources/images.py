"""Folders of pictures, as many data sets of micro-expressions come."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mellm.stream.clock import Clock
from mellm.stream.errors import SourceEmpty, SourceTooLarge, SourceUnauthorized, UsageError
from mellm.stream.frames import SourceInfo, TimeFrom
from mellm.stream.sources.base import MAX_FPS, SourceOptions
from mellm.stream.sources.decoding import decode_deep, depth_of, to_8_bits
from mellm.stream.sources.headers import HEAD_BYTES, picture_size, significant_bits
from mellm.stream.sources.numbering import Series, series_of
from mellm.stream.sources.placed import PlacedSource
from mellm.stream.sources.stamps import StampTable, read_stamps
from mellm.stream.sources.timeline import Timeline
from mellm.stream.sources.timestamps import StampMender

SUFFIXES: Final = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm"))


_SAMPLED: Final = 16
"""Pictures that are looked at to learn how many bits a camera fills."""


class ImageFolder(PlacedSource):
    """A :class:`~stream.sources.base.Source` on a folder. The number in a file's name is its time, in frames.

    The first picture is at 0; numbers that are missing are a gap, and so is a file that cannot be decoded.
    A table of times (:attr:`SourceOptions.stamps`) goes before both.

    :raises UsageError: neither a frame rate nor times were given, or the names are of several series
    :raises SourceEmpty: the folder holds no pictures
    :raises SourceTooLarge: the first picture is over the bound
    """

    def __init__(
        self,
        path: str,
        *,
        id: str,
        fps: float | None,
        live: bool,
        options: SourceOptions,
        clock: Clock,
        first_segment: int = 0,
    ) -> None:
        if fps is None and not options.stamps:
            raise UsageError(
                f"{path}: pictures in a folder carry no time",
                remedy="give their rate with --fps, or their times with --stamps FILE",
            )
        if fps is not None and not 0 < fps <= MAX_FPS:
            raise UsageError(f"{path}: {fps} frames a second", remedy=f"give --fps from 1 to {MAX_FPS:g}")
        super().__init__()
        self._path = path
        self._options = options
        files = self._list()
        if not files:
            raise SourceEmpty(
                f"{path}: no pictures in this folder", remedy=f"it needs {', '.join(sorted(SUFFIXES))}"
            )
        self._series = series_of(path, files)
        self._files = self._series.files
        self._times = self._times_ns(fps)
        self._next = 0
        width, height = self._first_size()
        steps = sorted(b - a for a, b in pairwise(self._times))
        step = steps[len(steps) // 2] if steps else round(1e9 / fps) if fps else 33_333_333
        self._bits, depth = self._depth()
        numbered: TimeFrom = "file numbers" if self._series.numbered else "--fps"
        info = SourceInfo(
            id=id,
            uri_redacted=path,
            kind="images",
            width=width,
            height=height,
            declared_fps=float(fps) if fps is not None else round(1e9 / step, 3),
            live=live,
            codec=self._files[0].suffix[1:].lower(),
            declared_duration_ns=self._times[-1] + step,
            mirrored=options.mirrored,
            time_from="--stamps" if options.stamps else numbered,
            remarks=tuple(r for r in (*self._series.remarks, depth) if r),
        )
        mender = StampMender(step, wrap_ns=None)
        self._timeline = Timeline(info, mender, clock, first_segment)

    def close(self) -> None:
        """Nothing is held open."""
        self._next = len(self._files)

    def _advance(self) -> None:
        if self._next >= len(self._files):
            self._finish()
            return
        at, self._next = self._next, self._next + 1
        image = self._load(self._files[at])
        if at and self._series.numbered:
            self._timeline.skip(self._series.numbers[at] - self._series.numbers[at - 1] - self._stride)
        if image is None:
            self._timeline.lose()
        else:
            self._ready.extend(self._timeline.place(image, self._times[at]))

    def _finish(self) -> None:
        if self._timeline.frames == 0:
            raise SourceEmpty(
                f"{self._path}: none of {len(self._files)} pictures could be decoded",
                remedy="check the files",
            )
        self._ready.extend(self._timeline.tail())
        self._end = self._timeline.report()

    def _times_ns(self, fps: float | None) -> list[int]:
        """Media time of each picture, nanoseconds, the first at 0."""
        numbers = self._series.numbers
        gaps = [b - a for a, b in pairwise(numbers)]
        self._stride = min(gaps, default=1)
        if not self._options.stamps:
            assert fps is not None
            period = Fraction(1_000_000_000) / Fraction(fps).limit_denominator(1_000_000)
            return [round((n - numbers[0]) * period) for n in numbers]
        table = read_stamps(self._options.stamps)
        times = [self._stamp(table, file, n) for file, n in zip(self._files, numbers, strict=True)]
        order = sorted(range(len(times)), key=times.__getitem__)
        self._files = tuple(self._files[i] for i in order)
        ordered = [times[i] for i in order]
        # the table says when pictures were taken: numbers say nothing more
        self._series = Series(self._files, tuple(range(len(ordered))), False)
        return [at - ordered[0] for at in ordered]

    def _stamp(self, table: StampTable, file: Path, number: int) -> int:
        for known in (table.by_name.get(file.name), table.by_name.get(file.stem)):
            if known is not None:
                return known
        at = table.by_number.get(number if self._series.numbered else number + table.first)
        if at is None:
            raise UsageError(
                f"{table.path} has no time for {file.name}",
                remedy="give a line for each picture: its number or its name, and time_ms",
            )
        return at

    def _depth(self) -> tuple[int | None, str]:
        """How many bits the camera fills, the same for all pictures, and what to say about it."""
        top, said = 0, None
        for file in self._files[:: max(1, len(self._files) // _SAMPLED)]:
            try:
                data = file.read_bytes()
            except OSError:
                continue
            image = decode_deep(data, max_pixels=self._options.max_pixels)
            if image is None or image.dtype == np.uint8:
                if image is not None:
                    return None, ""
                continue
            said = said or significant_bits(data[:HEAD_BYTES])
            top = max(top, depth_of(image))
        bits = said or top
        if not bits:
            return None, ""
        return bits, "" if bits == 16 else f"16-bit pictures of which {bits} bits are used: scaled by those"

    def _list(self) -> list[Path]:
        try:
            found = [p for p in Path(self._path).iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()]
        except PermissionError:
            raise SourceUnauthorized(f"{self._path}: may not be read", remedy="check permissions") from None
        return [p for p in found if not p.name.startswith(".")]

    def _first_size(self) -> tuple[int, int]:
        with self._files[0].open("rb") as file:
            size = picture_size(file.read(HEAD_BYTES)) or (0, 0)
        if size[0] * size[1] > self._options.max_pixels:
            raise SourceTooLarge(
                f"{self._files[0]}: {size[0]}×{size[1]} pixels, more than {self._options.max_pixels}",
                remedy="scale it down",
            )
        return size

    def _load(self, path: Path) -> NDArray[np.uint8] | None:
        """Decode one file; ``None`` if it is damaged or too large."""
        try:
            data = path.read_bytes()
        except OSError:
            return None
        image = decode_deep(data, max_pixels=self._options.max_pixels)
        return None if image is None else to_8_bits(image, self._bits)
