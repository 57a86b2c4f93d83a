"""Tables of describers on spots."""

from __future__ import annotations

from pathlib import Path

import pytest

from mellm.engine.describe.ensemble import Weights
from mellm.evaluation.describing import on_spots
from mellm.evaluation.metrics.priors import PRIOR
from mellm.training.readings.fit import fit
from tests.training.readings.made import refused, spot

UNITS = ((4,), (12,), (1, 2), (4, 7))
FOUND = [
    *(spot(i, UNITS[(i + k) % 4], subject=f"p{k}") for k in range(6) for i in range(6)),
    *(spot(50 + i, None, subject=f"p{i}", seen=(12,), sure=1.0, score=-1.0) for i in range(4)),
    spot(90, None, subject="p1", seen=(4,), own=False),
    refused(spot(91, (4,), subject="p2")),
]

NAMED = sum(len(o.truth.units) for o in FOUND if o.truth is not None and o.refused is None)


@pytest.fixture(scope="module")
def weights() -> Weights:
    return fit(FOUND)[0]


def test_each_set_has_a_row_for_each_system(weights: Weights) -> None:
    made = on_spots.rows(FOUND, weights)
    assert list(made) == ["drawn people", "all"]
    best, prior = made["all"]["ensemble"], made["all"][PRIOR]
    assert (best.right, best.false, best.people) == (37, 4, 6)
    # one was refused, and counts as missed
    assert best.f1.value == pytest.approx(2 * NAMED / (2 * NAMED + 1))
    assert best.false_described.value == 0
    assert best.described.value == pytest.approx(36 / 37)
    assert prior.against is not None
    assert prior.against.value < 0 < best.f1.value
    assert prior.false_described.value == 1
    table = on_spots.table(made)
    assert "| drawn people (37, 6) | ensemble |" in table


def test_probabilities_are_held_against_what_is_so(weights: Weights) -> None:
    fits = on_spots.calibration(FOUND, weights)
    assert fits.units < 0.05
    assert fits.units_named == NAMED
    assert sum(count for *_, count in fits.points["classes"]) == 36
    lying = on_spots.calibration([spot(i, (4,), seen=(12,), subject=f"p{i % 3}") for i in range(9)], weights)
    assert lying.named > 0.5
    assert "units that are named" in on_spots.calibration_table(fits)
    assert on_spots.bins([]) == ()


def test_the_diagram_is_a_picture(weights: Weights, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = on_spots.diagram(on_spots.calibration(FOUND, weights), tmp_path / "d.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert on_spots.plain({}, on_spots.calibration(FOUND, weights))["calibration"]["units_named"] == NAMED
