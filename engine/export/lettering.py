"""Text drawn into pictures: any script where OpenCV has its own fonts (5 and later), Latin letters before."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Any

import cv2

from mellm.detectors.types import U8

Colour = tuple[int, int, int]
"""Blue, green, red."""

_PLAIN = str.maketrans({"·": "-", "–": "-", "−": "-", "’": "'", "▸": ">"})
_HERSHEY = 22.0  # height in pixels of cv2's plain letters at scale 1


def draw(picture: U8, text: str, at: tuple[int, int], size: int, colour: Colour) -> None:
    """Draw one line, in place.

    :param at: left end of the base line, pixels
    :param size: height of capital letters and a little, pixels
    """
    if (font := _font()) is not None:
        cv2.putText(picture, text, at, colour, font, size, 500)
    else:
        cv2.putText(
            picture, plain(text), at, cv2.FONT_HERSHEY_SIMPLEX, size / _HERSHEY, colour, 1, cv2.LINE_AA
        )


def width(text: str, size: int) -> int:
    """Pixels that a line takes."""
    if (font := _font()) is not None:
        box: Any = cv2.getTextSize((0, 0), text, (0, 0), font, size, 500)  # x, y, width, height
        return int(box[0] + box[2])
    (wide, _), _ = cv2.getTextSize(plain(text), cv2.FONT_HERSHEY_SIMPLEX, size / _HERSHEY, 1)
    return int(wide)


def wrap(text: str, size: int, most: int) -> Iterator[str]:
    """Lines no wider than ``most`` pixels; words that are wider, and scripts without spaces, are cut."""
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if width(longer, size) <= most:
            line = longer
            continue
        if line:
            yield line
        line = ""
        for letter in word:
            if line and width(line + letter, size) > most:
                yield line
                line = ""
            line += letter
    if line:
        yield line


def plain(text: str) -> str:
    """What is left of a text for letters without accents; the rest becomes question marks."""
    parts = unicodedata.normalize("NFKD", text.translate(_PLAIN))
    return "".join(c for c in parts if not unicodedata.combining(c)).encode("ascii", "replace").decode()


@cache
def _font() -> Any:
    return cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None
