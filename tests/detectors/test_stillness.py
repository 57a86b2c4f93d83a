import numpy as np
import pytest

from mellm.detectors.stillness import DARK_NS, FROZEN_NS, StillPicture
from mellm.stream.frames import Pixels

RNG = np.random.default_rng(3)
SCENE = RNG.integers(30, 220, (120, 160, 3), np.uint8)
STEP_NS = 40_000_000


def verdicts(pictures, step_ns=STEP_NS):
    watch = StillPicture()
    return [watch.push(Pixels(picture).small, i * step_ns) for i, picture in enumerate(pictures)]


def test_the_same_picture_is_frozen_after_three_seconds_and_thaws_at_once():
    found = verdicts([SCENE] * 100 + [np.roll(SCENE, 2, axis=1)] * 10)
    first = found.index("frozen")
    assert first * STEP_NS == FROZEN_NS
    assert set(found[:first]) == {None}
    assert set(found[first:100]) == {"frozen"}
    assert set(found[100:]) == {None}


def test_sensor_noise_is_life():
    noisy = (np.clip(SCENE + RNG.normal(0, 3, SCENE.shape), 0, 255).astype(np.uint8) for _ in range(120))
    assert set(verdicts(noisy)) == {None}


def test_motion_too_slow_for_one_frame_adds_up():
    base = np.tile(np.linspace(0, 255, 160, dtype=np.float32), (120, 1))
    drift = (np.repeat((base + 0.05 * i).clip(0, 255).astype(np.uint8)[..., None], 3, 2) for i in range(200))
    assert set(verdicts(drift)) == {None}


@pytest.mark.parametrize("level", [0, 3])
def test_black_is_dark_after_two_seconds_even_with_noise(level):
    black = (np.clip(RNG.normal(level, 1.5, SCENE.shape), 0, 255).astype(np.uint8) for _ in range(80))
    found = verdicts(black)
    assert found.index("dark") * STEP_NS == DARK_NS
    assert found[-1] == "dark"


def test_a_gap_and_a_new_size_start_anew():
    watch = StillPicture()
    watch.push(Pixels(SCENE).small, 0)
    watch.reset()
    assert watch.push(Pixels(SCENE).small, 2 * FROZEN_NS) is None
    assert watch.push(Pixels(SCENE[:60]).small, 3 * FROZEN_NS) is None
    assert watch.push(Pixels(SCENE[:60]).small, 4 * FROZEN_NS) == "frozen"


def test_the_smallest_picture_can_be_judged():
    assert set(verdicts([np.full((1, 1, 3), 99, np.uint8)] * 20)) == {None}
