"""Derives the displacement templates of action units from the face model.

For each unit and side: mean displacement of the 31 regions at full intensity, on the mean face seen from the
front, after the removal of head motion that the engine applies, in hundredths of the inter-ocular distance.
Left and right are made mirror images of each other. :mod:`mellm.training.rules.fit` writes them to the engine's file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mellm.detectors import regions
from mellm.detectors.stepmodel import SPOT_AUS
from mellm.engine.types import Side
from mellm.training.synth.rig import AU_BLENDSHAPES, Rig
from mellm.training.synth.rig import Side as RigSide

FLOW_GAIN = 0.93
"""Share of true motion that flow on rendered onset–apex pairs reports, all regions alike (fitted by
least squares on quiet training pairs with known units, it lay between .8 and 1.0 everywhere)."""

SIDES: dict[RigSide, Side] = {"L": "left", "R": "right", "B": "both"}

SWAP = np.array(
    [
        regions.INDEX[name[:-1] + {"L": "R", "R": "L"}[name[-1]]] if name[-2:] in ("_L", "_R") else i
        for i, name in enumerate(regions.NAMES)
    ]
)
"""Region → the region on the other side."""


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """``motion``: ``COUNT``×2, 1/100 inter-ocular distance at full intensity."""

    au: int
    side: Side
    motion: NDArray[np.float32]


def mirrored(motion: NDArray[np.float32]) -> NDArray[np.float32]:
    """Motion …×``COUNT``×2 of the mirror image."""
    out: NDArray[np.float32] = motion[..., SWAP, :] * np.array([-1, 1], np.float32)
    return out


def templates(rig: Rig) -> list[Template]:
    """Templates of :data:`mellm.detectors.stepmodel.SPOT_AUS`, one for each side a unit has alone."""
    flat = rig.mean[:, :2] * np.array([1, -1], np.float32)
    landmarks = rig.landmarks(flat).astype(np.float32)
    basis = regions.rigid_basis(regions.centres(landmarks), landmarks)
    solver = regions.rigid_solver(basis)
    percent = FLOW_GAIN * 100 / regions.eye_frame(landmarks).iod
    vertices = rig.region_vertices()

    def motion(au: int, side: RigSide) -> NDArray[np.float32]:
        moved = rig.au_delta(au, side)[vertices].mean(1)[:, :2] * np.array([percent, -percent], np.float32)
        return np.asarray(regions.compensate(moved.astype(np.float32), basis, solver)[0], np.float32)

    found: list[Template] = []
    for au in SPOT_AUS:
        if "L" not in AU_BLENDSHAPES[au]:
            whole = motion(au, "B")
            found.append(Template(au, "both", (whole + mirrored(whole)) * np.float32(0.5)))
            continue
        left = (motion(au, "L") + mirrored(motion(au, "R"))) * np.float32(0.5)
        found += [Template(au, "left", left), Template(au, "right", mirrored(left))]
    return found
