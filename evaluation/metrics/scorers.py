"""From files to scores: one function for each kind of ``mellm eval metrics``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan, nan
from pathlib import Path
from typing import Any, Final, TypeVar

from mellm.evaluation.metrics import compat, inputs, videos
from mellm.evaluation.metrics.action_units import action_unit_score
from mellm.evaluation.metrics.bootstrap import intervals
from mellm.evaluation.metrics.errors import MetricsError
from mellm.evaluation.metrics.inputs import Files
from mellm.evaluation.metrics.joining import listed
from mellm.evaluation.metrics.mme import PARSERS, mme_score, read_results, task_score
from mellm.evaluation.metrics.moments import moment_errors
from mellm.evaluation.metrics.recognition import RecognitionScore, recognition_score
from mellm.evaluation.metrics.spotting import SpottingScore, spotting_score
from mellm.evaluation.metrics.strs import by_video, strs_score

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line chose.

    :param iou: least overlap of a match
    :param fps: turns errors of moments into milliseconds
    :param parser: of MME responses
    :param draws: of the bootstrap, 0 for none
    :param units: judge these action units only
    :param compat: tell what other scorers would have printed
    """

    iou: float = 0.5
    fps: float | None = None
    parser: str = "official"
    draws: int = 0
    seed: int = 0
    units: frozenset[int] | None = None
    compat: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What was found.

    :param values: as JSON data
    :param notes: what was odd in the input and how it counted
    :param drawn: what the bootstrap drew (``subjects``, ``videos``, ``images``), ``""`` without one
    :param units_drawn: how many of them there are
    :param ranges: name of a score → its 95 % interval, ``None`` where nothing is known
    :param compat: what other scorers would have printed, if that was asked for
    """

    values: dict[str, Any]
    notes: tuple[str, ...] = ()
    drawn: str = ""
    ranges: Mapping[str, list[float] | None] = field(default_factory=dict)
    units_drawn: int = 0
    compat: tuple[compat.Printed, ...] | None = None


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
        Result(
            values,
            given.notes,
            compat=compat.spotting([(v.predicted, v.true) for v in rows], options.iou)
            if options.compat
            else None,
        ),
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
        Result(
            score.as_dict(),
            (*given.notes, *_score_notes(score)),
            compat=compat.recognition(*_sides(given.rows), given.folds) if options.compat else None,
        ),
        groups,
        drawn,
        lambda items: _labelled(recognition_score(*_sides(items))),
        options,
    )


def _labelled(score: RecognitionScore) -> dict[str, float]:
    return {"uf1": score.uf1, "uar": score.uar, "accuracy": score.accuracy}


def _sides(rows: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    return [t for t, _ in rows], [p for _, p in rows]


def _score_notes(score: RecognitionScore) -> list[str]:
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

    others = compat.strs(truth, predicted, options.iou) if options.compat else None
    return _drawn(Result(score.as_dict(), notes, compat=others), by_subject, "subjects", again, options)


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

    none = () if options.compat else None
    return _drawn(Result(score(given.rows), given.notes, compat=none), groups, drawn, again, options)


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

    none = () if options.compat else None
    return _drawn(Result(score.as_dict(), tuple(notes), compat=none), groups, drawn, again, options)


def vqa(files: Files, options: Options) -> Result:
    """Questions about micro-expressions."""
    from mellm.evaluation.metrics import compat_answers
    from mellm.evaluation.metrics.vqa import VqaScore, vqa_score

    given = inputs.questions(files)
    score = vqa_score(given.rows)
    notes = list(given.notes)
    if score.empty:
        notes.append(f"{score.empty} questions without an answer, counted wrong")
    for name in ("coarse", "fine"):
        part = getattr(score, name)
        if part and (lost := part.extracted.unparsable):
            notes.append(f"{lost} answers to {name} questions name no class, or several; counted wrong")

    def plain(s: VqaScore) -> dict[str, float]:
        out = {}
        for name, part in (("coarse", s.coarse), ("fine", s.fine)):
            for how in ("exact", "extracted") if part else ():
                out[f"{name}_uf1_{how}"] = getattr(part, how).uf1
                out[f"{name}_uar_{how}"] = getattr(part, how).uar
        if s.yes_no:
            out["yes_no_accuracy"] = s.yes_no.accuracy_extracted
        if s.units:
            out["units_set_f1"], out["units_jaccard"] = s.units.set_f1, s.units.jaccard
        return out

    values = {**plain(score), **{name: m.value for name, m in score.text.items()}, **score.as_dict()}
    groups, drawn = _groups(given.rows, given.subjects, [str(k) for k in range(len(given.rows))], "questions")
    asked = plain(score)

    def again(items: list[Any]) -> dict[str, float]:
        return {**dict.fromkeys(asked, nan), **plain(vqa_score(items, text=False))}

    others = compat_answers.vqa(given.rows) if options.compat else None
    return _drawn(Result(values, tuple(notes), compat=others), groups, drawn, again, options)


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

    others = None
    if options.compat:
        from mellm.evaluation.metrics import compat_answers

        others = compat_answers.mme(results.tasks)
    return _drawn(Result(score.as_dict(), results.notes, compat=others), groups, "images", again, options)


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
    return replace(result, notes=tuple(notes), drawn=drawn, ranges=ranges, units_drawn=len(groups))


KINDS: Final[Mapping[str, Callable[[Files, Options], Result]]] = {
    "spotting": spotting,
    "recognition": recognition,
    "strs": strs,
    "moments": moments,
    "units": units,
    "vqa": vqa,
    "mme": mme,
}
