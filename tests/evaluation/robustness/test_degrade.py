"""Damage: the same each time, nothing at level 0, more of it at higher levels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mellm.detectors.types import U8
from mellm.evaluation.robustness import axes, degrade
from mellm.evaluation.robustness.degrade import Motion
from mellm.stream.errors import UsageError


@pytest.fixture
def picture() -> U8:
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 215, (16, 20, 3)).astype(np.uint8)
    return np.asarray(np.kron(coarse, np.ones((8, 8, 1), np.uint8)), np.uint8)


DAMAGE: dict[str, tuple[Callable[[U8, float], U8], tuple[float, ...]]] = {
    "noise": (lambda p, v: degrade.noise(p, v, 3), (0, 2, 10, 20)),
    "blur": (lambda p, v: degrade.blur(p, v), (0, 1, 4)),
    "jpeg": (lambda p, v: degrade.jpeg(p, int(v)), (0, 80, 10)),
    "moved": (lambda p, v: degrade.moved(p, Motion(v, 0.0), (80, 64)), (0, 1, 3)),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_it_grows_from_nothing_and_repeats(name: str, picture: U8) -> None:
    damage, levels = DAMAGE[name]
    errors = [float(np.abs(damage(picture, v).astype(float) - picture).mean()) for v in levels]
    assert errors[0] == 0
    assert errors == sorted(errors)
    assert errors[-1] > 1
    assert np.array_equal(damage(picture, levels[-1]), damage(picture, levels[-1]))


def test_h264_keeps_number_and_size(picture: U8) -> None:
    out = list(degrade.h264([picture] * 5, 35))
    assert [each.shape for each in out] == [picture.shape] * 5
    assert next(iter(degrade.h264([picture], 0))) is picture


def test_added_motion_does_not_depend_on_how_often_it_is_sampled() -> None:
    fine = degrade.path(np.arange(0, 2, 0.02), 10, 60, 5, degrade.SWAY_S)
    coarse = degrade.path(np.arange(0, 2, 0.04), 10, 60, 5, degrade.SWAY_S)
    assert [m.x for m in coarse] == pytest.approx([m.x for m in fine[::2]])
    assert np.std([m.x for m in fine]) > 0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda p: degrade.noise(p, -1, 0),
        lambda p: degrade.blur(p, -1),
        lambda p: degrade.jpeg(p, 101),
        lambda p: degrade.resized(p, 1.5),
        lambda p: list(degrade.h264([p], 52)),
    ],
)
def test_levels_that_there_are_not(wrong: Callable[[U8], object], picture: U8) -> None:
    with pytest.raises(UsageError):
        wrong(picture)


def test_axes_by_name_and_where_their_zero_stands() -> None:
    (onset,) = axes.of("describe", ["onset"])
    assert onset.points == tuple(sorted(onset.points))
    assert onset.label(0) == "0"
    assert axes.of("spot")[0].points[0] == 0
    with pytest.raises(UsageError, match="no axis 'rain'"):
        axes.of("spot", ["rain"])
