"""A second generator of faces that talk, blink and keep still, which shares no habit with the first.

Nothing is ever trained on it. :mod:`mellm.training.synth.script` draws curves between key frames; here a mouth is
pulled towards the targets of consonants and vowels by springs, lids follow a difference of exponentials, a head is a
damped mass pushed by noise, and expressions have another envelope and other shares of units. A network that has learnt
the first generator's curves instead of faces is found out here. Renderer, face model and chain are the same.

Sources of the figures: syllables 4–6 a second (Greenberg 1999), lids that close within 100 ms and open two to four
times as slowly (Evinger et al. 1991), blinks 10–30 a minute, more while talking (Bentivoglio et al. 1997). Speeds of
brows, lips, chin and head were set to the percentiles measured on people (docs/spotter-training.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mellm.training.synth.events import AuAction, Event, Expression
from mellm.training.synth.rig import AU_BLENDSHAPES, BLENDSHAPES, INDEX
from mellm.training.synth.script import REACH, Script

F64: TypeAlias = NDArray[np.float64]

HZ = 200.0
"""Steps a second in which springs are followed."""

UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 24)
PEAK = (1.0, 4.5)
"""Expressions: single units or pairs, all alike often; largest regional displacement in hundredths of IOD."""

VOWELS: tuple[dict[str, float], ...] = (
    {"jawOpen": 0.26, "mouthLowerDown": 0.18, "mouthUpperUp": 0.06},
    {"jawOpen": 0.15, "mouthStretch": 0.22, "mouthSmile": 0.08, "mouthLowerDown": 0.12},
    {"jawOpen": 0.07, "mouthStretch": 0.3, "mouthSmile": 0.14},
    {"jawOpen": 0.16, "mouthFunnel": 0.38, "mouthPucker": 0.12},
    {"jawOpen": 0.06, "mouthPucker": 0.55, "mouthFunnel": 0.18},
    {"jawOpen": 0.12, "mouthLowerDown": 0.08},
)
CONSONANTS: tuple[dict[str, float], ...] = (
    {"mouthPress": 0.3, "mouthRollLower": 0.14, "mouthRollUpper": 0.08, "mouthShrugLower": 0.05},
    {"mouthRollLower": 0.26, "mouthUpperUp": 0.12, "jawOpen": 0.03},
    {"jawOpen": 0.05, "mouthStretch": 0.08},
    {"jawOpen": 0.09, "mouthShrugUpper": 0.05},
    {"mouthFunnel": 0.25, "mouthPucker": 0.1, "jawOpen": 0.04},
)


def _shape(named: dict[str, float], lean: float = 0.0) -> F64:
    """Blendshape coefficients (53). ``lean``: so much stronger on the left, and weaker on the right."""
    out = np.zeros(len(BLENDSHAPES))
    for name, size in named.items():
        if name in INDEX:
            out[INDEX[name]] += size
        else:
            out[INDEX[f"{name}_L"]] += size * (1 + lean)
            out[INDEX[f"{name}_R"]] += size * (1 - lean)
    return out


def _pulled(targets: F64, hz: float, damping: float = 1.0) -> F64:
    """Where a damped spring of natural frequency ``hz`` takes a mass that is pulled to ``targets`` (N×K, at ``HZ``)."""
    omega, dt = 2 * np.pi * hz, 1 / HZ
    at, speed = targets[0].copy(), np.zeros_like(targets[0])
    out = np.empty_like(targets)
    for k, target in enumerate(targets):
        speed += dt * (omega**2 * (target - at) - 2 * damping * omega * speed)
        at = at + dt * speed
        out[k] = at
    return out


@dataclass(frozen=True, slots=True)
class Played:
    """Curves that were worked out once: ``face`` N×53 and ``pose`` N×6 at :data:`HZ` from ``onset_s``."""

    onset_s: float
    offset_s: float
    face: F64
    pose: F64

    def add(self, t: F64, face: F64, pose: F64) -> None:
        at = np.clip((t - self.onset_s) * HZ, 0, len(self.face) - 1.001)
        first, part = at.astype(int), (at % 1)[:, None]
        face += (1 - part) * self.face[first] + part * self.face[first + 1]
        pose += (1 - part) * self.pose[first] + part * self.pose[first + 1]


class Talk(Played):
    """Speech. A type of its own, so that a clip can be told to talk."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Pulse(Expression):
    """A micro-expression that rises like x²·e^(−x) and falls along a cosine."""

    def add(self, t: F64, face: F64, pose: F64) -> None:
        rise = np.clip((t - self.onset_s) / (self.apex_s - self.onset_s), 0, 1)
        fall = np.clip((t - self.apex_s) / (self.offset_s - self.apex_s), 0, 1)
        curve = rise**2 * np.exp(2 * (1 - rise)) * (0.5 + 0.5 * np.cos(np.pi * fall))
        for action in self.actions:
            face += curve[:, None] * action.coefficients()


def _speech(rng: np.random.Generator, seconds: float) -> Played:
    count = round(seconds * HZ) + 1
    mouth, brows, nods = np.zeros((count, len(BLENDSHAPES))), np.zeros(count), np.zeros(count)
    rate, size, lean = rng.uniform(3.8, 6.2), rng.uniform(0.6, 1.5), rng.normal(0, 0.1)
    lively = rng.gamma(1.5, 0.09)
    at = rng.uniform(0, 0.5)
    while at < seconds:
        end = min(seconds, at + rng.gamma(3.0, 0.7))
        while at < end:
            length = rng.gamma(18.0, 1 / (18 * rate))
            stress = rng.gamma(6.0, 1 / 6)
            a, b, c = (int((at + f * length) * HZ) for f in (0, rng.uniform(0.25, 0.45), 1))
            mouth[a:b] = _shape(CONSONANTS[rng.integers(len(CONSONANTS))], lean)
            mouth[b:c] = stress * _shape(VOWELS[rng.integers(len(VOWELS))], lean)
            if stress > 1.35:  # a stressed word
                brows[a : a + int(HZ * rng.uniform(0.12, 0.45))] = lively * rng.choice([1, 1, 1, -0.8])
                nods[a : a + int(0.12 * HZ)] = -rng.exponential(0.03)
            at += length
        at += 0.1 + rng.exponential(0.55)
    face = size * (0.6 * _pulled(mouth, 5.0) + 0.4 * _pulled(mouth, 9.0, 0.8))
    follow = size * _pulled(np.abs(mouth[:, [INDEX["mouthStretch_L"], INDEX["jawOpen"]]]), 4.0)
    for side in "LR":  # cheeks and nose are carried along
        face[:, INDEX[f"cheekSquint_{side}"]] += 0.35 * follow[:, 0]
        face[:, INDEX[f"noseSneer_{side}"]] += 0.06 * follow.sum(1)
        accent = _pulled(brows[:, None], 2.6, 0.7)[:, 0]
        face[:, INDEX[f"browInnerUp_{side}"]] += np.maximum(accent, 0)
        face[:, INDEX[f"browOuterUp_{side}"]] += 0.7 * np.maximum(accent, 0)
        face[:, INDEX[f"browDown_{side}"]] += np.maximum(-accent, 0)
    pose = np.zeros((count, 6))
    pose[:, 1] = _pulled(nods[:, None], 2.2, 0.6)[:, 0]
    return Talk(0.0, seconds, np.maximum(face, 0), pose)


def _lids(rng: np.random.Generator, seconds: float, talks: bool) -> Played:
    count = round(seconds * HZ) + 1
    face, steps = np.zeros((count, len(BLENDSHAPES))), np.arange(count) / HZ
    shape = _shape({"eyeBlink": 1.0, "cheekSquint": 0.09, "browDown": 0.05, "noseSneer": 0.02})
    at = rng.exponential(1.5)
    rate = rng.uniform(14, 34) if talks else rng.uniform(6, 20)
    while at < seconds:
        for _ in range(1 + (rng.random() < 0.12)):
            x = np.maximum(steps - at, 0)
            quick, slow = rng.uniform(0.022, 0.038), rng.uniform(0.07, 0.14)
            curve = (1 - np.exp(-x / quick)) ** 3 * np.exp(-x / slow)
            depth = 1.0 if rng.random() < 0.75 else rng.uniform(0.25, 0.8)
            face += depth * (curve / max(curve.max(), 1e-9))[:, None] * shape
            at += rng.uniform(0.22, 0.4)
        at += 0.3 + rng.exponential(60 / rate)
    look = np.zeros((count, 2))  # saccades, the upper lids go with them
    at = rng.exponential(1.0)
    while at < seconds:
        look[int(at * HZ) :] = rng.normal(0, (0.3, 0.16))
        at += 0.2 + rng.exponential(1.3)
    eyes = _pulled(look, 9.0)
    for names, along in (
        ((("eyeLookOut_L", "eyeLookIn_R"), ("eyeLookIn_L", "eyeLookOut_R")), eyes[:, 0]),
        ((("eyeLookUp_L", "eyeLookUp_R"), ("eyeLookDown_L", "eyeLookDown_R")), eyes[:, 1]),
    ):
        for sign, pair in zip((1, -1), names, strict=True):
            for name in pair:
                face[:, INDEX[name]] += np.maximum(sign * along, 0)
    return Played(0.0, seconds, face, np.zeros((count, 6)))


def _head(rng: np.random.Generator, seconds: float, talks: bool) -> Played:
    count = round(seconds * HZ) + 1
    size = rng.gamma(3.0, 0.45) if talks else rng.gamma(2.0, 0.25)
    push = rng.standard_normal((count, 6)) * np.sqrt(HZ)
    slow = _pulled(push, 0.35, 0.5) * np.array([0.006, 0.006, 0.004, 0.05, 0.04, 0.06])
    tremor = _pulled(push[::-1].copy(), rng.uniform(6, 10), 0.15) * np.array([0, 0, 0, 0.0006, 0.0006, 0])
    return Played(0.0, seconds, np.zeros((count, len(BLENDSHAPES))), size * slow + tremor)


def _pulses(rng: np.random.Generator, seconds: float, per_min: float) -> list[Event]:
    out: list[Event] = []
    wanted = int(per_min * seconds / 60 + rng.random())
    for _ in range(40 * wanted):
        if len(out) == wanted:
            break
        length = rng.uniform(0.16, 0.5)
        onset = rng.uniform(0.5, seconds - 1.0)
        if any(onset < e.offset_s + 0.3 and e.onset_s < onset + length + 0.3 for e in out):
            continue
        units = rng.choice(UNITS, 1 + int(rng.random() < 0.4), replace=False)
        peak = float(np.exp(rng.uniform(*np.log(PEAK))))
        actions = tuple(
            AuAction(
                int(u),
                "L" if rng.random() < 0.1 and "L" in AU_BLENDSHAPES[int(u)] else "B",
                float(np.clip(peak * rng.uniform(0.7, 1.0) / REACH[int(u)], 0.02, 0.85)),
            )
            for u in units
        )
        out.append(Pulse(onset, onset + length * rng.uniform(0.3, 0.6), onset + length, actions))
    return out


@lru_cache(maxsize=4)
def foreign_script(seed: int, seconds: float, talks: bool, per_min: float = 12.0) -> Script:
    """What a face does in ``seconds``: head, lids, ``per_min`` expressions a minute and, where it ``talks``, speech."""
    rng = np.random.default_rng([0xF0E1, seed])
    events: list[Event] = [_head(rng, seconds, talks), _lids(rng, seconds, talks)]
    if talks:
        events.append(_speech(rng, seconds))
    return Script(seconds, (*events, *_pulses(rng, seconds, per_min)))
