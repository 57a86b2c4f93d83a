"""How the ``live`` motion map is drawn: the numbers behind :mod:`mellm.engine.evidence.motion_map`.

They stand below the describers because a model that reads maps was trained on one way of drawing them, and its folder
says on which (see :mod:`mellm.detectors.recipe`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mellm.detectors import flow, patches

VERSION = 1
"""Of the drawing. Raise it with every change that shows: models trained on the maps before are then refused."""

LIVE_WIDTH, LIVE_HEIGHT = 320, 368
"""Size of the standard crop the ``live`` recipe works on, pixels; eye distance 114."""

FACE_WIDTHS_PER_IOD = 14.7 / 6.51
"""Width of the average face, in inter-ocular distances (mean of the face model the regions were read off)."""

FULL_SCALE = 0.02
"""Motion that is shown at full brightness, share of the face's width; 4.5 hundredths of the eye distance."""

GAMMA = 0.75
"""Brightness is (motion / full scale) to this power, above the noise: small motions are what is looked for."""

QUIET = 0.25
"""Motion that is left dark, 1/100 inter-ocular distance: the flow's noise on a still face."""

QUIET_NOISE = 2.5
"""It rises to so many times what the head-motion fit leaves on regions that do not move."""

SMOOTH = 0.03
"""Standard deviation of the smoothing of the shown motion, inter-ocular distances: half a region's radius."""


def of_live_map() -> dict[str, Any]:
    """How this version draws the ``live`` map, as plain JSON."""
    return {
        "map": "live",
        "version": VERSION,
        "flow": asdict(flow.QUALITY),
        "crop": {
            "width": LIVE_WIDTH,
            "height": LIVE_HEIGHT,
            "iod": patches.CROP_IOD * LIVE_WIDTH / patches.CROP_W,
            "eyes": [each * LIVE_WIDTH / patches.CROP_W for each in patches.CROP_EYES],
        },
        "full_scale": FULL_SCALE,
        "gamma": GAMMA,
        "quiet": QUIET,
        "quiet_noise": QUIET_NOISE,
        "smooth": SMOOTH,
    }
