from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="extra `train` is not installed")

from mellm.detectors.regions import COUNT  # noqa: E402
from mellm.detectors.signals import FEATURES  # noqa: E402
from mellm.detectors.stepmodel import OUTPUTS  # noqa: E402
from mellm.training.spotter.net import (  # noqa: E402
    DILATIONS,
    LEVELS,
    Ensemble,
    SpotterNet,
    parameters,
    running,
    squash,
)


def test_sizes_are_those_of_the_contract() -> None:
    assert FEATURES == 136 == 2 * (2 * COUNT + 6)
    assert OUTPUTS == 22
    assert SpotterNet().past_size == 64 * 2 * sum(DILATIONS)
    assert Ensemble([SpotterNet()] * 2).state_size == LEVELS + 1 + 2 * SpotterNet().past_size
    assert 170_000 < parameters(SpotterNet()) < 190_000


def test_the_network_is_causal_and_past_its_receptive_field_only_the_level_remembers() -> None:
    torch.manual_seed(0)
    net = SpotterNet().eval()
    field = 2 * sum(DILATIONS)
    x = torch.randn(1, 80 + field, FEATURES)
    changed = x.clone()
    changed[0, 60] += 5
    with torch.no_grad():
        moved = (net(x) - net(changed)).abs().amax(2)[0]
    assert float(moved[:60].max()) < 1e-5
    assert float(moved[60:70].min()) > 1e-4
    assert 0 < float(moved[60 + field + 1 :].max()) < 0.1 * float(moved.max())


def test_a_running_mean_starts_with_the_first_value_and_follows() -> None:
    x = torch.tensor([2.0, 2.0, 5.0]).reshape(1, 3, 1)
    y = running(x, 0.5)[0, :, 0]
    assert y[0] == y[1] == 2
    assert float(y[2]) == pytest.approx((0.25 * 2 + 0.5 * 2 + 5) / 1.75)


def test_squash_is_odd_and_linear_near_zero() -> None:
    x = torch.tensor([-100.0, -0.01, 0.0, 0.01, 100.0])
    y = squash(x)
    assert torch.equal(y, -squash(-x))
    assert abs(float(y[3]) - 0.01) < 1e-4
    assert float(y[4]) < 5


def test_a_still_face_is_a_zero_input_after_standardising() -> None:
    net = SpotterNet().eval()
    net.standardise(torch.randn(2, 50, FEATURES) * 7 + 1)
    motion = torch.ones(len(net.mean), dtype=torch.bool)
    motion[FEATURES : FEATURES + LEVELS] = False
    assert torch.equal(net.mean[motion], torch.zeros(int(motion.sum())))
    assert float(net.scale[motion].max()) < 10
