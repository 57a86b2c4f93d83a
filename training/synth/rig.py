"""A linear face model driven by action units: identities, expressions, poses, and their picture.

The model is the shared face model derived from ICT-FaceKit (MIT): a mean, 53 expression deltas and 100
identity modes over one mesh of face, head, mouth socket and eyeballs.

Model axes, centimetres: x to the picture's right (the subject's left), y up, z towards the camera. Picture
axes, pixels: x to the right, y down; the subject's right eye (landmark 36) is at the picture's left.

A pose is six numbers: yaw, pitch, roll (radians), shift x, y, z (centimetres, model axes). Yaw is positive
when the subject turns to their left, pitch when they look up, roll when the head turns clockwise in the
picture. Rotations act round :data:`PIVOT` in the neck, as heads do, so that a turn also carries the face.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mellm.detectors.regions import COUNT, centres
from mellm.stream.errors import ModelCorrupt, ModelMissing

F64: TypeAlias = NDArray[np.float64]
F32: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int32]
Side: TypeAlias = Literal["L", "R", "B"]
Split: TypeAlias = Literal["train", "val", "test", "demo"]

PIVOT: Final = (0.0, -6.0, 0.0)
"""Point of the neck that the head turns round, cm."""

FACE, HEAD, MOUTH, EYEBALL, IRIS = range(5)
"""Values of :attr:`Rig.kind`."""

SPLITS: Final[Mapping[Split, range]] = {
    "train": range(1_000_000),
    "val": range(1_000_000, 1_100_000),
    "test": range(2_000_000, 2_100_000),
    "demo": range(3_000_000, 3_100_000),
}
"""Identity seeds of each split. The ranges do not meet, so nobody in a test was seen in training."""

IDENTITY_SCALE: Final = 0.8
"""Standard deviation of identity coefficients. The stored modes carry one population standard deviation
each; a little less keeps the tails of 100 modes from meeting in one odd face."""

IDENTITY_LIMIT: Final = 1.8
"""Largest absolute identity coefficient."""


def _pair(*names: tuple[str, float]) -> dict[Side, list[tuple[str, float]]]:
    """Left, right and both sides of an action unit whose blendshapes come in pairs."""
    left = [(f"{name}_L", weight) for name, weight in names]
    right = [(f"{name}_R", weight) for name, weight in names]
    return {"L": left, "R": right, "B": left + right}


AU_BLENDSHAPES: Final[dict[int, dict[Side, list[tuple[str, float]]]]] = {
    1: _pair(("browInnerUp", 1.0)),
    2: _pair(("browOuterUp", 1.0)),
    4: _pair(("browDown", 1.0)),
    5: _pair(("eyeWide", 1.0)),
    6: _pair(("cheekSquint", 1.0)),
    7: _pair(("eyeSquint", 1.0)),
    9: _pair(("noseSneer", 1.0)),
    10: _pair(("mouthUpperUp", 1.0)),
    12: _pair(("mouthSmile", 1.0)),
    14: _pair(("mouthDimple", 1.0)),
    15: _pair(("mouthFrown", 1.0)),
    16: _pair(("mouthLowerDown", 1.0)),
    17: {"B": [("mouthShrugLower", 1.0)]},
    18: {"B": [("mouthPucker", 1.0)]},
    20: _pair(("mouthStretch", 1.0)),
    22: {"B": [("mouthFunnel", 1.0)]},
    24: _pair(("mouthPress", 1.0)),
    25: _pair(("mouthLowerDown", 0.6), ("mouthUpperUp", 0.25)),
    26: {"B": [("jawOpen", 0.35)]},
    27: {"B": [("jawOpen", 1.0)]},
    28: {"B": [("mouthRollLower", 1.0), ("mouthRollUpper", 1.0)]},
    29: {"B": [("jawForward", 1.0)]},
    30: {"L": [("jawLeft", 1.0)], "R": [("jawRight", 1.0)]},
    34: _pair(("cheekPuff", 1.0)),
    45: _pair(("eyeBlink", 1.0)),
}
"""Action unit → side → blendshapes and weights at full intensity. Names follow the face model's own README,
except AU 10: mouthUpperUp moves like the levator of the lip. The model has no AU 11, 13, 23, 38 and 39."""

_SIDED = {
    "brow": ("Down", "InnerUp", "OuterUp"),
    "cheek": ("Puff", "Squint"),
    "eye": ("Blink", "LookDown", "LookIn", "LookOut", "LookUp", "Squint", "Wide"),
}
BLENDSHAPES: Final[tuple[str, ...]] = (
    *(f"{part}{what}_{side}" for part, kinds in _SIDED.items() for what in kinds for side in "LR"),
    *("jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose"),
    *("mouthDimple_L", "mouthDimple_R", "mouthFrown_L", "mouthFrown_R", "mouthFunnel", "mouthLeft"),
    *("mouthLowerDown_L", "mouthLowerDown_R", "mouthPress_L", "mouthPress_R", "mouthPucker", "mouthRight"),
    *("mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    *("mouthSmile_L", "mouthSmile_R", "mouthStretch_L", "mouthStretch_R"),
    *("mouthUpperUp_L", "mouthUpperUp_R", "noseSneer_L", "noseSneer_R"),
)
"""Order of expression coefficients everywhere; a model file with another order is refused."""

INDEX: Final[dict[str, int]] = {name: i for i, name in enumerate(BLENDSHAPES)}

REMEDY = "fetch the face model again"

_KEYS = {
    "mean": (None, 3),
    "tri": (None, 3),
    "uv": (None, 2),
    "exp": (53, None, 3),
    "idn": (100, None, 3),
    "names": (53,),
    "kind": (None,),
    "lm68": (68,),
}


def au_coefficients(au: int, side: Side = "B") -> F64:
    """Blendshape coefficients (53) of one action unit at full intensity.

    :raises ValueError: the model has no such unit, or the unit has no such side
    """
    sides = AU_BLENDSHAPES.get(au)
    if sides is None:
        raise ValueError(f"the face model has no AU {au}; it has {sorted(AU_BLENDSHAPES)}")
    if side not in sides:
        raise ValueError(f"AU {au} has no side {side!r}, only {', '.join(sides)}")
    out = np.zeros(len(BLENDSHAPES))
    for name, weight in sides[side]:
        out[INDEX[name]] = weight
    return out


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera straight before the head, or its limit at infinity.

    :param width: picture width, pixels
    :param height: picture height
    :param scale: pixels per centimetre at the depth of :data:`PIVOT`
    :param centre: pixel that the point straight above :data:`PIVOT`, at the height of ``look_y``, falls on
    :param distance: from :data:`PIVOT` to the camera, cm; infinity is weak perspective
    :param look_y: height of the model that the camera looks at, cm
    """

    width: int
    height: int
    scale: float
    centre: tuple[float, float]
    distance: float = 90.0
    look_y: float = 2.6

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 16 or not self.scale > 0 or not self.distance > 25:
            raise ValueError(f"camera of {self.width}×{self.height}, {self.scale=}, {self.distance=}")


def camera_for_face(face_width: float, width: int, height: int, distance: float = 90.0) -> Camera:
    """A camera in which the average face, 14.7 cm wide and turned to it, spans ``face_width`` pixels."""
    near = 1.0 if np.isinf(distance) else distance / (distance - 4.0)  # cheeks are 4 cm before the pivot
    return Camera(width, height, face_width / 14.7 / near, (width / 2, height / 2), distance)


@dataclass(frozen=True, slots=True, eq=False)
class Rig:
    """The face model. V vertices, T triangles, all arrays read-only.

    :param mean: V×3 float32, cm
    :param tri: T×3 int32
    :param uv: V×2 float32 in 0…1, v up (face only)
    :param exp: 53×V×3 float32, displacement of each of :data:`BLENDSHAPES` at coefficient 1, cm
    :param idn: 100×V×3 float32, displacement of one standard deviation of each identity mode, cm
    :param kind: V uint8: face, head and neck, mouth socket, eyeball, iris
    :param lm68: vertex of each of the 68 landmarks
    """

    mean: F32
    tri: Ints
    uv: F32
    exp: F32
    idn: F32
    kind: NDArray[np.uint8]
    lm68: Ints

    def __repr__(self) -> str:
        return f"<Rig {len(self.mean)} vertices, {len(self.tri)} triangles, {len(self.exp)} blendshapes>"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the blendshapes, in the order of ``exp``."""
        return BLENDSHAPES

    def au_delta(self, au: int, side: Side = "B") -> F32:
        """Displacement of all vertices (V×3, cm) by one action unit at full intensity."""
        return self.displacement(au_coefficients(au, side))

    def displacement(self, coefficients: ArrayLike) -> F32:
        """Displacement …×V×3 (cm) by expression coefficients …×53."""
        c = np.asarray(coefficients, np.float32)
        out: F32 = (c.reshape(-1, len(self.exp)) @ self.exp.reshape(len(self.exp), -1)).reshape(
            *c.shape[:-1], -1, 3
        )
        return out

    def identity(self, seed: int) -> F32:
        """Neutral vertices (V×3, cm) of person ``seed``; see :data:`SPLITS` for which seeds belong where."""
        rng = np.random.default_rng([0x1D, seed])
        c = rng.normal(0, IDENTITY_SCALE, len(self.idn)).clip(-IDENTITY_LIMIT, IDENTITY_LIMIT)
        out: F32 = self.mean + np.tensordot(c.astype(np.float32), self.idn, 1)
        return out

    def landmarks(self, vertices: ArrayLike) -> NDArray[np.floating]:
        """The 68 landmarks of …×V×n vertices, 3-D or projected."""
        out: NDArray[np.floating] = np.asarray(vertices)[..., self.lm68, :]
        return out

    def iod(self, vertices: F32) -> float:
        """Distance between the eye centres of V×3 vertices, cm."""
        points = self.landmarks(vertices)
        return float(np.linalg.norm(points[42:48].mean(0) - points[36:42].mean(0)))

    def region_vertices(self, per_region: int = 8, radius: float = 0.09) -> Ints:
        """Vertices that sample each region of :data:`mellm.detectors.regions.REGIONS`, ``COUNT``×``per_region``.

        Skin vertices that face the camera inside the region's disk (``radius`` in inter-ocular distances),
        spread as far apart as they go; the nearest ones where the disk holds too few.
        """
        flat = self.mean[:, :2] * np.array([1, -1], np.float32)
        middle = centres(flat[self.lm68].astype(np.float32))
        facing = vertex_normals(self.mean, self.tri)[:, 2] > 0.25
        skin = np.flatnonzero((self.kind == FACE) & facing)
        reach = radius * self.iod(self.mean)
        out = np.empty((COUNT, per_region), np.int32)
        for r in range(COUNT):
            distance = np.hypot(*(flat[skin] - middle[r]).T)
            near = skin[np.argsort(distance)]
            inside = near[: max(per_region, int((distance < reach).sum()))]
            front = inside[self.mean[inside, 2] > self.mean[inside, 2].max() - 2.0]
            pool = front if len(front) >= per_region else inside
            chosen = [int(pool[0])]
            gap = np.full(len(pool), np.inf)
            for _ in range(per_region - 1):  # farthest-point sampling
                gap = np.minimum(gap, np.linalg.norm(self.mean[pool] - self.mean[chosen[-1]], axis=1))
                chosen.append(int(pool[gap.argmax()]))
            out[r] = chosen
        return out


def vertex_normals(vertices: F32, tri: Ints) -> F32:
    """Unit normals (V×3) as area-weighted means of the triangles' normals, pointing out of the face."""
    a, b, c = (vertices[tri[:, i]] for i in range(3))
    face = np.cross(b - a, c - a)
    out = np.zeros_like(vertices)
    for axis in range(3):
        for corner in range(3):
            out[:, axis] += np.bincount(tri[:, corner], face[:, axis], len(vertices))
    out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)
    return out


def rotation(pose: ArrayLike) -> F64:
    """Rotation matrices …×3×3 of poses …×6: pitch first, then yaw, then roll."""
    yaw, pitch, roll = np.moveaxis(np.asarray(pose, np.float64)[..., :3], -1, 0)
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)

    def stack(*rows: tuple[F64, F64, F64]) -> F64:
        out: F64 = np.stack([np.stack(row, -1) for row in rows], -2)
        return out

    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw),
        np.sin(yaw),
        np.cos(pitch),
        np.sin(pitch),
        np.cos(roll),
        np.sin(roll),
    )
    turn = stack((cy, zero, sy), (zero, one, zero), (-sy, zero, cy))
    nod = stack((one, zero, zero), (zero, cp, sp), (zero, -sp, cp))
    tilt = stack((cr, sr, zero), (-sr, cr, zero), (zero, zero, one))
    out: F64 = tilt @ turn @ nod
    return out


def posed(vertices: ArrayLike, pose: ArrayLike) -> F64:
    """Turn and shift …×V×3 vertices by poses …×6; the result's origin is :data:`PIVOT`."""
    centred = np.asarray(vertices, np.float64) - PIVOT
    p = np.asarray(pose, np.float64)
    out: F64 = centred @ np.swapaxes(rotation(p), -1, -2) + p[..., None, 3:]
    return out


def project(vertices: ArrayLike, pose: ArrayLike, camera: Camera) -> F64:
    """Picture positions …×V×2 (pixels) of …×V×3 vertices in poses …×6."""
    x = posed(vertices, pose)
    grow = np.full(x.shape[:-1], camera.scale)
    if np.isfinite(camera.distance):
        grow = camera.scale * camera.distance / (camera.distance - x[..., 2])
    cx, cy = camera.centre
    level = camera.look_y - PIVOT[1]
    out: F64 = np.stack([cx + grow * x[..., 0], cy - grow * (x[..., 1] - level)], -1)
    return out


def model_path() -> Path:
    """Where the face model is looked for: ``MELLM_FACE_MODEL`` (a file), ``MELLM_SHARED`` (a folder), or
    ``../shared/data`` beside the repository."""
    if named := os.environ.get("MELLM_FACE_MODEL"):
        return Path(named)
    repo = Path(__file__).resolve().parents[2]
    root = Path(os.environ.get("MELLM_SHARED", repo.parent / "shared" / "data"))
    return root / "face-model" / "head_f16.npz"


def load_rig(path: str | Path | None = None) -> Rig:
    """The face model from ``path``, or from :func:`model_path`. Loaded once per path.

    :raises ModelMissing: there is no such file
    :raises ModelCorrupt: the file is damaged, or its arrays are not those of the face model
    """
    return _load(Path(path) if path is not None else model_path())


@lru_cache(maxsize=2)
def _load(path: Path) -> Rig:
    if not path.is_file():
        raise ModelMissing(
            f"no face model at {path}",
            remedy="set MELLM_FACE_MODEL to head_f16.npz, or MELLM_SHARED to the folder that holds face-model/",
        )
    try:
        # opened here, not by numpy, which leaves a damaged file open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            missing = sorted(set(_KEYS) - set(stored.files))
            if missing:
                raise ModelCorrupt(f"{path.name} lacks {', '.join(missing)}", remedy=REMEDY)
            raw = {key: stored[key] for key in _KEYS}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ModelCorrupt(f"{path.name} cannot be read: {error}", remedy=REMEDY) from error
    _check(path.name, raw)
    rig = Rig(
        mean=raw["mean"].astype(np.float32),
        tri=raw["tri"].astype(np.int32),
        uv=raw["uv"].astype(np.float32),
        exp=raw["exp"].astype(np.float32),
        idn=raw["idn"].astype(np.float32),
        kind=raw["kind"].astype(np.uint8),
        lm68=raw["lm68"].astype(np.int32),
    )
    for array in (rig.mean, rig.tri, rig.uv, rig.exp, rig.idn, rig.kind, rig.lm68):
        array.setflags(write=False)
    return rig


def _check(name: str, raw: dict[str, NDArray[np.generic]]) -> None:
    """Refuse arrays whose shapes or indices do not fit together."""
    vertices = len(raw["mean"])
    for key, shape in _KEYS.items():
        got = raw[key].shape
        want = tuple(size if size is not None else axis for size, axis in zip(shape, got, strict=False))
        if len(got) != len(shape) or got != want:
            raise ModelCorrupt(f"{name}: {key} has shape {got}", remedy=REMEDY)
    sizes = {len(raw["uv"]), len(raw["kind"]), raw["exp"].shape[1], raw["idn"].shape[1], vertices}
    if len(sizes) > 1 or max(int(raw["tri"].max()), int(raw["lm68"].max())) >= vertices:
        raise ModelCorrupt(f"{name}: its arrays do not belong to one mesh", remedy=REMEDY)
    if tuple(str(n) for n in raw["names"]) != BLENDSHAPES:
        raise ModelCorrupt(f"{name}: its blendshapes are others, or in another order", remedy=REMEDY)
