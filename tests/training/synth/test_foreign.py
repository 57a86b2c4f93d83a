"""The second generator: repeatable, unlike the first, and the truth is where it says."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from mellm.training.synth.events import Expression, Speech
from mellm.training.synth.foreign import PEAK, Pulse, Talk, foreign_script
from mellm.training.synth.rig import INDEX

TIMES = np.arange(0, 10, 0.02)


def test_the_same_seed_moves_the_same_face_however_it_is_sampled() -> None:
    foreign_script.cache_clear()
    once = foreign_script(5, 10.0, True).evaluate(TIMES)
    foreign_script.cache_clear()
    again = foreign_script(5, 10.0, True).evaluate(TIMES[::-1])
    for a, b in zip(once, again, strict=True):
        np.testing.assert_allclose(a, b[::-1])
    assert np.abs(once[0] - foreign_script(6, 10.0, True).evaluate(TIMES)[0]).max() > 0.05


def test_only_those_who_talk_move_their_jaw_and_none_of_it_is_the_first_generators_speech() -> None:
    jaw = INDEX["jawOpen"]
    talks, silent = foreign_script(3, 10.0, True), foreign_script(3, 10.0, False)
    assert np.ptp(talks.evaluate(TIMES)[0][:, jaw]) > 0.1
    assert np.ptp(silent.evaluate(TIMES)[0][:, jaw]) == 0
    assert any(isinstance(e, Talk) for e in talks.events)
    assert not any(isinstance(e, Speech) for e in (*talks.events, *silent.events))


def test_lids_close_fast_and_open_slowly() -> None:
    fine = np.arange(0, 20, 0.005)
    face, _ = foreign_script(8, 20.0, False).evaluate(fine)
    lid = face[:, INDEX["eyeBlink_L"]]
    top = int(lid.argmax())
    assert lid[top] > 0.9
    above = np.flatnonzero(lid[max(0, top - 80) : top + 160] > 0.2) + max(0, top - 80)
    assert 2 * (top - above[0]) < above[-1] - top


@pytest.mark.parametrize("seed", range(4))
def test_expressions_are_micro_apart_and_strongest_at_their_apex(seed: int) -> None:
    truths = foreign_script(seed, 20.0, True).expressions
    assert 3 <= len(truths) <= 5
    for before, after in pairwise(truths):
        assert before.offset_s + 0.3 < after.onset_s
    for e in truths:
        assert isinstance(e, Expression)
        assert e.kind == "micro"
        t = np.linspace(e.onset_s, e.offset_s, 401)
        face = np.zeros((t.size, len(INDEX)))
        e.add(t, face, np.zeros((t.size, 6)))
        assert t[face.sum(1).argmax()] == pytest.approx(e.apex_s, abs=0.003)
        assert face[[0, -1]].max() < 1e-9


def test_a_pulse_is_not_the_first_generators_curve() -> None:
    e = next(iter(foreign_script(1, 20.0, False).expressions))
    assert isinstance(e, Pulse)
    t = np.linspace(e.onset_s, e.apex_s, 50)
    mine, theirs = np.zeros((2, 50, len(INDEX)))
    e.add(t, mine, np.zeros((50, 6)))
    Expression(e.onset_s, e.apex_s, e.offset_s, e.actions).add(t, theirs, np.zeros((50, 6)))
    assert np.abs(mine - theirs).max() > 0.02 * theirs.max()
    assert PEAK[0] >= 1
