from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.detectors.landmarks import roi_of_mesh
from mellm.detectors.tracks import Track, Tracks, overlap
from mellm.detectors.types import F32

coordinates = st.floats(-1000, 1000)
boxes = st.tuples(coordinates, coordinates, st.floats(1, 500), st.floats(1, 500))


def mesh(x: float = 100, y: float = 100, width: float = 80) -> F32:
    """A level mesh: eye corners at their indices, the rest within the face."""
    points = np.random.default_rng(0).uniform(-0.4, 0.4, (478, 2))
    points[33], points[263] = (-0.3, -0.2), (0.3, -0.2)
    points[234], points[454], points[10], points[152] = (-0.5, 0), (0.5, 0), (0, -0.6), (0, 0.6)
    return (points * width + (x, y)).astype(np.float32)


def test_ids_are_never_used_twice() -> None:
    tracks = Tracks()
    first, second = tracks.start(mesh(100), 1).id, tracks.start(mesh(300), 1).id
    tracks.end(first)
    third = tracks.start(mesh(100), 1).id
    tracks.clear()
    assert [first, second, third, tracks.start(mesh(100), 1).id] == [1, 2, 3, 4]


def test_a_face_that_is_followed_is_claimed() -> None:
    tracks = Tracks()
    track = tracks.start(mesh(100), 1)
    assert tracks.claims((60, 52, 80, 96))
    assert tracks.claims((85, 85, 30, 30))  # a small box in its middle is no second face
    assert not tracks.claims((300, 52, 80, 96))
    assert not tracks.claims((60, 52, 80, 96), besides=track)


def test_of_two_tracks_on_one_face_the_older_stays() -> None:
    tracks = Tracks()
    for x in (100, 300, 305):
        tracks.start(mesh(x), 1)
    assert tracks.duplicates() == [3]


def test_the_region_of_interest_is_held_until_the_face_leaves_it() -> None:
    track = Track(1, roi_of_mesh(mesh(100)), mesh(100), 1)
    held = track.roi
    track.saw(mesh(103), 0.9)  # 2 % of its side
    assert track.roi is held
    assert track.box[0] == pytest.approx(63)
    track.saw(mesh(112), 0.9)  # 8 %
    assert track.roi.x == pytest.approx(112)


@pytest.mark.parametrize(
    ("box", "near"),
    [
        ((60, 52, 80, 96), True),
        ((110, 52, 80, 96), True),  # moved by 0.6 of its width
        ((130, 52, 80, 96), False),
        ((80, 76, 38, 46), False),  # half as large: somebody behind
    ],
)
def test_a_lost_face_is_looked_for_nearby(box: tuple[float, float, float, float], near: bool) -> None:
    assert Track(1, roi_of_mesh(mesh()), mesh(), 1).near(box) == near


@given(boxes, boxes)
def test_overlap_is_symmetric_and_a_share(
    a: tuple[float, float, float, float], b: tuple[float, float, float, float]
) -> None:
    assert overlap(a, b) == pytest.approx(overlap(b, a))
    assert 0 <= overlap(a, b) <= 1 + 1e-9
    assert overlap(a, a) == pytest.approx(1)
