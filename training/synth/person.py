"""One synthetic person ready to be drawn: the rig's mesh with hair and teeth added, and textures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mellm.training.synth import raster
from mellm.training.synth.look import Look, draw_look
from mellm.training.synth.rig import EYEBALL, FACE, HEAD, INDEX, IRIS, MOUTH, Rig
from mellm.training.synth.texture import (
    HEAD_CENTRE,
    HEAD_SIZE,
    SIZE,
    eye_texture,
    face_texture,
    hair_mask,
    head_texture,
    head_uv,
    shrink,
)

F32: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int32]

LAYER_FACE, LAYER_HEAD, LAYER_MOUTH, LAYER_EYE, LAYER_TEETH = range(5)
_LAYERS = np.zeros(5, np.uint8)
_LAYERS[[FACE, HEAD, MOUTH, EYEBALL]] = LAYER_FACE, LAYER_HEAD, LAYER_MOUTH, LAYER_EYE
FACE_TEXELS_PER_CM = 43.0
"""Texels of the full-size face texture on a centimetre of cheek."""

_JAW = ("jawOpen", "jawForward", "jawLeft", "jawRight")
IRIS_ANGLE = 0.41
"""Radius of the iris seen from the middle of the eyeball, radians."""


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """Static data of one person; N ≥ V vertices, the first V are the rig's.

    :param neutral: N×3 float32, cm
    :param tri: T×3, drawn triangles only
    :param layer: per triangle
    :param uv: N×2
    :param occlusion: N, 1 where the whole sky is seen
    :param follows_jaw: N, share of the jaw's motion that added vertices take part in
    :param copies: rig vertices that vertices V … V+len(copies) repeat, with another place in the texture
    :param rest: 53, expression of this person at rest (lids not wide open)
    :param eyes: 2×3, centres of the left and right eyeball
    """

    rig: Rig
    look: Look
    neutral: F32
    tri: Ints
    layer: NDArray[np.uint8]
    uv: F32
    occlusion: F32
    follows_jaw: F32
    copies: Ints
    rest: F32
    eyes: F32
    textures: tuple[F32, F32, F32]

    def vertices(self, coefficients: NDArray[np.floating]) -> F32:
        """N×3 vertices with an expression (53) added to the person's rest, cm."""
        c = np.minimum(self.rest + coefficients, 1).astype(np.float32)
        out = self.neutral.copy()
        v = len(self.rig.mean)
        for i in np.flatnonzero(c):
            out[:v] += c[i] * self.rig.exp[i]
        chin = self.rig.lm68[8]
        jaw = sum(c[INDEX[name]] * self.rig.exp[INDEX[name], chin] for name in _JAW)
        out[v:] += self.follows_jaw[v:, None] * np.float32(jaw)
        out[v : v + len(self.copies)] = out[self.copies]
        return out


def _occlusion(vertices: F32, tri: Ints, rounds: int = 25) -> F32:
    """How open the surface is: a point that lies below its smoothed surroundings sees less of the sky."""
    edges = np.concatenate([tri[:, [0, 1]], tri[:, [1, 2]], tri[:, [2, 0]]])
    count = np.bincount(edges[:, 0], minlength=len(vertices))
    count = np.maximum(count + np.bincount(edges[:, 1], minlength=len(vertices)), 1)
    smooth = vertices.astype(np.float64)
    normal = np.empty_like(vertices)
    raster.normals(vertices, tri, normal)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    depth = np.zeros(len(vertices))
    for r in range(rounds):
        mean = np.stack(
            [
                np.bincount(edges[:, 0], smooth[edges[:, 1], k], len(vertices))
                + np.bincount(edges[:, 1], smooth[edges[:, 0], k], len(vertices))
                for k in range(3)
            ],
            1,
        )
        smooth = 0.3 * smooth + 0.7 * mean / count[:, None]
        if r in (5, rounds - 1):
            depth += ((smooth - vertices) * normal).sum(1) * (2.0 if r == 5 else 1.0)
    out: F32 = np.clip(1 - 2.2 * np.maximum(depth, 0) ** 0.8, 0.3, 1).astype(np.float32)
    return out


def _smooth_bumps(rng: np.random.Generator, points: F32, waves: int = 10) -> F32:
    """Low-frequency noise over space, about -1…1."""
    direction = rng.normal(0, 0.55, (3, waves))
    out: F32 = np.sin(points @ direction + rng.uniform(0, 6.3, waves)).mean(1).astype(np.float32) * 2
    return out


def _hair_volume(rng: np.random.Generator, rig: Rig, look: Look, neutral: F32) -> F32:
    """Push the scalp out by the thickness of the hair; thin at the hairline."""
    if not look.hair:
        return neutral
    skin = np.isin(rig.kind, (FACE, HEAD))
    grown = hair_mask(rig.mean, look.hairline - 5.0, 26.0) * skin
    grown *= rig.mean[:, 1] > -6
    outward = rig.mean - np.array(HEAD_CENTRE, np.float32) + np.array([0, 2, 0], np.float32)
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-6)
    thick = look.hair * grown * (1 + 0.35 * _smooth_bumps(rng, rig.mean))
    out: F32 = neutral + outward * thick[:, None]
    return out


def _sheet(points: NDArray[np.floating]) -> Ints:
    """Triangles over a rows×columns grid of points, facing the side from which rows go down, columns right."""
    rows, columns = points.shape[:2]
    i = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    return np.concatenate(
        [np.stack([i, i + columns, i + 1], 1), np.stack([i + 1, i + columns, i + columns + 1], 1)]
    ).astype(np.int32)


def _hanging_hair(rng: np.random.Generator, look: Look) -> tuple[F32, Ints]:
    """A curtain behind the face, from above the ears down."""
    turn = np.deg2rad(np.linspace(98, 262, 41))
    top, bottom = 9.0, 3.0 - look.length
    y = np.linspace(top, bottom, 18)
    fall = np.linspace(0, 1, 18)
    wave = 0.35 * _smooth_bumps(
        rng, np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1).astype(np.float32) * 6
    )
    rx = 7.6 + look.hair * 0.9 + 1.3 * np.sin(np.pi * np.minimum(fall * 1.2, 1))[:, None] + 0.4 * wave
    rz = 8.2 + look.hair * 0.5 + 0 * rx
    points = np.stack([rx * np.sin(turn), np.repeat(y[:, None], len(turn), 1), rz * np.cos(turn)], -1)
    points[-3:, :, 1] += rng.normal(0, 0.35, (3, len(turn)))
    tri = _sheet(points)
    return points.reshape(-1, 3).astype(np.float32), np.concatenate([tri, tri[:, ::-1]])


def _teeth(rig: Rig, neutral: F32) -> tuple[F32, Ints, F32]:
    """Two curved rows of teeth behind the lips: vertices, triangles and whether they follow the jaw."""
    lips = neutral[rig.lm68[[62, 66]]].mean(0)
    x = np.linspace(-2.1, 2.1, 25)
    z = lips[2] - 0.75 - 0.26 * x**2
    rows, jaws = [], []
    for top, bottom, back, jaw in ((0.75, -0.3, 0.0, 0.0), (-0.2, -1.1, 0.22, 1.0)):
        y = lips[1] + np.linspace(top, bottom, 4)
        rows.append(np.stack(np.broadcast_arrays(x[None], y[:, None], (z - back)[None]), -1))
        jaws.append(np.full(100, jaw, np.float32))
    tri = np.concatenate([_sheet(rows[0]), _sheet(rows[1]) + 100])
    points = np.concatenate([r.reshape(-1, 3) for r in rows]).astype(np.float32)
    return points, tri, np.concatenate(jaws)


def _mend_seam(rig: Rig, tri: Ints) -> tuple[Ints, Ints]:
    """Triangles between face and scalp get copies of their face vertices, which the scalp's layout places.

    :returns: triangles (indices from V on are copies) and the rig vertex of each copy
    """
    kind = rig.kind[tri]
    mixed = (kind == FACE).any(1) & (kind == HEAD).any(1)
    corners = tri[mixed]
    copies = np.unique(corners[rig.kind[corners] == FACE])
    number = np.arange(len(rig.mean), dtype=np.int32)
    number[copies] = len(rig.mean) + np.arange(len(copies))
    out = tri.copy()
    out[mixed] = number[corners]
    return out, copies.astype(np.int32)


def build(rig: Rig, seed: int, pixels_per_cm: float, look: Look | None = None) -> Person:
    """Person ``seed``, with textures as fine as pictures of ``pixels_per_cm`` need."""
    look = look or draw_look(seed)
    rng = np.random.default_rng([0xB0D, seed])
    neutral = _hair_volume(rng, rig, look, rig.identity(seed))
    tri = rig.tri[rig.kind[rig.tri[:, 0]] != IRIS]
    skin = np.ascontiguousarray(tri[np.isin(rig.kind[tri[:, 0]], (FACE, HEAD))])
    layer = _LAYERS[np.where((rig.kind[tri] == HEAD).any(1), HEAD, rig.kind[tri[:, 0]])]
    tri, copies = _mend_seam(rig, tri)
    uv = np.where((rig.kind == FACE)[:, None], rig.uv, head_uv(rig.mean))
    body = np.concatenate([neutral, neutral[copies]])
    occlusion = np.where(np.isin(rig.kind, (FACE, HEAD)), _occlusion(neutral, skin), 1.0)
    still = np.zeros(len(body), np.float32)
    parts = [(body, tri, layer, np.concatenate([uv, head_uv(rig.mean[copies])]), still)]
    points, tri, jaw = _teeth(rig, neutral)
    parts.append((points, tri, np.full(len(tri), LAYER_TEETH, np.uint8), points[:, :2] - points[0, :2], jaw))
    if look.length:
        hang, tri = _hanging_hair(rng, look)
        along = head_uv(hang)
        along[:, 1] = np.clip(along[:, 1], 0.82, 1)  # where the scalp's texture holds hair
        parts.append(
            (hang, tri, np.full(len(tri), LAYER_HEAD, np.uint8), along, np.zeros(len(hang), np.float32))
        )
    start = np.cumsum([0] + [len(p[0]) for p in parts])
    every = np.concatenate([p[0] for p in parts]).astype(np.float32)
    light = np.full(len(every), 1.0, np.float32)
    light[: len(neutral)] = occlusion
    light[len(neutral) : len(body)] = occlusion[copies]
    light[start[2] :] = 0.55  # hair that hangs behind
    rest = np.zeros(len(INDEX), np.float32)
    lids = rng.uniform(0.05, 0.22)
    rest[[INDEX["eyeBlink_L"], INDEX["eyeBlink_R"]]] = lids + rng.normal(0, 0.01, 2)
    eyes = np.stack([neutral[(rig.kind == EYEBALL) & (rig.mean[:, 0] * s > 0)].mean(0) for s in (1, -1)])
    finest = 1.25 * pixels_per_cm
    textures = (
        shrink(face_texture(rig, look), FACE_TEXELS_PER_CM / finest),
        shrink(head_texture(look), HEAD_SIZE / SIZE * 22 / finest),
        shrink(eye_texture(look), 256 / 2.4 / finest),
    )
    return Person(
        rig=rig,
        look=look,
        neutral=every,
        tri=np.ascontiguousarray(np.concatenate([p[1] + start[i] for i, p in enumerate(parts)]), np.int32),
        layer=np.concatenate([p[2] for p in parts]),
        uv=np.concatenate([p[3] for p in parts]).astype(np.float32),
        occlusion=light,
        copies=copies,
        rest=rest,
        follows_jaw=np.concatenate([p[4] for p in parts]),
        eyes=eyes.astype(np.float32),
        textures=textures,
    )
