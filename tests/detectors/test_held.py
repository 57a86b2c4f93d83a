"""Whether a picture says that a face has moved."""

from __future__ import annotations

import numpy as np
import pytest

from mellm.detectors.analyzer import AnalyzerOptions, FaceAnalyzer
from mellm.detectors.held import HeldFace
from mellm.detectors.textured_plane import TexturedPlane
from mellm.detectors.types import F32, U8
from mellm.stream.frames import Frame, Pixels
from tests.detectors.test_analyzer import Scene

SHEET = TexturedPlane(100, (480, 640))
LOW, HIGH = SHEET.landmarks().min(0), SHEET.landmarks().max(0)
WIDTH = float(HIGH[0] - LOW[0])


def small(shift: tuple[float, float] = (0, 0), noise: float = 2.0, seed: int = 0) -> U8:
    return Pixels(np.repeat(SHEET.draw(shift, noise=noise, seed=seed)[..., None], 3, 2)).small


def held(picture: U8) -> HeldFace:
    x, y, w, h = (float(v) / 4 for v in (*LOW, *(HIGH - LOW)))
    return HeldFace(picture, (x, y, w, h))


@pytest.mark.parametrize("share", [0.01, 0.02, 0.03])
def test_a_shift_is_told_in_face_widths(share: float) -> None:
    moved = held(small()).moved(small((share * WIDTH, 0), seed=1))
    assert 0.6 * share < moved < 2.5 * share


def test_noise_is_no_motion() -> None:
    assert held(small(noise=4)).moved(small(noise=4, seed=1)) < AnalyzerOptions().hold_motion


@pytest.mark.parametrize(
    "box", [(-50.0, -50.0, 10.0, 10.0), (150.0, 100.0, 500.0, 500.0), (5.0, 5.0, 0.0, 0.0)]
)
def test_a_box_beyond_the_picture_is_cut_to_it(box: tuple[float, float, float, float]) -> None:
    assert HeldFace(small(), box).moved(small()) == 0


def looks(shifts: list[float]) -> list[int]:
    """Frames at 30 a second at which a face that moves like this is looked at."""
    scene = Scene([(SHEET.size[1] / 2, WIDTH)])
    at: list[int] = []

    def place(image: U8, roi: object) -> tuple[F32, float]:
        at.append(number)
        mesh = np.zeros((478, 2), np.float32)
        mesh[:] = SHEET.landmarks()[np.arange(478) % 68]
        mesh[33], mesh[263] = SHEET.landmarks()[36], SHEET.landmarks()[45]
        return mesh, 0.99

    analyzer = FaceAnalyzer(detect=scene.detect, place=place)
    for number, shift in enumerate(shifts):
        picture = np.repeat(SHEET.draw((shift, 0), noise=2, seed=number)[..., None], 3, 2)
        update = analyzer.push(Frame("cam", 0, number, round(number * 1e9 / 30), 0, picture))
        assert bool(update.refreshed) == (number in at)
    return sorted(set(at))


def test_a_face_that_keeps_still_is_looked_at_four_times_a_second() -> None:
    assert looks([0.0] * 24) == [0, 8, 16]


def test_a_face_that_moves_is_looked_at_as_soon_as_it_may_be() -> None:
    assert looks([0.0] * 4 + [0.05 * WIDTH * k for k in range(1, 7)]) == [0, 4, 6, 8]
