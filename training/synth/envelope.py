"""Curves over time from which expression scripts are built. All times are seconds, all curves 0…1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


def smoothstep(x: F64) -> F64:
    """0 below 0, 1 above 1, and 3x² - 2x³ between: no jump in speed at either end."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)


def bump(
    t: F64, onset: float, apex: float, offset: float, hold: float = 0.0, ease: tuple[float, float] = (1, 1)
) -> F64:
    """Rise from onset to apex, stay for ``hold``, fall until offset.

    :param ease: exponents on the time of rise and fall; above 1 a slow start, below 1 a quick one
    """
    rise = smoothstep(np.clip((t - onset) / max(apex - onset, 1e-6), 0, 1) ** ease[0])
    fall = smoothstep(np.clip((offset - t) / max(offset - apex - hold, 1e-6), 0, 1) ** ease[1])
    return np.minimum(rise, fall)


def slow_noise(t: F64, seed: int, tau: float) -> F64:
    """Unit-variance noise with time scale ``tau``, a function of (seed, t) alone.

    A sum of twelve sine waves with frequencies spread up to ``1 / (2 tau)``: any sampling of ``t`` sees the
    same motion, which noise drawn per sample would not give.
    """
    rng = np.random.default_rng([0x5E, seed])
    frequency = rng.uniform(0.05, 1.0, 12) / (2 * tau)
    phase = rng.uniform(0, 2 * np.pi, 12)
    weight = rng.rayleigh(1.0, 12) * np.exp(-frequency * tau)
    waves = np.sin(2 * np.pi * np.multiply.outer(t, frequency) + phase)
    out: F64 = waves @ weight / np.sqrt((weight**2).sum() / 2)
    return out
