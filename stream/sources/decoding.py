"""Encoded pictures into pixels: one place that says which JPEG is whole and what 16-bit samples mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from mellm.stream.sources.base import MAX_PIXELS
from mellm.stream.sources.headers import HEAD_BYTES, jpeg_end, picture_size, significant_bits

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEPTHS: Final = (8, 10, 12, 14, 16)
"""Bits that cameras fill of a 16-bit sample."""

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8"


def decode(data: bytes, *, bits: int | None = None, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8] | None:
    """A picture file as H×W×3 uint8 BGR, upright; ``None`` if it is damaged, too large, or any part of it is missing.

    :param bits: of 16-bit samples, how many are filled; judged by the picture itself if ``None``
    :param max_pixels: larger ones are refused by their header: 3 MB can hold 32000×32000 pixels
    """
    image = decode_deep(data, max_pixels=max_pixels)
    return None if image is None else to_8_bits(image, bits or significant_bits(data[:HEAD_BYTES]))


def decode_deep(
    data: bytes, *, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
    """As :func:`decode`, with 16-bit samples left as they are."""
    size = picture_size(data[:HEAD_BYTES])
    if size is None or size[0] * size[1] > max_pixels:
        return None
    if data.startswith(_JPEG):
        end = jpeg_end(data)
        if end is None:
            return _jpeg_without_end(data)
        data = data[:end]
    elif data.startswith(_PNG) and b"IEND" not in data[-4096:]:
        return None  # the decoder would fill the rest with grey
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        return None
    if image is None or not image.size:
        return None
    if image.dtype == np.uint16:
        return np.asarray(image, np.uint16)
    if image.dtype == np.uint8:
        return np.asarray(image, np.uint8)
    if image.dtype.kind == "f":  # TIFF, 0 to 1
        return np.asarray(np.clip(np.nan_to_num(image) * 65535.0, 0, 65535), np.uint16)
    return None


def depth_of(image: NDArray[np.uint8] | NDArray[np.uint16]) -> int:
    """The smallest of :data:`DEPTHS` that holds the brightest sample."""
    top = int(image.max())
    return next(bits for bits in DEPTHS if top < 1 << bits)


def to_8_bits(image: NDArray[np.uint8] | NDArray[np.uint16], bits: int | None = None) -> NDArray[np.uint8]:
    """H×W×3 of any depth → uint8; samples over the depth are white.

    :param bits: the same for all pictures of a recording, or their brightness jumps
    """
    if image.dtype == np.uint8:
        return np.asarray(image, np.uint8)
    depth = bits or depth_of(image)
    top = (1 << depth) - 1
    return np.asarray(np.round(np.minimum(image, top) * (255.0 / top)), np.uint8)


def _jpeg_without_end(data: bytes) -> NDArray[np.uint8] | None:
    """Some cameras leave the end marker out. FFmpeg tells a whole picture from a half one; OpenCV cannot."""
    import av

    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.options = {"err_detect": "explode"}
    try:
        packet = av.Packet(data.rstrip(b"\0"))
        frames = [*decoder.decode(packet), *decoder.decode(None)]
        return np.asarray(frames[0].to_ndarray(format="bgr24"), np.uint8) if frames else None
    except (av.FFmpegError, ValueError):
        return None
