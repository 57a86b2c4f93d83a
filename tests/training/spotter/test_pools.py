"""Training material: what is cut, what is not learnt from, and what augmentation leaves true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="extra `train` is not installed")

from mellm.detectors.signals import FEATURES  # noqa: E402
from mellm.detectors.stepmodel import APEX, ME  # noqa: E402
from mellm.stream.errors import SourceCorrupt  # noqa: E402
from mellm.training.spotter.dataset import MIRROR_ORDER, MIRROR_SIGN, WEIGHT, Augment  # noqa: E402
from mellm.training.spotter.evaluate import Interval  # noqa: E402
from mellm.training.spotter.net import DELAY  # noqa: E402
from mellm.training.spotter.pools import Pool, Sampler, stretches  # noqa: E402
from mellm.training.spotter.records import Record  # noqa: E402

STILL = Augment(gain=0, region_gain=0, drop=0, noise=0)


def record(steps: int = 300, void: tuple[int, ...] = (), truths: tuple[Interval, ...] = ()) -> Record:
    features = np.random.default_rng(0).normal(size=(steps, FEATURES)).astype(np.float32)
    features[list(void)] = np.nan
    grid = 0.34 + 0.02 * np.arange(steps)
    return Record("r", "who", grid, features, truths, steps * 0.02, 50, 90)


def test_voids_and_jumps_part_stretches() -> None:
    r = record(300, void=(100, 101))
    assert stretches(r) == [(0, 100), (102, 300)]
    grid = r.grid_s.copy()
    grid[200:] += 1
    assert stretches(replace(r, grid_s=grid)) == [(0, 100), (102, 200), (200, 300)]
    assert stretches(record(5, void=(0, 1, 2, 3, 4))) == []


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


def test_shares_mirrors_and_free_stretches() -> None:
    busy = Pool.of_records([record(300, truths=(Interval(2.0, 2.2, 2.4, (4,), 3.0),))])
    free = Pool.of_records([record(300)])
    assert busy is not None
    assert free is not None
    assert busy.without_expressions() is None
    rest = free.without_expressions()
    assert rest is not None
    assert len(rest) == 1

    def sampler() -> Sampler:
        shares = [(busy, 0.75), (free, 0.25)]
        return Sampler(shares, size=8, steps=100, augment=STILL, seed=2, overlay=rest, overlay_share=0.5)

    both = sampler()
    x, y = both.batch()
    assert [n for _, n in both.parts] == [6, 2]
    assert not y[6:, :, ME].any()
    assert torch.equal(x, sampler().batch()[0])
    plain = free.features[0].float()
    mirrored = plain[:, torch.from_numpy(MIRROR_ORDER)] * torch.from_numpy(MIRROR_SIGN)
    crops = Sampler([(free, 1.0)], size=32, steps=100, augment=STILL, seed=3).batch()[0]
    first = crops[:, 0]
    is_plain = (first[:, None] - plain[None]).abs().amax(-1).amin(1) < 1e-3
    is_mirrored = (first[:, None] - mirrored[None]).abs().amax(-1).amin(1) < 1e-3
    assert bool((is_plain | is_mirrored).all())
    assert bool(is_plain.any())
    assert bool(is_mirrored.any())


def test_short_pieces_find_more_room_between_expressions() -> None:
    pool = Pool.of_records([record(300, truths=(Interval(0.5, 0.6, 0.7, (4,), 3.0),))], steps=300)
    assert pool is not None
    assert pool.without_expressions() is None
    pieces = pool.cut(120)
    assert pieces.features.shape == (5, 120, FEATURES)
    rest = pieces.without_expressions()
    assert rest is not None
    assert len(rest) == 4
    assert len(pool.cut(301)) == 0


def test_signals_that_are_no_numbers_are_refused_by_name() -> None:
    bad = record(300)
    bad.features[150, 7] = np.nan
    with pytest.raises(SourceCorrupt, match="signals of r"):
        Pool.of_records([bad])
