"""High dynamic range made into the usual one: one table for all pictures, so that nothing flickers."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WHITE_NITS: Final = 203.0
"""What HDR pictures show of white paper (ITU-R BT.2408)."""

_GAMMA: Final = 2.2


@cache
def table(transfer: str) -> NDArray[np.uint8]:
    """16-bit code value → 8-bit one, 65536 entries, rising.

    ``PQ``: SMPTE ST 2084 to light, ``HLG``: the inverse OETF of ITU-R BT.2100; light over reference white is clipped.
    """
    code = np.arange(65536) / 65535.0
    if transfer == "PQ":
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        root = code ** (1 / m2)
        light = 10_000 / WHITE_NITS * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    else:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
        light = scene / 0.265  # reference white is at 75 % of the code values
    return np.asarray(np.round(255 * np.clip(light, 0, 1) ** (1 / _GAMMA)), np.uint8)


def to_usual(picture: NDArray[np.uint16], transfer: str) -> NDArray[np.uint8]:
    """H×W×3 uint16 with an HDR transfer function → H×W×3 uint8."""
    return table(transfer)[picture]
