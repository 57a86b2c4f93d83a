"""What a spotter makes of single expressions, many at a time: windows of signals through the network in one batch.

The streaming graph works on rows, so any number of windows can go through it side by side: a step of 200 windows
costs little more than one of one. Around each expression the window holds the network's whole memory, so its answers
are those of the whole record, and the product's own decoder reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mellm.detectors.signals import FEATURES
from mellm.detectors.spotting import Decoder, SpottingOptions, StepOutput
from mellm.detectors.stepmodel import OUTPUTS, StepModel
from mellm.detectors.types import F32
from mellm.training.spotter.evaluate import Interval
from mellm.training.spotter.records import Record

MEMORY = 100
"""Steps that are shown to the network before those that count: more than its receptive field of 78."""

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
    """

    def __init__(self, model: StepModel, path: Path) -> None:
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
        self.delay_steps, self.threshold = model.delay_steps, model.threshold
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


def found(
    cases: Sequence[tuple[Record, Interval]], network: Rows, thresholds: Sequence[float], batch: int = 192
) -> NDArray[np.bool_]:
    """Which expressions are found: K cases × thresholds. A spot is right when it shares half of the union.

    :param cases: records whose truths they are, with an unbroken face from :data:`BEFORE_S` before the onset to the
        network's delay and :data:`AFTER_S` after the offset
    """
    out = np.zeros((len(cases), len(thresholds)), bool)
    for first in range(0, len(cases), batch):
        some = cases[first : first + batch]
        for k, ((_, truth), told) in enumerate(zip(some, _answers(some, network), strict=True)):
            for j, threshold in enumerate(thresholds):
                out[first + k, j] = _hit(truth, told, threshold)
    return out


def _answers(cases: Sequence[tuple[Record, Interval]], network: Rows) -> list[list[StepOutput]]:
    delay = network.delay_steps
    spans = []
    for record, truth in cases:
        a = max(0, int(np.searchsorted(record.grid_s, truth.onset_s - BEFORE_S)))
        b = min(len(record.grid_s), int(np.searchsorted(record.grid_s, truth.offset_s + AFTER_S)) + delay)
        spans.append((max(0, a - MEMORY), a, b))
    length = max(b - start for start, _, b in spans)
    x = np.full((length, len(cases), FEATURES), np.nan, np.float32)
    for n, ((record, _), (start, _, b)) in enumerate(zip(cases, spans, strict=True)):
        x[length - (b - start) :, n] = record.features[start:b]  # all windows end together
    new = np.isnan(x[..., 0])
    np.nan_to_num(x, copy=False)
    state, y = network.start(len(cases)), np.zeros((length, len(cases), OUTPUTS), np.float32)
    fresh = network.start(len(cases))
    for t in range(length):
        state[new[t]] = fresh[new[t]]
        y[t], state = network.step(x[t], state)
        state[new[t]] = fresh[new[t]]
    told = []
    for n, ((record, _), (start, a, b)) in enumerate(zip(cases, spans, strict=True)):
        rows = y[length - (b - start) :, n]
        told.append(
            [
                StepOutput.of(round(record.grid_s[k - delay] * 1e9), rows[k - start])
                for k in range(max(a, start + delay), b)
                if not new[length - (b - k), n]
            ]
        )
    return told


def _hit(truth: Interval, told: Sequence[StepOutput], threshold: float) -> bool:
    decoder = Decoder(SpottingOptions(threshold=float(threshold)))
    spots = [spot for output in told for spot in decoder.push(output)]
    if told:
        spots += decoder.flush(told[-1].t_ns)
    return any(Interval.of_spot(spot).iou(truth) >= 0.5 for spot in spots)
