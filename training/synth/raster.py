"""Z-buffer rasteriser and pixel shader, compiled with numba.

Buffers are H×W. The rasteriser keeps, for each pixel, which triangle is seen and where in it (barycentric
weights of its second and third corner), so that the place of every visible point of the skin in another
frame, and with it the exact flow, can be looked up.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

F32: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int32]

EMPTY = -1
"""Triangle id of a pixel that shows background."""


@njit(cache=True, fastmath=True)
def normals(vertices: F32, tri: Ints, out: F32) -> None:
    """Area-weighted vertex normals into ``out`` (V×3), not yet of unit length."""
    out[:] = 0
    for i in range(tri.shape[0]):
        a, b, c = tri[i, 0], tri[i, 1], tri[i, 2]
        ux = vertices[b, 0] - vertices[a, 0]
        uy = vertices[b, 1] - vertices[a, 1]
        uz = vertices[b, 2] - vertices[a, 2]
        vx = vertices[c, 0] - vertices[a, 0]
        vy = vertices[c, 1] - vertices[a, 1]
        vz = vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for v in (a, b, c):
            out[v, 0] += nx
            out[v, 1] += ny
            out[v, 2] += nz


@njit(cache=True, fastmath=True)
def rasterise(xy: F32, depth: F32, tri: Ints, zbuffer: F32, ids: Ints, bary: F32) -> None:
    """Fill ``ids`` (H×W), ``bary`` (H×W×2) and ``zbuffer`` with the nearest triangles.

    :param xy: V×2, pixels; pixel (column, row) has its centre at (column, row)
    :param depth: V, larger is nearer; triangles that wind the other way round are not drawn
    """
    height, width = ids.shape
    zbuffer[:] = -1e9
    ids[:] = EMPTY
    for i in range(tri.shape[0]):
        a, b, c = tri[i, 0], tri[i, 1], tri[i, 2]
        x0, y0, x1, y1, x2, y2 = xy[a, 0], xy[a, 1], xy[b, 0], xy[b, 1], xy[c, 0], xy[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area >= -1e-6:  # y points down, so faces that turn to the camera wind clockwise
            continue
        left = max(0, math.ceil(min(x0, x1, x2)))
        right = min(width - 1, math.floor(max(x0, x1, x2)))
        top = max(0, math.ceil(min(y0, y1, y2)))
        bottom = min(height - 1, math.floor(max(y0, y1, y2)))
        inverse = 1.0 / area
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                w1 = ((x - x0) * (y2 - y0) - (x2 - x0) * (y - y0)) * inverse
                if w1 < -1e-5:
                    continue
                w2 = ((x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)) * inverse
                if w2 < -1e-5 or w1 + w2 > 1.00001:
                    continue
                z = depth[a] + w1 * (depth[b] - depth[a]) + w2 * (depth[c] - depth[a])
                if z > zbuffer[y, x]:
                    zbuffer[y, x] = z
                    ids[y, x] = i
                    bary[y, x, 0] = w1
                    bary[y, x, 1] = w2


@njit(cache=True, fastmath=True)
def interpolate(ids: Ints, bary: F32, tri: Ints, values: F32, out: F32) -> None:
    """Vertex ``values`` (V×C) at every covered pixel, into ``out`` (H×W×C); other pixels are left alone."""
    for y in range(ids.shape[0]):
        for x in range(ids.shape[1]):
            i = ids[y, x]
            if i < 0:
                continue
            w1, w2 = bary[y, x, 0], bary[y, x, 1]
            w0 = 1 - w1 - w2
            for c in range(values.shape[1]):
                out[y, x, c] = (
                    w0 * values[tri[i, 0], c] + w1 * values[tri[i, 1], c] + w2 * values[tri[i, 2], c]
                )


@njit(cache=True, fastmath=True, inline="always")
def _sample(texture: F32, u: float, v: float) -> tuple[float, float, float, float]:
    """Bilinear look-up of four channels; u to the right, v up, both 0…1."""
    height, width = texture.shape[0], texture.shape[1]
    x = min(max(u * width - 0.5, 0.0), width - 1.001)
    y = min(max((1 - v) * height - 0.5, 0.0), height - 1.001)
    i, j = int(x), int(y)
    fx, fy = x - i, y - j
    w00, w01, w10, w11 = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    p, q, r, s = texture[j, i], texture[j, i + 1], texture[j + 1, i], texture[j + 1, i + 1]
    return (
        w00 * p[0] + w01 * q[0] + w10 * r[0] + w11 * s[0],
        w00 * p[1] + w01 * q[1] + w10 * r[1] + w11 * s[1],
        w00 * p[2] + w01 * q[2] + w10 * r[2] + w11 * s[2],
        w00 * p[3] + w01 * q[3] + w10 * r[3] + w11 * s[3],
    )


@njit(cache=True, fastmath=True)
def shade(
    ids: Ints,
    bary: F32,
    tri: Ints,
    layer: NDArray[np.uint8],
    normal: F32,
    extra: F32,
    uv: F32,
    textures: tuple[F32, F32, F32],
    lights: F32,
    ambient: F32,
    eyes: F32,
    out: F32,
) -> None:
    """Light every covered pixel: linear blue, green, red into ``out`` (H×W×3).

    :param layer: per triangle 0 face, 1 head, 2 mouth, 3 eyeball, 4 teeth
    :param normal: V×3, any length
    :param extra: V×4: occlusion (1 open), model position x, y, z
    :param textures: face, head, eye; channels blue, green, red, gloss
    :param lights: L×6: direction towards the light, colour
    :param ambient: 2×3, from above and below
    :param eyes: 2×7: centre, gaze angles (x, y), iris radius (radians), upper lid height; left, right
    """
    face, head, iris = textures
    for py in range(ids.shape[0]):
        for px in range(ids.shape[1]):
            i = ids[py, px]
            if i < 0:
                continue
            a, b, c = tri[i, 0], tri[i, 1], tri[i, 2]
            w1, w2 = bary[py, px, 0], bary[py, px, 1]
            w0 = 1 - w1 - w2
            nx = w0 * normal[a, 0] + w1 * normal[b, 0] + w2 * normal[c, 0]
            ny = w0 * normal[a, 1] + w1 * normal[b, 1] + w2 * normal[c, 1]
            nz = w0 * normal[a, 2] + w1 * normal[b, 2] + w2 * normal[c, 2]
            inverse = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
            nx, ny, nz = nx * inverse, ny * inverse, nz * inverse
            open_ = w0 * extra[a, 0] + w1 * extra[b, 0] + w2 * extra[c, 0]
            kind = layer[i]
            sharp = False
            red, green, blue, gloss = 0.0, 0.0, 0.0, 0.0
            wrap = 0.25  # light bleeds round into skin
            if kind <= 1:
                u = w0 * uv[a, 0] + w1 * uv[b, 0] + w2 * uv[c, 0]
                v = w0 * uv[a, 1] + w1 * uv[b, 1] + w2 * uv[c, 1]
                if kind == 0:
                    blue, green, red, gloss = _sample(face, u, v)
                else:
                    blue, green, red, gloss = _sample(head, u, v)
            elif kind == 2:
                z = w0 * extra[a, 3] + w1 * extra[b, 3] + w2 * extra[c, 3]
                dim = min(max((z - 6.5) / 4.0, 0.03), 1.0)
                red, green, blue, gloss = 0.20 * dim, 0.045 * dim, 0.04 * dim, 0.15 * dim
            elif kind == 4:  # teeth: dark seams every 0.55 cm, darker towards the corners of the mouth
                u = abs(w0 * uv[a, 0] + w1 * uv[b, 0] + w2 * uv[c, 0] - 2.1)
                seam = abs(u / 0.55 - math.floor(u / 0.55) - 0.5)
                dim = (1.0 - 0.3 * max(seam * 8.0 - 3.2, 0.0)) * max(1.0 - 0.36 * u, 0.1) * 0.62
                red, green, blue, gloss = 0.62 * dim, 0.55 * dim, 0.46 * dim, 0.25
            else:
                x = w0 * extra[a, 1] + w1 * extra[b, 1] + w2 * extra[c, 1]
                y = w0 * extra[a, 2] + w1 * extra[b, 2] + w2 * extra[c, 2]
                z = w0 * extra[a, 3] + w1 * extra[b, 3] + w2 * extra[c, 3]
                e = 0 if x > 0 else 1
                dx, dy, dz = x - eyes[e, 0], y - eyes[e, 1], z - eyes[e, 2]
                size = 1.0 / math.sqrt(dx * dx + dy * dy + dz * dz + 1e-12)
                ax = math.atan2(dx, dz) - eyes[e, 3]
                ay = math.asin(min(max(dy * size, -1.0), 1.0)) - eyes[e, 4]
                u, v = 0.5 + 0.25 * ax / eyes[e, 5], 0.5 + 0.25 * ay / eyes[e, 5]
                blue, green, red, gloss = _sample(iris, u, v)
                shade_lid = min(max((eyes[e, 6] - y) / 0.45, 0.0), 1.0)  # the upper lid's shadow
                rim = min(max((1.75 - abs(dx)) / 0.9, 0.0), 1.0)
                open_ = (0.42 + 0.58 * shade_lid) * (0.55 + 0.45 * rim)
                sharp, wrap = True, 0.1
            sky = 0.5 + 0.5 * ny
            lb = open_ * (ambient[1, 0] + sky * (ambient[0, 0] - ambient[1, 0]))
            lg = open_ * (ambient[1, 1] + sky * (ambient[0, 1] - ambient[1, 1]))
            lr = open_ * (ambient[1, 2] + sky * (ambient[0, 2] - ambient[1, 2]))
            sr = sg = sb = 0.0
            half_open = 0.35 + 0.65 * open_
            for k in range(lights.shape[0]):
                x, y, z = lights[k, 0], lights[k, 1], lights[k, 2]
                d = nx * x + ny * y + nz * z
                red_d = max((d + wrap + 0.12) / (1 + wrap + 0.12), 0.0)  # red light goes deepest
                soft = max((d + wrap) / (1 + wrap), 0.0)
                lb += half_open * lights[k, 3] * soft
                lg += half_open * lights[k, 4] * soft
                lr += half_open * lights[k, 5] * red_d
                if d > 0:
                    hz = z + 1.0
                    long_ = 1.0 / math.sqrt(x * x + y * y + hz * hz)
                    s = max((nx * x + ny * y + nz * hz) * long_, 0.0)
                    s *= s
                    s4 = s * s
                    s16 = s4 * s4 * s4 * s4
                    spec = gloss * d * (s16 * s16 * s16 * s16 * s16 if sharp else s16 * s)
                    sb += spec * lights[k, 3]
                    sg += spec * lights[k, 4]
                    sr += spec * lights[k, 5]
            out[py, px, 0] = blue * lb + sb
            out[py, px, 1] = green * lg + sg
            out[py, px, 2] = red * lr + sr


@njit(cache=True, fastmath=True)
def resolve(ids: Ints, light: F32, background: F32, sub: int, gain: float, out: F32) -> None:
    """Average ``sub``×``sub`` sub-pixels (``light`` times ``gain`` where covered, else background) into ``out``."""
    share = 1.0 / (sub * sub)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            blue = green = red = 0.0
            covered = 0
            for j in range(sub):
                for i in range(sub):
                    if ids[sub * y + j, sub * x + i] >= 0:
                        covered += 1
                        blue += light[sub * y + j, sub * x + i, 0]
                        green += light[sub * y + j, sub * x + i, 1]
                        red += light[sub * y + j, sub * x + i, 2]
            empty = 1 - covered * share
            out[y, x, 0] = gain * share * blue + empty * background[y, x, 0]
            out[y, x, 1] = gain * share * green + empty * background[y, x, 1]
            out[y, x, 2] = gain * share * red + empty * background[y, x, 2]


@njit(cache=True, fastmath=True)
def develop(
    light: F32, gain: F32, curve: F32, noise: F32, sign: int, shot: float, read: float, out: NDArray[np.uint8]
) -> None:
    """Display curve and sensor noise: linear ``light`` (H×W×3) to 8 bits.

    Past the curve, shot noise is nearly even over brightness and read noise grows in the dark.

    :param gain: per channel
    :param curve: display level of light in equal steps, its last entry white
    :param noise: unit noise, same shape
    :param sign: 1, or -1 to turn it over
    """
    last = curve.shape[0] - 1
    for y in range(light.shape[0]):
        for x in range(light.shape[1]):
            for c in range(3):
                at = min(max(light[y, x, c] * gain[c] * last, 0.0), last - 0.001)
                i = int(at)
                level = curve[i] + (at - i) * (curve[i + 1] - curve[i])
                level += sign * noise[y, x, c] * (shot + read * (1.8 - level / 142))
                out[y, x, c] = np.uint8(min(max(level + 0.5, 0.0), 255.0))
