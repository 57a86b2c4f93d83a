"""Seeds, learning rates and signals of a run: what depends on the number of the step, and on the user."""

from __future__ import annotations

import hashlib
import logging
import math

log = logging.getLogger(__name__)


def seed_of(seed: int, stage: int, step: int) -> int:
    """The seed of a step. Drawn anew for each, so that a resumed run draws what an uninterrupted one drew."""
    told = hashlib.sha256(f"{seed} {stage} {step}".encode()).digest()
    return int.from_bytes(told[:7], "big")


def share_of_rate(kind: str, step: int, steps: int, warmup: float) -> float:
    """Share of the highest rate at a step: up in a straight line, then down."""
    warm = math.ceil(warmup * steps)
    if step < warm:
        return (step + 1) / warm
    phase = (step - warm) / max(1, steps - warm)
    if kind == "cosine":
        return 0.5 * (1 + math.cos(math.pi * phase))
    return 1 - phase if kind == "linear" else 1.0
