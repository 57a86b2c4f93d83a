"""Choosing the threshold, with the product's own spotter, on validation clips and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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

FALSE_A_MINUTE = 1.0
"""False alarms a minute that validation people who talk and hold no expression may cause."""


KINDS = {
    "free": "people as they are",
    "v": "people, expressions laid on",
    "vv": "people, expressions laid on",
    "vs": "photographs",
    "vd": "photographs that talk",
    "vr50": "rendered",
    "vr30": "rendered",
}
"""Where a validation clip comes from, by the first word of its name."""


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
        return cls(KINDS.get(kind, kind), list(steps(record)), record.truths, seen)

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


def score_at(model: StepModel, clips: Sequence[Scored], threshold: float) -> Scores:
    """Pooled scores at one threshold."""
    options = SpottingOptions(threshold=threshold)
    pairs = [(clip.truths, clip.spots(model, options)) for clip in clips]
    return score(pairs, sum(clip.seconds for clip in clips) / 60)


def choose_threshold(model: StepModel, clips: Sequence[Scored]) -> tuple[float, Scores]:
    """A threshold of high F1 that leaves people in peace.

    Of the thresholds at which people as they are cause at most :data:`FALSE_A_MINUTE`, the highest of those within half
    a percent of the best F1; the strictest there is where none keeps the limit. The curve is flat at its top, and
    people who are not in the validation clips do more that looks like an expression.
    """
    people = [clip for clip in clips if clip.kind == KINDS["free"]]
    table = [(t, score_at(model, clips, t)) for t in THRESHOLDS]
    kept = [
        entry
        for entry in table
        if not people or score_at(model, people, entry[0]).false_per_minute <= FALSE_A_MINUTE
    ] or table[-1:]
    best = max(scores.f1 for _, scores in kept)
    return [entry for entry in kept if entry[1].f1 >= best - 0.005][-1]
