from __future__ import annotations

import cv2
import numpy as np
import pytest

from mellm.detectors import bench, flow
from mellm.detectors.flow import Preset
from mellm.detectors.textured_plane import TexturedPlane
from mellm.detectors.types import U8


def shifted(dx: float, dy: float, size: tuple[int, int] = (96, 112)) -> tuple[U8, U8]:
    sheet = TexturedPlane(40.0, size)
    return sheet.draw(noise=1, seed=1), sheet.draw((dx, dy), noise=1, seed=2)


@pytest.mark.parametrize("preset", ["live", "quality", "tvl1", "farneback"])
def test_sub_pixel_shift_is_measured_forwards(preset: Preset) -> None:
    measured = flow.create(preset)(*shifted(0.6, -0.3))
    assert measured.shape == (96, 112, 2)
    assert measured.dtype == np.float32
    np.testing.assert_allclose(measured[16:-16, 16:-16].mean((0, 1)), (0.6, -0.3), atol=0.08)


@pytest.mark.parametrize("motion", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize(("preset", "error", "gain"), [("live", 0.05, 0.90), ("quality", 0.035, 0.94)])
def test_small_regional_motion_keeps_its_size(
    preset: Preset, error: float, gain: float, motion: float
) -> None:
    row = bench.measure(flow.create(preset), preset, motion)
    assert row.gain == pytest.approx(1, abs=1 - gain)
    assert row.error_px < error + 0.03 * motion


def test_finest_scale_is_what_the_stock_preset_lacks() -> None:
    stock, live = (bench.measure(flow.create(preset), preset, 1.0) for preset in ("stock", "live"))
    assert stock.error_px > 2 * live.error_px
    assert stock.gain < 0.75


def test_a_still_pair_has_no_motion() -> None:
    still, _ = shifted(0, 0)
    assert np.abs(flow.create()(still, still)).max() < 1e-3


def test_two_instances_agree_to_the_bit() -> None:
    pair = shifted(1.2, 0.4)
    np.testing.assert_array_equal(flow.create()(*pair), flow.create()(*pair))


def test_one_thread() -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        flow.create()
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize("preset", ["live", "tvl1", "farneback"])
def test_pictures_must_match(preset: Preset) -> None:
    grey = np.zeros((64, 64), np.uint8)
    with pytest.raises(ValueError, match="one size"):
        flow.create(preset)(grey, grey[1:])
    with pytest.raises(ValueError, match="uint8"):
        flow.create(preset)(grey, grey.astype(np.float32))  # type: ignore[arg-type]
