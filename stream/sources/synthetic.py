"""A source without camera or file: a moving texture, the same at every run.

``synthetic:?fps=30&seconds=5&width=640&height=480&gap=2.0&gap_length=0.5&seed=1``
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import numpy as np

from mellm.stream.clock import Clock
from mellm.stream.errors import UsageError
from mellm.stream.frames import SourceInfo
from mellm.stream.sources.base import MAX_FPS, SourceOptions
from mellm.stream.sources.placed import PlacedSource
from mellm.stream.sources.timeline import Timeline
from mellm.stream.sources.timestamps import StampMender

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MARGIN: Final = 64


@dataclass(frozen=True, slots=True)
class SyntheticOptions:
    """What the texture does.

    :param seconds: length, 0 for endless
    :param gap: media time in seconds at which pictures go missing, negative for never
    :param gap_length: for how long they do
    """

    fps: float = 30.0
    seconds: float = 5.0
    width: int = 640
    height: int = 480
    gap: float = -1.0
    gap_length: float = 0.5
    seed: int = 0

    @classmethod
    def parse(cls, uri: str) -> SyntheticOptions:
        """Read ``synthetic:?name=value&…``.

        :raises UsageError: naming what is unknown or out of range
        """
        kinds = {f.name: int if f.type == "int" else float for f in fields(cls)}
        chosen: dict[str, float] = {}
        for name, text in parse_qsl(uri.partition("?")[2], keep_blank_values=True):
            if name not in kinds:
                close = difflib.get_close_matches(name, kinds, n=1)
                hint = f" (did you mean {close[0]!r}?)" if close else ""
                raise UsageError(
                    f"synthetic: unknown parameter {name!r}{hint}", remedy=f"known: {', '.join(kinds)}"
                )
            try:
                chosen[name] = kinds[name](text)
            except ValueError:
                raise UsageError(f"synthetic: {name}={text!r} is not a number") from None
        options = cls(**chosen)  # type: ignore[arg-type]
        sane = (
            0 < options.fps <= MAX_FPS
            and 0 <= options.seconds < 1e6
            and 0 <= options.gap_length < 1e6
            and abs(options.gap) < 1e6
            and min(options.width, options.height) >= 1
            and options.seed >= 0
        )
        if not sane:
            raise UsageError(f"{uri}: a value is out of range", remedy="see the docs on synthetic sources")
        return options


class SyntheticSource(PlacedSource):
    """A :class:`~mellm.stream.sources.base.Source` that makes its pictures.

    :raises UsageError: see :meth:`SyntheticOptions.parse`
    """

    def __init__(
        self,
        uri: str,
        *,
        id: str,
        live: bool,
        options: SourceOptions,
        clock: Clock,
        first_segment: int = 0,
    ) -> None:
        super().__init__()
        self._made = made = SyntheticOptions.parse(uri)
        if made.width * made.height > options.max_pixels:
            raise UsageError(f"{uri}: more than {options.max_pixels} pixels")
        self._period = Fraction(1_000_000_000) / Fraction(made.fps).limit_denominator(1_000_000)
        self._count = round(made.seconds * made.fps) if made.seconds else None
        begin = round(made.gap * 1e9)
        self._hole = (begin, begin + round(made.gap_length * 1e9)) if made.gap >= 0 else (0, 0)
        self._texture = _texture(made)
        self._next = 0
        info = SourceInfo(
            id=id,
            uri_redacted=uri,
            kind="synthetic",
            width=made.width,
            height=made.height,
            declared_fps=made.fps,
            live=live,
            codec="synthetic",
            declared_duration_ns=None if self._count is None else round(self._count * self._period),
            mirrored=options.mirrored,
        )
        mender = StampMender(round(self._period), wrap_ns=None)
        self._timeline = Timeline(info, mender, clock, first_segment)

    def close(self) -> None:
        """End at the next read."""
        self._count = 0

    def _advance(self) -> None:
        if self._count is not None and self._next >= self._count:
            self._end = self._timeline.report()
            return
        number, self._next = self._next, self._next + 1
        stamp = round(number * self._period)
        if not self._hole[0] <= stamp < self._hole[1]:
            self._ready.extend(self._timeline.place(self._picture(stamp), stamp))

    def _picture(self, stamp_ns: int) -> NDArray[np.uint8]:
        # a slow circle, so that the motion never stops nor leaves the texture
        angle = stamp_ns / 1e9
        x = round(_MARGIN / 2 * (1 + np.cos(angle)))
        y = round(_MARGIN / 2 * (1 + np.sin(1.3 * angle)))
        return self._texture[y : y + self._made.height, x : x + self._made.width].copy()


def _texture(made: SyntheticOptions) -> NDArray[np.uint8]:
    """Smooth random blobs in three channels, a margin larger than the picture."""
    height, width = made.height + _MARGIN, made.width + _MARGIN
    coarse = np.random.default_rng(made.seed).integers(
        0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8
    )
    fine = coarse.repeat(8, axis=0).repeat(8, axis=1)
    return np.ascontiguousarray(fine[:height, :width])
