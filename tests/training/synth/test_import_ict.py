"""The original face model's files become ours: same points, same triangles, same landmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mellm.stream.errors import ModelCorrupt, ModelMissing
from mellm.training.synth import import_ict
from mellm.training.synth.import_ict import Layout
from mellm.training.synth.rig import BLENDSHAPES, EYEBALL, FACE, load_rig

LAYOUT = Layout(12, ((0, 6, FACE), (9, 12, EYEBALL)), (0, 5, 9))


def obj(points: np.ndarray) -> str:
    lines = ["mtllib x.mtl", *("v {:.6f} {:.6f} {:.6f}".format(*p) for p in points)]
    lines += [f"vt {k / 12:.4f} {1 - k / 12:.4f}" for k in range(12)]
    lines += [
        "vn 0 0 1",
        "f 1/1/1 2/2/1 3/3/1 4/4/1",
        "f 5/5/1 6/6/1 1/1/1",
        "f 7/7/1 8/8/1 9/9/1",
        "f 10/10 11/11 12/12",
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A mesh of twelve points in the original's files; three of them are teeth."""
    rng = np.random.default_rng(0)
    neutral = rng.normal(size=(12, 3))
    (tmp_path / import_ict.NEUTRAL).write_text(obj(neutral))
    for k, name in enumerate((*BLENDSHAPES, "identity000", "identity001")):
        (tmp_path / f"{name}.obj").write_text(obj(neutral + (k + 1) / 100))
    return tmp_path


def test_what_is_kept_keeps_its_place(folder: Path) -> None:
    made = import_ict.build(folder, LAYOUT, modes=2)
    assert made["mean"].shape == (9, 3)
    assert made["kind"].tolist() == [FACE] * 6 + [EYEBALL] * 3
    assert made["tri"].tolist() == [
        [0, 1, 2],
        [0, 2, 3],
        [4, 5, 0],
        [6, 7, 8],
    ]  # a square is two; teeth are gone
    assert made["lm68"].tolist() == [0, 5, 6]
    assert made["exp"].shape == (53, 9, 3)
    assert np.allclose(made["exp"][4], 0.05, atol=1e-3)
    assert np.allclose(made["idn"][1], 0.55, atol=1e-3)
    assert np.allclose(made["uv"][6], [9 / 12, 3 / 12], atol=1e-3)


def test_a_missing_and_a_foreign_file_are_named(folder: Path) -> None:
    (folder / "jawOpen.obj").write_text(obj(np.zeros((11, 3))))
    with pytest.raises(ModelCorrupt, match=r"jawOpen\.obj has 11 vertices, not 12"):
        import_ict.build(folder, LAYOUT, modes=2)
    (folder / "jawOpen.obj").unlink()
    with pytest.raises(ModelMissing, match=r"jawOpen\.obj"):
        import_ict.build(folder, LAYOUT, modes=2)
    (folder / "jawOpen.obj").write_text("v 1 2 x\n")
    with pytest.raises(ModelCorrupt, match="not a point"):
        import_ict.build(folder, LAYOUT, modes=2)


def test_the_layout_is_that_of_the_face_model_in_use(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "face-model" / "head_f16.npz"
    if not path.exists():
        pytest.skip("no face model in the shared data")
    with np.load(path) as ours:
        kind = [np.full(stop - first, what) for first, stop, what in import_ict.LIGHT.parts]
        assert np.array_equal(np.concatenate(kind), ours["kind"])
        assert np.array_equal(import_ict.LIGHT.landmarks, ours["lm68"])
        arrays = {name: ours[name] for name in ours.files}
    import_ict.write(arrays, tmp_path / "again.npz")
    assert load_rig(tmp_path / "again.npz").mean.shape == (16434, 3)
    assert [p.name for p in tmp_path.iterdir()] == ["again.npz"]
