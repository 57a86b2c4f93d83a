"""Onset–apex pairs of runs that people corrected, as an annotated table (:mod:`mellm.training.instruct.manifest`).

What somebody accepted, corrected or added with action units is an expression; what was rejected shows none, and where
the comment is one of the kinds (``blink``, ``speech``, ``head``, ``gaze``), that. What nobody looked at is left out: a
model must not learn from itself. The pictures are cut round the face, so that whoever else is in the recording stays
out.
"""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from mellm.detectors.types import U8
from mellm.engine.export import words
from mellm.engine.results.about import About
from mellm.engine.results.corrections import mark_of
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.run_folder import run_folders
from mellm.engine.results.run_reader import Run, open_recording, read_run, recording
from mellm.stream.errors import RunError, SourceEmpty, SourceNotFound
from mellm.stream.frames import Frame
from mellm.stream.protocol.events import FACE_APPEARED
from mellm.training.instruct.manifest import COLUMNS, KINDS, NAME

logger = logging.getLogger(__name__)

AROUND: Final = 2.0
"""Side of the picture, in widths of the face: the head may move, and the face networks want its surroundings."""


@dataclass(slots=True)
class Extracted:
    """What came of it.

    :param kinds: kind → pairs
    :param left_out: why → expressions
    """

    root: Path
    kinds: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)


def extract(folders: Sequence[Path], root: Path) -> Extracted:
    """Write the pairs of runs, or of studies, and their table.

    :param root: a new folder
    :raises RunError: a run cannot be read, or the folder cannot be written or is not empty
    :raises SourceError: a recording is not there any more, or cannot be read
    :raises SourceEmpty: nobody decided about anything in them
    """
    result = Extracted(root)
    rows: list[dict[str, Any]] = []
    try:
        if root.exists() and any(root.iterdir()):
            raise RunError(f"{root} is not empty", remedy="name another folder with --root")
        for number, folder in enumerate(f for each in folders for f in run_folders(each)):
            for source, run in read_run(folder).each():
                rows += _of_recording(run, source, root, f"{number:03d}", result)
        if not rows:
            raise SourceEmpty(
                "no expression of these runs was accepted, corrected, added or rejected",
                remedy="correct them first: mellm correct RUN FILE",
            )
        with (root / NAME).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, (*COLUMNS, "kind", "duration_ms"), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise RunError(f"{root} cannot be written ({error.strerror or error})") from error
    return result


def _of_recording(
    run: Run, source: str, root: Path, prefix: str, result: Extracted
) -> Iterator[dict[str, Any]]:
    about = About.of(run.state)
    chosen = {
        r.id: (r, kind) for r in (*run.expressions, *run.rejected) if (kind := _kind(r, result)) is not None
    }
    if not chosen:
        return
    path = recording(run, source)
    if not path.exists():
        raise SourceNotFound(
            f"{path}: the recording is not there any more", remedy="put it back, or leave the run out"
        )
    pictures = _pictures(run, source, path, [r for r, _ in chosen.values()])
    for id, (record, kind) in chosen.items():
        if id not in pictures:
            result.left_out["no picture"] += 1
            continue
        names = []
        for moment, picture in zip(("onset", "apex"), pictures[id], strict=True):
            name = f"{prefix}-{source}/{id}-{moment}.png"
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / name), picture)
            names.append(name)
        result.kinds[kind] += 1
        shown = kind == "expression"
        yield {
            # without a subject, nobody knows whether two recordings show the same person: each is one of its own
            "subject": about.subject or f"{prefix}-{source}",
            "clip": f"{prefix}-{id}",
            "onset": names[0],
            "apex": names[1],
            "au": words.facs(record) if shown else "",
            "emotion": (words.emotion(record) or "") if shown else "",
            "kind": kind,
            "duration_ms": record.duration_ms,
        }


def _kind(record: ExpressionRecord, result: Extracted) -> str | None:
    mark = mark_of(record)
    if mark is None:
        result.left_out["nobody looked at it"] += 1
        return None
    if mark.verdict == "reject":
        said = mark.comment.strip().lower()
        return said if said in KINDS and said != "expression" else "still"
    if not record.action_units:
        result.left_out["no action unit"] += 1
        return None
    return "expression"


def _pictures(
    run: Run, source: str, path: Path, records: Sequence[ExpressionRecord]
) -> dict[str, tuple[U8, U8]]:
    """Expression → pictures of onset and apex, cut alike."""
    homes = {e.data["track"]: e.data.get("box") for e in run.events if e.type == FACE_APPEARED}
    wanted: dict[tuple[int, int], list[tuple[str, str]]] = {}
    for record in records:
        for moment, index in (("onset", record.onset_frame), ("apex", record.apex_frame)):
            wanted.setdefault((record.segment, index), []).append((record.id, moment))
    track = {record.id: record.track for record in records}
    cut: dict[tuple[str, str], U8] = {}
    with open_recording(run, source, path) as opened:
        while len(cut) < 2 * len(records) and (item := opened.read()) is not None:
            if not isinstance(item, Frame) or (key := (item.segment, item.index)) not in wanted:
                continue
            image = np.ascontiguousarray(item.image[:, ::-1]) if opened.info.mirrored else item.image
            for id, moment in wanted[key]:
                cut[id, moment] = _around(image, homes.get(track[id]))
    return {
        r.id: (cut[r.id, "onset"], cut[r.id, "apex"])
        for r in records
        if (r.id, "onset") in cut and (r.id, "apex") in cut
    }


def _around(image: U8, box: Any) -> U8:
    """The part of a picture round a face's box; all of it where the box is not known."""
    if not isinstance(box, list | tuple) or len(box) != 4:
        return image
    x, y, w, h = map(float, box)
    half = AROUND * max(w, h) / 2 + max(w, h) / 2
    middle = x + w / 2, y + h / 2
    left, top = max(0, round(middle[0] - half)), max(0, round(middle[1] - half))
    return image[top : round(middle[1] + half), left : round(middle[0] + half)]
