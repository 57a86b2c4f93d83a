"""What well-known public scorers would have printed on the same input, and why it differs. Reports only.

Each is written from the rule of the named program, read in its public repository, so that a number from a paper can be
laid beside ours. None is a default of anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mellm.evaluation.metrics.counts import Counts, Plain, harmonic, mean
from mellm.evaluation.metrics.matching import Interval, iou, match
from mellm.evaluation.metrics.recognition import recognition_score
from mellm.evaluation.metrics.strs import Row, by_video

THREE: Final = ("negative", "positive", "surprise")
Sides = tuple[Sequence[Interval], Sequence[Interval]]
"""Predicted and true intervals of one video."""


@dataclass(frozen=True, slots=True)
class Printed(Plain):
    """What one scorer would print.

    :param scorer: program or family, by its repository
    :param values: its numbers under their usual names; ``None`` where it would have stopped with an error
    :param why: how its rule differs from ours
    """

    scorer: str
    values: Mapping[str, float | None]
    why: str


# --- spotting


def spotting(videos: Sequence[Sides], threshold: float = 0.5) -> tuple[Printed, ...]:
    """Scorers of intervals."""
    seen = [(p, t) for p, t in videos if t]
    return (
        _spotted(
            "genbing99/STRS-Metric",
            _sum(_many_to_many(p, t, threshold) for p, t in seen),
            "every overlapping pair is a true positive, so one prediction may count twice and a truth too; "
            "predictions in videos without truth are not looked at",
        ),
        _spotted(
            "genbing99/SoftNet-SpotME",
            _sum(_greedy(p or [(0, 0)], t, threshold) for p, t in seen),
            "each prediction in turn may take its best truth only, else it is false; a video without predictions "
            "gets one at frame 0; videos without truth cannot be given to it",
        ),
        _spotted(
            "williamlee91/LGSNet",
            _sum(_best_of_truth(p, t, threshold) for p, t in videos),
            "one prediction may answer several truths, so false ones may be fewer than none (the published runs "
            "divide recall by fixed numbers of expressions, whatever the files hold)",
        ),
        _spotted(
            "spotting_evaluation (of several projects)",
            _sum(_pool_doubles(p, t, threshold) for p, t in videos),
            "further predictions on a truth that is found already are taken out of the false ones, and one "
            "prediction may answer several truths",
        ),
        _spotted(
            "ends excluded (temporal action localisation)",
            _sum(_one_to_one_open(p, t, threshold) for p, t in videos),
            "an interval is as long as the difference of its ends, a frame shorter than ours, so short pairs differ",
        ),
        Printed(
            "mean over videos",
            {"f1": mean([_ours(p, t, threshold).f1 for p, t in seen])},
            "an F1 for each video that has truth, then their mean, where the guideline pools counts first",
        ),
    )


def _spotted(scorer: str, counts: Counts, why: str) -> Printed:
    return Printed(scorer, counts.as_dict(), why)


def _sum(parts: Any) -> Counts:
    every = list(parts)
    return Counts(sum(c.tp for c in every), sum(c.fp for c in every), sum(c.fn for c in every))


def _ours(predicted: Sequence[Interval], true: Sequence[Interval], threshold: float) -> Counts:
    tp = len(match(predicted, true, threshold))
    return Counts(tp, len(predicted) - tp, len(true) - tp)


def _many_to_many(predicted: Sequence[Interval], true: Sequence[Interval], threshold: float) -> Counts:
    hits = [[iou(p, t) >= threshold for t in true] for p in predicted]
    found = {j for row in hits for j, hit in enumerate(row) if hit}
    return Counts(sum(map(sum, hits)), sum(not any(row) for row in hits), len(true) - len(found))


def _greedy(predicted: Sequence[Interval], true: Sequence[Interval], threshold: float) -> Counts:
    taken: set[int] = set()
    for p in predicted:
        # of equal overlaps its sort leaves the later truth first
        best = max(range(len(true)), key=lambda j: (iou(p, true[j]), j), default=None)
        if best is not None and best not in taken and iou(p, true[best]) >= threshold:
            taken.add(best)
    return Counts(len(taken), len(predicted) - len(taken), len(true) - len(taken))


def _best_of_truth(predicted: Sequence[Interval], true: Sequence[Interval], threshold: float) -> Counts:
    tp = sum(max((iou(p, t) for p in predicted), default=0.0) >= threshold for t in true)
    return Counts(tp, len(predicted) - tp, len(true) - tp)


def _pool_doubles(predicted: Sequence[Interval], true: Sequence[Interval], threshold: float) -> Counts:
    hits = [sum(iou(p, t) >= threshold for p in predicted) for t in true]
    tp = sum(hit > 0 for hit in hits)
    return Counts(tp, len(predicted) - (sum(hits) - tp) - tp, len(true) - tp)


def _one_to_one_open(predicted: Sequence[Interval], true: Sequence[Interval], threshold: float) -> Counts:
    taken: set[int] = set()
    for p in predicted:
        near = [j for j in range(len(true)) if j not in taken and _open_iou(p, true[j]) >= threshold]
        if near:
            taken.add(max(near, key=lambda j: _open_iou(p, true[j])))
    return Counts(len(taken), len(predicted) - len(taken), len(true) - len(taken))


def _open_iou(a: Interval, b: Interval) -> float:
    shared = max(0, min(a[1], b[1]) - max(a[0], b[0]))
    union = a[1] - a[0] + b[1] - b[0] - shared
    return shared / union if union else 0.0


# --- labels


def recognition(
    true: Sequence[str], predicted: Sequence[str | None], folds: Sequence[object] | None = None
) -> tuple[Printed, ...]:
    """Scorers of labels."""
    score = recognition_score(true, predicted, folds)
    told = ["unknown" if p is None else p for p in predicted]
    union = [_one(name, true, told) for name in sorted({*true, *told})]
    out = [
        Printed(
            "sklearn macro average (e.g. Humphrey-0125/MEGC2025)",
            {"uf1": mean([c.f1 for c in union]), "uar": mean([c.recall for c in union])},
            "the mean goes over all labels of either side: a class that no truth has, and the word that stands for "
            "an unreadable answer, are classes with F1 0",
        ),
        Printed(
            "genbing99/STRS-Metric",
            {"uf1": mean([c.f1 for c in union]), "uar": mean([c.precision for c in union])},
            'its "UAR" is the mean of precision, not of recall; classes are those of either side',
        ),
        Printed(
            "weighted F1 (noobasuna/mevqa, pong213/SAC2-Net)",
            {"weighted_f1": sum(c.f1 * (c.tp + c.fn) for c in score.per_class.values()) / len(true)},
            "each class weighs as many rows as it has, so that the frequent ones decide",
        ),
    ]
    if set(true) <= set(THREE):
        out.append(
            Printed(
                "MEAN, fixed list of 3",
                _fixed(true, told),
                "a class that neither side has, or that fills both, is left out of the mean: its table has one cell; "
                "a class that only answers name counts 0",
            )
        )
    if folds is not None:
        values = list(score.folds.values())
        out.append(
            Printed(
                "mean over folds",
                {"uf1": mean([f for f, _ in values]), "uar": mean([r for _, r in values])},
                "scores within each fold, then their mean; MEGC pools the counts of all folds first",
            )
        )
    return tuple(out)


def _one(name: str, true: Sequence[str], predicted: Sequence[str]) -> Counts:
    cells = [(t == name, p == name) for t, p in zip(true, predicted, strict=True)]
    return Counts(cells.count((True, True)), cells.count((False, True)), cells.count((True, False)))


def _fixed(true: Sequence[str], predicted: Sequence[str]) -> dict[str, float | None]:
    cells = [_one(name, true, predicted) for name in THREE]
    kept = [c for c in cells if c.tp + c.fp + c.fn and c.tp < len(true)]
    if not kept:
        return {"uf1": None, "uar": None}
    return {"uf1": mean([c.f1 for c in kept]), "uar": mean([c.recall for c in kept])}


# --- spot-then-recognise


def strs(truth: Sequence[Row], predicted: Sequence[Row], threshold: float = 0.5) -> tuple[Printed, ...]:
    """STRS-Metric, whose output MEGC papers print."""
    subjects = {r.subject for r in predicted}
    videos = [v for (subject, _), v in by_video(truth, predicted).items() if v[0] and subject in subjects]
    pairs = [
        (t.emotion, p.emotion)
        for true, got in videos
        for p in got
        for t in true
        if iou((p.onset, p.offset), (t.onset, t.offset)) >= threshold
    ]
    spotted = _sum(
        _many_to_many([(r.onset, r.offset) for r in got], [(r.onset, r.offset) for r in true], threshold)
        for true, got in videos
    )
    names = sorted({r.emotion for r in (*truth, *predicted)})
    found = [_one(name, [t for t, _ in pairs], [p for _, p in pairs]) for name in names]
    # a class that fills both sides has a table of one cell, for which the program puts zeros
    found = [Counts(0, 0, 0) if c.tp == len(pairs) else c for c in found]
    precision, recall = mean([c.precision for c in found]), mean([c.recall for c in found])
    analysis = harmonic(precision, recall) if precision + recall else None
    right = sum(t == p for t, p in pairs)
    values: dict[str, float | None] = {
        "strs": None if analysis is None else spotted.f1 * analysis,
        **{f"{name}_spotting": value for name, value in spotted.as_dict().items()},
        "tp_analysis": right,
        "fp_analysis": len(pairs) - right,
        "fn_analysis": len(pairs) - right,
        "precision_analysis": precision,
        "recall_analysis": recall,
        "f1_analysis": analysis,
        "uf1": mean([c.f1 for c in found]),
        "uar": precision,
    }
    return (
        Printed(
            "genbing99/STRS-Metric",
            values,
            "every overlapping pair is a true positive; subjects without predictions and videos without truth are "
            "not looked at; classes are those of either file, spotted or not, and one that fills everything counts 0; "
            'its "UAR" is the mean of precision; its FN of analysis is counted like its FP',
        ),
    )
