"""Scores and sensitivity of a recording, beside its expressions: JSON lines, each a second of one face.

``scores/SOURCE.jsonl`` in a run folder. A line holds up to :data:`STEPS` grid steps of one track that follow each
other without a hole: ``t_ns`` of the first, ``step_ns``, the probabilities ``me``, ``apex`` and ``macro``, and the
sensitivity of ``upper`` and ``lower`` half (per cent of the eye distance; ``null`` where it is not known). About 5 MB
an hour and face.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from mellm.detectors.spotting import Score
from mellm.detectors.windows import STEP_NS
from mellm.stream import private
from mellm.stream.errors import RunError

STEPS = 50
"""Grid steps in a line: a second."""

FOLDER = "scores"
"""Of the run folder."""

CURVES = ("me", "apex", "macro", "upper", "lower")


@dataclass(slots=True)
class _Open:
    """The line of one track that is being filled."""

    first_ns: int
    values: dict[str, list[float | None]] = field(default_factory=lambda: {name: [] for name in CURVES})


class ScoreWriter:
    """Writes the series of one recording. Holds less than a second of each track, so memory does not grow; one thread.

    A series of the same name is begun anew: a recording that was not finished is analysed from its start.

    :param path: of the file, made with the first line; ``None`` keeps nothing
    :raises RunError: it cannot be written: the disk is full, or the like
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._open: dict[int, _Open] = {}
        try:
            if path is not None:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{path} cannot be written ({error.strerror})") from error

    def add(self, track: int, score: Score) -> None:
        """The next score of a track, in rising time."""
        line = self._open.get(track)
        if line is not None and score.t_ns != line.first_ns + STEP_NS * len(line.values["me"]):
            self.end(track)  # a hole: nothing is judged in it
            line = None
        if line is None:
            line = self._open[track] = _Open(score.t_ns)
        said = score.sensitivity
        row = (
            round(score.me, 3),
            round(score.apex, 3),
            round(score.macro, 3),
            None if said is None else round(said.upper, 2),
            None if said is None else round(said.lower, 2),
        )
        for name, value in zip(CURVES, row, strict=True):
            line.values[name].append(value)
        if len(line.values["me"]) == STEPS:
            self.end(track)

    def end(self, track: int) -> None:
        """The track is lost: its last line is written."""
        line = self._open.pop(track, None)
        if line is None or self._path is None:
            return
        record = {"track": track, "t_ns": str(line.first_ns), "step_ns": STEP_NS, **line.values}
        try:
            if self._file is None:
                private.folder(self._path.parent)
                self._file = open(self._path, "wb", opener=private.opener)  # noqa: SIM115 - closed by close()
            self._file.write(json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n")
        except OSError as error:
            raise RunError(f"{self._path} cannot be written ({error.strerror})") from error

    def close(self) -> None:
        """The recording has ended: the last lines are written, and the file is on disk."""
        for track in sorted(self._open):
            self.end(track)
        if self._file is not None:
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                raise RunError(f"{self._path} cannot be written ({error.strerror})") from error
            finally:
                self._file.close()
                self._file = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """One line as read. Every curve holds as many values as the others.

    :param t_ms: media time of the first step
    :param step_ms: between two steps
    """

    track: int
    t_ms: float
    step_ms: float
    curves: Mapping[str, list[float | None]]

    def times_ms(self) -> list[float]:
        """Media time of each step."""
        return [round(self.t_ms + k * self.step_ms, 3) for k in range(len(self.curves["me"]))]


def forget(path: Path, spans_ms: Sequence[tuple[float, float]]) -> bytes | None:
    """The series without the seconds that touch ``spans_ms`` (from, to); ``None`` where it has none of them."""
    if not path.is_file():
        return None
    kept, lines = [], path.read_bytes().splitlines(keepends=True)
    for raw in lines:
        stretch = _read(raw)
        if stretch is None or not stretch.times_ms():
            continue
        first, last = stretch.t_ms, stretch.times_ms()[-1]
        if not any(first <= to and start <= last for start, to in spans_ms):
            kept.append(raw)
    return None if len(kept) == len(lines) else b"".join(kept)


def path_of(run: Path, source: str) -> Path:
    """Where the series of a recording lies, whether it is there or not."""
    return run / FOLDER / f"{source}.jsonl"


def read_series(run: Path, source: str) -> Iterator[Stretch]:
    """The lines of a recording, in the order they were written; none where the run has no series.

    What cannot be read is passed over: the series is for looking, and nothing rests on it.
    """
    path = path_of(run, source)
    if not path.is_file():
        return
    with path.open("rb") as stream:
        for raw in stream:
            if (stretch := _read(raw)) is not None:
                yield stretch


def _read(raw: bytes) -> Stretch | None:
    """One line; ``None`` where it cannot be read: the last one of a killed run may be cut."""
    try:
        line = json.loads(raw)
        curves = {name: list(line[name]) for name in CURVES}
        stretch = Stretch(int(line["track"]), int(line["t_ns"]) / 1e6, int(line["step_ns"]) / 1e6, curves)
    except (ValueError, KeyError, TypeError):
        return None
    return stretch if len({len(values) for values in curves.values()}) == 1 else None
