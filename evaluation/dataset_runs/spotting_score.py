"""What the spotter is worth on the data sets, and where each threshold comes from. Pure: rows in, scores out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from mellm.evaluation.dataset_runs.judging import (
    ABOUT,
    About,
    At,
    Choice,
    Judged,
    Rule,
    Score,
    Spot,
    Truth,
    Video,
    choose,
    judge,
    pool,
)
from mellm.evaluation.dataset_runs.recordings import Recording
from mellm.evaluation.dataset_runs.spotter import LEVELS
from mellm.evaluation.metrics.strs import Row as StrsRow
from mellm.evaluation.metrics.strs import StrsScore, strs_score
from mellm.evaluation.protocols.composite import CLASSES
from mellm.evaluation.protocols.folds import Fold, leave_one_dataset_out, leave_one_subject_out

Protocol = Literal["loso", "lodo"]
Levels = Mapping[str, Mapping[str, Sequence[Sequence[float]]]]
ALL: Final = "all together"


@dataclass(frozen=True, slots=True)
class Spotting:
    """A finished evaluation.

    :param videos: with the spots of the threshold in use
    :param choices: where thresholds come from
    :param scores: data set (and :data:`ALL`) → kind → score
    :param curve: data set → threshold → score of micro-expressions: shown, never used to choose
    :param matrix: threshold chosen on → tested on → (threshold, score); empty for one data set
    :param strs: data set → spot-then-recognise score at the shipped threshold, where spots were described
    :param rows: key → row
    """

    rule: Rule
    tuned: bool
    videos: tuple[Video, ...]
    choices: tuple[Choice, ...]
    scores: Mapping[str, Mapping[About, Score]]
    curve: Mapping[str, Mapping[float, Score]]
    matrix: Mapping[str, Mapping[str, tuple[float, Score]]]
    strs: Mapping[str, StrsScore]
    rows: Mapping[str, Mapping[str, Any]]

    def judged(self, about: About = "micro") -> list[Judged]:
        """Each recording under the rule."""
        return [judge(video, self.rule, about) for video in self.videos]


def evaluate(
    recordings: Sequence[Recording],
    rows: Mapping[str, Mapping[str, Any]],
    levels: Levels,
    *,
    shipped: float,
    rule: Rule,
    tune: Protocol | None = None,
    described: bool = False,
    draws: int = 1000,
) -> Spotting:
    """Score rows.

    :param levels: key → threshold → spots
    :param shipped: the product's threshold
    :param tune: how folds are made on whose training part the threshold is chosen; ``None`` chooses nothing
    :raises DatasetError: leaving one data set out of one
    """
    plain = [_video(r, rows[r.key]) for r in recordings]

    candidates = sorted({*LEVELS, shipped})

    def at(k: int, level: float) -> Video:
        if level == shipped:
            return plain[k]  # decoded with the product's own release
        found = levels.get(recordings[k].key, {}).get(f"{level:.2f}")
        return plain[k] if found is None else replace(plain[k], spots=_spots(found))

    videos, choices = plain, [_given(shipped, len(plain))]
    if tune is not None:
        folds = leave_one_subject_out(plain) if tune == "loso" else leave_one_dataset_out(plain)
        choices = [_chosen(fold, plain, at, candidates, shipped, rule) for fold in folds]
        videos = list(plain)
        for fold, choice in zip(folds, choices, strict=True):
            for k in fold.test:
                videos[k] = at(k, choice.level)
    names = list(dict.fromkeys(v.dataset for v in plain))
    groups = {name: [v for v in videos if v.dataset == name] for name in names}
    if len(names) > 1:
        groups[ALL] = list(videos)
    scores = {
        name: {about: pool([judge(v, rule, about) for v in group], draws=draws) for about in ABOUT}
        for name, group in groups.items()
    }
    places = {name: [k for k, v in enumerate(plain) if v.dataset == name] for name in names}
    curve = {
        name: {lv: pool([judge(at(k, lv), rule) for k in ks], draws=0) for lv in candidates}
        for name, ks in places.items()
    }
    matrix = _matrix(places, plain, at, candidates, shipped, rule) if len(names) > 1 else {}
    strs: dict[str, StrsScore] = {}
    if described:  # only spots of the shipped threshold were shown to the describer
        strs = {name: _strs([plain[k] for k in ks], rule) for name, ks in places.items()}
        if len(names) > 1:
            strs[ALL] = _strs(plain, rule)
    own = {r.key: rows[r.key] for r in recordings}
    return Spotting(rule, tune is not None, tuple(videos), tuple(choices), scores, curve, matrix, strs, own)


def _video(recording: Recording, row: Mapping[str, Any]) -> Video:
    truths = tuple(
        Truth(c.id, c.kind, c.onset, c.apex, c.offset, c.emotion, c.coarse) for c in recording.clips
    )
    failed = row["state"] == "failed"
    spots = (
        ()
        if failed
        else tuple(
            Spot(p["onset"], p["apex"], p["offset"], p["score"], coarse=p.get("coarse"))
            for p in row["predicted"]
        )
    )
    return Video(
        recording.dataset,
        recording.subject,
        recording.id,
        1.0 if failed else row["fps"],
        0.0 if failed else row["seconds"],
        truths,
        spots,
        row["error"]["code"] if failed else None,
    )


def _spots(found: Sequence[Sequence[float]]) -> tuple[Spot, ...]:
    return tuple(Spot(int(a), int(b), int(c), float(score)) for a, b, c, score in found)


def _given(level: float, count: int) -> Choice:
    return Choice(
        "every recording", level, "nothing here: it is the one that the spotter is shipped with", count
    )


def _chosen(
    fold: Fold, videos: Sequence[Video], at: At, levels: Sequence[float], shipped: float, rule: Rule
) -> Choice:
    people = len({(videos[k].dataset, videos[k].subject) for k in fold.train})
    sets = ", ".join(dict.fromkeys(videos[k].dataset for k in fold.train))
    said = f"{people} other subjects of {sets}"
    return choose(fold.name, fold.train, said, at, levels, shipped, rule)


def _matrix(
    places: Mapping[str, Sequence[int]],
    videos: Sequence[Video],
    at: At,
    levels: Sequence[float],
    shipped: float,
    rule: Rule,
) -> dict[str, dict[str, tuple[float, Score]]]:
    """Threshold chosen on one data set, tested on another. On itself, each subject is left out of the choice."""
    out: dict[str, dict[str, tuple[float, Score]]] = {}
    for source, train in places.items():
        choice = choose("", train, "", at, levels, shipped, rule)
        out[source] = {}
        for target, test in places.items():
            if target != source:
                score = pool([judge(at(k, choice.level), rule) for k in test], draws=0)
                out[source][target] = choice.level, score
                continue
            judged: list[Judged] = []
            for fold in leave_one_subject_out([videos[k] for k in test]):
                own = choose("", [test[k] for k in fold.train], "", at, levels, shipped, rule)
                judged += [judge(at(test[k], own.level), rule) for k in fold.test]
            out[source][target] = choice.level, pool(judged, draws=0)
    return out


def _strs(videos: Sequence[Video], rule: Rule) -> StrsScore:
    """Spot-then-recognise on micro-expressions; recognition is judged where the truth has one of three classes."""
    truth, predicted = [], []
    for video in videos:
        found = judge(video, rule)
        who = f"{video.dataset}/{video.subject}"
        for t in found.truths:
            assert t.onset is not None
            assert t.offset is not None
            truth.append(StrsRow(who, video.id, t.onset, t.offset, t.coarse or ""))
        predicted += [StrsRow(who, video.id, s.onset, s.offset, s.coarse or "") for s in found.spots]
    return strs_score(truth, predicted, rule.iou, CLASSES)
