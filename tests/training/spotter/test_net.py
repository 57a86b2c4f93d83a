from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="extra `train` is not installed")

from mellm.detectors.regions import COUNT  # noqa: E402
from mellm.detectors.signals import FEATURES  # noqa: E402
from mellm.detectors.stepmodel import OUTPUTS  # noqa: E402
from mellm.training.spotter.net import DILATIONS, SpotterNet, parameters, squash  # noqa: E402


def test_sizes_are_those_of_the_contract() -> None:
    assert FEATURES == 136 == 2 * (2 * COUNT + 6)
    assert OUTPUTS == 22
    assert SpotterNet().state_size == 64 * 2 * sum(DILATIONS)
    assert 140_000 < parameters(SpotterNet()) < 155_000


def test_the_network_is_causal_and_forgets_after_its_receptive_field() -> None:
    torch.manual_seed(0)
    net = SpotterNet().eval()
    x = torch.randn(1, 160, FEATURES)
    changed = x.clone()
    changed[0, 60] += 5
    with torch.no_grad():
        moved = (net(x) - net(changed)).abs().amax(2)[0] > 1e-6
    assert not moved[:60].any()
    assert moved[60:70].all()
    field = 2 * sum(DILATIONS)
    assert not moved[60 + field + 1 :].any()


def test_squash_is_odd_and_linear_near_zero() -> None:
    x = torch.tensor([-100.0, -0.01, 0.0, 0.01, 100.0])
    y = squash(x)
    assert torch.equal(y, -squash(-x))
    assert abs(float(y[3]) - 0.01) < 1e-4
    assert float(y[4]) < 5


def test_a_still_face_is_a_zero_input_after_standardising() -> None:
    net = SpotterNet().eval()
    net.standardise(torch.randn(2, 50, FEATURES) * 7 + 1)
    assert torch.equal(net.mean, torch.zeros(FEATURES))
    assert float(net.scale.max()) < 10
