import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.stream.sources.headers import HEAD_BYTES, picture_size

FORMATS = [".png", ".jpg", ".bmp", ".webp", ".tiff", ".ppm", ".pgm"]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (37, 21), (640, 480)])
def test_size_as_the_decoder_sees_it(suffix, size):
    width, height = size
    shape = (height, width) if suffix == ".pgm" else (height, width, 3)
    _, data = cv2.imencode(suffix, np.zeros(shape, np.uint8))
    assert picture_size(data.tobytes()[:HEAD_BYTES]) == size


def test_lossless_webp():
    _, data = cv2.imencode(".webp", np.zeros((21, 37, 3), np.uint8), [cv2.IMWRITE_WEBP_QUALITY, 101])
    assert picture_size(data.tobytes()) == (37, 21)


def test_png_bomb_is_measured_without_decoding():
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 32000, 32000)
    assert picture_size(head) == (32000, 32000)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"BM", b"P6 x y", b"II*\0", b"RIFF0000WEBP", b"not a picture"]
)
def test_what_is_no_picture_has_no_size(data):
    assert picture_size(data) is None


@given(
    st.sampled_from(
        [b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"BM", b"RIFF0000WEBPVP8 ", b"II*\0", b"MM\0*", b"P5"]
    ),
    st.binary(max_size=200),
)
def test_rubbish_never_crashes(magic, rest):
    size = picture_size(magic + rest)
    assert size is None or len(size) == 2
