"""Network, optimiser and running mean of a run, with checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mellm.detectors.stepmodel import APEX, ME
from mellm.stream.errors import ModelOutputInvalid
from mellm.stream.files import replacing
from mellm.training.spotter.laid import Bank, Laid, Stretch
from mellm.training.spotter.losses import losses
from mellm.training.spotter.net import DELAY, SpotterNet
from mellm.training.spotter.options import LAID_SHARE, LATE, SHAPES, SHARES, Progress, TrainOptions
from mellm.training.spotter.pools import Pool, Sampler

log = logging.getLogger(__name__)

MINED = 0.3
"""Score from which a place on a recording without expressions is worth another look."""

PIECE = 2000
"""Steps that are looked at at once: the running level of a stretch takes memory with its square."""


def _schedule(options: TrainOptions, i: int) -> float:
    """Learning rate at iteration ``i``: short warm-up, then half a cosine down to a hundredth; twice with a restart."""
    first, last, rate = 0, options.restart or options.iterations, options.rate
    if options.restart and i >= options.restart:
        first, last, rate = options.restart, options.iterations, options.rate / 2
    warm = min(100, (last - first) // 10 + 1)
    if i - first < warm:
        return rate * (i - first + 1) / warm
    phase = (i - first - warm) / max(1, last - first - warm)
    return rate * (0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * phase))))


class Trainer:
    """One network on its way.

    :param pools: material by kind; :data:`LATE` kinds are seen from iteration ``options.restart`` on
    :param people: stretches of real people, seen from ``options.pretrain`` on
    :param bank: what is laid on them
    """

    def __init__(
        self,
        options: TrainOptions,
        pools: Mapping[str, Pool],
        people: Sequence[Stretch] = (),
        bank: Bank | None = None,
    ) -> None:
        self.options = options
        self.pools = dict(pools)
        self.people, self.bank = list(people), bank
        self.device = next(iter(pools.values())).features.device
        torch.manual_seed(options.seed)
        self.net = SpotterNet(*SHAPES[options.shape])
        if options.start is None:
            first = next(iter(pools.values())).features
            self.net.standardise(first[:: max(1, len(first) // 100)].float().cpu())
        else:
            self.net.load_state_dict(torch.load(options.start, weights_only=True)["net"])
        self.net.to(self.device)
        self.mean = deepcopy(self.net).eval()
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=options.rate, weight_decay=options.decay, betas=(0.9, 0.98)
        )
        self.iteration = 0
        self.loss = float("nan")
        self.path = options.run / "checkpoint.pt"

    def fingerprint(self) -> str:
        """Settings that a checkpoint must share to be continued."""
        o = self.options
        material = {name: len(pool) for name, pool in self.pools.items()}
        material["laid"] = sum(len(s.features) for s in self.people)
        settings = "iterations batch crop_s rate decay shape precision average pretrain restart seed augment sim start"
        return repr(([getattr(o, name) for name in settings.split()], material))

    def save(self, path: Path | None = None) -> None:
        """Write a checkpoint, complete or not at all."""
        state = {
            "fingerprint": self.fingerprint(),
            "iteration": self.iteration,
            "net": self.net.state_dict(),
            "mean": self.mean.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "loss": self.loss,
        }
        with replacing(path or self.path, durable=True) as part:
            torch.save(state, part)

    def resume(self, path: Path | None = None) -> bool:
        """Load a checkpoint if it is there and belongs to this run."""
        path = path or self.path
        if not path.exists():
            return False
        saved = torch.load(path, weights_only=True, map_location=self.device)
        if path == self.path and saved["fingerprint"] != self.fingerprint():
            log.warning("%s belongs to other settings; starting over", path)
            return False
        self.net.load_state_dict(saved["net"])
        self.mean.load_state_dict(saved["mean"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.iteration, self.loss = saved["iteration"], float(saved["loss"])
        return True

    def sampler(self) -> Sampler:
        """Batches from here on; seeded by the iteration, so that a resumed run does not see the first ones again."""
        o = self.options
        seed = o.seed * 1_000_003 + self.iteration
        laid = None
        if self.people and self.bank is not None and self.iteration >= o.pretrain:
            if o.restart and self.iteration >= o.restart:
                self.mine()
            laid = Laid(self.people, self.bank, seed=seed)
        return Sampler(
            [
                (pool, SHARES[name])
                for name, pool in self.pools.items()
                if name not in LATE or self.iteration >= o.restart
            ],
            size=o.batch,
            steps=round(o.crop_s * 50),
            augment=o.augment,
            seed=seed,
            laid=laid,
            laid_share=LAID_SHARE,
        )

    @torch.no_grad()
    def mine(self) -> None:
        """Mark where the network takes something for an expression on recordings that hold none."""
        net = deepcopy(self.mean).eval()
        found = 0
        for k, stretch in enumerate(self.people):
            hard: list[int] = []
            for first in range(0, len(stretch.features), PIECE):
                piece = stretch.features[first : first + PIECE].astype(np.float32)
                y = torch.sigmoid(net(torch.from_numpy(piece).to(self.device)[None])[0])
                score = (y[:, APEX] * y[:, ME]).sqrt().cpu().numpy()
                peak = (score[1:-1] > MINED) & (score[1:-1] > score[:-2]) & (score[1:-1] >= score[2:])
                hard += (np.flatnonzero(peak) + 1 - DELAY + first).tolist()
            self.people[k] = replace(stretch, hard=tuple(hard))
            found += len(hard)
        log.info("%d places on people who do nothing of the kind look like an expression", found)

    def fit(self, progress: Progress | None = None, until: int | None = None) -> None:
        """Run the remaining iterations, or those before ``until``."""
        o = self.options
        last = o.iterations if until is None else until
        sampler = self.sampler()
        self.net.train()
        running: torch.Tensor | None = None
        while self.iteration < last:
            for group in self.optimiser.param_groups:
                group["lr"] = _schedule(o, self.iteration)
            x, y = sampler.batch()
            with torch.autocast(x.device.type, torch.bfloat16, enabled=o.precision == "bfloat16"):
                told = self.net(x)
            parts = losses(told.float()[:, DELAY:], y)
            loss = torch.stack(list(parts.values())).sum()
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            self.optimiser.step()
            self._average()
            value = loss.detach()  # stays on the device: asking for it at each step would wait for the device
            running = value if running is None else 0.98 * running + 0.02 * value
            self.iteration += 1
            if self.iteration % o.checkpoint_every == 0 or self.iteration == last:
                self.loss = float(running)
                if not np.isfinite(self.loss):
                    raise ModelOutputInvalid(
                        f"the loss is {self.loss} at iteration {self.iteration}; the last checkpoint is kept",
                        remedy="give a lower --rate, and look at the clips",
                    )
                self.save()
                each = " ".join(f"{name} {float(part.detach()):.3f}" for name, part in parts.items())
                log.info("iteration %d loss %.4f (%s)", self.iteration, self.loss, each)
            if self.iteration in (o.pretrain, o.restart):
                sampler = self.sampler()
            if progress:
                progress("train", self.iteration, last)

    @torch.no_grad()
    def _average(self) -> None:
        """Running mean of the weights, with a short memory at first."""
        decay = min(self.options.average, (1 + self.iteration) / (10 + self.iteration))
        old, new = self.mean.state_dict(), self.net.state_dict()
        floats = [name for name, value in old.items() if value.dtype.is_floating_point]
        torch._foreach_lerp_([old[n] for n in floats], [new[n] for n in floats], 1 - decay)

    def result(self) -> SpotterNet:
        """The averaged network, on the CPU."""
        return self.mean.cpu().eval()
