"""Draws the example pictures of docs/motion-evidence.md: ``python -m mellm.training.tools.evidence_figure``.

A public-domain portrait (NASA, from scikit-image) is moved by known action units, or not at all, and shown through
each recipe of :mod:`mellm.engine.evidence.motion_map`.
"""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np

from mellm.detectors.patches import apply, crop_matrix
from mellm.detectors.regions import eye_frame
from mellm.detectors.types import U8
from mellm.engine.describe import DescribeContext
from mellm.engine.describe.rules import RulesDescriber
from mellm.engine.evidence import motion_map
from mellm.engine.map_recipe import LIVE_HEIGHT, LIVE_WIDTH
from mellm.training.synth.rig import Side, load_rig
from mellm.training.synth.warper import Portrait, move
from mellm.training.tools.make_sample import landmarks, portrait

ROWS: tuple[tuple[str, tuple[tuple[int, Side], ...], float], ...] = (
    ("no expression", (), 0.0),
    ("AU 1+2, 2.0", ((1, "B"), (2, "B")), 2.0),
    ("AU L12, 2.5", ((12, "L"),), 2.5),
    ("AU 4+7, 3.0", ((4, "B"), (7, "B")), 3.0),
)
"""Caption, units, and the largest regional displacement in hundredths of the eye distance."""

NOISE = 1.2
"""Standard deviation of the sensor noise, grey levels."""

HEIGHT = 240


def draw() -> tuple[U8, list[str]]:
    """The figure, and what the rule-based describer says of each row."""
    rng = np.random.default_rng(7)
    points = landmarks(portrait())
    person = Portrait(portrait(), points, load_rig())
    matrix = crop_matrix(eye_frame(points), LIVE_WIDTH)
    size = (LIVE_WIDTH, LIVE_HEIGHT)
    sway = np.asarray(cv2.getRotationMatrix2D((424, 240), 0.15, 1.001), np.float64)
    sway[:, 2] += (0.8, -0.5)
    rows, texts = [], []
    for caption, units, peak in ROWS:
        field = np.zeros((*person.image.shape[:2], 2), np.float32)
        if units:
            field = person.unit_field(units)
            field *= np.float32(peak / person.peak(field))
        gray = []
        for picture in (person.image, move(person.image, field, sway)):
            noisy = np.clip(picture + rng.normal(0, NOISE, picture.shape), 0, 255).astype(np.uint8)
            crop = cv2.warpAffine(cv2.cvtColor(noisy, cv2.COLOR_BGR2GRAY), matrix, size)
            gray.append(np.asarray(crop, np.uint8))
        on_crop = apply(matrix, points)
        shown = [np.asarray(cv2.cvtColor(gray[0], cv2.COLOR_GRAY2BGR), np.uint8)]
        for recipe in ("live", "mellm-v1", "mellm-v3"):
            evidence = motion_map.build(gray[0], gray[1], on_crop, recipe)
            shown.append(evidence.motion_map)
            if recipe == "live":
                told = RulesDescriber().describe(evidence, DescribeContext())
                texts.append(f"{caption}: {told.text or 'abstains, ' + str(told.abstained)}")
        cells = [
            cv2.resize(p, (round(p.shape[1] * HEIGHT / p.shape[0]), HEIGHT), interpolation=3) for p in shown
        ]
        cv2.putText(
            cells[0], caption, (6, HEIGHT - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA
        )
        rows.append(np.hstack(cells))
    head = np.full((22, rows[0].shape[1], 3), 20, np.uint8)
    for i, title in enumerate(("onset", *("live", "mellm-v1", "mellm-v3"))):
        at = (6 + i * rows[0].shape[1] // 4, 16)
        cv2.putText(head, title, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([head, *rows]), texts


@click.command()
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("docs/img/motion-maps.jpg")
)
def main(out: Path) -> None:
    """Draw the figure to OUT and print what the rules say of it."""
    picture, texts = draw()
    out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out), picture, [cv2.IMWRITE_JPEG_QUALITY, 88])
    click.echo("\n".join(texts))


if __name__ == "__main__":
    main()
