"""What the spotter is punished for."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import smooth_l1_loss

from mellm.detectors.stepmodel import APEX, AU0, MACRO, ME, OFFSET, OUTPUTS, TO_OFFSET, TO_ONSET

PARTS = ("me", "macro", "heat", "distance", "au")
SCALE = dict(zip(PARTS, (1.0, 0.3, 1.0, 4.0, 2.0), strict=True))
HEAT_BOOST = 4.0
"""Extra weight of a step at the top of a heat bump: bumps cover one step in fifty."""


def losses(output: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Weighted parts of the loss; their sum is minimised.

    :param output: batch × steps × 22, aligned with the target (the network's delay already taken out)
    :param target: batch × steps × 23, see :func:`mellm.training.spotter.dataset.targets`
    """
    weight = target[..., OUTPUTS]
    inside = target[..., ME] * weight
    count = inside.sum().clamp_min(1.0)
    heat_target = target[..., APEX : OFFSET + 1]  # apex, onset, offset are neighbouring columns
    heat = bce(output[..., APEX : OFFSET + 1], heat_target, reduction="none") * (1 + HEAT_BOOST * heat_target)
    heat = heat * heat.new_tensor([2.0, 1.0, 1.0])  # the apex decides
    distance = smooth_l1_loss(
        output[..., TO_ONSET : TO_OFFSET + 1],
        target[..., TO_ONSET : TO_OFFSET + 1],
        reduction="none",
        beta=0.02,
    )
    # units are read at the apex, so the middle of an expression counts most
    units = bce(output[..., AU0:], target[..., AU0:OUTPUTS], reduction="none").mean(-1)
    at_apex = inside * (0.2 + target[..., APEX])
    found = {
        "me": (bce(output[..., ME], target[..., ME], reduction="none") * weight).mean(),
        "macro": bce(output[..., MACRO], target[..., MACRO]),
        "heat": (heat.sum(-1) * weight).mean(),
        "distance": (distance.sum(-1) * inside).sum() / count,
        "au": (units * at_apex).sum() / at_apex.sum().clamp_min(1.0),
    }
    return {name: SCALE[name] * value for name, value in found.items()}
