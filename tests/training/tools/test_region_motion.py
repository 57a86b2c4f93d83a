"""The experiment with a learnt measure of motion: what it is told is true, and it can learn."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="extra `train` is not installed")

from mellm.detectors.flow import create  # noqa: E402
from mellm.detectors.patches import anchor, apply, cut  # noqa: E402
from mellm.detectors.regions import COUNT  # noqa: E402
from mellm.detectors.signals import Geometry  # noqa: E402
from mellm.detectors.textured_plane import TexturedPlane  # noqa: E402
from mellm.stream.errors import ModelMissing  # noqa: E402
from mellm.training.tools import region_motion  # noqa: E402
from mellm.training.tools.region_motion import PATCH, Pair, RegionNet, loss, patches, scores  # noqa: E402


def still() -> Pair:
    sheet = TexturedPlane(90.0)
    landmarks = sheet.landmarks()
    held = anchor(landmarks, sheet.size)
    assert held is not None
    crop = cut(sheet.draw(noise=0, seed=1), held).crop(held)
    return Pair(crop, crop, Geometry(apply(held.matrix, landmarks)), np.zeros((COUNT, 2), np.float32))


def test_patches_lie_round_their_regions() -> None:
    pair = still()
    found = patches(pair)
    assert found.shape == (COUNT, 2, PATCH, PATCH)
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    assert np.abs(found.mean((1, 2, 3))).max() < 1e-4
    x, y = np.rint(pair.geometry.centres[17]).astype(int)
    middle = pair.before[y - 2 : y + 3, x - 2 : x + 3].astype(float)
    got = found[17, 0, PATCH // 2 - 2 : PATCH // 2 + 3, PATCH // 2 - 2 : PATCH // 2 + 3]
    assert np.corrcoef(middle.ravel(), got.ravel())[0, 1] > 0.999


def test_it_learns_to_tell_a_shift() -> None:
    torch.manual_seed(0)
    net = RegionNet(8)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    ramp = torch.arange(PATCH).float()

    def wave(by: torch.Tensor) -> torch.Tensor:
        across, down = (torch.sin(0.5 * (ramp - by[:, axis : axis + 1])) for axis in (0, 1))
        return across[:, None, :] + down[:, :, None]

    for _ in range(120):
        shift = 2 * torch.randn(64, 2)
        x = torch.stack([wave(0 * shift), wave(shift)], 1)
        value = loss(net(x), shift)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    with torch.no_grad():
        assert (net(x)[:, :2] - shift).abs().mean() < 0.35 * shift.abs().mean()


def test_scores_of_the_truth_and_of_half_of_it() -> None:
    truth = np.random.default_rng(0).normal(0, 0.8, (500, 2)).astype(np.float32)
    assert scores(truth, truth)["error"] == 0
    assert scores(truth, truth)["gain of small motion"] == pytest.approx(1)
    assert scores(0.5 * truth, truth)["gain of small motion"] == pytest.approx(0.5)


def test_what_is_called_true_is_what_good_flow_finds() -> None:
    try:
        found = list(region_motion.pairs(1_000_003, 8))
    except ModelMissing as error:
        pytest.skip(str(error))
    flow = create("quality")
    told = np.concatenate([p.geometry.region_flow(flow(p.before, p.after)) for p in found])
    truth = np.concatenate([p.truth for p in found])
    assert np.linalg.norm(truth, axis=1).max() > 0.3
    assert (
        np.median(np.linalg.norm(told - truth, axis=1)) < 0.5 * np.median(np.linalg.norm(truth, axis=1)) + 0.1
    )
