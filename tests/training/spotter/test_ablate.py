"""Ablations: what a variant does without stays out, and what is void stays void."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="extra `train` is not installed")

import torch

from mellm.detectors.signals import FEATURES
from mellm.training.spotter import ablate
from mellm.training.spotter.net import SpotterNet
from tests.training.spotter.test_pools import record

BLIND = ("0.1 s", "0.3 s", "no-head")


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, (40, FEATURES)).astype(np.float32)


@pytest.mark.parametrize("name", BLIND)
def test_a_closed_input_moves_nothing(name: str, x: np.ndarray) -> None:
    change = ablate.VARIANTS[name].change
    net = SpotterNet().eval()
    net.standardise(torch.from_numpy(change(x)))
    ablate._blinded(net)
    noise = x.copy()
    noise[change(np.ones_like(x)) != 0] = 0  # only what the variant leaves out is disturbed
    with torch.no_grad():
        still, disturbed = (net(torch.from_numpy(v[None])) for v in (change(x), change(x) + noise))
    assert noise.any()
    assert torch.equal(still, disturbed)


@pytest.mark.parametrize("name", BLIND)
def test_void_steps_stay_void(name: str) -> None:
    clip = record(120)
    features = clip.features.copy()
    features[50:60] = np.nan
    scored = ablate._scored(ablate.replace(clip, features=features), ablate.VARIANTS[name].change)
    assert [x is None for _, x in scored.steps] == [50 <= k < 60 for k in range(120)]


def test_raw_flow_is_what_was_compensated(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MELLM_SHARED", str(shared_data))
    x = np.zeros((1, FEATURES), np.float32)
    x[0, ablate.FLOW] = 2.0  # the head shifted sideways by 2/100 of the eye distance, the face did nothing
    out = ablate.raw(x)
    assert np.allclose(out[0, : ablate.FLOW : 2], 2.0, atol=1e-5)
    assert not out[0, ablate.FLOW :].any()
    assert np.allclose(ablate.nose(x), 0, atol=1e-5)
