"""Contact sheets for the documentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.synth.rig import load_rig
from training.synth.sheets import SIDE, people


def test_people_differ_from_one_another(shared_data: Path) -> None:
    sheet = people(load_rig(shared_data / "face-model" / "head_f16.npz"), count=2, columns=2)
    assert sheet.shape == (SIDE, 2 * SIDE, 3)
    assert np.abs(sheet[:, :SIDE].astype(int) - sheet[:, SIDE:]).mean() > 10
