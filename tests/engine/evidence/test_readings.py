"""The same moment under small changes."""

import numpy as np
import pytest

from mellm.detectors import regions
from mellm.detectors.signals import FacePair
from mellm.engine.analysis.pipeline_factory import evidence_builder
from mellm.engine.evidence import readings
from mellm.engine.evidence.motion_map import build
from mellm.engine.evidence.region_motion import OCTANTS
from mellm.stream.frames import FrameRef
from tests.engine.faces import LANDMARKS, moved, skin


@pytest.fixture
def pair() -> FacePair:
    onset, apex = skin(), moved("brow_inner_R", (0, -2))
    points = LANDMARKS
    iod = regions.eye_frame(points).iod
    return FacePair(
        onset, apex, points, FrameRef(0, 0), FrameRef(9, 180_000_000), iod, (onset, onset), (apex, apex)
    )


def test_a_mirrored_mirror_is_the_face_again():
    points = readings.MIRRORED_POINTS
    assert sorted(points) == list(range(68))
    assert (points[points] == np.arange(68)).all()


def test_each_change_leaves_the_motion_what_it_is(pair):
    plain = evidence_builder("live")(pair)
    assert plain.again is not None
    found = tuple(plain.again())
    assert len(found) == 7
    assert [e.mirrored for e in found] == [False] * 6 + [True]
    for evidence in found:
        strongest = max(evidence.regions, key=lambda r: np.hypot(r.dx, r.dy))
        assert strongest.region == ("brow_inner_L" if evidence.mirrored else "brow_inner_R")
        assert strongest.direction.startswith(OCTANTS[2])
        assert evidence.refused is None


def test_frames_that_are_not_known_are_left_out(pair):
    alone = FacePair(pair.onset_gray, pair.apex_gray, pair.landmarks, pair.onset, pair.apex, pair.iod)
    assert len(tuple(readings.changed(alone, "live"))) == 3


def test_motion_above_the_ceiling_is_told_apart():
    assert build(skin(), moved("brow_inner_R", (0, -2)), LANDMARKS, "live").refused is None
    assert build(skin(), moved("brow_inner_R", (0, -8)), LANDMARKS, "live").refused == "motion_large"
