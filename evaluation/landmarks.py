"""How far the 68 landmarks lie from points placed by hand: ``python -m mellm.evaluation.landmarks DATA``.

The hand-placed points are the 189 of the Face Research Lab London Set (neutral faces). They follow a mark-up of their
own, so each landmark is held against what names the same place in it: a point, the mean of two, or – for contours,
on which the two mark-ups space their points differently – the nearest place on a line through several.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from mellm.detectors.analyzer import FaceAnalyzer
from mellm.detectors.landmarks import ibug68
from mellm.detectors.types import F32
from mellm.stream.frames import Frame

F64 = NDArray[np.float64]

# landmark → hand-placed points whose mean is the same place
POINTS: dict[str, dict[int, tuple[int, ...]]] = {
    "eye corners": {36: (18,), 39: (22,), 42: (23,), 45: (27,)},
    "brows": {k: (i,) for k, i in zip(range(17, 27), (71, 72, 73, 74, 75, 78, 79, 80, 81, 82), strict=True)},
    "under the nose": {31: (64,), 32: (180,), 33: (55,), 34: (181,), 35: (69,)},
    "outer lips": {
        k: (i,)
        for k, i in zip(range(48, 60), (87, 88, 89, 90, 91, 92, 93, 108, 107, 106, 105, 104), strict=True)
    },
    "inner lips": {61: (95,), 62: (96,), 63: (97,), 65: (102,), 66: (101,), 67: (100,)},
    "chin": {8: (129,)},
}

# landmarks → the line through hand-placed points (each a mean) on which they should lie
LINES: dict[str, list[tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]]] = {
    "lids": [
        ((37, 38), ((18,), (19,), (20,), (21,), (22,))),
        ((40, 41), ((22,), (30,), (29,), (28,), (18,))),
        ((43, 44), ((23,), (24,), (25,), (26,), (27,))),
        ((46, 47), ((27,), (33,), (32,), (31,), (23,))),
    ],
    "nose ridge, sideways": [((27, 28, 29), ((50, 56), (51, 57), (52, 58), (53, 59), (54, 60)))],
    "jaw line": [
        (
            tuple(range(1, 16)),
            tuple((i,) for i in (109, 110, 111, 125, 126, 127, 128, 129, 130, 131, 132, 133, 114, 113, 112)),
        )
    ],
}


@dataclass(frozen=True, slots=True)
class GroupError:
    """Distance from the hand-placed truth over faces and points, per cent of the inter-ocular distance."""

    group: str
    points: int
    mean: float
    p95: float


def measure(landmarks: Sequence[F32], hand: Sequence[F64]) -> list[GroupError]:
    """Errors of N faces by group.

    :param landmarks: 68×2 of each face, pixels
    :param hand: 189×2 of each face, pixels of the same picture
    """
    found, true = np.stack(landmarks).astype(np.float64), np.stack(hand)
    iod = np.linalg.norm(true[:, [18, 22]].mean(axis=1) - true[:, [23, 27]].mean(axis=1), axis=1)
    rows = []
    for group, points in POINTS.items():
        errors = [
            np.linalg.norm(found[:, k] - true[:, list(at)].mean(axis=1), axis=1) for k, at in points.items()
        ]
        rows.append(_row(group, errors, iod))
    for group, lines in LINES.items():
        errors = []
        for ks, corners in lines:
            line = np.stack([true[:, list(at)].mean(axis=1) for at in corners], axis=1)
            errors += [_to_line(found[:, k], line) for k in ks]
        rows.append(_row(group, errors, iod))
    return rows


def load(data: Path, analyzer: FaceAnalyzer | None = None) -> tuple[list[F32], list[F64]]:
    """Landmarks found in, and points placed by hand on, every still that has both.

    :param data: folder with ``media/stills`` and ``media/landmarks189``
    """
    analyzer = analyzer or FaceAnalyzer()
    landmarks, hand = [], []
    for i, file in enumerate(sorted((data / "media" / "landmarks189").glob("*.csv"))):
        picture = cv2.imread(str(data / "media" / "stills" / f"{file.stem}.jpg"))
        if picture is None:
            continue
        faces = analyzer.push(Frame("stills", i, 0, 0, 0, np.asarray(picture, np.uint8))).faces
        if faces and faces[0].mesh is not None:
            landmarks.append(ibug68(faces[0].mesh))
            hand.append(np.loadtxt(file, delimiter=","))
    return landmarks, hand


def _row(group: str, errors: list[F64], iod: F64) -> GroupError:
    percent = 100 * np.stack(errors) / iod
    return GroupError(group, len(errors), float(percent.mean()), float(np.percentile(percent, 95)))


def _to_line(points: F64, line: F64) -> F64:
    """Distance of N points (N×2) to N polylines (N×corners×2)."""
    start, along = line[:, :-1], np.diff(line, axis=1)
    reach = ((points[:, None] - start) * along).sum(axis=2) / (along**2).sum(axis=2)
    nearest = start + np.clip(reach, 0, 1)[..., None] * along
    distance: F64 = np.linalg.norm(points[:, None] - nearest, axis=2).min(axis=1)
    return distance


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(data: Path) -> None:
    """Print the error of each group of landmarks on the stills in DATA."""
    landmarks, hand = load(data)
    if not landmarks:
        click.echo("no stills with hand-placed points there", err=True)
        sys.exit(3)
    click.echo(f"{len(landmarks)} faces; per cent of the inter-ocular distance")
    click.echo(f"{'group':24}{'points':>8}{'mean':>8}{'p95':>8}")
    for row in measure(landmarks, hand):
        click.echo(f"{row.group:24}{row.points:8}{row.mean:8.2f}{row.p95:8.2f}")


if __name__ == "__main__":
    main()
