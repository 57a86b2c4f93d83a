"""Contact sheets of synthetic people, of action units and of habits, for the documentation.

``python -m mellm.training.synth.sheets DIR`` writes ``synthetic-people.jpg``, ``synthetic-units.jpg`` and
``synthetic-habits.jpg``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mellm.training.synth.lively import HABITS, draw_person
from mellm.training.synth.renderer import Renderer, flow
from mellm.training.synth.rig import BLENDSHAPES, SPLITS, Rig, au_coefficients, camera_for_face, load_rig
from mellm.training.synth.script import draw_actions

U8 = NDArray[np.uint8]

SIDE = 196
UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 24, 26, 45)
SHOWN_PX = 8.0
"""Motion that is drawn in full colour, pixels."""

_NEUTRAL, _STILL = np.zeros(len(BLENDSHAPES)), np.zeros(6)


def _tiled(tiles: list[U8], columns: int) -> U8:
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    return np.vstack(rows)


def _named(tile: U8, name: str) -> U8:
    for colour, width in (((255, 255, 255), 3), ((30, 30, 30), 1)):
        cv2.putText(tile, name, (6, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, width, cv2.LINE_AA)
    return tile


def people(rig: Rig, count: int = 18, columns: int = 6) -> U8:
    """People of the demo split: every third neutral, the others with a strong expression."""
    tiles = []
    for k, seed in enumerate(SPLITS["demo"][:count]):
        rng = np.random.default_rng(k)
        renderer = Renderer(rig, seed, camera_for_face(118, SIDE, SIDE))
        pose = np.concatenate([rng.normal(0, 0.1, 3) * (1, 0.6, 0.4), np.zeros(3)])
        acted = sum((a.coefficients() for a in draw_actions(rng, peak=6.0)), _NEUTRAL)
        tiles.append(renderer.render(np.clip(acted, 0, 1) if k % 3 else _NEUTRAL, pose, 0, k).image)
    return _tiled(tiles, columns)


def units(rig: Rig, columns: int = 8) -> U8:
    """Each action unit at full intensity above the exact flow towards it: hue is direction, paleness stillness."""
    renderer = Renderer(rig, SPLITS["demo"][7], camera_for_face(122, SIDE, SIDE))
    rest = renderer.render(_NEUTRAL, _STILL)
    tiles = []
    for au in UNITS:
        shot = renderer.render(au_coefficients(au), _STILL, 0, 1)
        field, seen = flow(rest, shot, renderer.person)
        hue = np.degrees(np.arctan2(field[..., 1], field[..., 0])) % 360 / 2
        strength = np.clip(np.hypot(field[..., 0], field[..., 1]) / SHOWN_PX, 0, 1) * 255
        wheel = np.dstack([hue, strength, np.full(hue.shape, 255)]).astype(np.uint8)
        coloured = np.asarray(cv2.cvtColor(wheel, cv2.COLOR_HSV2BGR), np.uint8)
        coloured[~seen] = 255
        pair: U8 = np.vstack([image[20:180, 18:178] for image in (shot.image, coloured)])
        tiles.append(_named(pair, f"AU {au}"))
    return _tiled(tiles, columns)


def habits(rig: Rig, columns: int = 6) -> U8:
    """One person at rest, then everything of ``lively.HABITS`` at its largest, each as somebody else does it."""
    renderer = Renderer(rig, SPLITS["demo"][7], camera_for_face(122, SIDE, SIDE))
    tiles = [_named(renderer.render(_NEUTRAL, _STILL).image, "rest")]
    for k, (name, habit) in enumerate(HABITS.items()):
        drawn = (draw_person(np.random.default_rng([k, i]), 1.0) for i in range(1000))
        shape = next(own for person in drawn for found, _, own in person.habits if found == name)
        shot = renderer.render(np.clip(habit.size[1] * shape, 0, 1), _STILL, 0, 1 + k)
        tiles.append(_named(shot.image, name))
    return _tiled(tiles, columns)


def main(folder: Path) -> None:
    """Write both sheets into ``folder``."""
    rig = load_rig()
    folder.mkdir(parents=True, exist_ok=True)
    sheets = {"people": people(rig), "units": units(rig), "habits": habits(rig)}
    for name, sheet in sheets.items():
        cv2.imwrite(str(folder / f"synthetic-{name}.jpg"), sheet, [cv2.IMWRITE_JPEG_QUALITY, 86])


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/img"))
