"""Pictures are decoded within bounds, whoever asks."""

import cv2
import numpy as np
import pytest

from mellm.stream.sources.base import MAX_PIXELS
from mellm.stream.sources.decoding import decode, decode_deep


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_a_picture_over_the_bound_is_not_decoded(suffix):
    ok, data = cv2.imencode(suffix, np.zeros((64, 48, 3), np.uint8))
    assert ok
    assert decode(data.tobytes(), max_pixels=64 * 48).shape == (64, 48, 3)
    assert decode(data.tobytes(), max_pixels=64 * 48 - 1) is None


def test_a_small_file_with_a_huge_picture(monkeypatch):
    ok, data = cv2.imencode(".png", np.zeros((4096, 2305), np.uint8))
    assert ok
    assert len(data) < 1 << 17
    assert MAX_PIXELS < 4096 * 2305
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    assert decode(data.tobytes()) is None
    assert decode_deep(data.tobytes()) is None


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture(data):
    assert decode(data) is None
