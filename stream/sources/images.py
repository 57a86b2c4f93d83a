"""Folders of pictures, as many data sets of micro-expressions come."""

from __future__ import annotations

import re
from collections import deque
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from mellm.stream.clock import Clock
from mellm.stream.errors import SourceEmpty, SourceTooLarge, SourceUnauthorized, UsageError
from mellm.stream.frames import Item, SourceInfo
from mellm.stream.sources.base import MAX_FPS, Closing, EndReport, SourceOptions
from mellm.stream.sources.headers import HEAD_BYTES, picture_size
from mellm.stream.sources.timeline import Timeline
from mellm.stream.sources.timestamps import StampMender

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES: Final = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm"))


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key by which ``img2`` comes before ``img10``."""
    parts = re.split(r"(\d+)", name.lower())
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts if p)


class ImageFolder(Closing):
    """A :class:`~mellm.stream.sources.base.Source` on a folder; file ``k`` in natural order is shown at ``k / fps``.

    A file that cannot be decoded is a gap; the others keep their times.

    :raises UsageError: no frame rate was given
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
        if fps is None:
            raise UsageError(f"{path}: pictures in a folder carry no time", remedy="give --fps")
        if not 0 < fps <= MAX_FPS:
            raise UsageError(f"{path}: {fps} frames a second", remedy=f"give --fps from 1 to {MAX_FPS:g}")
        self._path = path
        self._options = options
        self._period = Fraction(1_000_000_000) / Fraction(fps).limit_denominator(1_000_000)
        self._files = self._list()
        if not self._files:
            raise SourceEmpty(
                f"{path}: no pictures in this folder", remedy=f"it needs {', '.join(sorted(SUFFIXES))}"
            )
        self._next = 0
        self._end: EndReport | None = None
        self._ready: deque[Item] = deque()
        width, height = self._first_size()
        info = SourceInfo(
            id=id,
            uri_redacted=path,
            kind="images",
            width=width,
            height=height,
            declared_fps=float(fps),
            live=live,
            codec=self._files[0].suffix[1:].lower(),
            declared_duration_ns=round(len(self._files) * self._period),
            mirrored=options.mirrored,
        )
        mender = StampMender(round(self._period), wrap_ns=None)
        self._timeline = Timeline(info, mender, clock, first_segment)

    @property
    def info(self) -> SourceInfo:
        """Facts; the size follows the pictures."""
        return self._timeline.info

    @property
    def end(self) -> EndReport | None:
        """How it ended."""
        return self._end

    @property
    def pixel_format(self) -> str:
        """What files decode to."""
        return "bgr24"

    def close(self) -> None:
        """Nothing is held open."""
        self._next = len(self._files)

    def read(self) -> Item | None:
        """The next picture or gap, ``None`` at the end."""
        while not self._ready:
            if self._end is not None:
                return None
            if self._next >= len(self._files):
                self._finish()
                continue
            number, self._next = self._next, self._next + 1
            image = self._load(self._files[number])
            if image is None:
                self._timeline.lose()
            else:
                self._ready.extend(self._timeline.place(image, round(number * self._period)))
        return self._ready.popleft()

    def _finish(self) -> None:
        if self._timeline.frames == 0:
            raise SourceEmpty(
                f"{self._path}: none of {len(self._files)} pictures could be decoded",
                remedy="check the files",
            )
        self._ready.extend(self._timeline.tail())
        self._end = self._timeline.report()

    def _list(self) -> list[Path]:
        try:
            found = [p for p in Path(self._path).iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()]
        except PermissionError:
            raise SourceUnauthorized(f"{self._path}: may not be read", remedy="check permissions") from None
        return sorted((p for p in found if not p.name.startswith(".")), key=lambda p: natural_key(p.name))

    def _first_size(self) -> tuple[int, int]:
        with self._files[0].open("rb") as file:
            size = picture_size(file.read(HEAD_BYTES)) or (0, 0)
        if self._too_large(size):
            raise SourceTooLarge(
                f"{self._files[0]}: {size[0]}×{size[1]} pixels, more than {self._options.max_pixels}",
                remedy="scale it down",
            )
        return size

    def _too_large(self, size: tuple[int, int]) -> bool:
        return size[0] * size[1] > self._options.max_pixels

    def _load(self, path: Path) -> NDArray[np.uint8] | None:
        """Decode one file; ``None`` if it is damaged or too large."""
        try:
            data = path.read_bytes()
        except OSError:
            return None
        size = picture_size(data[:HEAD_BYTES])
        if size is None or self._too_large(size):
            return None
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:
            return None
        return None if image is None else np.asarray(image, np.uint8)
