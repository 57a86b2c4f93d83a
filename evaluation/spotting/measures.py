"""What is told about one spotter on one set of clips.

A spot is right when it and a true expression share at least half of their union, counted in steps of the clip's grid
(20 ms) with both ends included; each expression pays for one spot, by a largest matching
(:mod:`mellm.evaluation.metrics`). Counts are pooled over clips. False alarms are counted per minute in which a face
could be analysed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, isfinite
from typing import NamedTuple

import numpy as np

from mellm.detectors.windows import SNAP_NS
from mellm.evaluation.metrics.matching import match
from mellm.evaluation.metrics.spotting import SpottingScore
from mellm.evaluation.spotting.data import STEP_S, seen_s
from mellm.evaluation.spotting.stats import Estimate, Ratios, bootstrap, percentiles, poisson_rate, share
from mellm.evaluation.spotting.systems import ModelSystem, System
from mellm.training.spotter.evaluate import Interval
from mellm.training.spotter.records import FACE_WIDTH_IOD, Published, Record

LEAST_IOU = 0.5
NEAR_S = 0.1
"""An expression this near to another event counts as one at it."""

PEAK_PX = (0.5, 1.0, 2.0, 4.0)
"""Borders of the bins of peak motion, pixels of the clip."""

PEAK_FACE = (0.25, 0.5, 1.0, 2.0)
"""The same in per cent of the face's width."""


OWN_MOTION = (0.25, 1.0)
"""Borders of the bins of an expression's size over the own motion of its half of the face."""


class Judged(NamedTuple):
    """A clip, what a spotter published on it, and which of it is right (spot, truth)."""

    record: Record
    spots: list[Published]
    pairs: list[tuple[int, int]]

    @property
    def score(self) -> SpottingScore:
        hits = len(self.pairs)
        return SpottingScore(hits, len(self.spots) - hits, len(self.record.truths) - hits)

    @property
    def false_alarms(self) -> list[Published]:
        right = {i for i, _ in self.pairs}
        return [s for i, s in enumerate(self.spots) if i not in right]

    @property
    def found(self) -> set[int]:
        return {j for _, j in self.pairs}


class Recall(NamedTuple):
    """How many of the expressions of a kind were found."""

    label: str
    truths: int
    found: int
    recall: Estimate


class Part(NamedTuple):
    """Scores on the clips with a label; ``seconds`` with a face."""

    label: str
    clips: int
    seconds: float
    truths: int
    score: SpottingScore
    false_per_minute: Estimate


class Distractor(NamedTuple):
    """One kind of event that is no micro-expression, or ``none``.

    :param truths: expressions within :data:`NEAR_S` of such an event, and those that were found
    :param found: as ``truths``
    :param time_share: of the time with a face
    :param false_alarms: spots that overlap such an event and are wrong
    """

    kind: str
    truths: int
    found: int
    recall: Estimate
    time_share: float
    false_alarms: int
    false_per_minute: float


class Error(NamedTuple):
    """Distance from the true moment, milliseconds; ``bias`` is positive where the spot is late."""

    mean: float
    median: float
    p95: float
    bias: float


class Latency(NamedTuple):
    """Media time from offset to publication (ms) of the ``spots`` that came out while the clip ran.

    :param at_end: spots that came out because the clip ended
    :param step_p50: wall time of a step of the network on this machine (ms); NaN without a network
    :param step_p95: as ``step_p50``
    """

    spots: int
    at_end: int
    p50: float
    p95: float
    step_p50: float
    step_p95: float


class Point(NamedTuple):
    """A threshold and what it gives."""

    level: float
    precision: float
    recall: float
    f1: float
    false_per_minute: float


@dataclass(frozen=True, slots=True)
class Result:
    """One spotter on one set.

    :param seen_in_training: clips whose person the network may have learnt from
    """

    spotter: str
    level: float
    causal: bool
    score: SpottingScore
    ratios: Ratios
    false_per_minute: Estimate
    unit_f1: float | None
    errors: dict[str, Error]
    latency: Latency | None
    recalls: dict[str, tuple[Recall, ...]]
    parts: dict[str, tuple[Part, ...]]
    distractors: tuple[Distractor, ...]
    curve: tuple[Point, ...]
    seen_in_training: int


def judge(system: System, records: Iterable[Record], level: float | None = None) -> list[Judged]:
    """Run a spotter over clips and match what it found with the truth."""
    out = []
    for record in records:
        spots = system.spots(record, level)
        pairs = match([frames(s.interval) for s in spots], [frames(t) for t in record.truths], LEAST_IOU)
        out.append(Judged(record, spots, pairs))
    return out


def frames(interval: Interval) -> tuple[int, int]:
    """First and last grid step of an interval."""
    first = round(interval.onset_s / STEP_S)
    return first, max(first, round(interval.offset_s / STEP_S))


def pooled(judged: Iterable[Judged]) -> SpottingScore:
    """Counts over clips."""
    return sum((j.score for j in judged), SpottingScore(0, 0, 0))


def minutes(judged: Iterable[Judged]) -> float:
    """Time with a face."""
    return sum(seen_s(j.record) for j in judged) / 60


def result(system: System, records: Sequence[Record]) -> Result:
    """Everything about one spotter on one set."""
    judged = judge(system, records)
    total = pooled(judged)
    by_subject: dict[str, SpottingScore] = {}
    for j in judged:
        by_subject[j.record.subject] = by_subject.get(j.record.subject, SpottingScore(0, 0, 0)) + j.score
    return Result(
        spotter=system.name,
        level=system.level,
        causal=system.causal,
        score=total,
        ratios=bootstrap(by_subject),
        false_per_minute=poisson_rate(total.fp, minutes(judged)),
        unit_f1=unit_f1(judged) if isinstance(system, ModelSystem) else None,
        errors=errors(judged),
        latency=latency(system, judged) if system.causal else None,
        recalls={
            "peak_px": by_size(judged, lambda r, t: t.peak / 100 * r.iod_px, PEAK_PX, "px"),
            "peak_face": by_size(judged, lambda r, t: t.peak / FACE_WIDTH_IOD, PEAK_FACE, "%"),
            "own_motion": by_ratio(judged),
            "unit": by_unit(judged),
        },
        parts={
            "fps": parts(judged, lambda r: [f"{r.fps:.0f} fps"]),
            "group": parts(judged, lambda r: [g for g in r.groups if not g.endswith(" fps")]),
            "person": parts(judged, lambda r: [r.subject] if r.facts.get("fold") else []),
        },
        distractors=distractors(judged),
        curve=curve(system, records),
        seen_in_training=sum(system.seen_in_training(r) for r in records),
    )


def curve(system: System, records: Sequence[Record]) -> tuple[Point, ...]:
    """Scores over the system's thresholds and its own, by rising threshold."""
    out = []
    for level in sorted({*system.levels, system.level}):
        judged = judge(system, records, None if level == system.level else level)
        total = pooled(judged)
        out.append(
            Point(
                level, total.precision, total.recall, total.f1, poisson_rate(total.fp, minutes(judged)).value
            )
        )
    return tuple(out)


def best_within(points: Iterable[Point], false_per_minute: float) -> Point | None:
    """The point of highest F1 with no more than these false alarms."""
    allowed = [p for p in points if p.false_per_minute <= false_per_minute + 1e-9]
    return max(allowed, key=lambda p: (p.f1, p.level), default=None)


def by_size(
    judged: Iterable[Judged], size: Callable[[Record, Interval], float], edges: Sequence[float], unit: str
) -> tuple[Recall, ...]:
    """Recall by peak motion; bins hold their upper border."""
    counts = np.zeros((len(edges) + 1, 2), int)
    for j in judged:
        for i, truth in enumerate(j.record.truths):
            counts[np.searchsorted(edges, size(j.record, truth))] += (1, i in j.found)
    names = [f"≤ {edges[0]:g} {unit}"]
    names += [f"{a:g}–{b:g} {unit}" for a, b in pairwise(edges)]
    names += [f"> {edges[-1]:g} {unit}"]
    return tuple(
        Recall(name, int(n), int(k), share(int(k), int(n)))
        for name, (n, k) in zip(names, counts, strict=True)
    )


def by_ratio(judged: Iterable[Judged]) -> tuple[Recall, ...]:
    """Recall by the size of an expression over the motion of its half of the face without it."""
    counts = np.zeros((len(OWN_MOTION) + 1, 2), int)
    for j in judged:
        for i, ratio in enumerate(j.record.facts.get("ratios", ())):
            counts[np.searchsorted(OWN_MOTION, ratio)] += (1, i in j.found)
    names = [
        f"≤ {OWN_MOTION[0]:g}",
        *(f"{a:g}–{b:g}" for a, b in pairwise(OWN_MOTION)),
        f"> {OWN_MOTION[-1]:g}",
    ]
    return tuple(
        Recall(n, int(k), int(f), share(int(f), int(k))) for n, (k, f) in zip(names, counts, strict=True)
    )


def by_unit(judged: Iterable[Judged]) -> tuple[Recall, ...]:
    """Recall of the expressions that hold an action unit."""
    counts: dict[int, list[int]] = {}
    for j in judged:
        for i, truth in enumerate(j.record.truths):
            for unit in set(truth.aus):
                count = counts.setdefault(unit, [0, 0])
                count[0] += 1
                count[1] += i in j.found
    return tuple(Recall(f"AU{u}", n, k, share(k, n)) for u, (n, k) in sorted(counts.items()))


def parts(judged: Sequence[Judged], labels: Callable[[Record], Sequence[str]]) -> tuple[Part, ...]:
    """Scores for each label; a clip with two labels counts under both."""
    by_label: dict[str, list[Judged]] = {}
    for j in judged:
        for label in labels(j.record):
            by_label.setdefault(label, []).append(j)
    out = []
    for label, some in sorted(by_label.items(), key=lambda kv: (len(kv[0]), kv[0])):
        total = pooled(some)
        time = minutes(some)
        out.append(
            Part(label, len(some), 60 * time, total.tp + total.fn, total, poisson_rate(total.fp, time))
        )
    return tuple(out)


def distractors(judged: Sequence[Judged]) -> tuple[Distractor, ...]:
    """Recall and false alarms at each kind of event. Nothing where no clip lists events."""
    kinds = sorted({e.kind for j in judged for e in j.record.events})
    if not kinds:
        return ()
    whole = minutes(judged)
    out = []
    for kind in [*kinds, "none"]:
        truths = found = alarms = 0
        seconds = 0.0
        for j in judged:
            spans = [(e.onset_s, e.offset_s) for e in j.record.events if kind in (e.kind, "none")]
            at = [_near(t, spans, NEAR_S) != (kind == "none") for t in j.record.truths]
            truths += sum(at)
            found += sum(at[i] for i in j.found)
            alarms += sum(_near(s.interval, spans, 0.0) != (kind == "none") for s in j.false_alarms)
            seconds += _covered(j.record, spans, kind == "none")
        rate = alarms / (seconds / 60) if seconds else 0.0
        share_of = seconds / 60 / whole if whole else 0.0
        out.append(Distractor(kind, truths, found, share(found, truths), share_of, alarms, rate))
    return tuple(out)


def _near(interval: Interval, spans: Sequence[tuple[float, float]], margin: float) -> bool:
    return any(interval.onset_s - margin < b and a < interval.offset_s + margin for a, b in spans)


def _covered(record: Record, spans: Sequence[tuple[float, float]], outside: bool) -> float:
    """Seconds with a face inside (or outside) of the spans."""
    inside = np.zeros(len(record.grid_s), bool)
    for a, b in spans:
        inside |= (record.grid_s >= a) & (record.grid_s <= b)
    seen = ~np.isnan(record.features[:, 0])
    return float(np.count_nonzero(seen & (inside != outside))) * STEP_S


def errors(judged: Iterable[Judged]) -> dict[str, Error]:
    """Of the spots that are right: onset, apex, offset."""
    rows = [
        (s.onset_s - t.onset_s, s.apex_s - t.apex_s, s.offset_s - t.offset_s)
        for j in judged
        for i, k in j.pairs
        for s, t in [(j.spots[i].interval, j.record.truths[k])]
    ]
    if not rows:
        return {}
    ms = 1000 * np.array(rows)
    return {
        name: Error(
            float(np.abs(col).mean()),
            float(np.median(np.abs(col))),
            float(np.percentile(np.abs(col), 95)),
            float(col.mean()),
        )
        for name, col in zip(("onset", "apex", "offset"), ms.T, strict=True)
    }


def latency(system: System, judged: Iterable[Judged]) -> Latency:
    """Media time from offset to publication, the wait for the next frame of the clip included."""
    running: list[float] = []
    at_end = 0
    for j in judged:
        end = float(j.record.grid_s[-1]) if len(j.record.grid_s) else 0.0
        for spot in j.spots:
            if spot.at_s >= end:
                at_end += 1
            else:
                running.append(1000 * (spot.latency_s + frame_wait_s(spot.at_s, j.record.fps)))
    p50, p95 = percentiles(running)
    step = system.compute_ms() if isinstance(system, ModelSystem) else (float("nan"), float("nan"))
    return Latency(len(running), at_end, p50, p95, *step)


def frame_wait_s(grid_s: float, fps: float) -> float:
    """How long after a grid time the frame comes that settles it, for frames at multiples of 1/fps."""
    if not (isfinite(fps) and fps > 0):
        return 0.0
    frame = ceil((grid_s - SNAP_NS / 1e9) * fps - 1e-6)
    return max(0.0, frame / fps - grid_s)


def unit_f1(judged: Iterable[Judged]) -> float | None:
    """Micro-averaged F1 of the action units told with the spots that are right; ``None`` without any."""
    from mellm.detectors.stepmodel import SPOT_AUS

    right = told = true = 0
    for j in judged:
        for i, k in j.pairs:
            said, known = set(j.spots[i].interval.aus), set(j.record.truths[k].aus) & set(SPOT_AUS)
            right, told, true = right + len(said & known), told + len(said), true + len(known)
    return 2 * right / (told + true) if told + true else None
