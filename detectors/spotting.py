"""The spotter: motion signals in, micro-expressions out, step by step.

Nothing here reads a clock or a picture. :class:`Decoder` turns network outputs into intervals and is pure;
:class:`Spotter` runs the network before it and knows about voids and gaps.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import log
from typing import NamedTuple, Protocol

import numpy as np

from mellm.detectors.sensitivity import Meter
from mellm.detectors.signals import BASELINES_NS, FEATURES
from mellm.detectors.stepmodel import (
    APEX,
    AU0,
    MACRO,
    ME,
    SPOT_AUS,
    TO_OFFSET,
    TO_ONSET,
    FakeStepModel,
    OnnxStepModel,
    StepModel,
)
from mellm.detectors.types import F32, Sensitivity
from mellm.detectors.windows import STEP_NS
from mellm.stream.errors import ModelOutputInvalid

__all__ = [
    "Decoder",
    "FakeStepModel",
    "OnnxStepModel",
    "Score",
    "Spot",
    "Spotter",
    "SpottingOptions",
    "StepModel",
    "StepOutput",
]

MS = 1_000_000
SCORES_KEPT = 500
"""Scores kept for plotting: ten seconds."""

_AROUND = 2  # steps on either side of a peak that have a say in its interval
_FARTHEST_S = 1.0  # a regressed distance beyond this is no distance


@dataclass(frozen=True, slots=True)
class SpottingOptions:
    """When a peak of the score is a micro-expression. Times in milliseconds of media time.

    :param threshold: smallest score, the square root of p(apex)·p(me), of a spot; ``None`` takes the one the
        model was shipped with. Lower finds more and errs more
    :param release: a spot is published once the score has fallen under this; ``None`` is 0.15 under the
        threshold (but at least half of it)
    :param min_ms: duration from onset to offset; what lasts longer than half a second is no
        micro-expression
    :param max_ms: as ``min_ms``
    :param tolerance_ms: added to ``max_ms``, for onset and offset are each known to about one frame
    :param merge_gap_ms: peaks whose intervals touch, or lie nearer than this, are one expression: the best stays
    :param macro_veto: no spot where an ordinary, longer expression is both likelier than this and likelier
        than a micro-expression
    :param patience_ms: publish this long after the offset even if the score stays up
    """

    threshold: float | None = None
    release: float | None = None
    min_ms: float = 40.0
    max_ms: float = 500.0
    tolerance_ms: float = 40.0
    merge_gap_ms: float = 20.0
    macro_veto: float = 0.5
    patience_ms: float = 200.0

    def __post_init__(self) -> None:
        for name in ("threshold", "release", "macro_veto"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise ValueError(f"{name} lies between 0 and 1, got {value}")
        if None not in (self.threshold, self.release) and self.release > self.threshold:  # type: ignore[operator]
            raise ValueError(f"release {self.release} lies above threshold {self.threshold}")
        if not 0 <= self.min_ms < self.max_ms:
            raise ValueError(f"min_ms {self.min_ms} must lie under max_ms {self.max_ms}")
        if min(self.tolerance_ms, self.merge_gap_ms, self.patience_ms) < 0:
            raise ValueError("tolerance_ms, merge_gap_ms and patience_ms cannot be negative")

    def levels(self, model_threshold: float) -> tuple[float, float]:
        """Threshold and release with the model's own threshold filled in."""
        threshold = model_threshold if self.threshold is None else self.threshold
        release = max(threshold - 0.15, threshold / 2) if self.release is None else self.release
        return threshold, min(release, threshold)


class Spot(NamedTuple):
    """A spotted micro-expression in media time; ``aus`` pairs action units with their probabilities.

    ``sensitivity`` is that of the last moment whose motion the expression itself has no part in, 0.3 s before its
    onset; ``None`` where that is not known.
    """

    onset_ns: int
    apex_ns: int
    offset_ns: int
    score: float
    aus: tuple[tuple[int, float], ...]
    sensitivity: Sensitivity | None = None


class Score(NamedTuple):
    """What the network says about one grid time (probabilities), and how small a motion it would have found."""

    t_ns: int
    me: float
    apex: float
    macro: float
    sensitivity: Sensitivity | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StepOutput:
    """One step of network outputs, as probabilities and times.

    :param score: square root of p(apex)·p(me)
    :param onset_ns: where the network sees them from here
    :param offset_ns: as ``onset_ns``
    :param aus: probabilities in the order of :data:`mellm.detectors.stepmodel.SPOT_AUS`
    """

    t_ns: int
    me: float
    macro: float
    apex: float
    score: float
    onset_ns: float
    offset_ns: float
    aus: F32

    @classmethod
    def of(cls, t_ns: int, y: F32) -> StepOutput:
        """Read a network's output vector about the grid time ``t_ns``."""
        p = 1 / (1 + np.exp(-np.clip(y.astype(np.float64), -40, 40)))
        since, ahead = np.clip(y[[TO_ONSET, TO_OFFSET]].astype(np.float64), 0, _FARTHEST_S) * 1e9
        return cls(
            t_ns=t_ns,
            me=float(p[ME]),
            macro=float(p[MACRO]),
            apex=float(p[APEX]),
            score=float(np.sqrt(p[APEX] * p[ME])),
            onset_ns=float(t_ns - since),
            offset_ns=float(t_ns + ahead),
            aus=p[AU0:].astype(np.float32),
        )


class Decoder:
    """Peaks of the score → spots. Causal: a spot that is out is never taken back.

    A peak becomes a candidate two steps later. A candidate is published once its offset has passed and the
    score has fallen under ``release``, unless a better candidate overlaps it.
    """

    def __init__(self, options: SpottingOptions | None = None, *, model_threshold: float = 0.4) -> None:
        self.options = options or SpottingOptions()
        self.threshold, self.release = self.options.levels(model_threshold)
        self._recent: deque[StepOutput] = deque(maxlen=2 * _AROUND + 1)
        self._pending: list[Spot] = []
        self._out: deque[Spot] = deque(maxlen=8)  # published; more cannot reach into what comes
        self._since_ns: int | None = None

    def begin(self, since_ns: int) -> None:
        """A stretch begins; an expression that reaches back before ``since_ns`` is not known whole."""
        self._since_ns = since_ns

    def push(self, output: StepOutput) -> list[Spot]:
        """The next step's output; returns the spots that it settles."""
        self._recent.append(output)
        self._consider(len(self._recent) - 1 - _AROUND)
        return self._settle(output.t_ns, output.score)

    def flush(self, until_ns: int) -> list[Spot]:
        """Nothing more will come: settle the candidates whose offset lies within the known stretch, start anew."""
        for peak in range(max(1, len(self._recent) - _AROUND), len(self._recent) - 1):
            self._consider(peak)
        self._pending = [spot for spot in self._pending if spot.offset_ns <= until_ns + STEP_NS]
        spots = self._settle(None, 0.0)
        self._recent.clear()
        self._out.clear()
        self._since_ns = None
        return spots

    def _consider(self, at: int) -> None:
        """Make a candidate of the output at position ``at`` of the recent ones, if it is a peak."""
        recent = self._recent
        if not 1 <= at < len(recent) - 1:
            return
        before, peak, after = recent[at - 1], recent[at], recent[at + 1]
        if peak.score < self.threshold or not before.score < peak.score >= after.score:
            return
        if peak.macro > max(self.options.macro_veto, peak.me):
            return
        near = [recent[i] for i in range(max(0, at - _AROUND), min(len(recent), at + _AROUND + 1))]
        weights = np.array([output.score for output in near])
        weights /= weights.sum()
        onset = float(weights @ [output.onset_ns for output in near])
        offset = float(weights @ [output.offset_ns for output in near])
        if self._since_ns is not None and onset < self._since_ns:
            return
        options = self.options
        if not options.min_ms <= (offset - onset) / MS <= options.max_ms + options.tolerance_ms:
            return
        apex = min(max(peak.t_ns + STEP_NS * _vertex(before.score, peak.score, after.score), onset), offset)
        aus = weights @ np.stack([output.aus for output in near])
        told = tuple((au, float(p)) for au, p in zip(SPOT_AUS, aus, strict=True))
        spot = Spot(round(onset), round(apex), round(offset), peak.score, told)
        if not any(self._same(spot, done) for done in self._out):
            self._pending.append(spot)

    def _settle(self, now_ns: int | None, score: float) -> list[Spot]:
        """Publish what is ripe, best first; ``now_ns`` is ``None`` at the end, when everything is."""
        spots: list[Spot] = []
        waiting: list[Spot] = []
        for spot in sorted(self._pending, key=lambda spot: (-spot.score, spot.apex_ns)):
            if any(self._same(spot, done) for done in spots):
                continue
            ripe = now_ns is None or (
                now_ns >= spot.offset_ns
                and (score < self.release or now_ns >= spot.offset_ns + self.options.patience_ms * MS)
            )
            if ripe and not any(self._same(spot, better) for better in waiting):
                spots.append(spot)
            else:
                waiting.append(spot)
        self._pending = waiting
        self._out.extend(spots)
        return sorted(spots, key=lambda spot: spot.onset_ns)

    def _same(self, a: Spot, b: Spot) -> bool:
        gap = self.options.merge_gap_ms * MS
        return a.onset_ns < b.offset_ns + gap and b.onset_ns < a.offset_ns + gap


class TrackSpotter(Protocol):
    """What a chain asks of the spotter of one track. :class:`Spotter` is it; a recorder may stand in its place."""

    @property
    def score(self) -> Score | None:
        """The newest score, once there is one."""

    @property
    def invalid_steps(self) -> int:
        """Steps at which the network failed."""

    def push(self, t_ns: int, features: F32 | None, fps: float = 0.0) -> list[Spot]:
        """One step of the grid; ``None`` where nothing could be measured."""

    def flush(self) -> list[Spot]:
        """What is still open at the end."""


class Spotter:
    """Motion signals of one track → micro-expressions. One instance per track, one thread.

    ``push`` takes every grid step in order. A void step, a skipped grid time or a network output that is not
    a number ends the stretch: what is confirmed comes out, what reaches into the void is dropped, and the
    network starts anew.

    :ivar scores: the latest :data:`SCORES_KEPT` scores
    :ivar void_steps: steps without features; :ivar invalid_steps: steps at which the network failed
    """

    def __init__(self, model: StepModel, options: SpottingOptions | None = None) -> None:
        self._model = model
        self._decoder = Decoder(options, model_threshold=model.threshold)
        self.scores: deque[Score] = deque(maxlen=SCORES_KEPT)
        self.void_steps = 0
        self.invalid_steps = 0
        self._meter = (
            None
            if model.sensitivity is None
            else Meter(model.sensitivity, self._decoder.threshold, model.delay_steps)
        )
        self._state = model.start()
        self._first_ns: int | None = None
        self._last_ns: int | None = None

    @property
    def threshold(self) -> float:
        """The score above which a peak is a micro-expression."""
        return self._decoder.threshold

    @property
    def score(self) -> Score | None:
        """The newest score, ``None`` before there is one."""
        return self.scores[-1] if self.scores else None

    def push(self, t_ns: int, features: F32 | None, fps: float = 0.0) -> list[Spot]:
        """One grid step; returns the spots it settles, usually none.

        :param features: float32[``FEATURES``], ``None`` for a void step
        :param fps: measured frames a second, 0 while it is unknown; only the sensitivity depends on it
        """
        if features is None:
            self.void_steps += 1
            return self._end()
        spots: list[Spot] = []
        if self._last_ns is not None and t_ns != self._last_ns + STEP_NS:
            spots = self._end()
        if self._first_ns is None:
            self._first_ns = t_ns
            # the first features look back over unbroken frames already
            self._decoder.begin(t_ns - BASELINES_NS[-1])
        self._last_ns = t_ns
        return spots + self._advance(t_ns, features, fps)

    def flush(self) -> list[Spot]:
        """The segment is over: the last 0.3 s are judged as if the face had kept still, the rest is settled."""
        last, spots = self._last_ns, list[Spot]()
        if last is not None:
            still = np.zeros(FEATURES, np.float32)
            for k in range(1, self._model.delay_steps + 1):
                failed = self.invalid_steps
                spots += self._advance(last + k * STEP_NS, still, 0.0)
                if self.invalid_steps > failed:
                    break
        return spots + self._end()

    def _advance(self, t_ns: int, features: F32, fps: float) -> list[Spot]:
        try:
            y, self._state = self._model.step(features, self._state)
        except ModelOutputInvalid:
            self.invalid_steps += 1
            return self._end()
        said = None if self._meter is None else self._meter.push(features, fps)
        about_ns = t_ns - self._model.delay_steps * STEP_NS
        if self._first_ns is None or about_ns < self._first_ns:
            return []
        output = StepOutput.of(about_ns, y)
        self.scores.append(Score(about_ns, output.me, output.apex, output.macro, said))
        return [self._with_sensitivity(spot) for spot in self._decoder.push(output)]

    def _with_sensitivity(self, spot: Spot) -> Spot:
        """The spot with what could have been found where its own motion has no part yet."""
        clear_ns = spot.onset_ns - self._model.delay_steps * STEP_NS
        for score in reversed(self.scores):
            if self._first_ns is None or score.t_ns < self._first_ns:
                break
            if score.t_ns <= clear_ns:
                return spot._replace(sensitivity=score.sensitivity)
        return spot

    def _end(self) -> list[Spot]:
        spots = [] if self._last_ns is None else self._decoder.flush(self._last_ns)
        spots = [self._with_sensitivity(spot) for spot in spots]
        if self._meter is not None:
            self._meter.reset()
        self._state = self._model.start()
        self._first_ns = self._last_ns = None
        return spots


def _vertex(before: float, peak: float, after: float) -> float:
    """Place of the top of a bell through three equidistant values, in steps from the middle one.

    A parabola through the logarithms is exact for a Gaussian bell.
    """
    a, b, c = (log(max(value, 1e-9)) for value in (before, peak, after))
    bend = a - 2 * b + c
    return 0.0 if bend >= 0 else max(-0.5, min(0.5, 0.5 * (a - c) / bend))
