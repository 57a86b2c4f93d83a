"""Derives the displacement templates of action units from the face model.

For each unit and side: the mean displacement of the 31 regions at intensity 1 on the mean face seen from the front,
after the same removal of head motion that the engine applies, in hundredths of the inter-ocular distance. Run as
``python -m training.facs_templates`` to rebuild ``engine/describe/au_templates.json``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from detectors import regions
from detectors.stepmodel import SPOT_AUS
from training.synth.rig import AU_BLENDSHAPES, Rig, Side, camera_for_face, load_rig, project

TARGET = Path(__file__).resolve().parent.parent / "engine" / "describe" / "au_templates.json"

SIDES: dict[Side, str] = {"L": "left", "R": "right", "B": "both"}


def templates(rig: Rig) -> list[dict[str, object]]:
    """One entry for each unit and side: ``au``, ``side`` (``left``, ``right``, ``both``) and ``motion`` (31×2)."""
    camera = camera_for_face(200, 512, 512)
    still = np.zeros(6)
    neutral = project(rig.mean, still, camera)
    landmarks = rig.landmarks(neutral)[:, :2].astype(np.float32)
    centres = regions.centres(landmarks)
    basis = regions.rigid_basis(centres, landmarks)
    solver = regions.rigid_solver(basis)
    iod = regions.eye_frame(landmarks).iod
    vertices = rig.region_vertices()
    found: list[dict[str, object]] = []
    for au in SPOT_AUS:
        sides = AU_BLENDSHAPES[au]
        for side, name in SIDES.items():
            if side not in sides or (side == "B" and "L" in sides):
                continue  # a two-sided motion is the sum of its sides
            moved = project(rig.mean + rig.au_delta(au, side), still, camera) - neutral
            flow = (
                np.stack([moved[region].mean(axis=0)[:2] for region in vertices]).astype(np.float32)
                * 100
                / iod
            )
            residual, _ = regions.compensate(flow, basis, solver)
            found.append({"au": au, "side": name, "motion": np.round(residual, 2).tolist()})
    return found


def main() -> None:
    """Rebuild the templates."""
    record = {
        "recipe": "python -m training.facs_templates",
        "unit": "1/100 of the inter-ocular distance at blendshape weight 1",
        "regions": list(regions.NAMES),
        "templates": templates(load_rig()),
    }
    TARGET.write_text(json.dumps(record, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
