"""Cells as plain text."""

from __future__ import annotations

import unicodedata
from itertools import groupby


def fold(text: str) -> str:
    """Full-width signs become plain ones; raised, ringed and broken numbers stay what they are.

    Compatibility folding alone would make of ``46²``, which is 46 with a footnote, the number 462, and of ``4½`` 41⁄2.
    """
    return "".join(
        "".join(signs) if kept else unicodedata.normalize("NFKC", "".join(signs))
        for kept, signs in groupby(text, key=lambda sign: unicodedata.category(sign) == "No")
    )
