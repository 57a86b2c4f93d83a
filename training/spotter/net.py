"""The spotter network: a small causal temporal convolution over motion features.

136 features a step are squashed. Beside them stand how much each region of this person has moved lately (a running
mean over ``LEVEL_S`` of the logarithm of its motion) and the same features in units of that level, for an expression is
an outlier of the motion of this very person. All are standardised and mixed into 64 channels; residual blocks with
kernel 3 and the dilations ``DILATIONS`` look 140 steps (2.8 s) back; a two-layer head gives 22 outputs a step. Outputs
at step k speak about step k - ``DELAY``: 0.30 s of future is what tells a micro-expression, which returns, from the
start of a longer movement.

Zero padding on the left of every convolution is the same thing as a zero state in the streaming graph
(:mod:`mellm.training.spotter.export`), so training and product compute the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mellm.detectors.regions import COUNT
from mellm.detectors.signals import FEATURES, PER_BASELINE
from mellm.detectors.stepmodel import APEX, ME, OFFSET, OUTPUTS, TO_OFFSET, TO_ONSET

DELAY = 15
"""Steps by which outputs lag behind the newest input (0.30 s)."""

CHANNELS = 64
DILATIONS = (1, 2, 4, 8, 16, 32, 1, 2, 4)

LEVEL_S = 8.0
"""Time constant of the running level of each region's motion, seconds."""

LEVEL_STEP = 0.02 / LEVEL_S
LEVELS = 2 * COUNT
"""Regions, over either baseline."""

FLOOR = 0.3
"""Added to the level before features are told in its units, hundredths of IOD: noise is no motion."""

RESIDUAL = tuple(range(2 * COUNT)) + tuple(range(PER_BASELINE, PER_BASELINE + 2 * COUNT))
"""Columns of the regions' motion among the features."""

INPUTS = FEATURES + LEVELS + 2 * LEVELS


def squash(x: Tensor) -> Tensor:
    """sign(x)·log(1 + |x|): keeps hundredths of an inter-ocular distance linear and head turns in range."""
    return torch.sign(x) * torch.log1p(torch.abs(x))


def running(x: Tensor, step: float) -> Tensor:
    """Exponential running mean along axis 1 (batch × steps × …) that starts with the first value, as in the stream."""
    steps = x.shape[1]
    at = torch.arange(steps, device=x.device, dtype=torch.float32)
    age = at[:, None] - at[None]
    kernel = torch.where(age >= 0, (1 - step) ** age.clamp_min(0), torch.zeros(()))
    return torch.einsum("ts,bsc->btc", kernel / kernel.sum(1, keepdim=True), x)


def _bias(layer: nn.Conv1d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


class Block(nn.Module):
    """x + mix(relu(norm(conv(x)))), causal. The mix starts near zero, so depth does not hurt at the start."""

    def __init__(self, channels: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.dilation = dilation
        self.conv = nn.Conv1d(channels, channels, 3, dilation=dilation)
        self.norm = nn.BatchNorm1d(channels)
        self.drop = nn.Dropout1d(dropout)
        self.mix = nn.Conv1d(channels, channels, 1)
        with torch.no_grad():
            self.mix.weight.mul_(0.3)
            nn.init.zeros_(_bias(self.mix))

    def forward(self, x: Tensor) -> Tensor:
        past = nn.functional.pad(x, (2 * self.dilation, 0))
        y: Tensor = x + self.mix(self.drop(torch.relu(self.norm(self.conv(past)))))
        return y


class SpotterNet(nn.Module):
    """Raw features (batch × steps × ``FEATURES``) to outputs (batch × steps × ``OUTPUTS``).

    ``mean`` and ``scale`` standardise squashed features; :meth:`standardise` sets them from data.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        channels: int = CHANNELS,
        dilations: tuple[int, ...] = DILATIONS,
        dropout: float = 0.05,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("mean", torch.zeros(INPUTS))
        self.register_buffer("scale", torch.ones(INPUTS))
        self.stem = nn.Conv1d(INPUTS, channels, 1)
        self.blocks = nn.ModuleList(Block(channels, d, dropout) for d in dilations)
        self.neck = nn.Conv1d(channels, channels, 1)
        self.head = nn.Conv1d(channels, OUTPUTS, 1)
        with torch.no_grad():  # rare events: start from their base rate instead of one half
            bias = _bias(self.head)
            bias[ME] = -2.0
            bias[APEX : OFFSET + 1] = -4.0
            bias[TO_ONSET : TO_OFFSET + 1] = 0.12

    @property
    def past_size(self) -> int:
        """Floats of streaming state of the blocks: two dilations' worth of inputs for each."""
        past = sum(2 * block.dilation for block in self.blocks)  # type: ignore[operator,misc]
        return int(past * self.channels)

    @staticmethod
    def inputs(features: Tensor) -> Tensor:
        """What the stem sees, batch × steps × ``INPUTS``: squashed features, levels, features in units of the level."""
        local = features[..., RESIDUAL].unflatten(-1, (LEVELS, 2))
        level = running(torch.log1p(local.square().sum(-1).add(1e-12).sqrt()), LEVEL_STEP)
        relative = local / (torch.expm1(level) + FLOOR).unsqueeze(-1)
        return torch.cat([squash(features), level, squash(relative.flatten(-2))], -1)

    def standardise(self, features: Tensor) -> None:
        """Take the size of inputs for ``features`` (… × steps × ``FEATURES``) as the input scale.

        Both directions of a motion are equally likely, so their mean stays zero: a still face is a zero input. Levels
        have a mean.
        """
        flat = self.inputs(features.reshape(-1, *features.shape[-2:])).reshape(-1, INPUTS)
        levels = slice(FEATURES, FEATURES + LEVELS)
        self.mean.zero_()
        self.mean[levels] = flat[:, levels].mean(0)
        self.scale.copy_(1.0 / (flat - self.mean).square().mean(0).sqrt().clamp_min(1e-3))

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):  # levels are sums over many steps
            x = (self.inputs(features) - self.mean) * self.scale
        x = torch.relu(self.stem(x.transpose(1, 2)))
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.head(torch.relu(self.neck(x))).transpose(1, 2)
        return y


class Ensemble(nn.Module):
    """Networks that answer together: the mean of their outputs, logits as they are.

    Each was trained without some of the people, so each person is tested by one that never saw him or her, and the
    product runs all of them.
    """

    def __init__(self, members: Sequence[SpotterNet]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def state_size(self) -> int:
        """Floats of streaming state: the levels and their weight, which all share, and each member's past."""
        return LEVELS + 1 + sum(member.past_size for member in self.members)  # type: ignore[misc]

    def forward(self, features: Tensor) -> Tensor:
        return torch.stack([member(features) for member in self.members]).mean(0)


def parameters(net: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(p.numel() for p in net.parameters())
