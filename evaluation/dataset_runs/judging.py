"""How spots are judged: the MEGC rule over recordings, for micro-expressions, macro-expressions and both. Pure.

A spot counts for the kind that the spotter says it is; the shipped one says micro-expression of everything. A truth
whose onset or offset is unknown cannot be matched and is counted apart. Of a truth that is set aside (annotated as a
micro-expression, yet longer than half a second, where the caller asks for it) nothing is expected: a spot that matches
no other truth and lies in it by at least half of its length is set aside as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final, Literal

from mellm.evaluation.datasets.clips import Kind
from mellm.evaluation.metrics.bootstrap import intervals
from mellm.evaluation.metrics.matching import Interval, match
from mellm.evaluation.metrics.moments import MomentErrors, Moments, moment_errors
from mellm.evaluation.metrics.spotting import SpottingScore

About = Literal["micro", "macro", "all"]
ABOUT: Final[tuple[About, ...]] = ("micro", "macro", "all")
LongTruth = Literal["keep", "exclude"]
HALF_SECOND: Final = 0.5


@dataclass(frozen=True, slots=True)
class Truth:
    """One annotated expression, in labels; ``None`` is unknown."""

    id: str
    kind: Kind
    onset: int | None
    apex: int | None
    offset: int | None
    emotion: str | None = None
    coarse: str | None = None


@dataclass(frozen=True, slots=True)
class Spot:
    """One prediction, in labels."""

    onset: int
    apex: int
    offset: int
    score: float
    kind: Kind = "micro"
    coarse: str | None = None


@dataclass(frozen=True, slots=True)
class Video:
    """A recording with both sides.

    :param seconds: of media; 0 where it could not be analysed
    :param error: code of the error that kept it from being analysed: everything in it is missed
    """

    dataset: str
    subject: str
    id: str
    fps: float
    seconds: float
    truths: tuple[Truth, ...]
    spots: tuple[Spot, ...]
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """:param iou: least intersection over union

    :param long_truth: micro-expressions longer than half a second"""

    iou: float = 0.5
    long_truth: LongTruth = "keep"


@dataclass(frozen=True, slots=True)
class Judged:
    """One recording under one rule, for one kind.

    :param truths: those that count
    :param spots: as ``truths``
    :param pairs: (truth, spot) that match
    :param unscored: truths with an unknown end
    :param set_aside: truths
    :param spots_set_aside: spots in them
    """

    video: Video
    truths: tuple[Truth, ...]
    spots: tuple[Spot, ...]
    pairs: tuple[tuple[Truth, Spot], ...]
    unscored: int
    set_aside: int
    spots_set_aside: int

    @property
    def score(self) -> SpottingScore:
        """Counts."""
        found = len(self.pairs)
        return SpottingScore(found, len(self.spots) - found, len(self.truths) - found)


def judge(video: Video, rule: Rule, about: About = "micro") -> Judged:
    """Match the spots of one recording with its truths.

    :raises MetricsError: an overlap outside (0, 1], or an interval that ends before it begins
    """
    asked = [t for t in video.truths if about in (t.kind, "all")]
    spots = [s for s in video.spots if about in (s.kind, "all")]
    known = [t for t in asked if t.onset is not None and t.offset is not None]
    aside = [t for t in known if rule.long_truth == "exclude" and _too_long(t, video.fps)]
    wanted = [t for t in known if t not in aside]
    found = match([(s.onset, s.offset) for s in spots], [_ends(t) for t in wanted], rule.iou)
    matched = {i for i, _ in found}
    kept = tuple(s for i, s in enumerate(spots) if i in matched or not any(_inside(s, t) for t in aside))
    pairs = tuple((wanted[j], spots[i]) for i, j in found)
    lost = len(spots) - len(kept)
    return Judged(video, tuple(wanted), kept, pairs, len(asked) - len(known), len(aside), lost)


def _ends(truth: Truth) -> Interval:
    assert truth.onset is not None
    assert truth.offset is not None
    return truth.onset, truth.offset


def _too_long(truth: Truth, fps: float) -> bool:
    first, last = _ends(truth)
    return truth.kind == "micro" and (last - first + 1) / fps > HALF_SECOND


def _inside(spot: Spot, truth: Truth) -> bool:
    first, last = _ends(truth)
    shared = min(spot.offset, last) - max(spot.onset, first) + 1
    return 2 * shared >= spot.offset - spot.onset + 1


@dataclass(frozen=True, slots=True)
class Score:
    """All recordings of a group for one kind.

    :param recordings: of them ``failed`` could not be analysed
    :param minutes: of media that was
    :param f1_range: 95 %, subjects drawn again; NaN with fewer than two
    :param frames: errors of the moments of matched pairs in frames, ``None`` where rates differ or nothing matches
    :param ms: the same in milliseconds
    """

    spotting: SpottingScore
    recordings: int
    failed: int
    minutes: float
    unscored: int
    set_aside: int
    spots_set_aside: int
    f1_range: tuple[float, float]
    frames: MomentErrors | None
    ms: MomentErrors | None

    @property
    def false_per_minute(self) -> float:
        """False alarms in a minute of media; 0 where nothing was analysed."""
        return self.spotting.fp / self.minutes if self.minutes else 0.0

    def as_dict(self) -> dict[str, Any]:
        """As JSON data; an unknown range is ``None``."""
        low, high = self.f1_range
        return {
            **self.spotting.as_dict(),
            "f1_95": None if low != low else [low, high],
            "recordings": self.recordings,
            "failed": self.failed,
            "minutes": round(self.minutes, 4),
            "false_per_minute": self.false_per_minute,
            "truth_with_unknown_end": self.unscored,
            "truth_set_aside": self.set_aside,
            "spots_set_aside": self.spots_set_aside,
            "moments_frames": None if self.frames is None else self.frames.as_dict(),
            "moments_ms": None if self.ms is None else self.ms.as_dict(),
        }


def pool(judged: Sequence[Judged], *, draws: int = 1000) -> Score:
    """Counts of all recordings as of one long video, as MEGC pools them.

    :param draws: of the bootstrap over subjects
    """
    total = _sum([j.score for j in judged])
    by_subject: dict[str, list[SpottingScore]] = {}
    for j in judged:
        by_subject.setdefault(f"{j.video.dataset}/{j.video.subject}", []).append(j.score)
    ranges = {"f1": (float("nan"), float("nan"))}
    if len(by_subject) > 1 and draws:
        ranges = intervals(by_subject, lambda items: {"f1": _sum(items).f1}, draws=draws)
    rates = {j.video.fps for j in judged if j.pairs}
    pairs = [(_true_moments(t), _predicted_moments(s)) for j in judged for t, s in j.pairs]
    times = [
        (_true_moments(t, 1000 / j.video.fps), _predicted_moments(s, 1000 / j.video.fps))
        for j in judged
        for t, s in j.pairs
    ]
    return Score(
        total,
        len(judged),
        sum(j.video.error is not None for j in judged),
        sum(j.video.seconds for j in judged) / 60,
        sum(j.unscored for j in judged),
        sum(j.set_aside for j in judged),
        sum(j.spots_set_aside for j in judged),
        ranges["f1"],
        moment_errors(pairs) if pairs and len(rates) == 1 else None,
        # whole milliseconds are the frames of a video of 1000 frames a second
        moment_errors(times).scaled(1000) if times else None,
    )


def _sum(scores: Sequence[SpottingScore]) -> SpottingScore:
    return reduce(SpottingScore.__add__, scores, SpottingScore(0, 0, 0))


def _true_moments(truth: Truth, scale: float = 1) -> Moments:
    return Moments(
        *(None if v is None else round(v * scale) for v in (truth.onset, truth.apex, truth.offset))
    )


def _predicted_moments(spot: Spot, scale: float = 1) -> Moments:
    return Moments(round(spot.onset * scale), round(spot.apex * scale), round(spot.offset * scale))


@dataclass(frozen=True, slots=True)
class Choice:
    """A threshold and where it comes from.

    :param tested: what it is used on
    :param chosen_on: in words, what it was chosen on
    :param recordings: how many of them
    :param f1: F1 there, ``None`` where nothing was chosen
    """

    tested: str
    level: float
    chosen_on: str
    recordings: int = 0
    f1: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "tested": self.tested,
            "threshold": self.level,
            "chosen_on": self.chosen_on,
            "recordings": self.recordings,
            "f1_there": self.f1,
        }


At = Callable[[int, float], Video]
"""Recording (by its place) and threshold → the recording with the spots of that threshold."""


def choose(
    tested: str, train: Sequence[int], said: str, at: At, levels: Sequence[float], shipped: float, rule: Rule
) -> Choice:
    """The threshold with the best F1 on ``train``; of equal ones the nearest to the shipped one.

    Without a truth on ``train`` nothing can be chosen, and the shipped threshold stays.
    """
    scores: Mapping[float, SpottingScore] = {
        level: _sum([judge(at(k, level), rule).score for k in train]) for level in levels
    }
    if not any(s.tp + s.fn for s in scores.values()):
        return Choice(
            tested, shipped, "nothing: no expression to choose on, the shipped threshold", len(train)
        )
    best = max(levels, key=lambda level: (scores[level].f1, -abs(level - shipped)))
    return Choice(tested, best, said, len(train), scores[best].f1)
