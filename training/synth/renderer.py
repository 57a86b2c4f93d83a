"""Pictures of a synthetic person, and the exact motion in them.

:class:`Renderer` draws one person before one background. Everything is a function of the seed, the frame
number and what the face does, so the same call gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from mellm.training.synth import raster
from mellm.training.synth.camera import Sensor, SensorLook, draw_sensor
from mellm.training.synth.look import Look
from mellm.training.synth.person import IRIS_ANGLE, Person, build
from mellm.training.synth.rig import INDEX, Camera, Rig, posed, project
from mellm.training.synth.texture import noise

F32: TypeAlias = NDArray[np.float32]
U8: TypeAlias = NDArray[np.uint8]

GAZE = (0.55, 0.42)
"""Turn of the eyeball at full eyeLook coefficients: sideways, up and down, radians."""


@dataclass(frozen=True, slots=True, eq=False)
class Lighting:
    """Lamps (L×6: unit vector towards the lamp, blue, green, red) and sky (2×3: from above, from below)."""

    lamps: F32
    sky: F32


def draw_lighting(rng: np.random.Generator) -> Lighting:
    """A key lamp from some side, a weaker one from the other, and light from all around."""
    key_side = rng.choice([-1, 1])
    lamps = np.zeros((2, 6), np.float32)
    strength = float(rng.uniform(0.45, 0.85))
    for row, (azimuth, elevation, power) in enumerate(
        (
            (key_side * rng.uniform(5, 55), rng.uniform(10, 50), strength),
            (-key_side * rng.uniform(25, 75), rng.uniform(-10, 30), strength * rng.uniform(0.15, 0.6)),
        )
    ):
        a, e = np.deg2rad((azimuth, elevation))
        warm = rng.normal(0, 0.06)
        lamps[row] = (
            np.sin(a) * np.cos(e),
            np.sin(e),
            np.cos(a) * np.cos(e),
            power * (1 - warm),
            power,
            power * (1 + warm),
        )
    above = rng.uniform(0.3, 0.55) * (1 + rng.normal(0, 0.03, 3))
    return Lighting(lamps, np.stack([above, above * rng.uniform(0.45, 0.8)]).astype(np.float32))


def draw_background(rng: np.random.Generator, width: int, height: int, look: Look, shoulders: float) -> F32:
    """A wall with blurred furniture, and the subject's shoulders below ``shoulders`` (row): linear light."""
    base = rng.uniform(0.05, 0.7) * rng.uniform(0.75, 1.1, 3)
    left, right, top, bottom = (float(x) for x in (*rng.uniform(0.7, 1.2, 2), *rng.uniform(0.8, 1.2, 2)))
    slope = np.linspace(left, right, height)[:, None] * np.linspace(top, bottom, width)
    out = (base * slope[..., None]).astype(np.float32)
    for _ in range(int(rng.integers(0, 9))):
        x, y = rng.uniform(0, (width, height))
        w, h = rng.uniform(0.05, 0.5, 2) * (width, height)
        colour = rng.uniform(0.02, 0.7) * rng.uniform(0.6, 1.2, 3)
        corner = (int(x - w / 2), int(y - h / 2))
        cv2.rectangle(out, corner, (int(x + w / 2), int(y + h / 2)), colour.tolist(), -1)
    out = np.asarray(cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.5, 8))), np.float32)
    size = max(width, height)
    grain = noise(rng, size, (4, 16, 64, size // 3), 0.5)[:height, :width]
    out *= 1 + rng.uniform(0.01, 0.06) * grain[..., None]
    x = np.linspace(-1, 1, 40)
    reach = 0.95 * size
    line = shoulders + 0.16 * size * np.abs(x) ** 2.2
    outline = np.stack([width / 2 + reach * 0.62 * x, line], 1)
    body = np.concatenate([outline, [[width * 2, height * 2], [-width, height * 2]]])
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.rint(body * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    weave = 1 + 0.1 * noise(rng, size, (8, size // 2))[:height, :width]
    cloth = (np.array(look.cloth) ** 2.2 * 0.7 * weave[..., None]).astype(np.float32)
    out += (mask[..., None] / np.float32(255)) * (cloth - out)
    return np.asarray(np.clip(out, 0.002, 1.2), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One drawn frame.

    :param image: H×W×3 uint8, BGR
    :param landmarks: 68×2 float32, pixels
    :param xy: N×2 projected vertices
    :param depth: N, towards the camera, cm
    """

    image: U8
    landmarks: F32
    xy: F32
    depth: F32


class Renderer:
    """Draws person ``seed`` through ``camera``.

    :param supersample: sub-pixels a side of a pixel; 1 is fast, 2 has smooth edges
    """

    def __init__(
        self,
        rig: Rig,
        seed: int,
        camera: Camera,
        *,
        sensor: SensorLook | None = None,
        look: Look | None = None,
        supersample: int = 2,
    ) -> None:
        rng = np.random.default_rng([0x4E4D, seed])
        self.camera = camera
        self.person: Person = build(rig, seed, camera.scale, look)
        self.lighting = draw_lighting(rng)
        self.sensor = Sensor(sensor or draw_sensor(rng), seed)
        self.supersample = supersample
        size = camera.height * supersample, camera.width * supersample
        row = float(project([[0.0, -14.5, 0.0]], np.zeros(6), camera)[0, 1])
        self._background = draw_background(rng, camera.width, camera.height, self.person.look, row)
        self._depth = np.empty(size, np.float32)
        self._ids = np.empty(size, np.int32)
        self._bary = np.zeros((*size, 2), np.float32)
        self._normal = np.empty_like(self.person.neutral)
        self._light = np.empty((*size, 3), np.float32)
        self._exposure = self._meter()

    @property
    def rig(self) -> Rig:
        """The face model."""
        return self.person.rig

    def render(
        self,
        coefficients: NDArray[np.floating],
        pose: NDArray[np.floating],
        time_s: float = 0.0,
        frame: int = 0,
    ) -> Shot:
        """Draw the face with expression ``coefficients`` (53) in ``pose`` (6).

        ``time_s`` drives the lamp's flicker, ``frame`` picks the sensor's noise.
        """
        xy, depth = self._draw(coefficients, pose)
        light = np.empty_like(self._background)
        parts = self._ids, self._light, self._background, self.supersample
        raster.resolve(*parts, self._exposure, light)  # type: ignore[arg-type]  # compiled for single precision
        image = self.sensor.expose(light, time_s, frame)
        return Shot(image, self.rig.landmarks(xy).astype(np.float32), xy, depth)

    def _draw(self, coefficients: NDArray[np.floating], pose: NDArray[np.floating]) -> tuple[F32, F32]:
        """Rasterise and light into the big buffers; returns N×2 vertex positions (pixels) and N depths."""
        p, s = self.person, self.supersample
        vertices = p.vertices(coefficients)
        placed = posed(vertices, pose)
        xy = project(vertices, pose, self.camera).astype(np.float32)
        # sub-pixel k of pixel i lies at s·i + k; its centre is (k + ½)/s - ½ of a pixel off
        big = (s * xy + (s - 1) / 2).astype(np.float32)
        depth = placed[:, 2].astype(np.float32)
        raster.rasterise(big, depth, p.tri, self._depth, self._ids, self._bary)
        raster.normals(placed.astype(np.float32), p.tri, self._normal)
        extra = np.concatenate([p.occlusion[:, None], vertices], 1).astype(np.float32)
        raster.shade(
            self._ids,
            self._bary,
            p.tri,
            p.layer,
            self._normal,
            extra,
            p.uv,
            p.textures,
            self.lighting.lamps,
            self.lighting.sky,
            self._eyes(coefficients, vertices),
            self._light,
        )
        return xy, depth

    def _eyes(self, coefficients: NDArray[np.floating], vertices: F32) -> F32:
        """Per eye (left, right): centre, gaze to the side and up, iris radius, height of the upper lid."""
        out = np.zeros((2, 7), np.float32)
        for row, (side, away, lids) in enumerate((("L", 1, (43, 44)), ("R", -1, (37, 38)))):
            c = {name: coefficients[INDEX[f"eyeLook{name}_{side}"]] for name in ("Out", "In", "Up", "Down")}
            out[row, :3] = self.person.eyes[row]
            out[row, 3] = GAZE[0] * away * (c["Out"] - c["In"])
            out[row, 4] = GAZE[1] * (c["Up"] - c["Down"])
            out[row, 5] = IRIS_ANGLE
            out[row, 6] = vertices[self.rig.lm68[list(lids)], 1].mean()
        return out

    def _meter(self) -> np.float32:
        """Exposure that puts the neutral face at a natural brightness for its skin, seen once per person."""
        self._draw(np.zeros(len(INDEX)), np.zeros(6))
        skin = (self._ids >= 0) & (self.person.layer[self._ids] == 0)
        mean = float(self._light[skin].mean()) if skin.any() else 0.3
        target = 0.12 + 0.20 * (1 - self.person.look.tone)
        return np.float32(np.clip((target / max(mean, 1e-3)) ** 0.75, 0.5, 4.0))


def flow(first: Shot, second: Shot, person: Person) -> tuple[F32, NDArray[np.bool_]]:
    """Exact motion (H×W×2, pixels) of what is visible in ``first``, towards ``second``, and where it holds.

    Each pixel centre of ``first`` is followed on its triangle. The background does not move: it is 0 there
    and the mask is ``False``.
    """
    shape = first.image.shape[:2]
    out = np.zeros((*shape, 2), np.float32)
    depth, ids, bary = np.empty(shape, np.float32), np.empty(shape, np.int32), np.zeros_like(out)
    raster.rasterise(first.xy, first.depth, person.tri, depth, ids, bary)
    raster.interpolate(ids, bary, person.tri, second.xy - first.xy, out)
    return out, ids >= 0
