"""Pixels instead of signals: pictures belong to the steps they were measured at, and both networks learn alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="extra `train` is not installed")

import torch

from mellm.detectors.flow import Dis
from mellm.stream.errors import SourceCorrupt
from mellm.training.spotter import pixels_net, records
from mellm.training.spotter.net import DELAY
from mellm.training.spotter.pixels_net import CHANNELS, HEIGHT, WIDTH, PixelNet, Seen, Watch
from tests.training.spotter.test_pools import record
from tests.training.spotter.test_records import analyzer, frames

SHAPE = (CHANNELS, HEIGHT, WIDTH)


def seen(steps: int = 160, void: slice = slice(0, 15)) -> Seen:
    clip = record(steps)
    features = clip.features.copy()
    features[void] = np.nan
    n = int((~np.isnan(features[:, 0])).sum())
    pictures = np.random.default_rng(2).normal(0, 3, (n, *SHAPE)).astype(np.float16)
    return Seen(replace(clip, features=features), pictures)


def test_the_chain_is_watched_and_not_disturbed() -> None:
    watches: list[Watch] = []

    def watch() -> Watch:
        watches.append(Watch(Dis()))
        return watches[-1]

    def measured(flow: pixels_net.sets.Flow) -> records.Record:
        return records.measure("s", "n", frames(0, 80), seconds=1.6, fps=50, analyzer=analyzer, flow=flow)

    watched, plain = measured(watch), measured(Dis)
    assert np.array_equal(watched.features, plain.features, equal_nan=True)
    clip = Seen(watched, watches[0].pictures())
    assert clip.pictures.shape[1:] == SHAPE
    still, moving = clip.rows()[30], clip.rows()[58]  # the lip corner rises at 1.0–1.4 s
    assert np.abs(clip.pictures[moving, 1:]).max() > 3 * np.abs(clip.pictures[still, 1:]).max() + 1


def test_pictures_that_do_not_fit_the_signals_are_refused() -> None:
    clip = seen()
    with pytest.raises(SourceCorrupt, match="145 steps and 144 pictures"):
        Seen(clip.record, clip.pictures[1:])


def test_a_clip_is_kept_whole(tmp_path: Path) -> None:
    clip = seen()
    pixels_net.save(clip, tmp_path)
    (kept,) = pixels_net.load(tmp_path)
    assert np.array_equal(kept.pictures, clip.pictures)
    assert kept.record.truths == clip.record.truths


def test_a_mirrored_batch_is_mirrored_everywhere() -> None:
    material = pixels_net.pool([seen()], pictures=True)
    sampler = pixels_net.PixelSampler(
        [(material, 1.0)], size=4, steps=50, augment=replace(pixels_net.Augment(), gain=0.0), seed=3
    )
    x = torch.randn(8, 5, CHANNELS * HEIGHT * WIDTH)
    out = sampler._augmented(x).reshape(8, 5, *SHAPE)
    given = x.reshape(8, 5, *SHAPE)
    flipped = [torch.equal(a, b.flip(-1)) for a, b in zip(out, given, strict=True)]
    assert any(flipped)
    assert not all(flipped)
    assert all(f or torch.equal(a, b) for f, a, b in zip(flipped, out, given, strict=True))


def test_the_pixel_network_looks_back_only() -> None:
    net = PixelNet().eval()
    x = torch.randn(1, 30, CHANNELS * HEIGHT * WIDTH)
    later = x.clone()
    later[:, 20:] += 5
    with torch.no_grad():
        assert torch.allclose(net(x)[:, :20], net(later)[:, :20], atol=1e-5)


def test_answers_reach_the_decoder_in_the_place_of_signals() -> None:
    clip = seen(void=slice(60, 70))
    (scored,) = pixels_net.heard(PixelNet().eval(), [clip], pictures=True)
    assert [x is None for _, x in scored.steps] == [60 <= k < 70 for k in range(160)]
    assert scored.spots(pixels_net.Answers(), pixels_net.records.SpottingOptions(threshold=0.99)) == []


def test_both_networks_are_trained_and_scored() -> None:
    clips = [seen()]
    report = pixels_net.compare(clips, clips, clips, iterations=2, batch=2, crop_s=1.0)
    for kind in ("signals", "pixels"):
        assert np.isfinite(report[kind]["loss"])
        assert report[kind]["test"]["truths"] == len(clips[0].record.truths)
    assert pixels_net.Answers.delay_steps == DELAY
