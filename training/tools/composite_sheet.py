"""The picture of docs/synthetic-faces.md that shows what is laid on photographs.

``python -m mellm.training.tools.composite_sheet`` draws one row for each set of action units: onset, apex, what changed
(eight times amplified), and the field that did it, on a public-domain portrait (NASA, from scikit-image) that no
training uses.
"""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from mellm.engine.evidence import colour_wheel
from mellm.training.synth.composite import framed
from mellm.training.synth.rig import Side, load_rig
from mellm.training.synth.warper import Portrait, move
from mellm.training.tools.make_sample import landmarks, portrait

U8 = NDArray[np.uint8]

ROWS: tuple[tuple[tuple[tuple[int, Side], ...], float], ...] = (
    (((4, "B"),), 3.0),
    (((6, "B"), (12, "B")), 3.0),
    (((1, "B"), (2, "B")), 2.0),
    (((14, "L"),), 2.0),
)
"""Units, and the largest regional motion in 1/100 of the inter-ocular distance."""

HEIGHT = 210
AMPLIFY = 8


def row(image: U8, units: tuple[tuple[int, Side], ...], peak: float) -> U8:
    """Onset, apex, difference and field."""
    picture, points = framed(image, landmarks(image), 220.0)
    person = Portrait(picture, points, load_rig())
    field = person.unit_field(units)
    field *= np.float32(peak / person.peak(field))
    apex = move(picture, field)
    change = np.clip(128 + AMPLIFY * (apex.astype(int) - picture), 0, 255).astype(np.uint8)
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    size = np.hypot(field[..., 0], field[..., 1])
    shown = colour_wheel.glow(field, (size / size.max()).astype(np.float32), (grey * 0.3).astype(np.uint8))
    cells = [
        cv2.resize(c, (HEIGHT, HEIGHT), interpolation=cv2.INTER_AREA) for c in (picture, apex, change, shown)
    ]
    told = "AU " + "+".join(f"{'' if side == 'B' else side}{au}" for au, side in units) + f", {peak:.1f} %"
    cv2.putText(cells[2], told, (6, HEIGHT - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.hstack(cells).astype(np.uint8)


@click.command()
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("docs/img/composites.jpg"),
    show_default=True,
)
def main(out: Path) -> None:
    """Draw the sheet to OUT."""
    rows = [row(portrait(), units, peak) for units, peak in ROWS]
    head = np.full((22, rows[0].shape[1], 3), 20, np.uint8)
    for i, title in enumerate(("onset", "apex", f"change x {AMPLIFY}", "motion")):
        cv2.putText(
            head, title, (6 + i * HEIGHT, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out), np.vstack([head, *rows]), [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
