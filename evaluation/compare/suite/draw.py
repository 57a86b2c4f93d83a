"""Draws the pictures of the suite: ``python -m mellm.evaluation.compare.suite.draw`` (extra ``eval``)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mellm.evaluation.compare.suite import cognition, perception, vision
from mellm.evaluation.compare.suite.canvas import Draw, png

FOLDER: Final = Path(__file__).parent / "pictures"
PICTURES: Final[Mapping[str, Draw]] = {**perception.PICTURES, **cognition.PICTURES, **vision.PICTURES}


def main(folder: Path = FOLDER) -> int:
    """Write every picture anew.

    :returns: how many"""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        (folder / f"{name}.png").write_bytes(png(draw))
    return len(PICTURES)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
