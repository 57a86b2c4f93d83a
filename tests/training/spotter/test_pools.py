"""Training material: what is cut, what is not learnt from, and what augmentation leaves true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="extra `train` is not installed")

from mellm.detectors.regions import NAMES  # noqa: E402
from mellm.detectors.sensitivity import half_motion  # noqa: E402
from mellm.detectors.signals import FEATURES  # noqa: E402
from mellm.detectors.stepmodel import APEX, ME  # noqa: E402
from mellm.training.spotter.dataset import MIRROR_ORDER, MIRROR_SIGN, WEIGHT, Augment  # noqa: E402
from mellm.training.spotter.evaluate import Interval  # noqa: E402
from mellm.training.spotter.laid import LENGTH, Bank, Laid, Stretch, stretches_of  # noqa: E402
from mellm.training.spotter.net import DELAY  # noqa: E402
from mellm.training.spotter.pools import Pool, Sampler  # noqa: E402
from mellm.training.spotter.records import Record  # noqa: E402
from mellm.training.synth.simulator import Truth  # noqa: E402

HALF = FEATURES // 2
STILL = Augment(gain=0, region_gain=0, drop=0, noise=0)


def record(steps: int = 300, void: tuple[int, ...] = (), truths: tuple[Interval, ...] = ()) -> Record:
    features = np.random.default_rng(0).normal(size=(steps, FEATURES)).astype(np.float32)
    features[list(void)] = np.nan
    grid = 0.34 + 0.02 * np.arange(steps)
    return Record("r", "who", grid, features, truths, steps * 0.02, 50, 90)


def test_voids_and_jumps_part_stretches() -> None:
    r = record(300, void=(100, 101))
    assert r.stretches() == [(0, 100), (102, 300)]
    grid = r.grid_s.copy()
    grid[200:] += 1
    assert replace(r, grid_s=grid).stretches() == [(0, 100), (102, 200), (200, 300)]
    assert record(5, void=(0, 1, 2, 3, 4)).stretches() == []


def test_a_pool_pads_and_does_not_learn_from_padding() -> None:
    pool = Pool.of_records([record(250)], steps=200)
    assert pool is not None
    assert pool.lengths.tolist() == [200]  # the rest, 50 steps, is too short
    pool = Pool.of_records([record(350)], steps=200)
    assert pool is not None
    assert pool.lengths.tolist() == [200, 150]
    assert not pool.features[1, 150:].any()
    assert not pool.targets[1, 150:, WEIGHT].any()
    assert Pool.of_records([record(60)]) is None


def test_targets_stay_with_their_moment() -> None:
    truth = Interval(2.0, 2.2, 2.4, (4,), 3.0)
    pool = Pool.of_records([record(300, truths=(truth,))], steps=300)
    assert pool is not None
    marked = torch.arange(300, dtype=torch.float32)[None, :, None].expand(1, 300, FEATURES).half() / 10
    pool = replace(pool, features=marked.contiguous())
    sampler = Sampler([(pool, 1.0)], size=64, steps=100, augment=STILL, seed=1)
    x, y = sampler.batch()
    assert x.shape == (64, 100 + DELAY, FEATURES)
    apex_step = round((2.2 - 0.34) / 0.02)
    for crop, told in zip(x, y, strict=True):
        if told[:, APEX].max() > 0.9:
            column = crop[:, 0].abs()
            assert abs(float(column[int(told[:, APEX].argmax())]) * 10 - apex_step) <= 1


def test_shares_and_mirrors() -> None:
    busy = Pool.of_records([record(300, truths=(Interval(2.0, 2.2, 2.4, (4,), 3.0),))])
    free = Pool.of_records([record(300)])
    assert busy is not None
    assert free is not None

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        return both(7).batch()

    def both(seed: int) -> Sampler:
        laid = Laid(people(), bank(), seed=seed)
        return Sampler(
            [(busy, 0.5), (free, 0.25)],
            size=8,
            steps=100,
            augment=STILL,
            seed=2,
            laid=laid,
            laid_share=0.25,
        )

    x, y = batch()
    assert [n for _, n in both(7).parts] == [4, 2]
    assert both(7).real == 2
    assert x.shape == (8, 100 + DELAY, FEATURES)
    assert not y[4:6, :, ME].any()
    assert torch.equal(x, batch()[0])
    plain = free.features[0].float()
    mirrored = plain[:, torch.from_numpy(MIRROR_ORDER)] * torch.from_numpy(MIRROR_SIGN)
    crops = Sampler([(free, 1.0)], size=32, steps=100, augment=STILL, seed=3).batch()[0]
    first = crops[:, 0]
    is_plain = (first[:, None] - plain[None]).abs().amax(-1).amin(1) < 1e-3
    is_mirrored = (first[:, None] - mirrored[None]).abs().amax(-1).amin(1) < 1e-3
    assert bool((is_plain | is_mirrored).all())
    assert bool(is_plain.any())
    assert bool(is_mirrored.any())


def people(size: float = 0.0) -> list[Stretch]:
    return [Stretch(who, np.full((400, FEATURES), size, np.float16)) for who in ("a", "b")]


def bank(peak: float = 2.0) -> Bank:
    """One expression that moves the inner brows, and a camera without noise."""
    features = np.zeros((1, LENGTH, FEATURES), np.float16)
    features[0, 5:30, HALF + 4 : HALF + 8] = peak
    halves = half_motion(features.astype(np.float32)).max(1)
    return Bank(
        features, (Truth(0.06, 0.2, 0.4, (1, 4), peak),), halves, np.zeros((1, 500, FEATURES), np.float16)
    )


def test_what_is_laid_on_a_still_face_is_told_where_it_is() -> None:
    laid = Laid(people(), bank(), seed=3, empty=0.0)
    for _ in range(20):
        x, y = laid.crop(200)
        inside = y[:, ME] > 0
        assert inside.any()
        assert (y[inside, WEIGHT] == 1).all()
        assert not x[:, :HALF].any()
        moved = np.abs(x[:, HALF + 4]) > 0
        # the motion lies in the expression or just after it, where the longer baseline still sees it
        ends = np.flatnonzero(inside).max() + 10
        assert not moved[: np.flatnonzero(inside).min() - 1].any()
        assert not moved[ends + 1 :].any()


def test_an_expression_under_a_grimace_is_not_learnt() -> None:
    seen = Laid(people(0.1), bank(), seed=1, empty=0.0).batch(16, 200)[1]
    hidden = Laid(people(60.0), bank(), seed=1, empty=0.0).batch(16, 200)[1]
    assert seen[..., ME].any()
    assert hidden[..., ME].any()
    assert seen[seen[..., ME] > 0][:, WEIGHT].mean() > 0.9
    assert hidden[hidden[..., ME] > 0][:, WEIGHT].max() < 0.1
    assert (hidden[hidden[..., ME] == 0][:, WEIGHT].mean()) > 0.8  # that nothing can be seen elsewhere is


def test_crops_without_expressions_and_padding() -> None:
    laid = Laid([Stretch("a", np.ones((120, FEATURES), np.float16))], bank(), seed=1, empty=1.0)
    x, y = laid.batch(8, 200)
    assert not y[..., ME].any()
    assert not y[:, 160:, WEIGHT].any()
    assert not x[:, 160:].any()
    assert y[:, :80, WEIGHT].all()


def test_where_a_network_went_wrong_is_shown_more_often() -> None:
    rows = np.zeros((4000, FEATURES), np.float16)
    rows[2000] = 1
    count = {}
    for hard in ((), (2000,)):
        laid = Laid([Stretch("a", rows, hard)], bank(), seed=4, empty=1.0)
        count[hard] = sum(laid.own(200)[0].any() for _ in range(200))
    assert count[2000,] > 2 * count[()]


def test_stretches_know_their_person() -> None:
    r = record(300, void=(150,))
    assert [(s.person, len(s.features)) for s in stretches_of([r])] == [("who", 150), ("who", 149)]
    assert stretches_of([record(60)]) == []


def test_an_expression_on_pixels_counts_as_far_as_it_could_be_seen() -> None:
    """The brow alone moves in the first, in the second the whole upper half moves ten times as much."""
    r = record(300)
    features = np.zeros_like(r.features)
    brow = HALF + 2 * NAMES.index("brow_mid_L")
    features[90:110, brow] = 3.0
    features[190:210, brow] = 30.0
    truths = (Interval(2.2, 2.4, 2.5, (1,), 3.0), Interval(4.2, 4.4, 4.5, (1,), 3.0))
    found = replace(r, features=features, truths=truths)
    plain = Pool.of_records([found], steps=300)
    seen = Pool.of_records([found], steps=300, seen=True)
    assert plain is not None
    assert seen is not None
    assert (plain.targets[0, 95:108, WEIGHT] == 1).all()
    assert (seen.targets[0, 95:108, WEIGHT] == 1).all()
    assert seen.targets[0, 195:208, WEIGHT].max() < 0.1
    assert (seen.targets[0, :80, WEIGHT] == 1).all()
