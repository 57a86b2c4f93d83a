"""Batches for the small model: pairs drawn evenly, varied as pictures of motion may be varied.

A motion map is ``base·1 + s·colour(direction)`` with the grey face under it, so it can be taken apart into grey and a
field of vectors and put together again. That allows what no photograph allows: a mirrored face with mirrored motion,
more or less motion, and the motion of speech on top of an expression's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mellm.engine.facs import action_units as facs
from mellm.engine.types import Side
from mellm.training.instruct.pairs import NEGATIVES, Kind
from mellm.training.mellm.store import Stored

AUS = tuple(facs.UNITS)
LEGEND = 0.22
"""Side of the corner that holds the legend, share of the picture."""


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """How pairs are chosen and varied.

    :param negatives: share of pairs without an expression
    :param above: share of those above the motion floor
    :param stills: share of photographs
    :param mirror: probability
    :param gain: range of the change of strength
    :param overlay: probability that another pair's motion lies over it
    :param shift: largest shift, pixels
    :param grain: standard deviation of noise on the vectors
    """

    negatives: float = 0.42
    above: float = 0.75
    stills: float = 0.35
    mirror: float = 0.5
    gain: tuple[float, float] = (0.75, 1.3)
    overlay: float = 0.25
    shift: int = 3
    grain: float = 0.02


def take_apart(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """B×H×W×3 BGR uint8 → grey B×H×W and vectors B×2×H×W, both 0…1; direction as in ``colour_wheel``."""
    x = pictures.float() / 255
    blue, green, red = x.unbind(-1)
    high, low = x.amax(-1), x.amin(-1)
    spread = high - low
    safe = spread.clamp_min(1e-6)
    sixth = torch.where(
        red == high,
        ((green - blue) / safe) % 6,
        torch.where(green == high, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    angle = sixth * (torch.pi / 3)
    return low, torch.stack([spread * angle.cos(), spread * angle.sin()], 1)


def put_together(gray: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """The inverse of :func:`take_apart`, as network input: B×3×H×W RGB in −1…1."""
    strength = vectors.square().sum(1).sqrt()
    sixth = (torch.atan2(vectors[:, 1], vectors[:, 0]) / (torch.pi / 3)) % 6
    shift = sixth.new_tensor([5.0, 3.0, 1.0]).view(1, 3, 1, 1)
    k = (shift + sixth.unsqueeze(1)) % 6
    colour = 1 - torch.minimum(k, 4 - k).clamp(0, 1)
    s = strength.clamp(0, 1).unsqueeze(1)
    total = gray.unsqueeze(1) + s * colour
    return (total / total.amax(1, keepdim=True).clamp_min(1.0)) * 2 - 1


@dataclass(frozen=True, slots=True)
class Truth:
    """What the answer says: units with sides, or why there are none."""

    kind: Kind
    units: tuple[tuple[int, Side], ...]

    def mirrored(self) -> Truth:
        """Of the mirrored face."""
        other: dict[Side, Side] = {"left": "right", "right": "left", "both": "both"}
        return Truth(self.kind, tuple((au, other[side]) for au, side in self.units))

    def vector(self) -> np.ndarray:
        """Left units, right units, kinds: 2·15 + 6 zeros and ones."""
        out = np.zeros(2 * len(AUS) + 1 + len(NEGATIVES), np.float32)
        for au, side in self.units:
            i = AUS.index(au)
            out[i] = side != "right"
            out[len(AUS) + i] = side != "left"
        kinds: tuple[Kind, ...] = ("expression", *NEGATIVES)
        out[2 * len(AUS) + kinds.index(self.kind)] = 1
        return out


def truth_of(pair: Stored) -> Truth:
    """Of a stored pair."""
    return Truth(pair.kind, tuple((u.au, u.side) for u in pair.units if u.au in facs.UNITS))


class Sampler:
    """Draws batches. ``pairs``: of the training split; expressions under the motion floor are left out."""

    def __init__(self, pairs: Sequence[Stored], options: SampleOptions, seed: int) -> None:
        self.options = options
        self.rng = np.random.default_rng([0x5A3, seed])
        self.pairs = [p for p in pairs if p.kind != "expression" or p.above]
        self.pictures = torch.from_numpy(np.stack([p.picture for p in self.pairs]))
        self.truths = [truth_of(p) for p in self.pairs]
        self.groups: dict[tuple[str, str], np.ndarray] = {}
        for key in {self._key(p) for p in self.pairs}:
            self.groups[key] = np.array([i for i, p in enumerate(self.pairs) if self._key(p) == key])

    @staticmethod
    def _key(pair: Stored) -> tuple[str, str]:
        if pair.kind == "expression":
            return pair.source, "expression"
        return pair.source, "moving" if pair.above else "quiet"

    def _pick(self) -> int:
        o, rng = self.options, self.rng
        source = "stills" if rng.random() < o.stills else "rendered"
        what = "expression"
        if rng.random() < o.negatives:
            what = "moving" if rng.random() < o.above else "quiet"
        group = self.groups[min(self.groups, key=lambda key: _distance(key, (source, what)))]
        return int(group[rng.integers(len(group))])

    def batch(self, size: int) -> tuple[torch.Tensor, list[Truth]]:
        """Network input B×3×H×W, and the truths."""
        o, rng = self.options, self.rng
        chosen = [self._pick() for _ in range(size)]
        gray, vectors = take_apart(self.pictures[chosen])
        truths = [self.truths[i] for i in chosen]
        over = [i for i in range(size) if rng.random() < o.overlay]
        moving = self.groups.get(("rendered", "moving"))
        if over and moving is not None:
            _, extra = take_apart(self.pictures[[int(rng.choice(moving)) for _ in over]])
            share = torch.from_numpy(rng.uniform(0.2, 0.9, len(over)).astype(np.float32)).view(-1, 1, 1, 1)
            vectors[over] += share * extra * self._lower(extra.shape[-2:])
            for i in over:  # what was still is a talking face now
                if truths[i].kind != "expression":
                    truths[i] = Truth("speech", ())
        low, high = np.log(o.gain)
        gain = rng.uniform(low, high, size)
        vectors *= torch.from_numpy(np.exp(gain).astype(np.float32)).view(-1, 1, 1, 1)
        if o.grain:
            coarse = torch.from_numpy(rng.normal(0, o.grain, (size, 2, 16, 16)).astype(np.float32))
            vectors += torch.nn.functional.interpolate(coarse, vectors.shape[-2:], mode="bilinear")
        for i in range(size):
            if rng.random() < o.mirror:
                gray[i], vectors[i] = _mirrored(gray[i], vectors[i])
                truths[i] = truths[i].mirrored()
            dx, dy = rng.integers(-o.shift, o.shift + 1, 2)
            gray[i] = torch.roll(gray[i], (int(dy), int(dx)), (0, 1))
            vectors[i] = torch.roll(vectors[i], (int(dy), int(dx)), (1, 2))
        return put_together(gray, vectors), truths

    @staticmethod
    def _lower(shape: Sequence[int]) -> torch.Tensor:
        """1 on the mouth, 0 above the nose: speech lies over an expression, a second expression does not."""
        rows = torch.linspace(0, 1, shape[0]).view(-1, 1)
        return ((rows - 0.5) / 0.15).clamp(0, 1)


def _distance(group: tuple[str, str], wanted: tuple[str, str]) -> tuple[bool, bool, bool]:
    """How far a group is from the one that was asked for, which may be missing."""
    expression = (group[1] == "expression") != (wanted[1] == "expression")
    return expression, group[1] != wanted[1], group[0] != wanted[0]


def _mirrored(gray: torch.Tensor, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Left and right exchanged, but for the two lower corners: the legend keeps its place and its colours."""
    side = gray.shape[-1]
    corner = round(LEGEND * side)
    flipped_gray, flipped = gray.flip(-1), vectors.flip(-1).clone()
    flipped[0] = -flipped[0]
    for columns in (slice(0, corner), slice(side - corner, side)):
        flipped_gray[side - corner :, columns] = gray[side - corner :, columns]
        flipped[:, side - corner :, columns] = vectors[:, side - corner :, columns]
    return flipped_gray, flipped


def plain(pictures: np.ndarray) -> torch.Tensor:
    """Pictures (B×H×W×3 BGR uint8) as they are, as network input."""
    rgb = torch.from_numpy(np.ascontiguousarray(pictures[..., ::-1])).permute(0, 3, 1, 2)
    return rgb.float() / 127.5 - 1
