"""Training material in memory, and augmented batches of it, on whatever device trains.

A :class:`Pool` holds stretches of equal length: simulated clips, or pieces of measured records. Batches are cut,
mirrored, scaled and disturbed where the pool lies; on a GPU nothing but random numbers crosses the bus.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mellm.detectors.regions import COUNT
from mellm.detectors.signals import FEATURES
from mellm.detectors.stepmodel import OUTPUTS
from mellm.stream.errors import SourceCorrupt
from mellm.training.spotter.dataset import MIRROR_ORDER, MIRROR_SIGN, Augment, Corpus, targets
from mellm.training.spotter.laid import Laid, weigh
from mellm.training.spotter.net import DELAY
from mellm.training.spotter.records import Record
from mellm.training.synth.simulator import Truth

HALF = FEATURES // 2
SHORTEST = 100
"""Steps (2 s) below which a stretch between two voids is not worth training on."""


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Stretches of T steps: features N×T×136 and targets N×T×23, float16.

    :param lengths: N, steps that hold something; what follows is zero, with zero weight
    """

    features: Tensor
    targets: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.features)

    @property
    def seconds(self) -> float:
        """Time that is covered."""
        return float(self.lengths.sum()) * 0.02

    @classmethod
    def of_corpus(cls, corpus: Corpus, device: str = "cpu") -> Pool:
        """Simulated clips."""
        n, length = corpus.features.shape[:2]
        return cls(
            torch.from_numpy(corpus.features).to(device),
            torch.from_numpy(corpus.targets).to(device),
            torch.full((n,), length, device=device),
        )

    @classmethod
    def of_records(
        cls, found: Iterable[Record], steps: int = 580, device: str = "cpu", *, seen: bool = False
    ) -> Pool | None:
        """Pieces of records between voids, the last of each piece padded; ``None`` where nothing is long enough.

        :param seen: expressions that their half of the face drowns hardly count
            (:func:`mellm.training.spotter.laid.weigh`)
        :raises SourceCorrupt: a record holds signals that are no numbers; one such step would spoil all weights
        """
        features: list[NDArray[np.float16]] = []
        marks: list[NDArray[np.float16]] = []
        lengths: list[int] = []
        for record in found:
            rows = targets(
                record.grid_s, [Truth(t.onset_s, t.apex_s, t.offset_s, t.aus, t.peak) for t in record.truths]
            )
            if seen:
                weigh(rows, record)
            for start, stop in record.stretches():
                if not np.isfinite(record.features[start:stop]).all():
                    raise SourceCorrupt(
                        f"signals of {record.name} are no numbers",
                        remedy="delete its file and let it be measured again",
                    )
                for at in range(start, stop, steps):
                    size = min(stop - at, steps)
                    if size < SHORTEST:
                        continue
                    x = np.zeros((steps, FEATURES), np.float16)
                    y = np.zeros((steps, OUTPUTS + 1), np.float16)
                    x[:size], y[:size] = record.features[at : at + size], rows[at : at + size]
                    features.append(x)
                    marks.append(y)
                    lengths.append(size)
        if not features:
            return None
        return cls(
            torch.from_numpy(np.stack(features)).to(device),
            torch.from_numpy(np.stack(marks)).to(device),
            torch.tensor(lengths, device=device),
        )


class Sampler:
    """Endless augmented batches from pools, in given shares.

    :param pools: (pool, share of a batch)
    :param steps: of output in a crop
    :param laid: real people with expressions laid on
    :param laid_share: their share of a batch
    """

    def __init__(
        self,
        pools: Sequence[tuple[Pool, float]],
        *,
        size: int,
        steps: int,
        augment: Augment,
        seed: int,
        laid: Laid | None = None,
        laid_share: float = 0.0,
    ) -> None:
        whole = sum(share for _, share in pools) + (laid_share if laid else 0.0)
        self.laid, self.real = laid, round(size * laid_share / whole) if laid else 0
        counts = [round(size * share / whole) for _, share in pools]
        counts[0] += size - self.real - sum(counts)
        self.parts = [(pool, n) for (pool, _), n in zip(pools, counts, strict=True) if n > 0]
        self.steps, self.augment = steps, augment
        self.device = self.parts[0][0].features.device
        self.random = torch.Generator(self.device).manual_seed(seed)
        self._order = torch.from_numpy(MIRROR_ORDER.astype(np.int64)).to(self.device)
        self._sign = torch.from_numpy(MIRROR_SIGN).to(self.device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield self.batch()

    def batch(self) -> tuple[Tensor, Tensor]:
        """Features (size × steps + ``DELAY`` × 136) and targets (size × steps × 23).

        Target ``k`` belongs to output ``k + DELAY``: both start at the same moment of the clip.
        """
        made = [self._crops(pool, n) for pool, n in self.parts]
        if self.laid is not None and self.real:
            x, y = self.laid.batch(self.real, self.steps + DELAY)
            made.append(
                (torch.from_numpy(x).to(self.device), torch.from_numpy(y[:, : self.steps]).to(self.device))
            )
        xs, ys = zip(*made, strict=True)
        return self._augmented(torch.cat(xs)), torch.cat(ys)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.random, device=self.device)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.random, device=self.device)

    def _crops(self, pool: Pool, n: int) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(pool), (n,), generator=self.random, device=self.device)
        length = pool.features.shape[1]
        last = (pool.lengths[rows] - self.steps - DELAY).clamp(0, length - self.steps - DELAY)
        start = (self._uniform(n) * (last + 1)).long()
        at = start[:, None] + torch.arange(self.steps + DELAY, device=self.device)
        x = pool.features[rows[:, None], at].float()
        y = pool.targets[rows[:, None], at[:, : self.steps]].float()
        return x, y

    def _augmented(self, x: Tensor) -> Tensor:
        a, n = self.augment, len(x)
        flip = (self._uniform(n) < 0.5)[:, None, None]
        x = torch.where(flip, x[..., self._order] * self._sign, x)
        factor = torch.exp(a.gain * self._normal(n, 1) + a.region_gain * self._normal(n, COUNT))
        factor = factor * (self._uniform(n, COUNT) >= a.drop)
        columns = torch.ones((n, FEATURES), device=self.device)
        columns[:, : 2 * COUNT] = columns[:, HALF : HALF + 2 * COUNT] = factor.repeat_interleave(2, 1)
        noise = self._normal(*x.shape) * (a.noise * self._uniform(n, 1, 1))
        return x * columns[:, None] + noise
