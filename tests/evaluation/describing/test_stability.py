"""Whether readings hold still: gathered into moments, compared two by two."""

from __future__ import annotations

import pytest

from mellm.engine.describe.ensemble import Weights
from mellm.evaluation.describing import stability
from mellm.training.readings.changed import CHANGES
from mellm.training.readings.fit import fit
from tests.training.readings.made import spot

NAMES = list(CHANGES)


@pytest.fixture(scope="module")
def weights() -> Weights:
    units = ((4,), (12,), (1, 2))
    return fit([spot(i, units[(i + k) % 3], subject=f"p{k}") for k in range(6) for i in range(6)])[0]


def version(change: str, at: float, seen: tuple[int, ...], who: str = "p"):
    return spot(0, (4,), seen=seen, subject=who, name=f"rendered-{who}~{change}@{at:.3f}")


def test_the_same_moment_of_all_versions_is_one() -> None:
    found = [version(c, 1.0 + 0.01 * i, (4,)) for i, c in enumerate(NAMES)]
    found += [version(c, 2.0, (4,)) for c in NAMES[:2]]
    assert [len(m.versions) for m in stability.moments(found)] == [7, 2]


def test_readings_that_agree_hold_still(weights: Weights) -> None:
    found = [version(c, 1.0, (4,), who) for c in NAMES for who in ("p", "q")]
    (made,) = (stability.results(found, weights)["all"]["ensemble"],)
    assert (made.units.value, made.flips.value, made.silenced, made.moments) == (1, 0, 0, 2)


def test_one_version_that_is_read_otherwise_is_seen_in_its_pairs(weights: Weights) -> None:
    found = [version(c, 1.0, (12,) if c == "crf 28" else (4,)) for c in NAMES]
    made = stability.results(found, weights)["drawn people"]["ensemble"]
    assert made.units.value == pytest.approx(15 / 21)
    assert made.flips.value == pytest.approx(6 / 21)


def test_silence_is_another_reading(weights: Weights) -> None:
    found = [version(c, 1.0, () if c == "crf 28" else (4,)) for c in NAMES]
    made = stability.results(found, weights)["drawn people"]["ensemble"]
    assert made.units.value == pytest.approx(15 / 21)
    assert made.flips.value == 0
    assert made.silenced == pytest.approx(1 / 7)
    assert "| drawn people | ensemble | 0.71" in stability.table({"drawn people": {"ensemble": made}})


def test_moments_that_nobody_speaks_of_do_not_count(weights: Weights) -> None:
    assert stability.results([version(c, 1.0, ()) for c in NAMES], weights)["all"]["ensemble"].moments == 0
