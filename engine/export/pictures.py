"""Pictures of a report: motion maps from the run folder, onset and apex from the recording."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from mellm.detectors.analyzer import AnalyzerOptions, FaceAnalyzer
from mellm.detectors.patches import CROP_H, CROP_W, Matrix, crop_matrix
from mellm.detectors.regions import eye_frame
from mellm.detectors.types import U8, Face
from mellm.engine.evidence.motion_map import warp
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.run_folder import evidence_name
from mellm.engine.results.run_reader import Run, is_live, open_recording, recording
from mellm.stream.errors import MellmError
from mellm.stream.frames import Frame
from mellm.stream.protocol.events import FACE_APPEARED
from mellm.stream.sources.decoding import decode

logger = logging.getLogger(__name__)

WIDTH, HEIGHT = 240, round(240 * CROP_H / CROP_W)
"""Size of a face's picture; its eye distance is 86 pixels."""

QUALITY = 82
"""Of WebP: a face takes about 6 kB."""


class Analyzer(Protocol):
    """Finds faces; :class:`mellm.detectors.analyzer.FaceAnalyzer` does."""

    def push(self, frame: Frame) -> Any:
        """Faces of a frame, in ``.faces``."""
        ...

    def reset(self) -> None:
        """Forget earlier frames."""
        ...


def evidence(run: Run, record: ExpressionRecord) -> U8 | None:
    """The motion map of an expression, H×W×3 uint8 BGR; ``None`` where the run kept none."""
    return decode(run.picture(record.evidence) or b"")


def motion_map(run: Run, record: ExpressionRecord) -> str | None:
    """The same as a ``data:`` address."""
    picture = evidence(run, record)
    return None if picture is None else address(picture)


def address(picture: U8) -> str:
    """H×W×3 uint8 BGR as a ``data:`` address, WebP."""
    ok, data = cv2.imencode(".webp", picture, (cv2.IMWRITE_WEBP_QUALITY, QUALITY))
    assert ok
    return "data:image/webp;base64," + base64.b64encode(data.tobytes()).decode()


def faces(
    run: Run, *, analyzer: Analyzer | None = None, progress: Callable[[float], None] = lambda _: None
) -> dict[str, tuple[str, str]]:
    """Expression id → pictures of onset and apex, both cut alike, as data addresses.

    The recordings are read once more, from their beginning to the last apex. An expression whose face is not found
    again, and a recording that is not there any more, have no pictures.

    :param progress: is told the media time that was read, seconds
    :raises ModelMissing: the face models were not pulled
    """
    found: dict[str, tuple[str, str]] = {}
    for source, part in run.each():
        if is_live(part, source):
            found |= _kept(part)
            continue
        path = recording(part, source)
        if not path.exists() or not part.expressions:
            continue
        analyzer = analyzer or FaceAnalyzer(AnalyzerOptions())
        try:
            found |= _of_recording(part, source, path, analyzer, progress)
        except MellmError as error:
            logger.warning("%s: no pictures of faces: %s", path, error)
    return found


def _kept(run: Run) -> dict[str, tuple[str, str]]:
    """Of a session: the faces that it kept, onset beside apex."""
    found = {}
    for record in run.expressions:
        both = decode(run.picture(evidence_name(record.id, "faces")) or b"")
        if both is not None:
            width = both.shape[1] // 2
            onset, apex = (
                np.asarray(cv2.resize(half, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)
                for half in (both[:, :width], both[:, width:])
            )
            found[record.id] = (address(onset), address(apex))
    return found


def _of_recording(
    run: Run, source: str, path: Path, analyzer: Analyzer, progress: Callable[[float], None]
) -> dict[str, tuple[str, str]]:
    onsets = _by_frame(run.expressions, lambda record: record.onset_frame)
    apexes = _by_frame(run.expressions, lambda record: record.apex_frame)
    last = max(apexes)
    homes = {e.data["track"]: e.data["box"] for e in run.events if e.type == FACE_APPEARED}
    waiting: dict[str, tuple[Matrix, U8]] = {}
    found: dict[str, tuple[str, str]] = {}
    with open_recording(run, source, path) as opened:
        mirrored = opened.info.mirrored
        while (item := opened.read()) is not None:
            if not isinstance(item, Frame):
                continue
            key = (item.segment, item.index)
            if mirrored and (key in onsets or key in apexes):
                item = replace(item, picture=item.picture.mirrored())
            for record in onsets.get(key, ()):
                face = _face(item, homes.get(record.track), analyzer)
                if face is not None:
                    matrix = crop_matrix(eye_frame(face.landmarks), WIDTH)
                    waiting[record.id] = (matrix, warp(item.image, matrix, (WIDTH, HEIGHT)))
            for record in apexes.get(key, ()):
                if record.id in waiting:
                    matrix, onset = waiting.pop(record.id)
                    apex = warp(item.image, matrix, (WIDTH, HEIGHT))
                    found[record.id] = (address(onset), address(apex))
            if item.index % 100 == 0:
                progress(item.pts_ns / 1e9)
            if key >= last:
                break
    return found


def _by_frame(
    records: Sequence[ExpressionRecord], frame: Callable[[ExpressionRecord], int]
) -> dict[tuple[int, int], list[ExpressionRecord]]:
    found: dict[tuple[int, int], list[ExpressionRecord]] = {}
    for record in records:
        found.setdefault((record.segment, frame(record)), []).append(record)
    return found


def _face(frame: Frame, home: Sequence[float] | None, analyzer: Analyzer) -> Face | None:
    """The face of a track: of several in the picture, the one nearest to where the track began."""
    analyzer.reset()
    seen: tuple[Face, ...] = analyzer.push(frame).faces
    if home is None or len(seen) < 2:
        return seen[0] if seen else None

    def away(face: Face) -> float:
        (x, y, w, h), (hx, hy, hw, hh) = face.box, home
        return abs(x + w / 2 - hx - hw / 2) + abs(y + h / 2 - hy - hh / 2) + abs(w - hw)

    return min(seen, key=away)
