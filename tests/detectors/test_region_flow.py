"""What is saved by measuring regions alone, against the flow of the whole crop."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from mellm.detectors.flow import LIVE, Dis
from mellm.detectors.patches import CROP_H, CROP_W, anchor, apply, cut
from mellm.detectors.region_flow import RegionFlow
from mellm.detectors.signals import Geometry
from mellm.detectors.textured_plane import TexturedPlane
from mellm.detectors.types import F32, U8

SHEET = TexturedPlane(90.0)
HELD = anchor(SHEET.landmarks(), SHEET.size)
assert HELD is not None
GEOMETRY = Geometry(apply(HELD.matrix, SHEET.landmarks()))


def crops(shift: tuple[float, float], lift: float, noise: float, seed: int) -> tuple[U8, U8]:
    """The whole crop and the one of half size of a sheet with a raised brow and a pulled lip corner."""
    assert HELD is not None
    motions = {"brow_inner_L": (0.0, -lift), "lip_corner_R": (-lift, -0.5 * lift)}
    patch = cut(SHEET.draw(shift, motions=motions, noise=noise, seed=seed), HELD)
    return patch.crop(HELD), patch.half(HELD)


def test_half_size_crops_have_the_flow_that_dis_halves_to() -> None:
    (a, half_a), (b, half_b) = crops((0, 0), 0, 2, 1), crops((1.5, -0.7), 2, 2, 2)
    whole = Dis(LIVE)(a, b)
    half = Dis(replace(LIVE, finest_scale=0))(half_a, half_b)
    np.testing.assert_array_equal(
        cv2.resize(half, (CROP_W, CROP_H), interpolation=cv2.INTER_LINEAR) * 2, whole
    )


def test_regions_are_read_off_the_half_as_off_the_whole() -> None:
    half = np.random.default_rng(3).normal(size=(CROP_H // 2, CROP_W // 2, 2)).astype(np.float32)
    whole = 2 * np.asarray(cv2.resize(half, (CROP_W, CROP_H), interpolation=cv2.INTER_LINEAR), np.float32)
    np.testing.assert_allclose(GEOMETRY.reader(half), GEOMETRY.region_flow(whole), atol=1e-5)


def test_regions_outside_the_crop_are_read_at_its_border() -> None:
    away = Geometry((GEOMETRY.centres.mean(0) + SHEET.landmarks((5000, 0))).astype(np.float32))
    flow = np.full((CROP_H // 2, CROP_W // 2, 2), 0.5, np.float32)
    np.testing.assert_allclose(away.reader(flow), 1.0, atol=1e-5)
    with pytest.raises(ValueError, match="flow is"):
        away.reader(flow[:, 1:])


def test_what_is_saved_moves_signals_by_less_than_half_a_grey_level_of_noise() -> None:
    whole, thrifty = Dis(LIVE), RegionFlow()
    rng = np.random.default_rng(5)
    exact, found, shaken = [], [], []

    def noisy(picture: U8) -> U8:
        # 1 grey level in the whole crop is half a one in the half crop
        return np.clip(np.rint(picture + rng.normal(0, 1, picture.shape)), 0, 255).astype(np.uint8)

    def features(moved: F32) -> F32:
        return GEOMETRY.features(moved[None], (1.0,))

    for k, shift in enumerate([(0, 0), (0.4, 0.2), (1.5, -0.7), (-4, 2), (6, 6), (-9, 1)]):
        (a, half_a), (b, half_b) = crops((0, 0), 0, 2, 2 * k), crops(shift, 0.5 * k, 2, 2 * k + 1)
        exact.append(GEOMETRY.signals(whole(a, b)))
        found.append(features(thrifty(half_a, half_b, GEOMETRY.reader)))
        shaken.append(GEOMETRY.signals(whole(noisy(a), noisy(b))))
    true, got = np.array(exact), np.array(found)

    def rms(values: F32) -> float:
        return float(np.sqrt(np.mean(values**2)))

    assert rms(got - true) < rms(np.array(shaken) - true)
    assert float((got * true).sum() / (true * true).sum()) == pytest.approx(1, abs=0.005)
