"""Calibration finds the gain and the noise that were put in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="extra `train` is not installed")

from mellm.detectors.regions import COUNT, INDEX, NAMES
from mellm.detectors.signals import FEATURES
from mellm.training.tools import calibrate

STEPS = 800
HALF = FEATURES // 2


def motion(seed: int = 0) -> np.ndarray:
    """True features: every region moves now and then, the nose never."""
    rng = np.random.default_rng(seed)
    true = np.zeros((STEPS, FEATURES))
    for start in (0, HALF):
        move = rng.normal(0, 2, (STEPS, COUNT, 2)) * (rng.random((STEPS, COUNT, 1)) < 0.3)
        move[:, [INDEX["nose_tip"], INDEX["nose_bridge"]]] = 0
        true[:, start : start + 2 * COUNT] = move.reshape(STEPS, -1)
    return true


def test_gain_and_noise_are_read_back() -> None:
    true = motion()
    gain = np.linspace(0.3, 1.2, COUNT)
    seen = true.copy()
    for start in (0, HALF):
        seen[:, start : start + 2 * COUNT] *= np.repeat(gain, 2)
    seen += np.random.default_rng(1).normal(0, 0.1, seen.shape)
    found = calibrate.traits(seen, true)
    moving = ~np.isnan(found.gain)
    assert not moving[INDEX["nose_tip"]]
    assert moving.sum() == COUNT - 2
    assert np.allclose(found.gain[moving], gain[moving], atol=0.03)
    assert np.allclose(found.noise, 0.1, rtol=0.2)


def test_pooling_adds_up_and_survives_clips_that_cannot_tell() -> None:
    one = calibrate.traits(motion(), motion())
    moving = motion()
    moving[:, : 2 * COUNT] = 5  # nothing is ever still: no noise can be read
    other = calibrate.traits(moving, moving)
    assert np.isnan(other.noise).all()
    both = calibrate.pooled([one, other])
    assert both.steps == 2 * STEPS
    assert np.allclose(both.noise, one.noise)
    assert np.allclose(both.gain[~np.isnan(both.gain)], 1)


def test_agreement_table_and_plot(tmp_path: Path) -> None:
    rows = {name: {"gain": [1.0, 1.1, 1.5], "noise": [0.1, 0.3, 0.11]} for name in NAMES}
    rows["nose_tip"]["gain"] = [None, None, None]
    found = {"clips": [1, 1], "regions": rows}
    assert len(calibrate.agreement(found, "gain", 1)) == COUNT - 1
    assert calibrate.agreement(found, "gain", 2) == []
    assert "gain within 20%: 30 of 30 as drawn, 0 of 30 fitted" in calibrate.table(found)
    pytest.importorskip("matplotlib", reason="extra `eval` is not installed")
    calibrate.plot(found, tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 5000
