"""The spotter network: a small causal temporal convolution over motion features.

136 features a step are squashed, standardised and mixed into 64 channels; eight residual blocks with
kernel 3 and dilations 1, 2, 4, 8, 16, 1, 2, 4 look 76 steps (1.52 s) back; a two-layer head gives 22
outputs a step. Outputs at step k speak about step k - ``DELAY``: 0.30 s of future is what tells a
micro-expression, which returns, from the start of a longer movement.

Zero padding on the left of every convolution is the same thing as a zero state in the streaming graph
(:mod:`mellm.training.spotter.export`), so training and product compute the same numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mellm.detectors.signals import FEATURES
from mellm.detectors.stepmodel import APEX, ME, OFFSET, OUTPUTS, TO_OFFSET, TO_ONSET

DELAY = 15
"""Steps by which outputs lag behind the newest input (0.30 s)."""

CHANNELS = 64
DILATIONS = (1, 2, 4, 8, 16, 1, 2, 4)


def squash(x: Tensor) -> Tensor:
    """sign(x)·log(1 + |x|): keeps hundredths of an inter-ocular distance linear and head turns in range."""
    return torch.sign(x) * torch.log1p(torch.abs(x))


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
            self.mix.bias.zero_()

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
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("scale", torch.ones(FEATURES))
        self.stem = nn.Conv1d(FEATURES, channels, 1)
        self.blocks = nn.ModuleList(Block(channels, d, dropout) for d in dilations)
        self.neck = nn.Conv1d(channels, channels, 1)
        self.head = nn.Conv1d(channels, OUTPUTS, 1)
        with torch.no_grad():  # rare events: start from their base rate instead of one half
            self.head.bias[ME] = -2.0
            self.head.bias[APEX : OFFSET + 1] = -4.0
            self.head.bias[TO_ONSET : TO_OFFSET + 1] = 0.12

    @property
    def state_size(self) -> int:
        """Floats of streaming state: two dilations' worth of inputs for each block."""
        return sum(2 * block.dilation for block in self.blocks) * self.channels  # type: ignore[operator,misc]

    def standardise(self, features: Tensor) -> None:
        """Take mean and standard deviation of squashed ``features`` (…× ``FEATURES``) as the input scale.

        Both directions of a motion are equally likely, so the mean stays zero: a still face is a zero input.
        """
        flat = squash(features.reshape(-1, FEATURES))
        self.scale.copy_(1.0 / flat.square().mean(0).sqrt().clamp_min(1e-3))

    def forward(self, features: Tensor) -> Tensor:
        x = (squash(features) - self.mean) * self.scale
        x = torch.relu(self.stem(x.transpose(1, 2)))
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.head(torch.relu(self.neck(x))).transpose(1, 2)
        return y


def parameters(net: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(p.numel() for p in net.parameters())
