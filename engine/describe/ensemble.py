"""The default describer: region motion, the embedded model and the spotter's opinion, weighed together.

What the three say of a unit becomes one calibrated probability (a logistic regression, fitted on people that none of
them learnt from, :mod:`mellm.training.readings.fit`). A moment is read several times under small changes
(:mod:`mellm.engine.evidence.readings`); units must be named by most readings, and readings that do not agree end as
``unstable``. A second regression judges whether there is an expression at all; what it doubts ends as ``unlikely``.
docs/describers.md says how often it is right.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from mellm.engine.describe.agreement import MAJORITY, UNSTABLE, overlap, several
from mellm.engine.describe.au_templates import templates
from mellm.engine.describe.base import DescribeContext, Recipe
from mellm.engine.describe.local import NanoDescriber
from mellm.engine.describe.observation import CLASSES, CUES, F64, SIDES, UNITS, Observation, observe
from mellm.engine.describe.rules import BOTH_SIDES, MAX_UNITS
from mellm.engine.describe.sentences import sentences
from mellm.engine.facs import action_units as facs
from mellm.engine.types import ActionUnit, Coarse, Description, Emotion, Evidence, Side
from mellm.stream.errors import ModelCorrupt

FILE: Final = Path(__file__).with_name("ensemble.json")
VERSION: Final = "2"

UNLIKELY: Final = "unlikely"
"""Reason of a moment that does not look like a micro-expression."""

VOICES: Final = ("rules", "nano", "opinion")
"""Whose log-odds a unit's probability rests on."""

SIGNS: Final = ("surest", "agreement", *CUES)
"""What the gate looks at: log-odds of the surest unit, agreement of the readings, and the cues."""

ENOUGH: Final = 20
"""Readings on which a sentence may rest a number."""


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """Whether there is an expression at all. Signs are centred and scaled; one that is not known counts as usual.

    :param centre: of each of :data:`SIGNS`
    :param spread: as ``centre``
    :param weights: as ``centre``
    :param threshold: probability from which words are given
    """

    centre: F64
    spread: F64
    weights: F64
    bias: float
    threshold: float

    def likely(self, signs: F64) -> float:
        """Probability of an expression."""
        scaled = np.nan_to_num((signs - self.centre) / self.spread, nan=0.0)
        return float(sigmoid(np.array(self.bias + float(self.weights @ scaled))))


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """The shipped file.

    :param voices: weight of each of :data:`VOICES`
    :param bias: constant of each unit
    :param unasked: log-odds that stand for the spotter's opinion where it was not asked
    :param threshold: probability from which a unit is named
    :param classes: weights of two opinions on the class: what the units suggest, and what the embedded model says
    :param agrees_at: least agreement of the readings
    :param measured: how often the class was right on people left out, by its probability: from, to, right, readings
    """

    voices: F64
    bias: F64
    unasked: float
    threshold: float
    classes: F64
    agrees_at: float
    gate: Gate
    measured: tuple[tuple[float, float, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """What all readings of a moment come to.

    :param shares: unit → probability, named or not
    :param reason: why nothing is told
    :param likely: probability of an expression
    """

    units: tuple[ActionUnit, ...]
    emotion: Emotion | None
    agreement: float
    shares: Mapping[int, float]
    reason: str | None
    likely: float = 1.0


def sigmoid(x: F64) -> F64:
    """Logistic function, safe for any input."""
    out: F64 = 1 / (1 + np.exp(-np.clip(x, -60, 60)))
    return out


def unit_logits(seen: Observation, w: Weights) -> F64:
    """Calibrated log-odds of each unit in each reading, K×U."""
    opinion = np.where(np.isfinite(seen.opinion), seen.opinion, w.unasked)
    out: F64 = w.bias + w.voices[0] * seen.rules + w.voices[1] * seen.nano + w.voices[2] * opinion
    return out


def class_shares(seen: Observation, shares: Mapping[int, float], w: Weights) -> F64:
    """Probability of each class: from the units, and from the embedded model where it says one."""
    told = facs.coarse_emotion(shares.items())
    units = np.array([told.scores[c] for c in CLASSES]) if told else np.full(len(CLASSES), 1 / len(CLASSES))
    rows = seen.classes[np.isfinite(seen.classes[:, 0])]
    model = rows.mean(0) if len(rows) else np.full(len(CLASSES), 1 / len(CLASSES))
    z = w.classes[0] * np.log(units + 0.01) + w.classes[1] * np.log(model + 0.01)
    e = np.exp(z - z.max())
    out: F64 = e / e.sum()
    return out


def signs(seen: Observation, each: F64, agreement: float) -> F64:
    """Values of :data:`SIGNS`. ``each``: log-odds of the units in each reading, K×U."""
    return np.array([each.mean(0).max(), agreement, *seen.cues])


def judge(seen: Observation, w: Weights) -> Judgement:
    """Weigh the readings."""
    each = unit_logits(seen, w)
    shares = sigmoid(each.mean(0))
    named = sigmoid(each) >= w.threshold
    agreement = overlap([frozenset(np.flatnonzero(row).tolist()) for row in named])
    votes, count = named.sum(0), len(named)
    likely = w.gate.likely(signs(seen, each, agreement))
    agreed = (shares >= w.threshold) & (votes >= MAJORITY * count)
    chosen = [i for i in np.argsort(-shares, kind="stable").tolist() if agreed[i]][:MAX_UNITS]
    units = tuple(
        ActionUnit(
            UNITS[i],
            _side(seen.sides[i], seen.votes[i]),
            round(float(shares[i]), 4),
            int(votes[i]) if count > 1 else None,
        )
        for i in sorted(chosen)
    )
    by_unit = dict(zip(UNITS, shares.tolist(), strict=True))
    reason = None
    if not units:
        reason = UNSTABLE if votes.any() else "no_unit"
    elif agreement < w.agrees_at:
        reason = UNSTABLE
    elif likely < w.gate.threshold:
        reason = UNLIKELY
    if reason is not None:
        return Judgement((), None, agreement, by_unit, reason, likely)
    p = class_shares(seen, {u.au: by_unit[u.au] for u in units}, w)
    scores = {str(name): round(float(v), 4) for name, v in zip(CLASSES, p, strict=True)}
    coarse: Coarse = CLASSES[int(np.argmax(p))]
    return Judgement(units, Emotion(coarse, scores), agreement, by_unit, None, likely)


def _side(amounts: F64, votes: F64) -> Side:
    """The side that the embedded model sees most often, which errs less; without it, where the motion is."""
    if votes.any():
        return SIDES[int(np.argmax(votes))]
    left, right = float(amounts[0]), float(amounts[1])
    if min(left, right) >= BOTH_SIDES * max(left, right):
        return "both"
    return "left" if left > right else "right"


@cache
def weights() -> Weights:
    """The shipped weights.

    :raises ModelCorrupt: the file is not there or not what it should be
    """
    return load(FILE)


def load(path: Path) -> Weights:
    """Weights from a file.

    :raises ModelCorrupt: it is not there, or not what it should be
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        gate, measured = record["gate"], record.get("measured", [])
        weights = Weights(
            voices=_row(record["voices"], len(VOICES)),
            bias=_row(record["bias"], len(UNITS)),
            unasked=float(record["unasked"]),
            threshold=float(record["threshold"]),
            classes=_row(record["classes"], 2),
            agrees_at=float(record["agrees_at"]),
            gate=Gate(
                centre=_row(gate["centre"], len(SIGNS)),
                spread=_row(gate["spread"], len(SIGNS)),
                weights=_row(gate["weights"], len(SIGNS)),
                bias=float(gate["bias"]),
                threshold=float(gate["threshold"]),
            ),
            measured=tuple((float(a), float(b), int(right), int(all_)) for a, b, right, all_ in measured),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelCorrupt(
            f"the weights {path.name} cannot be used: {error}", remedy="install the package again"
        ) from error
    return weights


def _row(values: object, count: int) -> F64:
    row = np.array(values, np.float64)
    if row.shape != (count,) or not np.isfinite(row).all():
        raise ValueError(f"{count} finite numbers are wanted, not {row.shape}")
    return row


class EnsembleDescriber:
    """See the module. Stateless; may be called from several threads at once.

    :param folder: of the embedded model; the shipped one if not given
    :param several: read each moment under small changes, too
    :raises ModelMissing: the embedded model is not there
    :raises ModelCorrupt: it, or the weights, are damaged
    :raises MissingExtra: ONNX Runtime is not installed
    """

    name = f"ensemble-{VERSION}"
    profile = f"ensemble/{VERSION}"
    recipe: Recipe = "live"

    def __init__(self, folder: Path | None = None, *, several: bool = True) -> None:
        self._several = several
        self._nano = NanoDescriber(folder)
        self._weights = weights()
        self._templates = templates()

    def describe(self, evidence: Evidence, context: DescribeContext) -> Description:
        """Describe one expression.

        Abstains with the evidence's own reason where it was refused, with ``no_unit`` where no unit is likely enough,
        with ``unstable`` where the readings do not agree, and with ``unlikely`` where it looks like no expression.

        :raises DescriberTimeout: the deadline passed
        :raises AnswerInvalid: the network answered with NaN
        """
        began = time.perf_counter()
        if evidence.refused is not None:
            return self._description((), None, evidence.refused, began)
        shown = several(evidence, context.deadline_s) if self._several else (evidence,)
        left = context.deadline_s - (time.perf_counter() - began)
        seen = observe(shown, self._nano.read_many(shown, deadline_s=left), context, self._templates)
        found = judge(seen, self._weights)
        count = len(shown)
        text = ""
        if found.emotion is not None:
            text = sentences(
                found.units,
                found.emotion,
                evidence.regions,
                readings=count,
                notes=basis(found.emotion, self._weights),
            )
        return self._description(
            found.units,
            found.emotion,
            found.reason,
            began,
            text,
            count,
            found.agreement if count > 1 else None,
        )

    def close(self) -> None:
        """Nothing to release: the sessions are the process's."""

    def _description(
        self,
        units: Sequence[ActionUnit],
        emotion: Emotion | None,
        reason: str | None,
        began: float,
        text: str = "",
        readings: int = 1,
        agreement: float | None = None,
    ) -> Description:
        return Description(
            text=text,
            action_units=tuple(units),
            emotion=emotion,
            model=self.name,
            profile=self.profile,
            prompt_version=VERSION,
            abstained=reason,
            latency_ms=(time.perf_counter() - began) * 1e3,
            readings=readings,
            agreement=None if agreement is None else round(agreement, 4),
        )


def basis(emotion: Emotion, w: Weights) -> tuple[str, ...]:
    """What the probability of the class rests on, as a sentence; none where it was not measured often enough."""
    share = emotion.scores[emotion.coarse]
    for low, high, right, count in w.measured:
        if low <= share < high and count >= ENOUGH:
            return (f"Of {count} such readings {right} were right, on synthetic faces.",)
    return ()
