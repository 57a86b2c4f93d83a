from __future__ import annotations

import numpy as np
import pytest

from mellm.stream.errors import UsageError
from mellm.training.instruct import pairs
from mellm.training.synth.rig import SPLITS
from mellm.training.synth.script import PROFILES, random_script

SCRIPT = random_script(np.random.default_rng(3), 60.0, PROFILES["talk"])


def test_moments_hold_every_micro_expression_and_windows_without_any() -> None:
    found = pairs.moments(SCRIPT, np.random.default_rng(1), negatives=9)
    micro = [e for e in SCRIPT.expressions if e.kind == "micro"]
    assert [m.expression for m in found if m.kind == "expression"] == micro
    quiet = [m for m in found if m.kind != "expression"]
    assert 0 < len(quiet) <= 9
    for moment in quiet:
        assert all(e.offset_s <= moment.onset_s or moment.apex_s <= e.onset_s for e in SCRIPT.expressions)
        assert 0.07 < moment.apex_s - moment.onset_s < 0.27


def test_jitter_moves_the_moments_a_little() -> None:
    exact = pairs.moments(SCRIPT, np.random.default_rng(1), 0)
    moved = pairs.moments(SCRIPT, np.random.default_rng(1), 0, jitter_s=0.02)
    shifts = [abs(a.apex_s - b.apex_s) for a, b in zip(exact, moved, strict=True)]
    assert 0 < max(shifts) <= 0.04 + 1e-9
    assert all(m.onset_s < m.apex_s for m in moved)


@pytest.mark.usefixtures("shared_data")
def test_a_drawn_person_gives_the_same_pairs_twice_and_they_move_as_told() -> None:
    first, second = (next(pairs.of_drawn(SPLITS["test"][77], "test")) for _ in range(2))
    assert first.id == second.id
    assert np.array_equal(first.apex, second.apex)
    assert first.onset.shape == (368, 320)
    assert first.kind == "expression"
    assert first.units
    assert first.coarse in ("negative", "positive", "surprise")
    assert first.evidence().motion_map.shape == (368, 320, 3)
    assert first.split == "test"


def test_unknown_sources_are_named() -> None:
    with pytest.raises(UsageError, match="no dreams pairs"):
        pairs.people("dreams", "train", 1)  # type: ignore[arg-type]
