"""One annotated expression, its frames read when they are asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mellm.evaluation.datasets.errors import DatasetError
from mellm.evaluation.datasets.units import ActionUnits
from mellm.stream.sources.decoding import decode

U8 = NDArray[np.uint8]
PICTURES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})
Kind = Literal["micro", "macro"]


def natural(name: str) -> tuple[tuple[int, Any], ...]:
    """Sort key under which ``img9`` comes before ``img10``."""
    return tuple(
        (0, int(part)) if part.isdecimal() else (1, part.lower()) for part in re.split(r"(\d+)", name)
    )


class Frames:
    """The pictures of a folder by frame number, listed at the first use and read one at a time.

    A number is the last integer of a file's name: ``img46.jpg``, ``006_05562.jpg``, ``image000001.bmp``. Frames are
    asked for by the *label* of the annotation, which counts from 1. Where the files were renumbered from 1 while the
    annotation kept the numbers of the whole recording, ``first`` is the label of the first file.

    :param folder: where the pictures are, ``None`` where no folder was found
    :param first: label of the first picture, should the files be numbered from 1
    """

    __slots__ = ("_files", "first", "folder")

    def __init__(self, folder: Path | None, first: int | None = None) -> None:
        self.folder = folder
        self.first = first
        self._files: dict[int, Path] | None = None

    def __repr__(self) -> str:
        return f"Frames({str(self.folder)!r}, first={self.first})"

    def files(self) -> dict[int, Path]:
        """Label → file, in natural order. Files that are no pictures, or carry no number, are left out."""
        if self._files is None:
            found: dict[int, Path] = {}
            paths = (
                []
                if self.folder is None
                else [p for p in self.folder.iterdir() if p.suffix.lower() in PICTURES]
            )
            for path in sorted(paths, key=lambda p: natural(p.name)):
                if numbers := re.findall(r"\d+", path.stem):
                    found.setdefault(int(numbers[-1]), path)
            shift = 0
            if found and self.first is not None and min(found) <= 1 < self.first:
                shift = self.first - min(found)
            self._files = {number + shift: path for number, path in found.items()}
        return self._files

    def __len__(self) -> int:
        return len(self.files())

    def __iter__(self) -> Iterator[int]:
        return iter(self.files())

    def __contains__(self, label: object) -> bool:
        return label in self.files()

    def missing(self, start: int, end: int) -> tuple[int, ...]:
        """Labels from ``start`` to ``end``, both included, that have no file."""
        return tuple(label for label in range(start, end + 1) if label not in self.files())

    def read(self, label: int) -> U8:
        """One picture, BGR ``(height, width, 3)``.

        :raises DatasetError: there is no such frame, or it is no picture
        """
        path = self.files().get(label)
        if path is None:
            raise DatasetError(
                f"there is no frame {label} in {self.folder}", remedy="`mellm dataset inspect` lists gaps"
            )
        picture = decode(path.read_bytes())
        if picture is None:
            raise DatasetError(f"{path} is not a picture that can be read", remedy="copy the file again")
        return picture


@dataclass(frozen=True, slots=True)
class Clip:
    """One annotated expression. Labels are frame numbers that count from 1; ``None`` is unknown.

    :param id: unique within the data set and the subject
    :param fps: frames per second, ``None`` where the release does not say
    :param emotion: canonical word, see :mod:`mellm.evaluation.metrics.emotions`
    :param coarse: ``negative``, ``positive``, ``surprise`` or ``None`` (others, mixed, unknown)
    :param kind: micro- or macro-expression
    :param video: recording that holds it; several clips share one in the sets of long videos
    """

    subject: str
    id: str
    frames: Frames
    fps: float | None
    onset: int | None
    apex: int | None
    offset: int | None
    action_units: ActionUnits
    emotion: str | None
    coarse: str | None
    dataset: str
    kind: Kind = "micro"
    video: str = ""

    def missing(self) -> tuple[int, ...]:
        """Labels between onset and offset (or what is known of them) that have no file."""
        known = [label for label in (self.onset, self.apex, self.offset) if label is not None]
        return self.frames.missing(min(known), max(known)) if known else ()
