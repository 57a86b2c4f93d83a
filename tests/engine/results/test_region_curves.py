"""How the strongest regions moved around an expression."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mellm.detectors.regions import INDEX
from mellm.detectors.signals import FEATURES, SignalStep
from mellm.detectors.windows import STEP_NS
from mellm.engine.results.region_curves import KEPT, MOST, ROOM_NS, RegionCurves, read_curves, recent
from mellm.engine.results.run_folder import curves_name


def steps(
    count: int, moved: dict[str, tuple[float, float]], at: range, void: range = range(0)
) -> list[SignalStep]:
    found = []
    for number in range(count):
        features = np.zeros(FEATURES, np.float32)
        if number in at:
            for name, (x, y) in moved.items():
                features[2 * INDEX[name] : 2 * INDEX[name] + 2] = x, y
        found.append(SignalStep(number * STEP_NS, None if number in void else features))
    return found


def test_the_strongest_come_first_and_lengths_are_kept() -> None:
    moved = {"brow_inner_L": (0.0, -3.0), "brow_inner_R": (3.0, -4.0), "chin": (0.1, 0.0)}
    curves = RegionCurves.of(steps(100, moved, range(50, 60)), 50 * STEP_NS, 59 * STEP_NS)
    assert curves is not None
    names = list(curves.regions)
    assert names[:3] == ["brow_inner_R", "brow_inner_L", "chin"]
    assert len(names) == MOST
    assert curves.t_ns == 50 * STEP_NS - ROOM_NS
    values = curves.regions["brow_inner_R"]
    assert (values[24], values[25], values[34], values[35]) == (0.0, 5.0, 5.0, 0.0)
    assert len(values) == 2 * ROOM_NS // STEP_NS + 10


def test_void_steps_are_holes_and_nothing_measured_is_none() -> None:
    curves = RegionCurves.of(
        steps(100, {"chin": (2, 0)}, range(50, 60), range(52, 54)), 50 * STEP_NS, 59 * STEP_NS
    )
    assert curves is not None
    assert curves.regions["chin"][26:30] == (2.0, None, None, 2.0)
    assert RegionCurves.of(steps(100, {}, range(0), range(50, 60)), 50 * STEP_NS, 59 * STEP_NS) is None
    assert RegionCurves.of([], 0, 1) is None


def test_a_track_holds_on_to_what_an_expression_needs() -> None:
    held = recent()
    held.extend(steps(KEPT + 50, {}, range(0)))
    assert len(held) == KEPT


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    curves = RegionCurves.of(steps(60, {"chin": (2, 0)}, range(30, 40)), 30 * STEP_NS, 39 * STEP_NS)
    assert curves is not None
    (tmp_path / "evidence").mkdir()
    (tmp_path / curves_name("e1")).write_text(json.dumps(curves.to_json()))
    assert read_curves(tmp_path, "e1") == curves
    assert curves.moved(STEP_NS).t_ns == curves.t_ns - STEP_NS


@pytest.mark.parametrize(
    "text", ["", "[]", '{"t_ns": "x", "step_ns": 1, "regions": {}}', '{"t_ns": "1"}', '{"regions": 3}']
)
def test_what_cannot_be_read_is_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "evidence").mkdir()
    (tmp_path / curves_name("e1")).write_text(text)
    assert read_curves(tmp_path, "e1") is None
    assert read_curves(tmp_path, "../../e1") is None
