"""Weights from spots: units, class, gate, and what is written down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mellm.engine.describe.ensemble import judge
from mellm.engine.describe.ensemble import load as load_weights
from mellm.stream.errors import UsageError
from mellm.training.readings.fit import calibration_error, fit, micro_f1, write
from mellm.training.readings.observed import load, save
from tests.training.readings.made import refused, spot

UNITS = ((4,), (12,), (1, 2), (4, 7))


def people(count: int = 8) -> list:
    """Right spots, and false alarms that the spotter doubts."""
    right = [
        spot(i, UNITS[(i + k) % 4], subject=f"p{k}", sure=3.0 + (i % 3))
        for k in range(count)
        for i in range(8)
    ]
    false = [
        spot(100 + i, None, subject=f"p{k}", seen=(12,), sure=1.5, score=-0.5)
        for k in range(count)
        for i in range(3)
    ]
    return right + false


def test_a_fit_reads_what_all_voices_see_and_doubts_what_the_spotter_doubts() -> None:
    found = people()
    w, facts = fit(found)
    assert facts["people"] == 8
    assert facts["unit_f1_on_people_left_out"] == 1
    right, false = [o for o in found if o.truth], [o for o in found if o.truth is None]
    assert all(
        {u.au for u in judge(o.seen, w).units} == {au for au, _ in o.truth.units} for o in right if o.truth
    )
    assert {judge(o.seen, w).reason for o in false} == {"unlikely"}
    assert (w.voices >= 0).all()


def test_the_gate_keeps_nearly_all_right_spots_of_the_product() -> None:
    found = people()
    for i, o in enumerate(found):
        if o.truth is not None and i % 20 == 0:
            found[i] = replace(o, seen=replace(o.seen, cues=np.array([-0.5, 0.8, 0.5, -1.0])))
    w, _ = fit(found)
    right = [o for o in found if o.truth is not None]
    assert np.mean([judge(o.seen, w).reason is None for o in right]) >= 0.9


def test_sentences_rest_on_people_left_out() -> None:
    w, _ = fit(people())
    assert sum(count for *_, count in w.measured) > 40
    assert all(0 <= right <= count for *_, right, count in w.measured)


def test_weights_come_back_as_they_were_written(tmp_path: Path) -> None:
    w, facts = fit(people())
    write(tmp_path / "e.json", w, facts)
    back = load_weights(tmp_path / "e.json")
    assert np.allclose(back.voices, w.voices, atol=1e-4)
    assert np.allclose(back.gate.weights, w.gate.weights, atol=1e-4)
    assert back.measured == w.measured


def test_one_person_is_not_enough() -> None:
    with pytest.raises(UsageError, match="fewer than two people"):
        fit([spot(i, (4,)) for i in range(9)] + [refused(spot(9, (4,), subject="q"))])


def test_observations_are_kept(tmp_path: Path) -> None:
    found = [spot(1, (4,)), spot(2, None, own=False)]
    save(tmp_path / "val" / "c.npz", found)
    back = load(tmp_path, ["val"])
    assert [(o.id, o.own, o.truth) for o in back] == [(o.id, o.own, o.truth) for o in found]
    assert np.array_equal(back[0].seen.cues, found[0].seen.cues)
    with pytest.raises(UsageError, match="no observations"):
        load(tmp_path, ["test"])


def test_errors_of_calibration() -> None:
    assert calibration_error(np.array([0.0, 1.0, 1.0, 0.0]), np.array([0, 1, 1, 0])) == 0
    assert calibration_error(np.full(10, 0.94), np.array([1] * 6 + [0] * 4)) == pytest.approx(0.34)
    assert micro_f1(np.array([[1, 0, 1]]), np.array([[1, 1, 0]])) == 0.5
