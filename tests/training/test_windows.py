"""Many expressions in one batch are judged as the product judges them one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mellm.detectors.signals import FEATURES
from mellm.detectors.spotting import FakeStepModel, SpottingOptions
from mellm.detectors.stepmodel import OUTPUTS, TO_ONSET, OnnxStepModel
from mellm.training.spotter import windows
from mellm.training.spotter.overlay import lay
from mellm.training.spotter.records import Record, spot
from mellm.training.spotter.windows import BatchedNetwork, Case, RowByRow


def noisy(seed: int, seconds: float = 14.0) -> Record:
    grid = 0.3 + 0.02 * np.arange(round(seconds / 0.02))
    features = np.random.default_rng(seed).normal(0, 0.08, (len(grid), FEATURES)).astype(np.float32)
    return Record(f"r{seed}", "who", grid, features, (), seconds, 50.0, 80.0)


@pytest.fixture(scope="module")
def overlays():
    return [lay(noisy(k), np.random.default_rng(k), lambda half, step, k=k: 0.4 + 0.9 * k) for k in range(3)]


def cases(overlays) -> list[Case]:
    """With the record itself as the past, a window is the record."""
    return [Case(o.record, t, o.record) for o in overlays for t in o.record.truths]


def one_by_one(record: Record, model, threshold: float) -> list[bool]:
    spots = [p.interval for p in spot(record, model, SpottingOptions(threshold=threshold))]
    return [any(s.iou(truth) >= 0.5 for s in spots) for truth in record.truths]


def test_the_shipped_network_in_a_batch_finds_what_the_product_finds(overlays) -> None:
    model = OnnxStepModel()
    thresholds = (0.3, model.threshold)
    got = windows.found(cases(overlays), BatchedNetwork(model, model.path), thresholds, batch=7)
    assert got.any()
    assert not got.all()
    for k, threshold in enumerate(thresholds):
        wanted = [hit for o in overlays for hit in one_by_one(o.record, model, threshold)]
        assert got[:, k].tolist() == wanted


def answers(some: list[Case], network: BatchedNetwork):
    begins = [windows._span(case, network.delay_steps)[0] for case in some]
    return windows._answers(some, windows._states(some, begins, network), network)


def test_a_window_begins_with_all_that_the_network_remembers(overlays) -> None:
    """A network may remember for longer than any window: here it counts every step since the last void."""

    class Counter:
        delay_steps, threshold = 2, 0.5

        def start(self, rows: int):
            return np.zeros((rows, 1), np.float32)

        def step(self, features, state):
            y = np.zeros((len(features), OUTPUTS), np.float32)
            y[:, TO_ONSET] = 1e-3 * state[:, 0]
            return y, state + 1

    record = overlays[0].record
    features = record.features.copy()
    features[100] = np.nan  # a void: counted anew
    past = replace(record, features=features)
    truth = next(t for t in record.truths if t.onset_s > 4)
    ((first, *_),) = answers([Case(record, truth, past)], Counter())
    begin = int(np.searchsorted(record.grid_s, truth.onset_s - windows.BEFORE_S))
    assert (first.t_ns - first.onset_ns) / 1e6 == pytest.approx(begin - 101)


def test_answers_do_not_depend_on_the_company(overlays) -> None:
    model = OnnxStepModel()
    network = BatchedNetwork(model, model.path)
    every = cases(overlays)
    together = answers(every, network)
    for case, told in zip(every[:4], together, strict=False):
        (alone,) = answers([case], network)
        assert [o.t_ns for o in alone] == [o.t_ns for o in told]
        assert [o.score for o in alone] == pytest.approx([o.score for o in told], abs=1e-5)


def test_any_step_model_will_do(overlays) -> None:
    model = FakeStepModel()
    record = overlays[2].record
    got = windows.found([Case(record, t, record) for t in record.truths], RowByRow(model), (0.4,))
    assert got[:, 0].tolist() == one_by_one(record, model, 0.4)
