"""Head motion off every pixel, and what is left per region."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mellm.detectors import regions
from mellm.detectors.signals import Geometry
from mellm.detectors.types import F32
from mellm.engine.evidence import region_motion
from mellm.engine.evidence.region_motion import (
    NO_DIRECTION,
    NO_MOTION,
    direction,
    head_field,
    remove_head,
    steadied,
    table,
)
from tests.engine.faces import LANDMARKS

SHAPE = (184, 160)
share = st.floats(-2, 2, width=32)


def bump(centre: F32, by: tuple[float, float], sigma: float = 6.0) -> F32:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    weight = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma**2))
    return (weight[..., None] * np.float32(by)).astype(np.float32)


@settings(max_examples=20)
@given(st.tuples(*[share] * 6))
def test_head_motion_is_taken_off_every_pixel(parameters: tuple[float, ...]) -> None:
    head = np.float32(parameters)
    free = remove_head(head_field(LANDMARKS, SHAPE, head), LANDMARKS)
    iod = regions.eye_frame(LANDMARKS).iod
    assert free.head == pytest.approx(head * 100 / iod, abs=0.5)  # the ridge keeps a little back
    assert np.abs(free.residual).max() < 0.3
    assert free.noise < 0.2


def test_the_field_is_the_basis_of_the_regions() -> None:
    head = np.float32([0.3, -0.2, 0.5, 0.4, 1.0, -1.0])
    field = head_field(LANDMARKS, SHAPE, head)
    points = regions.centres(LANDMARKS)
    expected = regions.rigid_basis(points, LANDMARKS) @ head
    x, y = np.rint(points).astype(int).T
    inside = (x < SHAPE[1]) & (y < SHAPE[0])
    assert np.abs(field[y[inside], x[inside]] - expected[inside]).max() < 0.03


def test_a_region_that_moves_is_the_one_that_is_told() -> None:
    centre = regions.centres(LANDMARKS)[regions.INDEX["lip_corner_L"]]
    flow = bump(centre, (1.0, -1.0)) + head_field(LANDMARKS, SHAPE, np.float32([2, 1, 0, 0, 0.5, 0]))
    rows = table(remove_head(flow, LANDMARKS), LANDMARKS)
    assert tuple(r.region for r in rows) == regions.NAMES
    top = max(rows, key=lambda r: r.mean_px)
    assert top.region == "lip_corner_L"
    assert top.direction == "up-right (45°)"
    assert top.max_px == pytest.approx(np.sqrt(2), rel=0.1)
    assert top.dx == pytest.approx(-top.dy, rel=0.1)
    assert top.dx == pytest.approx(100 * top.mean_px / np.sqrt(2) / regions.eye_frame(LANDMARKS).iod, rel=0.1)


def at_regions(field: F32) -> F32:
    """Flow at the regions' centres, 1/100 inter-ocular distance."""
    x, y = np.rint(regions.centres(LANDMARKS)).astype(int).T
    return field[y, x] * np.float32(100 / regions.eye_frame(LANDMARKS).iod)


def test_a_chin_stays_where_it_is_while_brows_pull_the_nose_along() -> None:
    centres = regions.centres(LANDMARKS)
    flow = np.zeros((*SHAPE, 2), np.float32)
    for name, up in {"brow_mid": 1.2, "temple": 0.9, "nose_bridge": 0.9, "nose_side": 0.5}.items():
        for region, centre in zip(regions.NAMES, centres, strict=True):
            if region.startswith(name):
                flow += bump(centre, (0.0, -up))
    free, chin = remove_head(flow, LANDMARKS), regions.INDEX["chin"]
    assert np.hypot(*at_regions(free.residual)[chin]) > 0.5
    assert np.hypot(*at_regions(steadied(free, LANDMARKS))[chin]) < 0.15


@pytest.mark.parametrize("name", ["chin", "lip_corner_L", "cheek_R", "brow_inner_L"])
def test_steadying_leaves_a_region_its_own_motion(name: str) -> None:
    moved = regions.INDEX[name]
    head = head_field(LANDMARKS, SHAPE, np.float32([1, -1, 0.2, 0.3, 0.5, 0.5]))
    free = remove_head(head + bump(regions.centres(LANDMARKS)[moved], (0.0, 1.5)), LANDMARKS)
    left = np.hypot(*at_regions(steadied(free, LANDMARKS)).T)
    assert left[moved] == pytest.approx(100 * 1.5 / regions.eye_frame(LANDMARKS).iod, rel=0.15)
    assert int(left.argmax()) == moved


def test_residuals_are_the_features_of_the_spotter() -> None:
    flow = bump(LANDMARKS[8], (0.0, 1.5))
    signals = Geometry(LANDMARKS, SHAPE).signals(flow)
    assert np.array_equal(remove_head(flow, LANDMARKS).region.ravel(), signals[:62])


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        ((1, 0), "right (0°)"),
        ((1, -1), "up-right (45°)"),
        ((0, -1), "up (90°)"),
        ((-1, -1), "up-left (135°)"),
        ((-1, 0), "left (180°)"),
        ((-1, 1), "down-left (225°)"),
        ((0, 1), "down (270°)"),
        ((1, 1), "down-right (315°)"),
        ((1, 0.001), "right (0°)"),
        ((1e-5, 0), NO_MOTION),
    ],
)
def test_directions(vector: tuple[float, float], words: str) -> None:
    assert direction(np.tile(np.float32(vector), (9, 1))) == words


def test_scattered_motion_has_no_direction() -> None:
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    assert direction(ring) == NO_DIRECTION
    assert direction(ring + np.float32([0.4, 0])) == "right (0°)"
    assert direction(np.empty((0, 2), np.float32)) == NO_MOTION


def test_disks_end_at_the_border() -> None:
    field = np.ones((20, 30, 2), np.float32)
    assert len(region_motion.disk(field, np.float32([15, 10]), 1.0)) == 5
    assert len(region_motion.disk(field, np.float32([0, 0]), 1.0)) == 3
    assert len(region_motion.disk(field, np.float32([-9, -9]), 2.0)) == 0
