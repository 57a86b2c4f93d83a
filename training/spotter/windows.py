"""What a spotter makes of single expressions, many at a time: windows of signals through the network in one batch.

The streaming graph works on rows, so any number of windows can go through it side by side: a step of 200 windows
costs little more than one of one. Each window begins with the state that the network has there after all that came
before, however long it remembers, and the product's own decoder reads its answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mellm.detectors.signals import FEATURES
from mellm.detectors.spotting import Decoder, SpottingOptions, StepOutput
from mellm.detectors.stepmodel import OUTPUTS, StepModel
from mellm.detectors.types import F32
from mellm.detectors.windows import STEP_NS
from mellm.training.spotter.evaluate import Interval
from mellm.training.spotter.records import Record

STEP_S = STEP_NS / 1e9
BEFORE_S, AFTER_S = 0.5, 0.5
"""Answers are read from so long before the onset to so long after the offset."""


class Rows(Protocol):
    """A network that takes N rows at once. ``delay_steps``, ``threshold``: as of the step model it is made of."""

    delay_steps: int
    threshold: float

    def start(self, rows: int) -> F32:
        """State of N new segments, N×S."""
        ...

    def step(self, features: F32, state: F32) -> tuple[F32, F32]:
        """Features (N×``FEATURES``) and state in; outputs (N×``OUTPUTS``) and the next state out."""
        ...


class BatchedNetwork:
    """A spotter's ONNX file with room for N rows.

    :param model: as the product loaded it
    :param path: its file
    :param threshold: used instead of its own
    """

    def __init__(self, model: StepModel, path: Path, threshold: float | None = None) -> None:
        import onnx
        import onnxruntime as ort

        graph = onnx.load(str(path))
        for end in (*graph.graph.input, *graph.graph.output):
            end.type.tensor_type.shape.dim[0].dim_param = "N"
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.delay_steps = model.delay_steps
        self.threshold = model.threshold if threshold is None else threshold
        self._start = model.start()

    def start(self, rows: int) -> F32:
        """See :class:`Rows`."""
        return np.repeat(self._start, rows, axis=0)

    def step(self, features: F32, state: F32) -> tuple[F32, F32]:
        """See :class:`Rows`."""
        y, state_out = self._session.run(["y", "state_out"], {"x": features, "state": state})
        return np.asarray(y, np.float32), np.asarray(state_out, np.float32)


class RowByRow:
    """Any step model as :class:`Rows`, one row after the other: for tests and odd models."""

    def __init__(self, model: StepModel) -> None:
        self._model = model
        self.delay_steps, self.threshold = model.delay_steps, model.threshold

    def start(self, rows: int) -> F32:
        """See :class:`Rows`."""
        return np.repeat(self._model.start(), rows, axis=0)

    def step(self, features: F32, state: F32) -> tuple[F32, F32]:
        """See :class:`Rows`."""
        made = [self._model.step(x, s[None]) for x, s in zip(features, state, strict=True)]
        return np.stack([y for y, _ in made]), np.concatenate([s for _, s in made])


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One expression to be looked for.

    :param record: signals that hold it, and perhaps others
    :param truth: with an unbroken face from :data:`BEFORE_S` before its onset to the network's delay and
        :data:`AFTER_S` after its offset
    :param past: what the network has seen before, on the same grid: the record without its expressions, or itself
    """

    record: Record
    truth: Interval
    past: Record


def found(
    cases: Sequence[Case], network: Rows, thresholds: Sequence[float], batch: int = 192
) -> NDArray[np.bool_]:
    """Which expressions are found: K cases × thresholds. A spot is right when it shares half of the union."""
    out = np.zeros((len(cases), len(thresholds)), bool)
    begins = [_span(case, network.delay_steps)[0] for case in cases]
    states = _states(cases, begins, network)
    for first in range(0, len(cases), batch):
        some = slice(first, first + batch)
        told = _answers(cases[some], states[some], network)
        for k, (case, outputs) in enumerate(zip(cases[some], told, strict=True)):
            for j, threshold in enumerate(thresholds):
                out[first + k, j] = _hit(case.truth, outputs, threshold)
    return out


def _span(case: Case, delay: int) -> tuple[int, int]:
    """First and last-but-one step of a case's window."""
    grid, truth = case.record.grid_s, case.truth
    begin = max(0, int(np.searchsorted(grid, truth.onset_s - BEFORE_S)))
    return begin, min(len(grid), int(np.searchsorted(grid, truth.offset_s + AFTER_S)) + delay)


def _states(cases: Sequence[Case], begins: Sequence[int], network: Rows) -> F32:
    """The network's state at the beginning of each window, K×S: all pasts go through it side by side."""
    pasts = list({id(case.past): case.past for case in cases}.values())
    wanted: dict[int, dict[int, list[int]]] = {}
    for k, (case, begin) in enumerate(zip(cases, begins, strict=True)):
        wanted.setdefault(begin, {}).setdefault(id(case.past), []).append(k)
    fresh = network.start(1)
    state, out = network.start(len(pasts)), np.repeat(fresh, len(cases), axis=0)
    pasts.sort(key=lambda record: -len(record.grid_s))
    row = {id(record): n for n, record in enumerate(pasts)}
    ends = np.array([len(record.grid_s) for record in pasts])
    for t in range(max(begins, default=0) + 1):
        for past, some in wanted.get(t, {}).items():
            out[some] = state[row[past]]
        going = int((ends > t).sum())
        if not going:
            break
        x = np.stack([record.features[t] for record in pasts[:going]])
        void = np.isnan(x[:, 0])
        late = [t > 0 and r.grid_s[t] - r.grid_s[t - 1] > 1.5 * STEP_S for r in pasts[:going]]
        state[:going][np.array(late)] = fresh  # a hole in time: the spotter begins anew
        _, moved = network.step(np.nan_to_num(x), state[:going])
        state[:going] = np.where(void[:, None], fresh, moved)
    return out


def _answers(cases: Sequence[Case], states: F32, network: Rows) -> list[list[StepOutput]]:
    delay = network.delay_steps
    spans = [_span(case, delay) for case in cases]
    length = max(b - a for a, b in spans)
    x = np.zeros((length, len(cases), FEATURES), np.float32)
    for n, (case, (a, b)) in enumerate(zip(cases, spans, strict=True)):
        x[: b - a, n] = np.nan_to_num(case.record.features[a:b])
    state, y = states.copy(), np.zeros((length, len(cases), OUTPUTS), np.float32)
    for t in range(length):
        y[t], state = network.step(x[t], state)
    return [
        [
            StepOutput.of(round(case.record.grid_s[k - delay] * 1e9), y[k - a, n])
            for k in range(max(a, delay), b)
        ]
        for n, (case, (a, b)) in enumerate(zip(cases, spans, strict=True))
    ]


def _hit(truth: Interval, told: Sequence[StepOutput], threshold: float) -> bool:
    decoder = Decoder(SpottingOptions(threshold=float(threshold)))
    spots = [spot for output in told for spot in decoder.push(output)]
    if told:
        spots += decoder.flush(told[-1].t_ns)
    return any(Interval.of_spot(spot).iou(truth) >= 0.5 for spot in spots)
