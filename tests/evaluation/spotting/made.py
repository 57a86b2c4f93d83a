"""Records made by hand: a still face with planted motion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mellm.detectors.regions import COUNT, INDEX
from mellm.detectors.signals import FEATURES
from mellm.training.spotter.evaluate import Interval
from mellm.training.spotter.records import Event, Published, Record

STEP = 0.02
HALF = FEATURES // 2
BROWS = ("brow_inner_R", "brow_inner_L", "brow_mid_R", "brow_mid_L")


def truth(apex_s: float, peak: float = 3.0, half_s: float = 0.2) -> Interval:
    """An expression of the brows, symmetric round its apex."""
    return Interval(apex_s - half_s, apex_s, apex_s + half_s, (4,), peak)


def bump(t: np.ndarray, of: Interval) -> np.ndarray:
    """A cosine bell over an interval, as high as its peak."""
    phase = np.clip((t - of.onset_s) / (of.offset_s - of.onset_s), 0, 1)
    return of.peak * np.sin(np.pi * phase) ** 2


def record(
    truths: Sequence[Interval] = (),
    *,
    seconds: float = 8.0,
    name: str = "clip",
    subject: str = "who",
    moving: Iterable[str] = BROWS,
    also: Sequence[tuple[Interval, Iterable[str]]] = (),
    void_s: Sequence[float] = (),
    events: Sequence[Event] = (),
    noise: float = 0.02,
    fps: float = 50.0,
    iod_px: float = 80.0,
    groups: tuple[str, ...] = (),
    fold: str = "",
) -> Record:
    """A face that keeps still but for ``truths`` (moving down in the regions ``moving``) and ``also``."""
    grid = 0.3 + STEP * np.arange(round((seconds - 0.3) / STEP))
    features = np.random.default_rng(len(name)).normal(0, noise, (len(grid), FEATURES)).astype(np.float32)
    for interval, regions in [*((t, moving) for t in truths), *also]:
        for start, baseline in ((0, 0.1), (HALF, 0.3)):
            motion = bump(grid, interval) - bump(grid - baseline, interval)
            for region in regions:
                features[:, start + 2 * INDEX[region] + 1] += motion
    for at in void_s:
        features[round((at - 0.3) / STEP)] = np.nan
    facts = {"fold": fold} if fold else {}
    return Record(
        name,
        subject,
        grid,
        features,
        tuple(truths),
        seconds,
        fps,
        iod_px,
        events=tuple(events),
        groups=groups,
        facts=facts,
    )


def shifted(of: Record, size: float) -> Record:
    """The same face on a head that swings sideways: the rigid part of the signals."""
    features = of.features.copy()
    features[:, 2 * COUNT] += size * np.sin(2 * np.pi * 2.5 * of.grid_s)
    return Record(of.name, of.subject, of.grid_s, features, of.truths, of.seconds, of.fps, of.iod_px)


def published(interval: Interval, late_s: float = 0.32) -> Published:
    """A spot with this interval."""
    return Published(interval, interval.offset_s + late_s)


class Scripted:
    """A spotter that knows by heart what it says about each clip: (level, spot)."""

    causal = True

    def __init__(
        self, spots: dict[str, list[Published]], *, name: str = "scripted", level: float = 0.5
    ) -> None:
        self.name, self.level, self._spots = name, level, spots
        self.levels: tuple[float, ...] = (0.1, 0.5, 0.9)
        self.kind = "network"

    def spots(self, record: Record, level: float | None = None) -> list[Published]:
        least = self.level if level is None else level
        return [p for p in self._spots.get(record.name, []) if p.interval.score >= least]

    def facts(self) -> dict[str, object]:
        return {"kind": self.kind, "options": {"level": self.level}}

    def seen_in_training(self, record: Record) -> bool:
        return False
