"""Sixteen pieces of evidence that differ: a face of skin, one region of it moved each time."""

from functools import cache

from mellm.engine.evidence.motion_map import build
from mellm.engine.types import Evidence
from tests.engine.faces import LANDMARKS, moved, skin

MOVES = (
    ("brow_inner_L", (0.0, -1.6)),
    ("brow_inner_R", (0.0, 1.6)),
    ("brow_outer_L", (0.3, -1.8)),
    ("lip_corner_L", (1.4, -1.2)),
    ("lip_corner_R", (-1.4, -1.2)),
    ("lip_corner_L", (0.2, 1.7)),
    ("chin", (0.0, -1.5)),
    ("cheek_R", (0.4, -1.5)),
)


@cache
def evidences() -> tuple[Evidence, ...]:
    """Each move at its size and at twice that."""
    found = [
        build(skin(), moved(region, (size * x, size * y)), LANDMARKS, "live")
        for region, (x, y) in MOVES
        for size in (1.0, 2.0)
    ]
    assert all(evidence.refused is None for evidence in found)
    return tuple(found)
