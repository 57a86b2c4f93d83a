"""Recognition of the coarse class, and of the fine one where answers name it, pooled over folds. Pure.

Every clip with a class counts. One without an answer (the describer abstained or failed, no face, no apex) is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import log2
from typing import Any, Final, Literal

from mellm.evaluation.dataset_runs.describing import key_of
from mellm.evaluation.datasets import Clip
from mellm.evaluation.metrics.bootstrap import intervals
from mellm.evaluation.metrics.extraction import extract_label
from mellm.evaluation.metrics.recognition import RecognitionScore, recognition_score
from mellm.evaluation.protocols.composite import CLASSES, composite_class
from mellm.evaluation.protocols.folds import Fold, leave_one_dataset_out, leave_one_subject_out

Classes = Literal["coarse", "composite"]
Weights = tuple[float, float, float]
"""Factors of the scores of :data:`CLASSES`; the first is 1."""
PLAIN: Final[Weights] = (1.0, 1.0, 1.0)
GRID: Final[tuple[Weights, ...]] = tuple(
    (1.0, a, b) for a, b in product((0.25, 0.5, 1.0, 2.0, 4.0), repeat=2)
)
ALL: Final = "all together"


@dataclass(frozen=True, slots=True)
class Answered:
    """One clip with both sides.

    :param coarse: true class, ``None`` where it has none
    :param fine: annotated emotion
    :param state: ``described``, ``abstained`` or ``failed``
    :param reason: why not, or the error's code
    """

    dataset: str
    subject: str
    key: str
    coarse: str | None
    fine: str | None
    state: str
    reason: str | None
    said: str | None
    scores: Mapping[str, float] | None
    text: str


@dataclass(frozen=True, slots=True)
class Weighing:
    """Weights of the classes and where they come from.

    :param tested: what they are used on
    :param chosen_on: in words
    :param uf1: there, ``None`` if nothing was chosen
    """

    tested: str
    weights: Weights
    chosen_on: str
    clips: int = 0
    uf1: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "tested": self.tested,
            "weights": dict(zip(CLASSES, self.weights, strict=True)),
            "chosen_on": self.chosen_on,
            "clips": self.clips,
            "uf1_there": self.uf1,
        }


@dataclass(frozen=True, slots=True)
class Scored:
    """:param ranges: ``uf1``, ``uar`` → 95 % interval, subjects drawn again"""

    score: RecognitionScore
    ranges: Mapping[str, tuple[float, float]]
    states: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Recognition:
    """A finished evaluation.

    :param coarse: data set (and :data:`ALL`) → scores; fine is empty where no answer names a fine class
    :param fine: as ``coarse``
    :param matrix: weights chosen on → tested on → UF1; empty unless weights are chosen on several data sets
    """

    answers: tuple[Answered, ...]
    choices: tuple[Weighing, ...]
    coarse: Mapping[str, Scored]
    fine: Mapping[str, Scored]
    matrix: Mapping[str, Mapping[str, float]]


def answered(
    clips: Sequence[Clip], rows: Mapping[str, Mapping[str, Any]], classes: Classes
) -> list[Answered]:
    """Put rows beside the truth.

    :param classes: ``composite`` is the truth of MEGC 2019, ``coarse`` that of the data set
    """
    out = []
    for clip in clips:
        row = rows[key_of(clip)]
        failed = row["state"] == "failed"
        out.append(
            Answered(
                clip.dataset,
                clip.subject,
                row["key"],
                clip.coarse if classes == "coarse" else composite_class(clip),
                clip.emotion,
                row["state"],
                row["error"]["code"] if failed else row["reason"],
                None if failed else row["coarse"],
                None if failed else row["scores"],
                "" if failed else row["text"],
            )
        )
    return out


def evaluate(
    answers: Sequence[Answered], *, tune: Literal["loso", "lodo"] | None = None, draws: int = 1000
) -> Recognition:
    """Score answers.

    :param tune: folds on whose training part the weights of the classes are chosen; ``None`` chooses nothing
    :raises DatasetError: leaving one data set out of one
    """
    judged = [a for a in answers if a.coarse is not None]
    weights = [PLAIN] * len(judged)
    choices = [Weighing("every clip", PLAIN, "nothing: the describer's own class", len(judged))]
    matrix: dict[str, dict[str, float]] = {}
    names = list(dict.fromkeys(a.dataset for a in judged))
    if tune is not None and judged:
        folds = leave_one_subject_out(judged) if tune == "loso" else leave_one_dataset_out(judged)
        choices = [_chosen(fold, judged) for fold in folds]
        for fold, choice in zip(folds, choices, strict=True):
            for k in fold.test:
                weights[k] = choice.weights
        matrix = _matrix(judged, names) if len(names) > 1 else {}
    said = [weighed(a, w) for a, w in zip(judged, weights, strict=True)]
    rows = [(a, a.coarse or "", s) for a, s in zip(judged, said, strict=True)]
    labels = {a.fine for a in answers if a.fine}
    named = [(a, extract_label(a.text, labels)) for a in answers if a.fine]
    fine = [(a, a.fine or "", s) for a, s in named] if any(s and s not in CLASSES for _, s in named) else []
    return Recognition(tuple(answers), tuple(choices), _groups(rows, draws), _groups(fine, draws), matrix)


def weighed(answer: Answered, weights: Weights) -> str | None:
    """The class of an answer under weights; the describer's own where they are plain or there are no scores."""
    if answer.scores is None or weights == PLAIN or answer.state != "described":
        return answer.said
    scores = answer.scores
    return max(CLASSES, key=lambda c: scores.get(c, 0.0) * weights[CLASSES.index(c)])


def _uf1(answers: Sequence[Answered], weights: Weights) -> float:
    return recognition_score([a.coarse or "" for a in answers], [weighed(a, weights) for a in answers]).uf1


def _best(answers: Sequence[Answered]) -> tuple[Weights, float]:
    """Of equal ones the nearest to plain."""
    found = {w: _uf1(answers, w) for w in GRID}
    best = max(GRID, key=lambda w: (found[w], -sum(abs(log2(v)) for v in w)))
    return best, found[best]


def _chosen(fold: Fold, answers: Sequence[Answered]) -> Weighing:
    train = [answers[k] for k in fold.train]
    if not train:
        return Weighing(fold.name, PLAIN, "nothing: there is no other clip", 0)
    best, uf1 = _best(train)
    people = len({(a.dataset, a.subject) for a in train})
    sets = ", ".join(dict.fromkeys(a.dataset for a in train))
    return Weighing(fold.name, best, f"{people} other subjects of {sets}", len(train), uf1)


def _matrix(answers: Sequence[Answered], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """On the diagonal each subject is left out of the choice."""
    groups = {name: [a for a in answers if a.dataset == name] for name in names}
    out: dict[str, dict[str, float]] = {}
    for source, train in groups.items():
        best, _ = _best(train)
        out[source] = {name: _uf1(test, best) for name, test in groups.items()}
        folds = leave_one_subject_out(train)
        own = {k: _chosen(fold, train).weights for fold in folds for k in fold.test}
        said = [weighed(a, own[k]) for k, a in enumerate(train)]
        out[source][source] = recognition_score([a.coarse or "" for a in train], said).uf1
    return out


Judgement = tuple[Answered, str, str | None]


def _groups(rows: Sequence[Judgement], draws: int) -> dict[str, Scored]:
    names = list(dict.fromkeys(a.dataset for a, _, _ in rows))
    out = {name: _scored([r for r in rows if r[0].dataset == name], draws) for name in names}
    if len(names) > 1:
        out[ALL] = _scored(rows, draws)
    return out


def _scored(rows: Sequence[Judgement], draws: int) -> Scored:
    by_subject: dict[str, list[Judgement]] = {}
    for row in rows:
        by_subject.setdefault(f"{row[0].dataset}/{row[0].subject}", []).append(row)
    whole = _score(rows, [f"{a.dataset}/{a.subject}" for a, _, _ in rows])
    ranges = {"uf1": (float("nan"), float("nan")), "uar": (float("nan"), float("nan"))}
    if draws and len(by_subject) > 1:
        ranges = intervals(by_subject, _both, draws=draws)
    states = {
        state: sum(a.state == state for a, _, _ in rows) for state in ("described", "abstained", "failed")
    }
    return Scored(whole, ranges, states)


def _score(rows: Sequence[Judgement], folds: Sequence[str] | None = None) -> RecognitionScore:
    return recognition_score([t for _, t, _ in rows], [s for _, _, s in rows], folds)


def _both(rows: list[Judgement]) -> dict[str, float]:
    score = _score(rows)
    return {"uf1": score.uf1, "uar": score.uar}
