"""Tables of a spotting evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mellm.evaluation.dataset_runs.judging import Judged, Video, pool
from mellm.evaluation.dataset_runs.spotting_score import ALL, Spotting
from mellm.evaluation.metrics.table import Cell, Table

MICRO_ONLY: Final = (
    "The spotter calls everything it spots a micro-expression, so it spots no macro-expression by design; under "
    "micro, a spot on a macro-expression is a false alarm."
)


def tables(result: Spotting) -> list[Table]:
    """All tables, the one that people look for first."""
    out = [_main(result), _moments(result), _subjects(result), _thresholds(result)]
    if result.matrix:
        out.append(_matrix_table(result))
    if result.strs:
        out.append(_strs_table(result))
    out += [_curve(result), _problems(result)]
    return out


def _main(result: Spotting) -> Table:
    rows: list[Sequence[Cell]] = []
    for name, kinds in result.scores.items():
        for about, score in kinds.items():
            s = score.spotting
            rows.append(
                (
                    name,
                    about,
                    s.tp + s.fn,
                    s.tp + s.fp,
                    s.tp,
                    s.fp,
                    s.fn,
                    s.precision,
                    s.recall,
                    s.f1,
                    score.f1_range,
                    score.false_per_minute,
                )
            )
    return Table(
        "spotting",
        f"Spotting, IoU ≥ {result.rule.iou:g}",
        (
            "data set",
            "kind",
            "true",
            "spotted",
            "TP",
            "FP",
            "FN",
            "P",
            "R",
            "F1",
            "95 % (subjects)",
            "false / min",
        ),
        rows,
        (
            "Frames count inclusively, one spot answers one truth, counts are pooled over recordings. "
            + MICRO_ONLY,
            _about_truth(result),
        ),
    )


def _about_truth(result: Spotting) -> str:
    whole = [kinds["micro"] for name, kinds in result.scores.items() if name != ALL]
    long = sum(s.set_aside for s in whole)
    words = [f"{sum(s.unscored for s in whole)} micro-expressions have an unknown end and cannot be matched"]
    if result.rule.long_truth == "exclude":
        words.append(
            f"{long} that are annotated longer than half a second are set aside, and "
            f"{sum(s.spots_set_aside for s in whole)} spots in them"
        )
    else:
        words.append("those annotated longer than half a second are kept as they are (--long-truth keep)")
    return "; ".join(words) + "."


def _moments(result: Spotting) -> Table:
    rows: list[Sequence[Cell]] = []
    for name, kinds in result.scores.items():
        score = kinds["micro"]
        for moment in ("onset", "apex", "offset"):
            ms = score.ms.moments[moment] if score.ms else None
            frames = score.frames.moments[moment] if score.frames else None
            rows.append(
                [
                    name,
                    moment,
                    ms.count if ms else 0,
                    ms.bias if ms and ms.count else None,
                    ms.mae if ms and ms.count else None,
                    ms.median if ms and ms.count else None,
                    ms.p95 if ms and ms.count else None,
                    frames.mae if frames and frames.count else None,
                ]
            )
    return Table(
        "moments",
        "Moments of matched micro-expressions",
        (
            "data set",
            "moment",
            "pairs",
            "bias ms",
            "mean error ms",
            "median ms",
            "95th ms",
            "mean error frames",
        ),
        rows,
        ("Spotted minus true. Only spots that match are compared; frames only where all rates are equal.",),
        digits=1,
    )


def _subjects(result: Spotting) -> Table:
    groups: dict[tuple[str, str], list[Judged]] = {}
    for judged in result.judged():
        groups.setdefault((judged.video.dataset, judged.video.subject), []).append(judged)
    rows: list[Sequence[Cell]] = []
    for (dataset, subject), found in groups.items():
        score = pool(found, draws=0)
        s = score.spotting
        rows.append([dataset, subject, len(found), s.tp, s.fp, s.fn, s.f1, score.false_per_minute])
    heads = ("data set", "subject", "recordings", "TP", "FP", "FN", "F1", "false / min")
    return Table("subjects", "Micro-expressions by subject", heads, rows)


def _thresholds(result: Spotting) -> Table:
    rows = [[c.tested, c.level, c.chosen_on, c.recordings, c.f1] for c in result.choices]
    return Table(
        "thresholds",
        "Which data chose each threshold",
        ("used on", "threshold", "chosen on", "recordings there", "F1 there"),
        rows,
        ("No threshold was chosen on a recording that it is tested on.",),
        digits=2,
    )


def _matrix_table(result: Spotting) -> Table:
    names = list(result.matrix)
    rows: list[Sequence[Cell]] = [
        [
            source,
            result.matrix[source][names[0]][0],
            *(result.matrix[source][t][1].spotting.f1 for t in names),
        ]
        for source in names
    ]
    return Table(
        "matrix",
        "F1 of micro-expressions: threshold chosen on one data set (rows), tested on another (columns)",
        ("chosen on", "threshold", *names),
        rows,
        (
            "On the diagonal the threshold is chosen anew for each subject, on the other subjects of the data set.",
        ),
    )


def _strs_table(result: Spotting) -> Table:
    rows: list[Sequence[Cell]] = []
    for name, score in result.strs.items():
        a = score.analysis
        rows.append(
            (
                name,
                score.spotting.f1,
                score.spotting.tp,
                a.rows if a else 0,
                a.uf1 if a else None,
                a.uar if a else None,
                score.analysis_f1,
                score.strs,
            )
        )
    return Table(
        "strs",
        "Spot, then recognise (micro-expressions, three classes)",
        ("data set", "F1 spotting", "TP", "judged", "UF1", "UAR", "F1 analysis", "STRS"),
        rows,
        ("Recognition is judged on matched spots whose truth is negative, positive or surprise.",),
    )


def _curve(result: Spotting) -> Table:
    rows: list[Sequence[Cell]] = []
    for name, levels in result.curve.items():
        for level, score in levels.items():
            s = score.spotting
            rows.append([name, level, s.precision, s.recall, s.f1, score.false_per_minute])
    return Table(
        "curve",
        "Micro-expressions at every threshold",
        ("data set", "threshold", "P", "R", "F1", "false / min"),
        rows,
        ("To look at. Taking the best row from here would be a choice on test data.",),
    )


def _problems(result: Spotting) -> Table:
    """Everything that a reader has to know before believing a number."""
    counts: dict[str, Counter[str]] = {}
    for video in result.videos:
        row = result.rows[f"{video.dataset}/{video.subject}/{video.id}"]
        of = counts.setdefault(video.dataset, Counter())
        if video.error is not None:
            of[f"recording failed: {video.error}"] += 1
            continue
        frames = row["frames"]
        of["recordings with missing frames"] += bool(frames["missing"])
        of["frames missing"] += frames["missing"]
        of["frames that are no pictures"] += frames["unreadable"]
        of["recordings in which no face was seen"] += not frames["with_face"]
        of["recordings without a spot"] += not video.spots
        of["recordings that begin less than 0.5 s before their first expression"] += _tight(video, row)
        for reason, count in frames["faces_refused"].items():
            of[f"faces refused: {reason}"] += count
    rows: list[Sequence[Cell]] = [
        [name, what, count] for name, of in counts.items() for what, count in of.items() if count
    ]
    return Table(
        "problems",
        "What was counted and not hidden",
        ("data set", "what", "count"),
        rows,
        ("A recording that failed counts: all of its expressions are missed.",),
    )


def _tight(video: Video, row: Mapping[str, Any]) -> bool:
    """The spotter compares with the last 0.3 s: an expression at the very beginning is invisible to it."""
    onsets = [t.onset for t in video.truths if t.onset is not None]
    return bool(onsets) and (min(onsets) - row["first"]) / video.fps < 0.5
