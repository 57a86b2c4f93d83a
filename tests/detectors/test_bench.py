from __future__ import annotations

import cv2
import numpy as np
import pytest

from mellm.detectors import bench


def test_flow_rows_tell_estimators_apart() -> None:
    rows = bench.flows(("live", "quality"), (1.0,))
    assert [row.preset for row in rows] == ["live", "quality"]
    assert rows[1].error_px < rows[0].error_px


def test_the_true_flow_is_the_motion_of_the_pictures() -> None:
    a, b, true = bench.moving_brow(4.0, noise=0)
    y, x = np.mgrid[: a.shape[0], : a.shape[1]].astype(np.float32)
    # a point at p in `a` is found at p + true(p) in `b`: sampling `b` there gives `a` again
    back = cv2.remap(b, x + true[..., 0], y + true[..., 1], cv2.INTER_CUBIC)
    error = np.abs(back.astype(float) - a)[8:-8, 8:-8].mean()
    unmoved = np.abs(b.astype(float) - a)[8:-8, 8:-8].mean()
    assert error < 0.35 * unmoved
    assert -true.min() == pytest.approx(4.0 * 0.57, rel=0.01)
