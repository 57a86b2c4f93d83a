from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mellm.stream.errors import UsageError
from mellm.training.instruct.pairs import UnitTruth
from mellm.training.mellm import store


def some(name: str) -> store.Stored:
    rng = np.random.default_rng(len(name))
    return store.Stored(
        name, "rendered-1", "train", "rendered", "expression", (UnitTruth(4, "left", 0.2),), 1.2, False, 320.0,
        "anger", "negative", rng.integers(0, 255, (128, 128, 3), np.uint8),
        rng.normal(size=(31, 2)).astype(np.float32), 0.2, True,
    )  # fmt: skip


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    pairs = [some("a"), some("bb")]
    store.save(tmp_path / "rendered-train" / "0000001.npz", pairs)
    back = store.load(tmp_path, "rendered", "train")
    assert [p.id for p in back] == ["a", "bb"]
    assert back[0].units == pairs[0].units
    assert back[0].aus == {4}
    assert np.array_equal(back[1].picture, pairs[1].picture)
    assert np.array_equal(back[1].motion, pairs[1].motion)
    assert len(back[0].table) == 31
    assert store.load(tmp_path, "stills", "train") == []


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "x.npz"
    bad.write_bytes(b"no pairs")
    with pytest.raises(UsageError, match=r"x\.npz"):
        list(store.load_file(bad))
