"""Many expressions in one batch are judged as the product judges them one by one."""

from __future__ import annotations

import numpy as np
import pytest

from mellm.detectors.signals import FEATURES
from mellm.detectors.spotting import FakeStepModel, SpottingOptions
from mellm.detectors.stepmodel import OnnxStepModel
from mellm.training.spotter import windows
from mellm.training.spotter.overlay import lay
from mellm.training.spotter.records import Record, spot
from mellm.training.spotter.windows import BatchedNetwork, RowByRow


def noisy(seed: int, seconds: float = 14.0) -> Record:
    grid = 0.3 + 0.02 * np.arange(round(seconds / 0.02))
    features = np.random.default_rng(seed).normal(0, 0.08, (len(grid), FEATURES)).astype(np.float32)
    return Record(f"r{seed}", "who", grid, features, (), seconds, 50.0, 80.0)


@pytest.fixture(scope="module")
def overlays():
    return [lay(noisy(k), np.random.default_rng(k), lambda half, step, k=k: 0.4 + 0.9 * k) for k in range(3)]


def one_by_one(record: Record, model, threshold: float) -> list[bool]:
    spots = [p.interval for p in spot(record, model, SpottingOptions(threshold=threshold))]
    return [any(s.iou(truth) >= 0.5 for s in spots) for truth in record.truths]


def test_the_shipped_network_in_a_batch_finds_what_the_product_finds(overlays) -> None:
    model = OnnxStepModel()
    cases = [(o.record, t) for o in overlays for t in o.record.truths]
    thresholds = (0.3, model.threshold)
    got = windows.found(cases, BatchedNetwork(model, model.path), thresholds, batch=7)
    assert got.any()
    assert not got.all()
    for k, threshold in enumerate(thresholds):
        wanted = [hit for o in overlays for hit in one_by_one(o.record, model, threshold)]
        assert got[:, k].tolist() == wanted


def test_answers_do_not_depend_on_the_company(overlays) -> None:
    model = OnnxStepModel()
    network = BatchedNetwork(model, model.path)
    cases = [(o.record, t) for o in overlays for t in o.record.truths]
    together = windows._answers(cases, network)
    for case, told in zip(cases[:4], together, strict=False):
        (alone,) = windows._answers([case], network)
        assert [o.t_ns for o in alone] == [o.t_ns for o in told]
        assert [o.score for o in alone] == pytest.approx([o.score for o in told], abs=1e-5)


def test_any_step_model_will_do(overlays) -> None:
    model = FakeStepModel()
    record = overlays[2].record
    got = windows.found([(record, t) for t in record.truths], RowByRow(model), (0.4,))
    assert got[:, 0].tolist() == one_by_one(record, model, 0.4)
