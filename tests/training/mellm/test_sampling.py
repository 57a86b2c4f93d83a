from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
from mellm.engine.evidence import colour_wheel  # noqa: E402
from mellm.training.instruct.pairs import UnitTruth  # noqa: E402
from mellm.training.mellm import sampling  # noqa: E402
from mellm.training.mellm.store import Stored  # noqa: E402


def a_map(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    flow = cv2.GaussianBlur(rng.normal(size=(128, 128, 2)).astype(np.float32), (0, 0), 6) * 10
    strength = np.clip(np.hypot(*np.moveaxis(flow, -1, 0)), 0, 1)
    return colour_wheel.glow(flow, strength, rng.integers(0, 100, (128, 128), np.uint8))


def pair(name: str, kind: str = "expression", above: bool = True) -> Stored:
    units = (UnitTruth(12, "left", 0.2),) if kind == "expression" else ()
    return Stored(
        name, "rendered-1", "train", "rendered", kind, units, 1.0, False, 300.0, None, None,  # type: ignore[arg-type]
        a_map(len(name)), np.zeros((31, 2), np.float32), 0.1, above,
    )  # fmt: skip


def test_a_map_taken_apart_and_put_together_is_the_same() -> None:
    pictures = np.stack([a_map(1), a_map(2)])
    back = sampling.put_together(*sampling.take_apart(torch.from_numpy(pictures)))
    assert np.abs((back - sampling.plain(pictures)).numpy()).max() < 1e-4


def test_vectors_point_where_the_colours_say() -> None:
    flow = np.zeros((8, 8, 2), np.float32)
    flow[..., 1] = -1  # up in the picture
    picture = colour_wheel.glow(flow, np.full((8, 8), 0.5, np.float32), np.full((8, 8), 40, np.uint8))
    gray, vectors = sampling.take_apart(torch.from_numpy(picture[None]))
    assert float(gray.mean()) == pytest.approx(20 / 255, abs=0.01)
    assert vectors[0, 0].abs().max() < 0.02
    assert float(vectors[0, 1].mean()) == pytest.approx(-0.5, abs=0.02)


def test_mirroring_turns_motion_and_sides_and_leaves_the_legend() -> None:
    gray, vectors = sampling.take_apart(torch.from_numpy(a_map(3)[None]))
    flipped_gray, flipped = sampling._mirrored(gray[0], vectors[0])
    assert torch.allclose(flipped[0, 10], -vectors[0, 0, 10].flip(-1))
    assert torch.allclose(flipped[1, 10], vectors[0, 1, 10].flip(-1))
    assert torch.equal(flipped[:, -5:, -5:], vectors[0, :, -5:, -5:])
    assert torch.equal(flipped_gray[10], gray[0, 10].flip(-1))
    truth = sampling.Truth("expression", ((12, "left"), (4, "both")))
    assert truth.mirrored().units == ((12, "right"), (4, "both"))
    half = len(sampling.AUS)
    vector = truth.vector()
    at = sampling.AUS.index(12)
    assert vector[at] == 1
    assert vector[half + at] == 0
    assert vector[2 * half] == 1


def test_batches_repeat_with_the_seed_and_hold_what_was_asked_for() -> None:
    pairs = [pair("a"), pair("bb"), pair("ccc", "still", False), pair("dddd", "speech"), pair("eeeee")]
    pairs.append(replace(pair("ffffff"), above=False))
    options = sampling.SampleOptions(negatives=0.5)
    one, two = (sampling.Sampler(pairs, options, seed=4) for _ in range(2))
    assert len(one.pairs) == 5  # the expression that nobody can see is left out
    (x, truths), (y, others) = one.batch(200), two.batch(200)
    assert torch.equal(x, y)
    assert truths == others
    assert x.shape == (200, 3, 128, 128)
    assert float(x.abs().max()) <= 1.0
    share = sum(t.kind != "expression" for t in truths) / len(truths)
    assert 0.35 < share < 0.65
    assert all(bool(t.units) == (t.kind == "expression") for t in truths)
