"""The clips an evaluation runs on, checked before anything is measured on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mellm.detectors.sensitivity import half_motion
from mellm.detectors.signals import FEATURES
from mellm.detectors.windows import STEP_NS
from mellm.engine.facs import action_units as facs
from mellm.stream.errors import SourceCorrupt, SourceEmpty, UsageError
from mellm.training.spotter.records import Record, load

STEP_S = STEP_NS / 1e9
VALIDATION = "val-"
"""Names of validation sets begin with this. Options are chosen on them and on nothing else."""

Progress = Callable[[str, int, int], None]


def load_set(
    name: str, root: Path, *, build: bool = True, workers: int = 1, progress: Progress | None = None
) -> list[Record]:
    """The checked records of a set; what is missing of it is made first.

    :param build: whether to make missing clips (minutes to hours); without it what is there has to do
    :raises UsageError: there is no such set, or it was not built and must not be
    :raises SourceEmpty: it holds no clip
    :raises SourceCorrupt: see :func:`check`
    """
    from mellm.training.spotter import sets

    sets.clips(name)  # an unknown name is told before anything else
    if build:
        sets.build(
            name,
            root,
            workers=workers,
            progress=None if progress is None else lambda done, total: progress(name, done, total),
        )
    return [with_ratios(record, root) for record in check(name, sets.load(name, root))]


def with_ratios(record: Record, root: Path) -> Record:
    """The record, and with each expression laid on a recording its size over what that face does by itself.

    ``facts["ratios"]``: peak of the expression over the largest motion (over 0.3 s, head motion removed) of any region
    of its half of the face while it lasts, measured on the same recording without it. The upper half are brows,
    glabella, forehead and lids. Where the units of an expression lie in both halves, the quieter one counts. Nothing is
    added where the recording itself was not measured.
    """
    file, start = record.facts.get("file"), record.facts.get("start_s")
    if not record.truths or file is None or start is None:
        return record
    name = f"free-{Path(str(file)).stem}.npz"
    path = next((p for p in (root / "free" / name, root / "val-free" / name) if p.exists()), None)
    if path is None:
        return record
    bare = load(path)
    own = half_motion(bare.features)
    ratios = []
    for truth in record.truths:
        there = (bare.grid_s >= start + truth.onset_s) & (bare.grid_s <= start + truth.offset_s)
        largest = own[there & ~np.isnan(own[:, 0])].max(0, initial=0.0)
        halves = {0 if unit in facs.UPPER else 1 for unit in truth.aus}
        ratios.append(truth.peak / max(min(float(largest[h]) for h in halves), 1e-3))
    return replace(record, facts={**record.facts, "ratios": ratios})


def wanted(name: str) -> int:
    """How many clips the recipe of a set asks for."""
    from mellm.training.spotter import sets

    return len(sets.clips(name))


def check(name: str, records: Sequence[Record]) -> list[Record]:
    """The records, if all of them can be measured on.

    :raises SourceEmpty: there are none, or none shows a face
    :raises SourceCorrupt: a record whose signals have the wrong shape, are no numbers, or do not rise in time; a truth
        that ends before it begins
    """
    if not records:
        raise SourceEmpty(
            f"the set {name} holds no clip", remedy=f"python -m mellm.training.spotter.sets {name}"
        )
    for record in records:
        problem = _problem(record)
        if problem:
            raise SourceCorrupt(
                f"clip {record.name} of {name}: {problem}",
                remedy="delete its file and let it be measured again",
            )
    if not any(seen_s(record) for record in records):
        raise SourceEmpty(
            f"no clip of the set {name} shows a face that can be analysed",
            remedy="check its recordings with `mellm analyze`",
        )
    return list(records)


def _problem(record: Record) -> str:
    features, grid = record.features, record.grid_s
    if features.ndim != 2 or features.shape != (len(grid), FEATURES):
        return f"signals of shape {features.shape} at {len(grid)} grid times, expected {FEATURES} a time"
    bad = ~np.isfinite(features)
    if (bad.any(1) != np.isnan(features).all(1)).any():
        at = float(grid[np.flatnonzero(bad.any(1) & ~bad.all(1) | np.isinf(features).any(1))[0]])
        return f"signals at {at:.2f} s are no numbers (a void step is NaN throughout)"
    if not (np.isfinite(grid).all() and (np.diff(grid) > 0).all()):
        return "grid times do not rise"
    for truth in record.truths:
        if not truth.onset_s <= truth.apex_s <= truth.offset_s:
            return f"a true expression runs {truth.onset_s}, {truth.apex_s}, {truth.offset_s} s"
    return ""


def seen_s(record: Record) -> float:
    """Time with a face that could be analysed: false alarms are counted per minute of it."""
    return float(np.count_nonzero(~np.isnan(record.features[:, 0]))) * STEP_S


def require_validation(names: Sequence[str]) -> None:
    """:raises UsageError: one of them is a test set; nothing is ever tuned on those."""
    for name in names:
        if not name.startswith(VALIDATION):
            raise UsageError(
                f"{name} is a test set; options are chosen on validation sets only",
                remedy="leave --set out, or name sets that begin with val-",
            )
