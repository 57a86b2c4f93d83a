"""From files to scores: one function for each kind of ``mellm eval metrics``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import Any, Final, TypeVar

from evaluation.metrics import inputs, videos
from evaluation.metrics.action_units import action_unit_score
from evaluation.metrics.bootstrap import intervals
from evaluation.metrics.errors import MetricsError
from evaluation.metrics.inputs import Files
from evaluation.metrics.joining import listed
from evaluation.metrics.mme import PARSERS, mme_score, read_results, task_score
from evaluation.metrics.moments import moment_errors
from evaluation.metrics.recognition import RecognitionScore, recognition_score
from evaluation.metrics.spotting import SpottingScore, spotting_score
from evaluation.metrics.strs import by_video, strs_score

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line chose.

    :param iou: least overlap of a match; :param fps: turns errors of moments into milliseconds
    :param parser: of MME responses; :param draws: of the bootstrap, 0 for none
    :param units: judge these action units only
    """

    iou: float = 0.5
    fps: float | None = None
    parser: str = "official"
    draws: int = 0
    seed: int = 0
    units: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What was found.

    :param values: as JSON data; :param notes: what was odd in the input and how it counted
    :param drawn: what the bootstrap drew (``subjects``, ``videos``, ``images``), ``""`` without one
    :param ranges: name of a score → its 95 % interval, ``None`` where nothing is known
    :param compat: what other scorers would have printed
    """

    values: dict[str, Any]
    notes: tuple[str, ...] = ()
    drawn: str = ""
    ranges: Mapping[str, list[float] | None] = field(default_factory=dict)
    units_drawn: int = 0


def spotting(files: Files, options: Options) -> Result:
    """Intervals of videos."""
    given = videos.spotting(files)
    rows: Sequence[videos.Video] = given.rows
    counts = [spotting_score([(v.predicted, v.true)], options.iou) for v in rows]
    total = sum(counts, SpottingScore(0, 0, 0))
    values = {**total.as_dict(), "videos": len(rows), "iou": options.iou}
    if by_type := _by_type(rows, options.iou):
        values["by_type"] = by_type
    groups, drawn = _groups(counts, given.subjects, [v.video for v in rows], "videos")
    return _drawn(
        Result(values, given.notes),
        groups,
        drawn,
        lambda items: _ratios(sum(items, SpottingScore(0, 0, 0))),
        options,
    )


def _ratios(score: SpottingScore) -> dict[str, float]:
    return {"precision": score.precision, "recall": score.recall, "f1": score.f1}


def _by_type(rows: Sequence[videos.Video], threshold: float) -> dict[str, Any]:
    """Each type of expression alone, where every row of both files names one."""
    if any(v.types is None for v in rows):
        return {}
    kinds = sorted({kind for v in rows if v.types for side in v.types for kind in side})

    def only(kind: str, v: videos.Video) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        assert v.types is not None
        return (
            [i for i, k in zip(v.predicted, v.types[0], strict=True) if k == kind],
            [i for i, k in zip(v.true, v.types[1], strict=True) if k == kind],
        )

    return {
        kind: spotting_score([only(kind, v) for v in rows], threshold).as_dict() for kind in kinds if kind
    }


def recognition(files: Files, options: Options) -> Result:
    """Labels."""
    given = inputs.labels(files)
    score = recognition_score(*_sides(given.rows), given.folds)
    names = [str(k) for k in range(len(given.rows))]
    groups, drawn = _groups(given.rows, given.subjects, names, "rows")
    return _drawn(
        Result(score.as_dict(), (*given.notes, *_told(score))),
        groups,
        drawn,
        lambda items: _labelled(recognition_score(*_sides(items))),
        options,
    )


def _labelled(score: RecognitionScore) -> dict[str, float]:
    return {"uf1": score.uf1, "uar": score.uar, "accuracy": score.accuracy}


def _sides(rows: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    return [t for t, _ in rows], [p for _, p in rows]


def _told(score: RecognitionScore) -> list[str]:
    notes = []
    if score.unparsable:
        notes.append(f"{score.unparsable} rows without an answer, counted wrong")
    if score.foreign:
        named = [f"{name!r} ({count})" for name, count in score.foreign.items()]
        notes.append(f"labels that no truth has, counted wrong: {listed(named)}")
    return notes


def strs(files: Files, options: Options) -> Result:
    """Intervals with emotions."""
    truth, predicted, notes = inputs.strs(files)
    score = strs_score(truth, predicted, options.iou)
    by_subject: dict[str, list[Any]] = {}
    for (subject, _), sides in by_video(truth, predicted).items():
        by_subject.setdefault(subject, []).append(sides)

    def again(items: list[Any]) -> dict[str, float]:
        # a subject drawn twice is two people: its videos must not fall together
        rows = [
            [
                type(r)(str(k), r.video, r.onset, r.offset, r.emotion)
                for k, i in enumerate(items)
                for r in i[side]
            ]
            for side in (0, 1)
        ]
        s = strs_score(rows[0], rows[1], options.iou)
        return {"strs": s.strs, "f1_spotting": s.spotting.f1, "f1_analysis": s.analysis_f1}

    return _drawn(Result(score.as_dict(), notes), by_subject, "subjects", again, options)


def moments(files: Files, options: Options) -> Result:
    """Onsets, apexes and offsets."""
    given = inputs.moments(files)

    def score(rows: Sequence[Any]) -> dict[str, Any]:
        errors = moment_errors(rows)
        return (errors.scaled(options.fps) if options.fps is not None else errors).as_dict()

    groups, drawn = _groups(given.rows, given.subjects, [str(k) for k in range(len(given.rows))], "rows")

    def again(items: list[Any]) -> dict[str, float]:
        found = score(items)
        return {f"{name}_mae": found[name]["mae"] for name in ("onset", "apex", "offset")}

    return _drawn(Result(score(given.rows), given.notes), groups, drawn, again, options)


def units(files: Files, options: Options) -> Result:
    """Sets of action units."""
    given = inputs.units(files)
    score = action_unit_score(*_sides(given.rows), options.units)
    notes = list(given.notes)
    if score.unparsable:
        notes.append(f"{score.unparsable} rows without an answer, counted as the empty set")
    if score.foreign:
        named = [f"{unit} ({count})" for unit, count in score.foreign.items()]
        notes.append(f"predicted units outside the judged ones: {listed(named)}")
    groups, drawn = _groups(given.rows, given.subjects, [str(k) for k in range(len(given.rows))], "rows")

    def again(items: list[Any]) -> dict[str, float]:
        s = action_unit_score(*_sides(items), score.units)
        return {"macro_f1": s.macro_f1, "binary_f1": s.binary_f1, "jaccard": s.jaccard}

    return _drawn(Result(score.as_dict(), tuple(notes)), groups, drawn, again, options)


def mme(files: Files, options: Options) -> Result:
    """A folder of official text files."""
    results = read_results(folder_of(files))
    score = mme_score(results, options.parser)
    groups = {
        f"{name} {k}": [(name, pair)] for name, ps in results.tasks.items() for k, pair in enumerate(ps)
    }

    def again(items: list[Any]) -> dict[str, float]:
        tasks: dict[str, list[Any]] = {}
        for name, pair in items:
            tasks.setdefault(name, []).append(pair)
        read = PARSERS[options.parser]
        s = type(score)(options.parser, {name: task_score(ps, read) for name, ps in tasks.items()})
        return {"perception": s.perception, "cognition": s.cognition, "total": s.total}

    return _drawn(Result(score.as_dict(), results.notes), groups, "images", again, options)


def folder_of(files: Files) -> Path:
    """The folder, which MME takes as its prediction.

    :raises MetricsError: there is none, or there is more
    """
    if files.true is not None or files.cases is not None:
        raise MetricsError("MME has its truth within its files", remedy="name the folder alone")
    if files.predicted is None:
        raise MetricsError("no folder", remedy="give the folder of the official text files")
    return files.predicted


def _groups(
    rows: Sequence[Item], subjects: Sequence[str | None], names: Sequence[str], otherwise: str
) -> tuple[dict[str, list[Item]], str]:
    """Rows by subject; where any has none, each by itself (of a video, by video)."""
    known = all(subject is not None for subject in subjects)
    out: dict[str, list[Item]] = {}
    for row, subject, name in zip(rows, subjects, names, strict=True):
        out.setdefault((subject or "") if known else name, []).append(row)
    return out, "subjects" if known else otherwise


def _drawn(
    result: Result,
    groups: Mapping[str, Sequence[Item]],
    drawn: str,
    score: Callable[[list[Item]], Mapping[str, float]],
    options: Options,
) -> Result:
    """The result with intervals, if draws were asked for."""
    if not options.draws:
        return result
    notes = list(result.notes)
    if drawn != "subjects":
        notes.append(f"no subjects are named: the bootstrap draws {drawn}, as if each were independent")
    if len(groups) < 2:
        notes.append(f"one of the {drawn} cannot be drawn again: there are no intervals")
    found = intervals(groups, score, draws=options.draws, seed=options.seed)
    ranges = {name: None if isnan(low) else [low, high] for name, (low, high) in found.items()}
    return Result(result.values, tuple(notes), drawn, ranges, len(groups))


KINDS: Final[Mapping[str, Callable[[Files, Options], Result]]] = {
    "spotting": spotting,
    "recognition": recognition,
    "strs": strs,
    "moments": moments,
    "units": units,
    "mme": mme,
}
