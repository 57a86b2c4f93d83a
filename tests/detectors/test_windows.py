from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.detectors.types import F32
from mellm.detectors.windows import HOLE_NS, SNAP_NS, STEP_NS, FrameGate, Grid

MS = 1_000_000
rates = st.sampled_from([20, 25, 29.97, 30, 50, 59.94, 60, 90, 100, 120, 200])
phases = st.integers(0, 10**9)
intervals = st.lists(st.integers(1, 400), min_size=1, max_size=80)


def times(fps: float, seconds: float, start: int = 0) -> list[int]:
    return [start + round(i * 1e9 / fps) for i in range(int(seconds * fps))]


def value(t_ns: int) -> F32:
    return np.array([t_ns / 1e9, -2 * t_ns / 1e9], np.float32)


class TestGate:
    @given(rates, phases)
    def test_no_two_frames_for_one_step_and_none_lost_below_fifty(self, fps: float, phase: int) -> None:
        gate = FrameGate(0)
        pts = times(fps, 3, phase)
        taken = [t for t in pts if gate.push(t).taken]
        cells = [(t + STEP_NS // 2) // STEP_NS for t in taken]
        assert len(set(cells)) == len(cells)
        if fps < 50:
            assert taken == pts
        else:
            assert np.diff(taken).max() <= 2 * STEP_NS

    @given(st.sampled_from([100, 120, 200]), phases)
    def test_fast_cameras_are_thinned_to_the_frames_nearest_to_the_grid(self, fps: float, phase: int) -> None:
        gate = FrameGate(0)
        taken = [t for t in times(fps, 2, phase) if gate.push(t).taken]
        from_grid = [abs((t + STEP_NS // 2) % STEP_NS - STEP_NS // 2) for t in taken[2:]]
        assert max(from_grid) <= 0.5e9 / fps + 2

    def test_jitter_is_no_hole_and_lost_frames_are(self) -> None:
        gate = FrameGate()
        pts = times(30, 1)
        assert not any(gate.push(t + (i % 3) * 4 * MS).hole for i, t in enumerate(pts))
        assert not gate.push(pts[-1] + 70 * MS).hole  # one lost
        assert gate.push(pts[-1] + 170 * MS).hole

    def test_a_steady_slow_source_has_no_holes(self) -> None:
        gate = FrameGate()
        assert not any(gate.push(t).hole for t in times(15, 2))

    def test_two_lost_frames_of_a_fast_camera_are_no_hole(self) -> None:
        gate = FrameGate()
        for t in times(200, 0.5):
            gate.push(t)
        assert not gate.push(515 * MS).hole
        assert gate.push(600 * MS).hole

    @pytest.mark.parametrize("later", [100, 99])
    def test_time_must_advance(self, later: int) -> None:
        gate = FrameGate()
        gate.push(100)
        with pytest.raises(ValueError, match="rising"):
            gate.push(later)


class TestGrid:
    @given(intervals, phases)
    def test_every_grid_time_once_and_in_order(self, gaps: list[int], origin: int) -> None:
        grid = Grid(origin)
        pts = list(np.cumsum([0, *gaps]) * MS + origin + 7 * MS)
        steps = [step for t in pts for step in grid.push(int(t), value(int(t)))]
        got = [(step.t_ns - origin) // STEP_NS for step in steps]
        assert all((step.t_ns - origin) % STEP_NS == 0 for step in steps)
        assert got == list(range(1, 1 + len(got)))
        settled = (pts[-1] + SNAP_NS - origin) // STEP_NS
        assert len(got) == settled

    @given(rates, phases)
    def test_values_do_not_depend_on_rate_or_phase(self, fps: float, phase: int) -> None:
        grid = Grid(0)
        for t in times(fps, 0.7, phase):
            for step in grid.push(t, value(t)):
                assert step.values is not None
                # a snapped frame stands up to SNAP_NS beside the grid
                np.testing.assert_allclose(step.values, value(step.t_ns), atol=2.1 * SNAP_NS / 1e9, rtol=1e-6)

    @given(rates, rates, phases)
    def test_two_rates_share_their_grid_times(self, one: float, other: float, origin: int) -> None:
        a, b = Grid(origin), Grid(origin)
        ta = {s.t_ns for t in times(one, 1, origin) for s in a.push(t, value(t))}
        tb = {s.t_ns for t in times(other, 1, origin + 3 * MS) for s in b.push(t, value(t))}
        last = min(max(ta), max(tb))
        assert {t for t in ta ^ tb if origin < t <= last} == set()

    def test_nothing_is_interpolated_across_a_hole_or_a_void(self) -> None:
        grid = Grid(0)
        grid.push(0, value(0))
        across = grid.push(HOLE_NS + 5 * MS, value(HOLE_NS + 5 * MS))
        assert [s.values for s in across] == [None] * 6
        grid.push(HOLE_NS + 35 * MS, None)
        assert [s.values for s in grid.push(HOLE_NS + 65 * MS, value(1))] == [None] * 2

    def test_a_frame_is_not_held_back_when_it_lies_on_the_grid(self) -> None:
        grid = Grid(0)
        assert [s.t_ns for s in grid.push(0, value(0))] == [0]
        assert [s.t_ns for s in grid.push(STEP_NS - SNAP_NS, value(1))] == [STEP_NS]

    def test_an_hour_of_nothing_is_one_void_step(self) -> None:
        grid = Grid(0)
        grid.push(0, value(0))
        steps = grid.push(3_600_000 * MS, value(0))
        assert [s.t_ns for s in steps] == [STEP_NS, 3_600_000 * MS]
        assert steps[0].values is None
        assert [s.t_ns for s in grid.push(3_600_020 * MS, value(0))] == [3_600_020 * MS]

    def test_time_must_advance(self) -> None:
        grid = Grid()
        grid.push(5, None)
        with pytest.raises(ValueError, match="rising"):
            grid.push(5, None)
