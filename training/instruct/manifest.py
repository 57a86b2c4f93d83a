"""Annotated pairs of one's own: pictures and a table, ``manifest.csv``, in one folder.

::

    subject,clip,onset,apex,au,emotion
    s01,c1,s01/c1/0012.png,s01/c1/0031.png,L12+6,happiness
    s01,c2,s01/c2/0004.png,s01/c2/0010.png,,

``au`` is FACS notation (``L12A+4``), ``emotion`` a fine label or empty. Three columns may be added: ``kind`` (one of
:data:`mellm.training.instruct.pairs.Kind`; without it a row without units is ``still``), ``split`` (otherwise
subjects are dealt out by a hash of their name, 8 : 1 : 1) and ``duration_ms``.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Final, TypeAlias, get_args

import cv2
import numpy as np

from mellm.detectors.analyzer import AnalyzerOptions, FaceAnalyzer
from mellm.detectors.patches import apply, crop_matrix
from mellm.detectors.regions import eye_frame
from mellm.detectors.types import F32, U8, Face
from mellm.engine.evidence.motion_map import warp
from mellm.engine.evidence.picture_pair import read_pair
from mellm.engine.facs import action_units as facs
from mellm.engine.facs.action_units import COARSE
from mellm.engine.facs.tables import DATA_SETS
from mellm.engine.map_recipe import LIVE_HEIGHT, LIVE_WIDTH
from mellm.engine.types import Coarse
from mellm.stream.errors import FaceError, MellmError, SourceCorrupt, SourceEmpty, SourceNotFound
from mellm.stream.frames import Frame
from mellm.training.instruct.pairs import Kind, Pair, UnitTruth
from mellm.training.instruct.records import SPLITS

NAME: Final = "manifest.csv"
COLUMNS: Final = ("subject", "clip", "onset", "apex", "au", "emotion")
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

SHARE: Final[Mapping[str | None, float]] = {"A": 0.2, "B": 0.35, "C": 0.55, "D": 0.8, "E": 1.0, None: 0.5}
"""Intensity letters as shares of the full movement; not coded counts as the middle."""

Place: TypeAlias = Callable[[U8, str], F32]
"""Picture (BGR) and its name → 68×2 landmarks; raises :class:`mellm.stream.errors.FaceError`."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``where``: file and line, for messages."""

    where: str
    subject: str
    clip: str
    onset: Path
    apex: Path
    units: tuple[UnitTruth, ...]
    emotion: str | None
    kind: Kind
    split: str
    duration_ms: float


def read(root: Path) -> list[Row]:
    """The table of a folder.

    :raises SourceNotFound: no folder, no table, or a picture that is missing
    :raises SourceCorrupt: a row that cannot be understood
    :raises SourceEmpty: no row
    """
    path = root / NAME
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [c for c in COLUMNS if c not in (reader.fieldnames or ())]
            if missing:
                raise SourceCorrupt(
                    f"{path} has no column {', '.join(missing)}",
                    remedy=f"its first line must be {','.join(COLUMNS)}",
                )
            lines = [(reader.line_num, line) for line in reader]
    except FileNotFoundError as error:
        raise SourceNotFound(
            f"there is no {path}", remedy=f"put a table with the columns {','.join(COLUMNS)} there"
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceCorrupt(f"{path} cannot be read ({error})", remedy="save it as UTF-8 CSV") from error
    if not lines:
        raise SourceEmpty(f"{path} has no row", remedy="add a line for each onset–apex pair")
    dealt = _deal({line["subject"] or "" for _, line in lines})
    rows = [_row(root, f"{path}:{number}", line, dealt) for number, line in lines]
    _check(rows)
    return rows


def _row(root: Path, where: str, line: Mapping[str, str | None], dealt: Mapping[str, str]) -> Row:
    value = {name: (line.get(name) or "").strip() for name in (*COLUMNS, "kind", "split", "duration_ms")}
    for name in ("subject", "clip", "onset", "apex"):
        if not value[name]:
            raise SourceCorrupt(f"{where} has no {name}", remedy="fill it in or take the line out")
    try:
        units = tuple(UnitTruth(c.au, c.side, SHARE[c.intensity]) for c in facs.parse(value["au"]))
        duration = float(value["duration_ms"] or 0)
    except (MellmError, ValueError) as error:
        raise SourceCorrupt(f"{where}: {error}", remedy="write units like L12A+4, durations in ms") from error
    kind = next((k for k in KINDS if k == (value["kind"] or ("expression" if units else "still"))), None)
    split = value["split"] or dealt[line["subject"] or ""]
    if kind is None or split not in SPLITS:
        raise SourceCorrupt(
            f"{where}: no kind {value['kind']!r} or no split {value['split']!r}",
            remedy=f"kinds are {', '.join(KINDS)}; splits {', '.join(SPLITS)}",
        )
    if (kind == "expression") != bool(units):
        raise SourceCorrupt(
            f"{where}: kind {kind} with action units {value['au']!r}",
            remedy="expressions have units, all other kinds have none",
        )
    pictures = [root / value[name] for name in ("onset", "apex")]
    for picture in pictures:
        if not picture.is_file():
            raise SourceNotFound(
                f"{where}: there is no picture {picture}", remedy="paths are relative to the table"
            )
    return Row(
        where,
        value["subject"],
        value["clip"],
        pictures[0],
        pictures[1],
        tuple(sorted(units, key=lambda u: u.au)),
        value["emotion"].lower() or None if units else None,
        kind,
        split,
        duration,
    )


def _deal(subjects: set[str]) -> dict[str, str]:
    """Subject → split, in the order of a hash of its name: of each ten, the second is validation, the third test."""
    order = sorted(subjects, key=lambda s: hashlib.sha256(s.encode()).hexdigest())
    return {s: {1: "validation", 2: "test"}.get(i % 10, "train") for i, s in enumerate(order)}


def _check(rows: Sequence[Row]) -> None:
    splits: dict[str, str] = {}
    clips: set[tuple[str, str]] = set()
    for row in rows:
        if splits.setdefault(row.subject, row.split) != row.split:
            raise SourceCorrupt(
                f"{row.where}: subject {row.subject} is in {row.split} and in {splits[row.subject]}",
                remedy="give each subject one split",
            )
        if (row.subject, row.clip) in clips:
            raise SourceCorrupt(
                f"{row.where}: clip {row.clip} of subject {row.subject} comes twice",
                remedy="number the expressions of a clip",
            )
        clips.add((row.subject, row.clip))


def people(root: Path, split: str) -> list[Callable[[], Iterator[Pair]]]:
    """What gives the pairs of each subject of a split."""
    by_subject: dict[str, list[Row]] = {}
    for row in read(root):
        if row.split == split:
            by_subject.setdefault(row.subject, []).append(row)
    return [partial(pairs, tuple(rows)) for rows in by_subject.values()]


def pairs(rows: Sequence[Row], place: Place | None = None) -> Iterator[Pair]:
    """Pairs of rows.

    :raises SourceError: a picture cannot be read
    :raises FaceError: there is no face in an onset picture
    :raises UsageError: onset and apex differ in size
    """
    for row in rows:
        onset, apex = read_pair(row.onset, row.apex)
        landmarks = (place or find_face)(onset, str(row.onset))
        matrix = crop_matrix(eye_frame(landmarks), LIVE_WIDTH)
        crops = [
            warp(np.asarray(cv2.cvtColor(p, cv2.COLOR_BGR2GRAY), np.uint8), matrix, (LIVE_WIDTH, LIVE_HEIGHT))
            for p in (onset, apex)
        ]
        yield Pair(
            id=f"csv-{row.subject}-{row.clip}",
            subject=f"csv-{row.subject}",
            split=row.split,
            source="csv",
            kind=row.kind,
            units=row.units,
            peak=0.0,
            talks=row.kind == "speech",
            duration_ms=row.duration_ms,
            onset=crops[0],
            apex=crops[1],
            landmarks=apply(matrix, landmarks),
            # of a coarse class nobody knows the emotion
            emotion=None if row.emotion in COARSE and row.emotion != "surprise" else row.emotion,
            coarse=coarse(row.emotion),
        )


def coarse(emotion: str | None) -> Coarse | None:
    """Class of a fine label; ``None`` for labels outside of the three classes, such as "others"."""
    if emotion is None:
        return None
    if (named := next((c for c in COARSE if c == emotion), None)) is not None:
        return named
    return next(
        (data.emotions[emotion].coarse for data in DATA_SETS.values() if emotion in data.emotions), None
    )


def find_face(picture: U8, name: str) -> F32:
    """Landmarks of the largest face, by the engine's own networks."""
    # each picture is a film of its own: one analyser would carry landmarks over from the picture before
    analyzer = _analyzer()
    analyzer.reset()
    faces = analyzer.push(Frame("pair", 0, 0, 0, 0, picture)).faces
    if not faces:
        raise FaceError(f"{name}: no face found", remedy="take the row out, or use a larger frontal face")
    largest: Face = max(faces, key=lambda face: face.box[2] * face.box[3])
    return largest.landmarks


@cache
def _analyzer() -> FaceAnalyzer:
    return FaceAnalyzer(AnalyzerOptions(device="cpu"))


def digest(root: Path) -> str:
    """SHA-256 of the table: a data set is only gone on with while its table is the same."""
    try:
        return hashlib.sha256((root / NAME).read_bytes()).hexdigest()
    except OSError as error:
        raise SourceNotFound(
            f"{root / NAME} cannot be read ({error.strerror})",
            remedy=f"put a table with the columns {','.join(COLUMNS)} there",
        ) from error
