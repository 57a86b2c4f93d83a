"""Procedural skin, hair and eyes of one person.

Everything is painted as sRGB-coded blue, green, red in 0…1 plus gloss, over a map that tells for each texel
which point of the average head it covers, so that face and scalp textures meet without a seam.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from mellm.training.synth.envelope import smoothstep
from mellm.training.synth.look import Colour, Look, skin_colour
from mellm.training.synth.raster import interpolate, rasterise
from mellm.training.synth.rig import FACE, Rig

F32: TypeAlias = NDArray[np.float32]

SIZE = 1024
HEAD_SIZE = 512
_HAIRLINE = (
    (0, 33),
    (25, 34),
    (45, 32),
    (62, 20),
    (76, 2),
    (82, -8),
    (86, 12),
    (104, 12),
    (114, -30),
    (180, -42),
)
"""Azimuth from the front and elevation from the middle of the head where hair begins, degrees."""

HEAD_CENTRE = (0.0, 5.0, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """Where texels lie: positions on the average head (N×N×3, cm) and which texels are covered."""

    position: F32
    covered: NDArray[np.bool_]
    uv: F32


def _filled(position: F32, covered: NDArray[np.bool_]) -> F32:
    """Give texels outside the mesh the position of the nearest covered one, so that edges do not bleed."""
    _, labels = cv2.distanceTransformWithLabels(
        (~covered).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    table = np.zeros((labels.max() + 1, 3), np.float32)
    table[labels[covered]] = position[covered]
    out: F32 = table[labels]
    return out


@lru_cache(maxsize=2)
def face_map(rig: Rig) -> Maps:
    """Texel positions of the face's own, seam-free layout."""
    tri = np.ascontiguousarray(rig.tri[rig.kind[rig.tri[:, 0]] == FACE])
    xy = np.stack([rig.uv[:, 0] * SIZE - 0.5, (1 - rig.uv[:, 1]) * SIZE - 0.5], 1).astype(np.float32)
    shape = (SIZE, SIZE)
    depth, ids, bary = (
        np.empty(shape, np.float32),
        np.empty(shape, np.int32),
        np.empty((*shape, 2), np.float32),
    )
    rasterise(xy, np.zeros(len(xy), np.float32), tri, depth, ids, bary)
    position = np.zeros((*shape, 3), np.float32)
    interpolate(ids, bary, tri, rig.mean, position)
    return Maps(_filled(position, ids >= 0), ids >= 0, rig.uv)


def head_uv(points: F32) -> F32:
    """Texture place (N×2) of points of the scalp and neck: azimuth round the head, and height."""
    turn = np.arctan2(points[:, 0], points[:, 2])
    return np.stack([0.5 + turn / (2 * np.pi), (points[:, 1] + 20) / 36], 1).astype(np.float32)


@lru_cache(maxsize=1)
def head_map() -> Maps:
    """Texel positions of the scalp's cylindrical layout (an egg, near enough for paint)."""
    u, v = np.meshgrid((np.arange(HEAD_SIZE) + 0.5) / HEAD_SIZE, 1 - (np.arange(HEAD_SIZE) + 0.5) / HEAD_SIZE)
    turn, y = (u - 0.5) * 2 * np.pi, v * 36 - 20
    radius = np.sqrt(np.clip(1 - ((y - 4) / 11.5) ** 2, 0.05, None))
    position = np.stack([8.0 * radius * np.sin(turn), y, 9.0 * radius * np.cos(turn)], -1)
    return Maps(position.astype(np.float32), np.ones(u.shape, bool), np.zeros((0, 2), np.float32))


def hair_mask(points: NDArray[np.floating], hairline: float = 0.0, soft: float = 5.0) -> F32:
    """1 where hair grows, 0 on skin, for points …×3 of the average head."""
    x, y, z = np.moveaxis(points - np.array(HEAD_CENTRE, np.float32), -1, 0)
    azimuth = np.degrees(np.arctan2(np.abs(x), z))
    elevation = np.degrees(np.arctan2(y, np.hypot(x, z)))
    begin = np.interp(azimuth, *np.array(_HAIRLINE).T) + hairline * np.exp(-((azimuth / 50) ** 2))
    out: F32 = smoothstep(0.5 + (elevation - begin) / soft).astype(np.float32)
    return out


def noise(rng: np.random.Generator, size: int, octaves: tuple[int, ...], fall: float = 0.6) -> F32:
    """Zero-mean, unit-variance noise (size×size): ``octaves`` are grid sizes, each ``fall`` times the last."""
    out = np.zeros((size, size), np.float32)
    weight = 1.0
    for cells in octaves:
        grid = rng.standard_normal((cells, cells)).astype(np.float32)
        out += weight * cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
        weight *= fall
    out -= out.mean()
    return out / float(out.std())


def _strands(rng: np.random.Generator, points: F32, fine: int = 220) -> F32:
    """Noise drawn out along the way hair falls, for each texel."""
    x, y, z = np.moveaxis(points - np.array(HEAD_CENTRE, np.float32), -1, 0)
    azimuth = np.arctan2(x, z) / (2 * np.pi) + 0.5
    fall = np.arctan2(y, np.hypot(x, z)) / np.pi + 0.5
    out = np.zeros(x.shape, np.float32)
    for count, weight in ((fine, 0.6), (fine // 4, 0.8)):
        sheet = rng.standard_normal((8, count)).astype(np.float32)
        sheet = np.asarray(cv2.resize(sheet, (2048, 128), interpolation=cv2.INTER_LINEAR), np.float32)
        wave = azimuth + 0.012 * np.sin(9 * fall + 20 * azimuth)
        out += weight * cv2.remap(
            sheet, (wave * 2047).astype(np.float32), (fall * 127).astype(np.float32), cv2.INTER_LINEAR
        )
    return out


def _blend(canvas: F32, colour: Colour | tuple[float, ...], mask: F32) -> None:
    """Lay ``colour`` over the first three channels of ``canvas`` with opacity ``mask``, in place."""
    canvas[..., :3] += mask[..., None] * (np.asarray(colour, np.float32) - canvas[..., :3])


def _near(points: F32, centre: NDArray[np.floating], radius: tuple[float, float]) -> F32:
    """A soft blob round ``centre`` on the front of the face, radii in cm along x and y."""
    dx, dy = (points[..., 0] - centre[0]) / radius[0], (points[..., 1] - centre[1]) / radius[1]
    out: F32 = np.exp(-(dx * dx + dy * dy)) * (points[..., 2] > 2)
    return out


def _lines(shape: tuple[int, int], lines: list[NDArray[np.floating]], width: int, soft: float) -> F32:
    """Antialiased polylines (texels) as a soft mask, peak about 1."""
    mask = np.zeros(shape, np.uint8)
    for line in lines:
        cv2.polylines(mask, [np.rint(line * 16).astype(np.int32)], False, 255, width, cv2.LINE_AA, 4)
    out = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), soft)
    return np.asarray(np.minimum(out * (1 + soft / width), 1), np.float32)


def _texels(maps: Maps, rig: Rig, landmarks: list[int] | range) -> F32:
    uv = rig.uv[rig.lm68[list(landmarks)]]
    out: F32 = np.stack([uv[:, 0] * SIZE, (1 - uv[:, 1]) * SIZE], 1)
    return out


def _spline(points: F32, count: int = 40) -> F32:
    """Smooth curve through ``points`` (Catmull–Rom)."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    s = np.linspace(0, len(points) - 1 - 1e-6, count)
    i = s.astype(int)
    f = (s - i)[:, None]
    a, b, c, d = (padded[i + k] for k in range(4))
    out: F32 = 0.5 * (
        2 * b + (c - a) * f + (2 * a - 5 * b + 4 * c - d) * f**2 + (3 * b - a - 3 * c + d) * f**3
    )
    return out.astype(np.float32)


def _skin(rng: np.random.Generator, maps: Maps, look: Look) -> F32:
    """Skin over a whole texture: blotches, redness, pores, moles, freckles."""
    size = len(maps.position)
    p = maps.position
    base = skin_colour(look.tone)
    canvas = np.empty((size, size, 4), np.float32)
    canvas[..., :3] = base
    canvas[..., 3] = 0.12 * rng.uniform(0.5, 1.5)
    wide, fine = noise(rng, size, (6, 12, 24, 48)), noise(rng, size, (96, 192, 384, 768), 0.85)
    canvas[..., :3] *= 1 + (0.035 * wide + 0.032 * fine)[..., None]
    red = 0.10 * _near(p, np.array([4.6, -0.6]), (2.6, 2.2)) + 0.10 * _near(
        p, np.array([-4.6, -0.6]), (2.6, 2.2)
    )
    red += 0.12 * _near(p, np.array([0, 0.6]), (1.5, 1.4)) + 0.05 * _near(p, np.array([0, -6.5]), (2, 1.2))
    red += 0.08 * (np.abs(p[..., 0]) > 7.7) + 0.02 * np.maximum(wide, 0)
    strength = rng.uniform(0.3, 1.3) * (1 - 0.6 * look.tone)
    canvas[..., :3] *= 1 - strength * red[..., None] * np.array([1.0, 0.9, 0.05], np.float32)
    for side in (-1, 1):  # shade under the eyes
        under = _near(p, np.array([side * 3.0, 1.9]), (1.5, 0.55))
        canvas[..., :3] *= 1 - (0.05 + 0.14 * look.age) * under[..., None] * np.array(
            [0.6, 0.9, 0.8], np.float32
        )
    canvas[..., 3] += 0.16 * _near(p, np.array([0, 2]), (1.4, 4.0)) + 0.08 * _near(
        p, np.array([0, 8]), (4, 2)
    )
    return canvas


def _spots(rng: np.random.Generator, canvas: F32, look: Look) -> None:
    """Moles and, on light skin, freckles."""
    spots: list[tuple[int, float, float]] = [(int(rng.integers(3, 16)), 3.0, 0.5)]
    if look.tone < 0.4 and rng.random() < 0.35:
        spots.append((int(rng.integers(100, 500)), 1.6, 0.25))
    for count, radius, opacity in spots:
        mask = np.zeros(canvas.shape[:2], np.uint8)
        for x, y in rng.uniform((0.2, 0.25), (0.8, 0.85), (count, 2)) * SIZE:
            size = max(1, round(radius * rng.lognormal(-0.2, 0.4)))
            cv2.circle(mask, (int(x), int(y)), size, int(rng.integers(90, 255)), -1, cv2.LINE_AA)
        soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 0.9) * opacity
        _blend(canvas, skin_colour(look.tone) * (0.45, 0.45, 0.55), soft)


def _folds(rng: np.random.Generator, canvas: F32, maps: Maps, rig: Rig, look: Look) -> None:
    """Nasolabial folds, lines of the forehead, crow's-feet, lid creases."""
    strength = 0.03 + 0.22 * look.age

    def put(lines: list[NDArray[np.floating]], width: int, soft: float, size: float) -> None:
        canvas[..., :3] *= 1 - size * _lines((SIZE, SIZE), lines, width, soft)[..., None]

    folds: list[NDArray[np.floating]] = []
    for wing, corner in ((31, 48), (35, 54)):
        a, b = _texels(maps, rig, [wing, corner])
        out = np.sign(b[0] - a[0])
        away = out * np.array([[14, 0], [20, 0], [14, 0]]) + np.array([[0, -6], [0, 0], [0, 6]])
        folds.append(_spline((np.stack([a, (a + b) / 2, b]) + away).astype(np.float32)))
    put(folds, 5, 6.0, 1.2 * strength)
    brow = _texels(maps, rig, range(17, 27))
    top = brow[:, 1].min()
    rows = []
    for k in range(int(rng.integers(2, 5))):
        x = np.linspace(brow[1, 0], brow[8, 0], 12)
        y = top - 40 - 34 * k + rng.normal(0, 1.5, 12) - 8 * np.sin(np.linspace(0, np.pi, 12))
        rows.append(_spline(np.stack([x, y], 1).astype(np.float32)))
    put(rows, 3, 3.0, 0.55 * strength)
    for corner, out in ((36, -1), (45, 1)):
        at = _texels(maps, rig, [corner])[0]
        feet = [
            at + np.stack([out * np.linspace(18, 60, 8), d * np.linspace(2, 26, 8)], 1)
            for d in (-0.8, 0, 0.8, 1.5)
        ]
        put([f.astype(np.float32) for f in feet], 2, 1.4, 0.6 * strength)
    for upper, lift in ((range(36, 40), 22), (range(42, 46), 22)):
        crease = _texels(maps, rig, upper) - (0, lift)
        put([_spline(crease.astype(np.float32))], 4, 2.5, 0.22)


def _brows(rng: np.random.Generator, canvas: F32, maps: Maps, rig: Rig, look: Look) -> None:
    """Brows as a few hundred strokes each, along and out of the line through their landmarks."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    for ids in (range(17, 22), range(26, 21, -1)):
        line = _spline(_texels(maps, rig, ids), 60)
        middle = SIZE / 2
        for _ in range(int(420 * look.brow)):
            s = rng.beta(1.4, 1.1)  # 0 outer end, 1 inner end
            at = line[int(s * 59)]
            half = look.brow * (6 + 11 * min(s * 1.6, 1.0)) * (1 if s < 0.93 else 0.6)
            root = at + np.array([rng.normal(0, 2), rng.uniform(-half, half) + 4])
            out = np.sign(at[0] - middle)
            angle = np.deg2rad(rng.normal(18 + 50 * max(0.0, s - 0.7) / 0.3, 12))
            tip = root + rng.uniform(10, 22) * np.array([out * np.cos(angle), -np.sin(angle) * (s > 0.25)])
            ends = np.rint(np.stack([root, tip]) * 16).astype(np.int32)
            cv2.line(mask, ends[0].tolist(), ends[1].tolist(), int(rng.integers(120, 230)), 1, cv2.LINE_AA, 4)
    density = mask.astype(np.float32) / 255
    soft = cv2.GaussianBlur(density, (0, 0), 5.0)
    colour = np.minimum(np.array(look.hair_colour), skin_colour(look.tone) * 0.55) * 0.8
    _blend(canvas, colour, np.minimum(0.55 * density + 0.55 * soft, 0.92))
    canvas[..., 3] *= 1 - np.minimum(soft, 1)


def _lips(rng: np.random.Generator, canvas: F32, maps: Maps, rig: Rig, look: Look) -> None:
    """Lips with their fine vertical lines, a darker line where they meet, and a soft outer edge."""
    outer = _texels(maps, rig, range(48, 60))
    closed = np.concatenate([_spline(outer[:7], 40), _spline(np.concatenate([outer[6:], outer[:1]]), 40)])
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillPoly(mask, [np.rint(closed * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 3.0)
    lines = cv2.resize(rng.standard_normal((24, 220)).astype(np.float32), (SIZE, SIZE))
    skin = skin_colour(look.tone)
    colour = skin * (1 - look.lips * np.array([0.42, 0.45, 0.13])) * (0.94 - 0.1 * look.lips)
    _blend(canvas, colour, 0.85 * soft)
    canvas[..., :3] *= 1 + 0.05 * (soft * lines)[..., None]
    canvas[..., 3] += 0.22 * soft
    inner = np.concatenate([_texels(maps, rig, range(60, 65)), _texels(maps, rig, [64, 65, 66, 67, 60])])
    canvas[..., :3] *= 1 - 0.35 * _lines((SIZE, SIZE), [inner], 4, 2.0)[..., None]


def _lids(canvas: F32, maps: Maps, rig: Rig, look: Look) -> None:
    """Lash lines: dark above, faint below."""
    for upper, lower in ((range(36, 40), [39, 40, 41, 36]), (range(42, 46), [45, 46, 47, 42])):
        lash = _lines((SIZE, SIZE), [_spline(_texels(maps, rig, upper))], 9, 2.2)
        _blend(canvas, (0.05, 0.05, 0.07), 0.85 * lash)
        low = _lines((SIZE, SIZE), [_spline(_texels(maps, rig, lower))], 4, 2.0)
        _blend(canvas, skin_colour(look.tone) * (0.4, 0.4, 0.55), 0.5 * low)


def _beard(rng: np.random.Generator, canvas: F32, maps: Maps, look: Look) -> None:
    """Stubble to full beard over jaw, chin and upper lip."""
    p = maps.position
    x, y = np.abs(p[..., 0]), p[..., 1]
    line = np.interp(x, [0, 2.4, 3.6, 5.5, 7.2, 8], [-2.2, -2.3, -4.4, -3.6, 0.5, 3.0])
    edge = smoothstep(0.5 - (y - line) / 1.2) * smoothstep((y + 12.5) / 2) * (p[..., 2] > 1.0)
    edge *= smoothstep((np.hypot(p[..., 0] / 2.6, (y + 3.7) / 0.85) - 0.95) / 0.25)  # not on the lips
    edge *= smoothstep((x - 0.05) / 0.6 + (y < -2.9) + (y < -5) * 1.0)
    grain = smoothstep((noise(rng, SIZE, (300, 700), 0.9) + 0.9) / 1.8)  # type: ignore[arg-type]  # single precision
    colour = np.minimum(np.array(look.hair_colour), skin_colour(look.tone) * 0.6)
    full = max(0.0, look.beard - 0.35) / 0.65
    cover = (0.18 + 0.3 * look.beard + 0.35 * full) + (0.25 + 0.2 * full) * (grain - 0.5)
    _blend(canvas, colour, (np.clip(cover, 0, 0.95) * edge).astype(np.float32))


def _hair(rng: np.random.Generator, canvas: F32, maps: Maps, look: Look) -> None:
    """Hair above the hairline, and cloth below the collar."""
    ragged = 2.0 * noise(rng, len(canvas), (40, 90)) if look.hair else 0.5
    mask = hair_mask(maps.position, look.hairline, 6.0 if look.hair else 12.0)
    mask = smoothstep(mask + 0.12 * ragged * 4 * mask * (1 - mask)).astype(np.float32)
    strands = _strands(rng, maps.position)
    colour = np.clip(np.array(look.hair_colour) * (1 + 0.28 * strands[..., None]), 0.01, 1)
    opacity = mask * (0.97 if look.hair else 0.45)
    canvas[..., :3] += opacity[..., None] * (colour.astype(np.float32) - canvas[..., :3])
    canvas[..., 3] += opacity * (0.10 - canvas[..., 3])
    p = maps.position
    collar = smoothstep((-13.0 - 0.06 * np.abs(p[..., 0]) - p[..., 1]) / 0.4).astype(np.float32)
    weave = 1 + 0.08 * noise(rng, len(canvas), (200, 400))
    canvas[..., :3] += collar[..., None] * (np.array(look.cloth) * weave[..., None] - canvas[..., :3])
    canvas[..., 3] *= 1 - collar


def _linear(canvas: F32) -> F32:
    """sRGB-coded to linear, gloss untouched."""
    out = canvas.copy()
    out[..., :3] = np.clip(canvas[..., :3], 0.004, 1) ** 2.2
    return out


def face_texture(rig: Rig, look: Look) -> F32:
    """Linear blue, green, red and gloss of the face, SIZE×SIZE×4."""
    rng = np.random.default_rng([0xFACE, look.seed])
    maps = face_map(rig)
    canvas = _skin(rng, maps, look)
    _spots(rng, canvas, look)
    _folds(rng, canvas, maps, rig, look)
    _lips(rng, canvas, maps, rig, look)
    if look.beard:
        _beard(rng, canvas, maps, look)
    _hair(rng, canvas, maps, look)
    _brows(rng, canvas, maps, rig, look)
    _lids(canvas, maps, rig, look)
    return _linear(canvas)


def head_texture(look: Look) -> F32:
    """Linear texture of scalp, neck and hanging hair, HEAD_SIZE×HEAD_SIZE×4."""
    rng = np.random.default_rng([0x4EAD, look.seed])
    maps = head_map()
    canvas = _skin(rng, maps, look)
    _hair(rng, canvas, maps, look)
    return _linear(canvas)


def eye_texture(look: Look, size: int = 256) -> F32:
    """Linear texture of an eyeball seen from the front; the iris has a quarter of its width as radius."""
    rng = np.random.default_rng([0xE4E, look.seed])
    axis = (np.arange(size) + 0.5) / size * 4 - 2
    x, y = np.meshgrid(axis, axis)
    radius, angle = np.hypot(x, y), np.arctan2(y, x) / (2 * np.pi) + 0.5
    streaks = cv2.resize(rng.standard_normal((4, 90)).astype(np.float32), (512, 64))
    ray = cv2.remap(
        streaks,
        (angle * 511).astype(np.float32),
        (np.clip(radius, 0, 1) * 63).astype(np.float32),
        cv2.INTER_LINEAR,
    )
    canvas = np.empty((size, size, 4), np.float32)
    canvas[..., :3] = np.array([0.70, 0.72, 0.76], np.float32)
    canvas[..., :3] *= 1 - np.clip(radius - 1.2, 0, 1)[..., None] * np.array([0.16, 0.16, 0.03], np.float32)
    iris = np.array(look.iris_colour) * (1 + 0.22 * ray[..., None] + 0.5 * (0.75 - radius)[..., None])
    canvas[..., :3] += smoothstep((1.04 - radius) / 0.14)[..., None] * (
        np.clip(iris, 0.01, 1) - canvas[..., :3]
    )
    limbus = np.exp(-(((radius - 0.97) / 0.09) ** 2))
    canvas[..., :3] *= 1 - 0.6 * limbus[..., None]
    pupil = smoothstep((rng.uniform(0.36, 0.5) - radius) / 0.07)
    canvas[..., :3] *= 1 - 0.96 * pupil[..., None]
    canvas[..., 3] = 0.7
    return _linear(canvas)


def shrink(texture: F32, factor: float) -> F32:
    """Texture reduced by ``factor`` with area averaging, so that fine grain does not flicker in small faces."""
    if factor <= 1.15:
        return texture
    size = max(64, round(len(texture) / factor))
    return np.asarray(cv2.resize(texture, (size, size), interpolation=cv2.INTER_AREA), np.float32)
