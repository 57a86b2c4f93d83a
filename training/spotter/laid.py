"""Training crops from real recordings: what a person does by himself, with known expressions laid on the signals.

The signals are linear in the flow, and the flow of two small motions is the sum of theirs. So the signals of an
expression, drawn by the simulator with a camera's gain and leak but without noise, can be added to those of a real
person. That costs a thousandth of laying it on pixels, and a few minutes of recordings give any number of examples of
the same thing: a known motion on top of what faces really do.

An expression far smaller than what its half of the face does at that moment could be seen by nobody. It is laid all the
same, and hardly counts in the loss (:data:`SEEN`), so that the network is not taught to guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mellm.detectors.regions import COUNT
from mellm.detectors.sensitivity import REGIONS_OF, half_motion
from mellm.detectors.signals import FEATURES, PER_BASELINE
from mellm.training.spotter.dataset import WEIGHT, targets
from mellm.training.spotter.records import Record
from mellm.training.synth.lively import UPPER_AUS, LivelyOptions
from mellm.training.synth.measurement import frame_times, measure
from mellm.training.synth.rig import SPLITS, load_rig
from mellm.training.synth.script import Profile, Script, draw_micro, restless
from mellm.training.synth.simulator import SimOptions, Truth, draw_sites, face_motion, to_crop, truth_of

F32: TypeAlias = NDArray[np.float32]
F64: TypeAlias = NDArray[np.float64]

LENGTH = 60
"""Steps of an expression: half a second, the longer baseline after it, and room."""

LEAD_S = 0.06
"""Where an expression begins in its steps."""

LOWER = np.isin(np.arange(COUNT), REGIONS_OF["lower"])
"""Regions of the lower half: the same that the product judges."""

SEEN = (0.12, 0.4)
"""Expression over own motion of its half of the face, from which it starts to count in the loss, and counts fully."""

PEAK = (0.7, 5.0)
"""Range of peaks that are laid, hundredths of IOD."""

STILL = 0.15
"""Motion (hundredths of IOD over 0.3 s) that every face is taken to have."""


GAIN = 0.65
"""Median share of a peak that the measured motion over 0.3 s reaches in the bank."""


def _counts(ratio: float) -> float:
    """Weight in the loss of an expression of so many times its half's own motion."""
    return float(np.clip((ratio - SEEN[0]) / (SEEN[1] - SEEN[0]), 0.03, 1))


def weigh(rows: F32, record: Record) -> None:
    """Let expressions on measured pixels count as much as could be seen of them, in the weights of ``rows`` (T×23).

    What the half does with the expression is taken for what it does without: expressions that stand out reach 1.
    """
    motion = half_motion(record.features)
    for t in record.truths:
        near = (record.grid_s >= t.onset_s - 0.04) & (record.grid_s <= t.offset_s + 0.12)
        if not near.any():
            continue
        upper = [unit in UPPER_AUS for unit in t.aus]
        halves = [k for k, there in enumerate((any(upper), not all(upper))) if there]
        own = float(np.nanmax(motion[near][:, halves], initial=0.0, axis=0).min())
        rows[near, WEIGHT] *= _counts(GAIN * t.peak / (own + STILL))


class Bank(NamedTuple):
    """Clean expressions, and what cameras and trembling hands add to a face that keeps still.

    :param features: K×``LENGTH``×136 float16
    :param truths: of each, onset after ``LEAD_S``
    :param halves: K×2, largest motion of either half over 0.3 s
    :param trouble: M×T×136 float16
    """

    features: NDArray[np.float16]
    truths: tuple[Truth, ...]
    halves: F32
    trouble: NDArray[np.float16]


def draw_bank(seed: int, expressions: int = 3000, troubles: int = 240, seconds: float = 12.0) -> Bank:
    """Draw a bank: people of the training identities, every camera of the simulator."""
    rig, kept = load_rig(), []
    truths: list[Truth] = []
    people = SPLITS["train"]
    for k in range(expressions):
        rng = np.random.default_rng([0x1A1D, seed, k])
        camera = SimOptions().camera(rng)
        clean = replace(
            camera,
            white=0 * camera.white,
            pair=0 * camera.pair,
            drift=0.0,
            flicker=0.0,
            hold=0.0,
            repeat=0.0,
            moving=0.0,
            busy=0.0,
        )
        start = 0.34 + LEAD_S
        length = 0.34 + LENGTH * 0.02 + 0.1
        shift = float(rng.uniform(0, 0.02))
        made = draw_micro(rng, start + shift, Profile(peak=PEAK, micro_s=(0.14, 0.5)))
        stamps, shown = frame_times(rng, clean, length)
        neutral = rig.identity(int(rng.integers(people.start, people.stop)))
        motion = face_motion(
            rig,
            neutral,
            *Script(length, (made,)).evaluate(shown),
            float(rng.uniform(40, 150)),
            draw_sites(rng),
        )
        regions, landmarks = to_crop(*motion)
        grid = 0.34 + 0.02 * np.arange(LENGTH, dtype=np.float64)
        kept.append(measure(rng, clean, stamps, 100 * regions, landmarks, grid).astype(np.float16))
        told = truth_of(made, rig.iod(neutral))
        truths.append(
            told._replace(
                onset_s=told.onset_s - 0.34, apex_s=told.apex_s - 0.34, offset_s=told.offset_s - 0.34
            )
        )
    features = np.stack(kept)
    halves = half_motion(features.astype(np.float32)).max(1)
    still = [_trouble(np.random.default_rng([0x7B1E, seed, k]), seconds) for k in range(troubles)]
    return Bank(features, tuple(truths), halves, np.stack(still))


def _trouble(rng: np.random.Generator, seconds: float) -> NDArray[np.float16]:
    options, rig = LivelyOptions(), load_rig()
    camera = options.camera(rng)
    if rng.random() < 0.3:  # a codec that saves, a dark room
        worse = float(np.exp(rng.uniform(0.5, 1.6)))
        camera = replace(camera, white=camera.white * worse, pair=camera.pair * worse)
    script = Script(seconds, tuple(restless(rng, seconds)) if rng.random() < 0.5 else ())
    stamps, shown = frame_times(rng, camera, seconds)
    neutral = rig.identity(int(rng.integers(SPLITS["train"].start, SPLITS["train"].stop)))
    regions, landmarks = to_crop(
        *face_motion(rig, neutral, *script.evaluate(shown), float(rng.uniform(40, 150)), draw_sites(rng))
    )
    grid = 0.02 * np.arange(17, round(seconds / 0.02) - 2, dtype=np.float64)
    extra = options.trouble(rng, camera, stamps)
    return measure(rng, camera, stamps, 100 * regions, landmarks, grid, extra).astype(np.float16)


def bank(seed: int, folder: Path, expressions: int = 3000) -> Bank:
    """The bank of a seed, from ``folder`` or drawn into it."""
    path = folder / f"bank-{seed}-{expressions}.npz"
    if not path.exists():
        made = draw_bank(seed, expressions)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        flat = np.array([[t.onset_s, t.apex_s, t.offset_s, t.peak] for t in made.truths])
        units = np.array([" ".join(map(str, t.aus)) for t in made.truths])
        np.savez(
            part,
            features=made.features,
            halves=made.halves,
            trouble=made.trouble,
            times=flat,
            units=units,
        )
        part.replace(path)
    with np.load(path) as stored:
        truths = tuple(
            Truth(a, b, c, tuple(int(u) for u in str(units).split()), peak)
            for (a, b, c, peak), units in zip(stored["times"].tolist(), stored["units"], strict=True)
        )
        return Bank(stored["features"], truths, stored["halves"], stored["trouble"])


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Unbroken signals of one person, T×136 float16, and the steps near which a network went wrong before."""

    person: str
    features: NDArray[np.float16]
    hard: tuple[int, ...] = ()


class Laid:
    """Endless crops of real people, most of them with expressions laid on.

    People are drawn with a weight that grows with the root of their seconds: one long conversation does not drown
    forty short clips.

    :param empty: share of crops without any expression
    """

    def __init__(self, stretches: Sequence[Stretch], bank: Bank, *, seed: int, empty: float = 0.3) -> None:
        if not stretches:
            raise ValueError("no stretch of signals to lay expressions on")
        self._stretches, self._bank, self.empty = stretches, bank, empty
        total: dict[str, int] = {}
        for s in stretches:
            total[s.person] = total.get(s.person, 0) + len(s.features)
        weight = np.array([len(s.features) / total[s.person] ** 0.5 for s in stretches])
        self._weight = weight / weight.sum()
        self._hard = [(k, at) for k, s in enumerate(stretches) for at in s.hard]
        self._rng = np.random.default_rng([0x1A1D0, seed])

    @property
    def seconds(self) -> float:
        """Time that is covered."""
        return 0.02 * sum(len(s.features) for s in self._stretches)

    def own(self, steps: int) -> tuple[F32, NDArray[np.bool_]]:
        """A crop of somebody's own motion, ``steps``×136, and where it holds something."""
        rng = self._rng
        at: int | None = None
        if self._hard and rng.random() < 0.25:
            k, at = self._hard[int(rng.integers(len(self._hard)))]
        else:
            k = int(rng.choice(len(self._stretches), p=self._weight))
        rows = self._stretches[k].features
        speed = float(np.exp(rng.uniform(-0.22, 0.22)))
        there = int((len(rows) - 1) / speed)
        size = min(steps, there)
        if at is None:
            first = float(rng.uniform(0, max(0.0, len(rows) - 1 - size * speed)))
        else:
            first = float(np.clip(at - rng.uniform(0.3, 0.9) * size * speed, 0, len(rows) - 1 - size * speed))
        place = first + speed * np.arange(size)
        low = place.astype(np.int64)
        part = (place - low).astype(np.float32)[:, None]
        found = np.zeros((steps, FEATURES), np.float32)
        block = rows[low[0] : low[-1] + 2].astype(np.float32)
        low -= low[0]
        found[:size] = (
            block[low] * (1 - part) + block[np.minimum(low + 1, len(block) - 1)] * part
        ) * speed**0.7
        return found, np.arange(steps) < size

    def crop(self, steps: int) -> tuple[F32, F32]:
        """Features ``steps``×136 and targets ``steps``×23."""
        rng, bank = self._rng, self._bank
        x, there = self.own(steps)
        if rng.random() < 0.2:  # another person's mouth: twice the combinations
            other, both = self.own(steps)
            columns = np.flatnonzero(np.repeat(LOWER, 2))
            columns = np.concatenate([columns, columns + PER_BASELINE])
            x[:, columns] = other[:, columns]
            there &= both
        x *= np.float32(np.exp(rng.uniform(-0.6, 0.4)))
        if rng.random() < 0.35:
            noise = bank.trouble[int(rng.integers(len(bank.trouble)))]
            first = int(rng.integers(0, max(1, len(noise) - steps)))
            more = noise[first : first + steps].astype(np.float32)
            x[: len(more)] += more * np.float32(rng.uniform(0.2, 1.0))
        grid = 0.02 * np.arange(steps, dtype=np.float64)
        truths: list[Truth] = []
        weights: list[tuple[float, float, float]] = []
        if rng.random() >= self.empty:
            own = half_motion(x)
            for _ in range(int(rng.integers(1, max(2, round(steps * 0.02 * 0.5))))):
                k = int(rng.integers(len(bank.truths)))
                told = bank.truths[k]
                start = int(rng.integers(0, max(1, int(there.sum()) - 45)))
                begin, end = start * 0.02 + told.onset_s, start * 0.02 + told.offset_s
                if any(begin < t.offset_s + 0.25 and t.onset_s < end + 0.25 for t in truths):
                    continue
                gain = float(
                    np.clip(np.exp(rng.uniform(-0.7, 0.5)), PEAK[0] / told.peak, PEAK[1] / told.peak)
                )
                size = min(LENGTH, steps - start)
                x[start : start + size] += np.float32(gain) * bank.features[k, :size].astype(np.float32)
                shift = start * 0.02
                truths.append(Truth(begin, told.apex_s + shift, end, told.aus, gain * told.peak))
                near = own[max(0, start - 2) : start + round(told.offset_s / 0.02) + 6].max(0)
                ratio = float((gain * bank.halves[k] / (near + STILL)).max())
                weights.append((begin, end, _counts(ratio)))
        y = targets(grid, truths)
        for begin, end, weight in weights:
            y[(grid >= begin - 0.1) & (grid <= end + 0.1), WEIGHT] *= weight
        y[~there, WEIGHT] = 0
        return x, y

    def batch(self, count: int, steps: int) -> tuple[F32, F32]:
        """``count`` crops."""
        xs, ys = zip(*(self.crop(steps) for _ in range(count)), strict=True)
        return np.stack(xs), np.stack(ys)


def stretches_of(found: Iterable[Record], shortest: int = 100) -> list[Stretch]:
    """Unbroken stretches of records, those of at least ``shortest`` steps."""
    return [
        Stretch(r.subject, r.features[a:b].astype(np.float16))
        for r in found
        for a, b in r.stretches()
        if b - a >= shortest
    ]
