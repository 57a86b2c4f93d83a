"""Builds this project's face model from the original one, ICT-FaceKit (MIT licence), so that anyone can rebuild it.

``python -m mellm.training.synth.import_ict FaceXModel --out head_f16.npz`` reads the folder ``FaceXModel`` of the
original's repository: ``generic_neutral_mesh.obj``, ``identity000.obj`` … ``identity099.obj`` and one ``.obj`` for each
blendshape, all of one topology. Face, head, mouth socket and eyeballs are kept; teeth, lashes and fluids are not.
Point ``MELLM_FACE_MODEL`` at the result.

Vertex ranges and the 68 landmarks are the ones that the original's README lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from mellm.stream.errors import ModelCorrupt, ModelMissing
from mellm.stream.files import replacing
from mellm.training.command import Command
from mellm.training.synth.rig import BLENDSHAPES, EYEBALL, FACE, HEAD, IRIS, MOUTH

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]

MODES = 100
NEUTRAL = "generic_neutral_mesh.obj"
REMEDY = "take the folder FaceXModel of ICT-FaceKit's present version, whole"

MULTI_PIE = (
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443, 268, 493, 1914,
    2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360, 1507, 1542, 1537,
    1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732, 5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957,
    5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
)  # fmt: skip
"""Vertices of the 68 landmarks."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which vertices are what. ``parts``: first, last-but-one, kind; ``vertices``: of the whole mesh."""

    vertices: int
    parts: tuple[tuple[int, int, int], ...]
    landmarks: tuple[int, ...]


LIGHT = Layout(
    26_719,
    (
        (0, 9409, FACE),
        (9409, 11_248, HEAD),
        (11_248, 13_294, MOUTH),
        (21_451, 22_221, EYEBALL),
        (22_221, 23_021, IRIS),
        (23_021, 23_791, EYEBALL),
        (23_791, 24_591, IRIS),
    ),
    MULTI_PIE,
)
"""ICT Face Model Light."""


def vertices(path: Path, count: int) -> F64:
    """The ``v`` lines of an OBJ file, N×3.

    :raises ModelMissing: there is no such file
    :raises ModelCorrupt: it holds another number of vertices, or no numbers
    """
    lines = _lines(path)
    try:
        found = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], np.float64)
    except ValueError as error:
        raise ModelCorrupt(f"{path.name} has a vertex that is not a point: {error}", remedy=REMEDY) from error
    if found.shape != (count, 3):
        raise ModelCorrupt(f"{path.name} has {len(found)} vertices, not {count}", remedy=REMEDY)
    if not np.isfinite(found).all():
        raise ModelCorrupt(f"{path.name} has a vertex that is not finite", remedy=REMEDY)
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError as error:
        raise ModelMissing(f"{path.name} is not in {path.parent.name}", remedy=REMEDY) from error


def faces(path: Path) -> tuple[list[list[tuple[int, int]]], F64]:
    """Polygons of an OBJ file as lists of (vertex, texture point), from 0, and the texture points."""
    polygons, texture = [], []
    for line in _lines(path):
        if line.startswith("vt "):
            texture.append([float(x) for x in line.split()[1:3]])
        elif line.startswith("f "):
            corners = [corner.split("/") for corner in line.split()[1:]]
            polygons.append([(int(c[0]) - 1, int(c[1]) - 1 if len(c) > 1 and c[1] else -1) for c in corners])
    if not polygons:
        raise ModelCorrupt(f"{path.name} has no faces", remedy=REMEDY)
    return polygons, np.array(texture, np.float64).reshape(-1, 2)


def build(folder: Path, layout: Layout = LIGHT, modes: int = MODES) -> dict[str, NDArray[np.generic]]:
    """The arrays of this project's face model.

    :raises ModelMissing: a file is not there
    :raises ModelCorrupt: a file is not of this topology
    """
    rows = np.concatenate([np.arange(first, stop) for first, stop, _ in layout.parts])
    kind = np.concatenate([np.full(stop - first, what, np.uint8) for first, stop, what in layout.parts])
    place = np.full(layout.vertices, -1)
    place[rows] = np.arange(len(rows))
    neutral = vertices(folder / NEUTRAL, layout.vertices)[rows]

    def delta(name: str) -> NDArray[np.float16]:
        moved = vertices(folder / f"{name}.obj", layout.vertices)[rows] - neutral
        return np.asarray(moved, np.float16)

    polygons, texture = faces(folder / NEUTRAL)
    triangles: list[tuple[int, int, int]] = []
    uv = np.zeros((len(rows), 2), np.float16)
    for polygon in polygons:
        corners = [int(place[v]) for v, _ in polygon]
        if min(corners) < 0:
            continue
        triangles += [(corners[0], corners[k], corners[k + 1]) for k in range(1, len(corners) - 1)]
        for (_, t), corner in zip(polygon, corners, strict=True):
            if 0 <= t < len(texture):
                uv[corner] = texture[t]
    return {
        "mean": neutral.astype(np.float32),
        "tri": np.array(triangles, np.uint16),
        "uv": uv,
        "exp": np.stack([delta(name) for name in BLENDSHAPES]),
        "idn": np.stack([delta(f"identity{k:03d}") for k in range(modes)]),
        "names": np.array(BLENDSHAPES),
        "kind": kind,
        "lm68": place[list(layout.landmarks)].astype(np.int32),
    }


def write(arrays: dict[str, NDArray[np.generic]], path: Path) -> None:
    """Write the face model, whole or not at all."""
    with replacing(path) as part:
        np.savez_compressed(part, **arrays)  # type: ignore[arg-type]


@click.command(cls=Command)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(folder: Path, out: Path) -> None:
    """Build the face model from FOLDER, the original's FaceXModel."""
    write(build(folder), out)
    click.echo(f"{out}: set MELLM_FACE_MODEL to it")


if __name__ == "__main__":
    main()
