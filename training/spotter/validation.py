"""Choosing the threshold, with the product's own spotter, on validation clips and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mellm.detectors.spotting import Spotter, SpottingOptions
from mellm.detectors.stepmodel import StepModel
from mellm.detectors.types import F32
from mellm.detectors.windows import STEP_NS
from mellm.training.spotter.dataset import EDGE, MAX_ME_S, Corpus
from mellm.training.spotter.evaluate import Interval, Scores, score
from mellm.training.spotter.records import Record, steps
from mellm.training.spotter.replay import Replay

THRESHOLDS = tuple(float(round(t, 3)) for t in np.arange(0.2, 0.91, 0.025))

FALSE_A_MINUTE = 0.7
"""False alarms a minute that people who talk and show no expression may cause. Others should meet one at the most, and
some of them do more that looks like an expression than these."""


KINDS = {
    "free": "people as they are",
    "own": "people as they are",
    "v": "people, expressions laid on",
    "vv": "people, expressions laid on",
    "vs": "photographs",
    "vd": "photographs that talk",
    "vr50": "rendered",
    "vr30": "rendered",
}
"""Where a validation clip comes from, by the first word of its name."""


TALKERS = "people as they are, talking"
"""Kind of the clips that bound the threshold."""


@dataclass(slots=True, eq=False)
class Scored:
    """One validation clip. ``kind`` tells where it comes from; ``seconds`` is the time in which a face was seen."""

    kind: str
    steps: list[tuple[int, F32 | None]]
    truths: tuple[Interval, ...]
    seconds: float
    _tape: tuple[StepModel, Replay] | None = None

    @classmethod
    def of_record(cls, record: Record) -> Scored:
        """A measured clip."""
        kind = record.name.split("-")[0]
        seen = float((~np.isnan(record.features[:, 0])).sum()) * STEP_NS / 1e9
        told = KINDS.get(kind, kind)
        if told == KINDS["free"] and "talking" in record.groups:
            told = TALKERS
        return cls(told, list(steps(record)), record.truths, seen)

    @classmethod
    def of_corpus(cls, corpus: Corpus) -> list[Scored]:
        """Simulated clips."""
        times = [round(t * 1e9) for t in corpus.grid]
        seconds = corpus.seconds / len(corpus)
        return [
            cls(
                "simulated",
                [(t, x) for t, x in zip(times, clip.astype(np.float32), strict=True)],
                tuple(Interval.of_truth(t) for t in truths if t.offset_s - t.onset_s <= MAX_ME_S + EDGE),
                seconds,
            )
            for clip, truths in zip(corpus.features, corpus.truths, strict=True)
        ]

    def spots(self, model: StepModel, options: SpottingOptions) -> list[Interval]:
        """What the spotter publishes. The network runs once; other options replay its answers."""
        if self._tape is None or self._tape[0] is not model:
            self._tape = model, Replay(model)
        tape = self._tape[1]
        tape.rewind()
        spotter = Spotter(tape, options)
        found = [Interval.of_spot(s) for t, x in self.steps for s in spotter.push(t, x)]
        return found + [Interval.of_spot(s) for s in spotter.flush()]


Case: TypeAlias = tuple[StepModel, Scored]
"""A clip and the network that judges it."""


def score_of(cases: Sequence[Case], threshold: float) -> Scores:
    """Pooled scores at one threshold, each clip judged by its own network."""
    options = SpottingOptions(threshold=threshold)
    pairs = [(clip.truths, clip.spots(model, options)) for model, clip in cases]
    return score(pairs, sum(clip.seconds for _, clip in cases) / 60)


def score_at(model: StepModel, clips: Sequence[Scored], threshold: float) -> Scores:
    """Pooled scores of one network at one threshold."""
    return score_of([(model, clip) for clip in clips], threshold)


def choose_threshold(
    model: StepModel, clips: Sequence[Scored], people: Sequence[Case] = ()
) -> tuple[float, Scores]:
    """A threshold of high F1 that leaves people in peace.

    Of the thresholds at which talkers as they are cause at most :data:`FALSE_A_MINUTE`, the highest of those within
    half a percent of the best F1; the strictest there is where none keeps the limit. The curve is flat at its top, and
    people who are not in the validation clips do more that looks like an expression.

    :param people: talkers besides those among ``clips``, each with a network that never saw him or her
    :returns: the threshold, and the scores on ``clips``
    """
    quiet = [*((model, clip) for clip in clips if clip.kind == TALKERS), *people]
    kept = [t for t in THRESHOLDS if not quiet or score_of(quiet, t).false_per_minute <= FALSE_A_MINUTE]
    table = [(t, score_at(model, clips, t)) for t in kept or THRESHOLDS[-1:]]
    best = max(scores.f1 for _, scores in table)
    return [entry for entry in table if entry[1].f1 >= best - 0.005][-1]
