"""A textured sheet stands for a face: every motion put into it is known exactly."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest

from mellm.detectors import regions
from mellm.detectors.signals import (
    CROP_H,
    CROP_IOD,
    CROP_W,
    FEATURES,
    HISTORY_NS,
    PER_BASELINE,
    Geometry,
    SignalStep,
    TrackSignals,
)
from mellm.detectors.textured_plane import TexturedPlane
from mellm.detectors.types import F32
from mellm.detectors.windows import STEP_NS

MS = 1_000_000
SHEET = TexturedPlane(80, (400, 480))
BROW = 2 * regions.INDEX["brow_inner_L"] + 1


def bump(t: float) -> float:
    """Lift of the brow, 1/100 eye distance: peak 2 at 0.5 s."""
    return 2 * exp(-(((t - 0.5) / 0.1) ** 2))


def play(
    fps: float,
    *,
    seconds: float = 0.9,
    sway: float = 0.0,
    lift: bool = True,
    landmarks_every: int = 2,
    start_ns: int = 0,
    lost: tuple[float, float] = (9, 9),
    signals: TrackSignals | None = None,
) -> list[SignalStep]:
    signals = signals or TrackSignals()
    steps = []
    for i in range(int(seconds * fps)):
        t = i / fps
        if lost[0] <= t < lost[1]:
            continue
        shift = (sway * t, 0.4 * sway * t)
        motions = {"brow_inner_L": (0.0, -bump(t))} if lift else None
        picture = SHEET.draw(shift, motions=motions, noise=1.0, seed=i)
        landmarks = SHEET.landmarks(shift) if i % landmarks_every == 0 else None
        steps += signals.push(picture, start_ns + round(t * 1e9), i, landmarks)
    return steps


def table(steps: list[SignalStep]) -> tuple[F32, F32]:
    told = [step for step in steps if step.features is not None]
    times = np.array([step.t_ns / 1e9 for step in told], np.float32)
    return times, np.stack([step.features for step in told if step.features is not None])


def brow_truth(t: float, span: float) -> float:
    """What an exact flow would give for the brow after compensation (see test_geometry for the factor)."""
    return -0.81 * (bump(t) - bump(t - span))


class TestGeometry:
    landmarks = (CROP_IOD * SHEET.landmarks() / SHEET.iod).astype(np.float32)
    geometry = Geometry(
        (landmarks - regions.eye_frame(landmarks).centre + np.array((80, 64))).astype(np.float32)
    )

    def test_a_shift_is_head_motion(self) -> None:
        flow = np.tile(np.float32([0.57, -0.285]), (CROP_H, CROP_W, 1))
        out = self.geometry.signals(flow)
        assert out.shape == (PER_BASELINE,)
        assert np.abs(out[:62]).max() < 0.01
        np.testing.assert_allclose(out[62:64], (1, -0.5), atol=0.02)

    def test_regions_average_their_disk(self) -> None:
        y, x = np.mgrid[:CROP_H, :CROP_W].astype(np.float32)
        flow = np.stack([0.1 * x, -0.2 * y], axis=2)
        expected = self.geometry.centres * (0.1, -0.2)
        np.testing.assert_allclose(self.geometry.region_flow(flow), expected, atol=0.11)  # half a pixel

    def test_stretch_scales(self) -> None:
        flow = np.random.default_rng(0).normal(size=(CROP_H, CROP_W, 2)).astype(np.float32)
        np.testing.assert_allclose(
            self.geometry.signals(flow, 1.25), 1.25 * self.geometry.signals(flow), rtol=1e-4, atol=1e-4
        )

    def test_regions_outside_the_crop_are_read_at_its_border(self) -> None:
        away = Geometry(self.geometry.centres[:1] + SHEET.landmarks((5000, 0)))
        assert np.isfinite(away.signals(np.ones((CROP_H, CROP_W, 2), np.float32))).all()

    def test_wrong_shape(self) -> None:
        with pytest.raises(ValueError, match="flow is"):
            self.geometry.signals(np.zeros((10, 10, 2), np.float32))


@pytest.mark.parametrize(("fps", "gain"), [(25, 0.70), (30, 0.75), (60, 0.8), (200, 0.8)])
def test_a_rising_brow_is_measured_at_any_frame_rate(fps: float, gain: float) -> None:
    times, features = table(play(fps))
    for baseline, span in enumerate((0.1, 0.3)):
        measured = features[:, baseline * PER_BASELINE + BROW]
        truth = np.array([brow_truth(t, span) for t in times])
        assert gain < measured @ truth / (truth @ truth) < 1.1
        assert np.corrcoef(measured, truth)[0, 1] > 0.97
        others = np.delete(features[:, baseline * PER_BASELINE :][:, :62], range(12), axis=1)  # no brows
        assert np.percentile(np.abs(others), 95) < 0.45


def test_a_swaying_head_is_told_from_the_face() -> None:
    """1 eye distance a second: the crop is anchored anew again and again, both frames of a pair with it."""
    times, features = table(play(50, sway=80, lift=False))
    assert len(times) > 20
    np.testing.assert_allclose(features[:, 62], 10, atol=0.5)
    np.testing.assert_allclose(features[:, PER_BASELINE + 62], 30, atol=1.5)
    assert np.percentile(np.abs(features[:, :62]), 95) < 0.5


def test_steps_come_on_the_grid_and_void_until_there_is_history() -> None:
    steps = play(30, start_ns=7 * MS)
    assert [step.t_ns for step in steps] == [7 * MS + k * STEP_NS for k in range(len(steps))]
    void = [step.features is None for step in steps]
    assert void == sorted(void, reverse=True)
    assert void.count(True) == 15
    assert all(step.features.shape == (FEATURES,) for step in steps if step.features is not None)


def test_two_runs_are_equal_to_the_bit() -> None:
    for one, other in zip(play(30), play(30), strict=True):
        np.testing.assert_array_equal(one.features, other.features)


def test_a_hole_voids_every_step_whose_window_holds_it() -> None:
    steps = play(30, lost=(0.40, 0.53))
    void = {round(step.t_ns / 1e9, 3) for step in steps if step.features is None}
    # frames at 0.367 and 0.533 s border the hole; 0.833 s is the first that looks back 0.3 s without it
    assert {round(0.02 * k, 3) for k in range(19, 42)} <= void
    assert not {0.36, 0.84, 0.86} & void


def test_reset_forgets_the_past_and_takes_a_new_time() -> None:
    signals = TrackSignals()
    play(50, seconds=0.4, signals=signals)
    signals.reset()
    with pytest.raises(LookupError):
        signals.ref(0)
    steps = play(50, seconds=0.4, signals=signals)
    assert steps[0].t_ns == 0
    assert [step.features is None for step in steps] == [True] * 15 + [False] * 5


def test_without_landmarks_steps_are_void() -> None:
    signals = TrackSignals()
    for i in range(3):
        (step,) = signals.push(SHEET.draw(), i * STEP_NS, i, None)
        assert step.features is None


def test_a_face_that_left_the_frame_is_void() -> None:
    signals = TrackSignals()
    assert signals.push(SHEET.draw(), 0, 0, SHEET.landmarks((2000, 0)))[0].features is None


class TestPair:
    def test_both_pictures_share_the_transform_of_the_onset(self) -> None:
        signals = TrackSignals()
        play(25, seconds=0.6, sway=40, lift=False, signals=signals)
        pair = signals.pair(205 * MS, 395 * MS, 320)
        assert (pair.onset.index, pair.apex.index) == (5, 10)
        assert pair.onset.pts_ns == 200 * MS
        assert pair.onset_gray.shape == pair.apex_gray.shape == (368, 320)
        assert pair.iod == pytest.approx(2 * CROP_IOD, rel=0.03)
        # the head moved 8 px right meanwhile, and is seen to
        from mellm.detectors.flow import create

        moved = create("quality")(pair.onset_gray, pair.apex_gray)[80:-80, 80:-80].mean((0, 1))
        np.testing.assert_allclose(moved, (8 * 1.425, 3.2 * 1.425), atol=0.3)

    def test_only_what_is_kept_can_be_had(self) -> None:
        signals = TrackSignals()
        picture = SHEET.draw()
        for i in range(100):
            signals.push(picture, i * 40 * MS, i, SHEET.landmarks() if i % 20 == 0 else None)
        newest = 99 * 40 * MS
        assert signals.ref(newest + MS).index == 99
        assert signals.ref(newest - HISTORY_NS).index == 34
        with pytest.raises(LookupError, match="kept"):
            signals.ref(newest - HISTORY_NS - 150 * MS)


@pytest.mark.parametrize(
    "landmarks", [np.zeros((5, 2), np.float32), np.full((68, 2), np.nan, np.float32)], ids=["shape", "nan"]
)
def test_wrong_landmarks_are_refused(landmarks: F32) -> None:
    with pytest.raises(ValueError, match="68×2"):
        TrackSignals().push(SHEET.draw(), 0, 0, landmarks)


def test_colour_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="grey"):
        TrackSignals().push(np.zeros((8, 8, 3), np.uint8), 0, 0, None)
