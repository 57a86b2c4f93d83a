"""Direction as hue, and the legend that says so.

Hue follows the published motion map: half the angle of the flow in picture axes (y down), so that right is
red, down yellow-green, left cyan and up purple.
"""

from __future__ import annotations

import cv2
import numpy as np

from mellm.detectors.types import F32, U8

LEGEND_SHARE = 0.085
"""Radius of the legend, share of the picture's width."""


def hue(flow: F32) -> U8:
    """OpenCV hue (0…179, H×W) of an H×W×2 flow."""
    degrees = np.degrees(np.arctan2(flow[..., 1], flow[..., 0]))
    return np.asarray(np.rint(degrees / 2) % 180, np.uint8)


def paint(hues: U8, saturation: U8, value: U8) -> U8:
    """BGR picture of three H×W planes."""
    return np.asarray(cv2.cvtColor(np.dstack([hues, saturation, value]), cv2.COLOR_HSV2BGR), np.uint8)


def glow(flow: F32, strength: F32, under: U8) -> U8:
    """Coloured light over a darkened grey picture.

    :param flow: H×W×2, direction gives the hue
    :param strength: H×W, 0 shows ``under``, 1 the full colour
    :param under: H×W uint8
    """
    full = np.full(flow.shape[:2], 255, np.uint8)
    colour = paint(hue(flow), full, full).astype(np.float32)
    share = strength[..., None]
    lit = under[..., None] * (1 - share) + colour * share
    return np.asarray(np.clip(lit + 0.5, 0, 255), np.uint8)


def stamp(picture: U8, caption: str) -> None:
    """Draw the wheel into the lower right corner, in place; its rim is full brightness.

    :param caption: what full brightness stands for, a few characters
    """
    height, width = picture.shape[:2]
    radius = round(LEGEND_SHARE * width)
    if radius < 10 or height < 5 * radius:
        return
    size = radius / 27
    x, y = width - radius - 4, height - radius - 6 - round(13 * size)
    grid = np.arange(-radius, radius + 1, dtype=np.float32)
    flow = np.dstack(np.meshgrid(grid, grid)).astype(np.float32)
    distance = np.hypot(flow[..., 0], flow[..., 1]) / radius
    edge = np.clip((1 - distance) * radius, 0, 1)[..., None]
    disk = glow(flow, np.minimum(distance, 1).astype(np.float32), np.zeros(distance.shape, np.uint8))
    corner = picture[y - radius : y + radius + 1, x - radius : x + radius + 1]
    corner[:] = np.rint(corner * (1 - edge) + disk * edge).astype(np.uint8)
    cv2.circle(picture, (x, y), radius, (120, 120, 120), 1, cv2.LINE_AA)
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.36 * size
    (wide, _), _ = cv2.getTextSize(caption, font, scale, 1)
    at = (min(x - wide // 2, width - wide - 2), height - 5)
    cv2.putText(picture, caption, at, font, scale, (200, 200, 200), 1, cv2.LINE_AA)
