"""What a synthetic person looks like: skin tone, hair, eyes, age, clothes, drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Colour: TypeAlias = NDArray[np.float64]

SKIN = np.array(
    [[196, 218, 246], [166, 198, 236], [142, 178, 222], [112, 152, 202], [84, 122, 176], [58, 90, 142],
     [40, 62, 104], [30, 44, 74]]
) / 255  # fmt: skip
"""Skin tones from light to dark, blue, green, red."""

HAIR = np.array(
    [[18, 17, 20], [24, 28, 38], [30, 44, 66], [44, 70, 104], [84, 126, 164], [40, 62, 120], [150, 152, 156]]
) / 255  # fmt: skip
IRIS = np.array([[24, 40, 66], [30, 56, 92], [70, 100, 96], [120, 104, 78], [150, 128, 96]]) / 255


@dataclass(frozen=True, slots=True)
class Look:
    """What a person's surface looks like, drawn from a seed.

    :param tone: place in :data:`SKIN`, 0 light to 1 dark
    :param hair: thickness of hair, cm, 0 shaved
    :param length: how far hair hangs down behind, cm, 0 short
    :param age: strength of folds, 0…1
    :param beard: 0 none, to 1 full
    :param brow: thickness of the brows
    """

    seed: int
    tone: float
    hair_colour: tuple[float, float, float]
    iris_colour: tuple[float, float, float]
    hair: float
    length: float
    age: float
    beard: float
    brow: float
    lips: float
    cloth: tuple[float, float, float]
    hairline: float


def draw_look(seed: int) -> Look:
    """A look from the whole range of skin tones, hair and ages."""
    rng = np.random.default_rng([0x100C, seed])
    tone = float(rng.uniform(0, 1))
    dark = tone > 0.55
    weights = np.array([5, 4, 1, 0, 0, 0, 0.6] if dark else [2, 3, 3, 2, 1.5, 0.8, 1.2])
    hair = HAIR[rng.choice(len(HAIR), p=weights / weights.sum())] * rng.uniform(0.8, 1.2)
    iris = IRIS[rng.choice(2 if dark else len(IRIS))] * rng.uniform(0.8, 1.2)
    cloth = rng.uniform(0.05, 0.75) + rng.normal(0, 0.07, 3)
    cloth = np.clip(cloth, 0.03, 0.9)
    shaved = rng.random() < 0.12
    long_ = not shaved and rng.random() < 0.4
    bearded = not long_ and rng.random() < 0.4
    return Look(
        seed=seed,
        tone=tone,
        hair_colour=(float(hair[0]), float(hair[1]), float(hair[2])),
        iris_colour=(float(iris[0]), float(iris[1]), float(iris[2])),
        hair=0.0 if shaved else float(rng.uniform(0.4, 1.9)),
        length=float(rng.uniform(7, 20)) if long_ else 0.0,
        age=float(rng.beta(1.3, 2)),
        beard=float(rng.uniform(0.1, 1.0)) if bearded else 0.0,
        brow=float(rng.uniform(0.6, 1.3)),
        lips=float(rng.uniform(0.2, 1.0)),
        cloth=(float(cloth[0]), float(cloth[1]), float(cloth[2])),
        hairline=float(rng.normal(0, 3)),
    )


def skin_colour(tone: float) -> Colour:
    """Skin of a tone in 0…1, sRGB-coded blue, green, red."""
    at = tone * (len(SKIN) - 1)
    i = min(int(at), len(SKIN) - 2)
    out: Colour = SKIN[i] + (at - i) * (SKIN[i + 1] - SKIN[i])
    return out
