"""Single pictures, checked before they are decoded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from mellm.stream.errors import (
    SourceCorrupt,
    SourceEmpty,
    SourceNotFound,
    SourceTooLarge,
    SourceUnauthorized,
    SourceUnsupported,
)
from mellm.stream.sources.base import MAX_PIXELS
from mellm.stream.sources.decoding import decode
from mellm.stream.sources.headers import HEAD_BYTES, picture_size
from mellm.stream.sources.images import SUFFIXES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_BYTES: Final = 1 << 26
"""More than :data:`MAX_PIXELS` of three 16-bit channels take without compression."""


def read_picture(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read one picture file as H×W×3 uint8 BGR, upright.

    :param max_pixels: larger ones are refused by their header, before anything is decoded
    :raises SourceNotFound: there is no such file
    :raises SourceUnauthorized: it may not be read
    :raises SourceEmpty: it has no bytes
    :raises SourceUnsupported: it is no picture
    :raises SourceTooLarge: over ``max_pixels``
    :raises SourceCorrupt: it is damaged or cut off
    """
    data = _bytes(path)
    size = picture_size(data[:HEAD_BYTES])
    if size is None:
        raise SourceUnsupported(
            f"{path}: not a picture that can be read", remedy=f"use one of {', '.join(sorted(SUFFIXES))}"
        )
    width, height = size
    if width * height > max_pixels:
        raise SourceTooLarge(
            f"{path}: {width}×{height} pixels, more than {max_pixels}", remedy="scale it down"
        )
    image = decode(data, max_pixels=max_pixels)
    if image is None:
        raise SourceCorrupt(f"{path}: the picture is damaged or cut off", remedy="copy or save it again")
    return image


def _bytes(path: str | Path) -> bytes:
    file = Path(path)
    try:
        if not file.is_file():
            missing = "not a file" if file.exists() else "there is no such file"
            raise SourceNotFound(f"{path}: {missing}", remedy="check the path")
        if file.stat().st_size > MAX_BYTES:
            raise SourceTooLarge(f"{path}: more than {MAX_BYTES >> 20} MiB", remedy="scale it down")
        data = file.read_bytes()
    except PermissionError:
        raise SourceUnauthorized(f"{path}: may not be read", remedy="check its permissions") from None
    except (OSError, ValueError) as error:  # names that are too long or hold a zero byte
        raise SourceNotFound(f"{str(path)[:200]!r}: {error}", remedy="check the path") from None
    if not data:
        raise SourceEmpty(f"{path}: the file is empty", remedy="copy or save it again")
    return data
