"""Contact sheets for the documentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mellm.training.synth.lively import HABITS
from mellm.training.synth.rig import load_rig
from mellm.training.synth.sheets import SIDE, habits, people


def test_people_differ_from_one_another(shared_data: Path) -> None:
    sheet = people(load_rig(shared_data / "face-model" / "head_f16.npz"), count=2, columns=2)
    assert sheet.shape == (SIDE, 2 * SIDE, 3)
    assert np.abs(sheet[:, :SIDE].astype(int) - sheet[:, SIDE:]).mean() > 10


def test_every_habit_differs_from_rest(shared_data: Path) -> None:
    sheet = habits(load_rig(shared_data / "face-model" / "head_f16.npz"), columns=6)
    assert sheet.shape == (SIDE * (len(HABITS) + 1) // 6, 6 * SIDE, 3)
    tiles = sheet.reshape(-1, SIDE, 6, SIDE, 3).swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3).astype(int)
    below_the_name = tiles[:, 30:]
    assert all(np.abs(tile - below_the_name[0]).max() > 40 for tile in below_the_name[1:])
