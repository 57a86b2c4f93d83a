"""Pairs for the rules: measured as the engine measures, with the truth they came with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the extra `train` is not installed")

from mellm.detectors.regions import COUNT, INDEX
from mellm.detectors.textured_plane import TexturedPlane
from mellm.stream.errors import UsageError
from mellm.training.rules.evaluate import evaluate_rules, floors
from mellm.training.rules.pairs import Sample, clip_samples, load, measure_pair, save


def pair(shift: float) -> tuple[np.ndarray, float]:
    sheet = TexturedPlane(iod=80, size=(320, 320))
    onset, apex = (sheet.draw(motions={"lip_corner_R": (0.0, -y)}) for y in (0.0, shift))
    colour = [np.repeat(p[..., None], 3, axis=2) for p in (onset, apex)]
    return measure_pair(colour[0], colour[1], sheet.landmarks())


def test_a_moved_region_is_measured_in_hundredths_of_the_eye_distance() -> None:
    motion, noise = pair(1.6)
    assert motion.shape == (COUNT, 2)
    assert int(np.hypot(*motion.T).argmax()) == INDEX["lip_corner_R"]
    assert motion[INDEX["lip_corner_R"], 1] == pytest.approx(-2.0, abs=0.7)
    assert noise < 0.3


def test_samples_survive_a_file_and_are_scored(tmp_path: Path) -> None:
    motion, noise = pair(1.6)
    found = [
        Sample(1, False, ((12, "right"),), 2.0, motion, noise),
        Sample(2, True, (), 0.0, np.zeros((COUNT, 2), np.float32), 0.1),
    ]
    save(tmp_path / "pairs.npz", found)
    again = load(tmp_path / "pairs.npz")
    assert [s.units for s in again] == [s.units for s in found]
    assert np.allclose(again[0].motion, motion)
    scores = evaluate_rules(again)
    assert scores["all"].pairs == 1
    assert floors(again) == {"expression, quiet": (1, 1.0), "none, talking": (1, 0.0)}


def test_a_clip_without_truth_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"clip\.mp4"):
        next(clip_samples(tmp_path / "clip.mp4"))
