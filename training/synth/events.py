"""What a face and a head can do: events on a media clock, in seconds.

Each event adds its blendshape coefficients and its pose at given times, and nothing else knows how. Events
with a ``seed`` draw their inner detail from it, so that a script can be evaluated at any times, in any order,
any number of times, with the same result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mellm.training.synth.envelope import bump, slow_noise, smoothstep
from mellm.training.synth.rig import AU_BLENDSHAPES, INDEX, Side, au_coefficients

F64: TypeAlias = NDArray[np.float64]

MICRO_S = 0.5
"""Longest micro-expression; anything longer is a macro-expression."""


class Event(Protocol):
    """Anything that moves the face."""

    @property
    def onset_s(self) -> float:
        """Start of the event."""

    @property
    def offset_s(self) -> float:
        """End of the event."""

    def add(self, t: F64, face: F64, pose: F64) -> None:
        """Add to coefficients ``face`` (T×53) and to ``pose`` (T×6) at times ``t`` (T), in place.

        ``t`` is inside the event.
        """


@dataclass(frozen=True, slots=True)
class AuAction:
    """One action unit of an expression.

    :param side: the subject's ``L`` or ``R``, or ``B`` for both
    :param intensity: share of the full blendshape at the apex
    :param skew: of a both-sided unit the left side is ``1 + skew`` and the right ``1 - skew`` times as strong
    :param lag_s: this unit's apex comes so much after the expression's
    """

    au: int
    side: Side
    intensity: float
    skew: float = 0.0
    lag_s: float = 0.0

    def coefficients(self) -> F64:
        """Blendshape coefficients (53) at this unit's apex."""
        if self.side == "B" and self.skew and "L" in AU_BLENDSHAPES[self.au]:
            left, right = au_coefficients(self.au, "L"), au_coefficients(self.au, "R")
            return self.intensity * ((1 + self.skew) * left + (1 - self.skew) * right)
        return self.intensity * au_coefficients(self.au, self.side)


@dataclass(frozen=True, slots=True)
class Expression:
    """A micro-expression (up to 0.5 s) or a macro-expression: truth for the spotter.

    :param hold_s: stay at the apex
    :param ease: see :func:`mellm.training.synth.envelope.bump`
    """

    onset_s: float
    apex_s: float
    offset_s: float
    actions: tuple[AuAction, ...]
    hold_s: float = 0.0
    ease: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        if not self.onset_s < self.apex_s <= self.apex_s + self.hold_s < self.offset_s:
            raise ValueError(f"expression with {self.onset_s=}, {self.apex_s=}, {self.offset_s=}")
        if not self.actions:
            raise ValueError("an expression needs at least one action unit")

    @property
    def kind(self) -> Literal["micro", "macro"]:
        """By duration: at most :data:`MICRO_S` is micro."""
        return "micro" if self.offset_s - self.onset_s <= MICRO_S + 1e-9 else "macro"

    def add(self, t: F64, face: F64, pose: F64) -> None:
        for action in self.actions:
            apex = float(np.clip(self.apex_s + action.lag_s, self.onset_s + 0.02, self.offset_s - 0.02))
            hold = min(self.hold_s, 0.9 * (self.offset_s - apex))
            curve = bump(t, self.onset_s, apex, self.offset_s, hold, self.ease)
            face += curve[:, None] * action.coefficients()


@dataclass(frozen=True, slots=True)
class Blink:
    """Lids close, stay, and open, with the small tug of the muscle round the eye."""

    onset_s: float
    close_s: float = 0.09
    shut_s: float = 0.04
    open_s: float = 0.17
    depth: float = 1.0

    @property
    def offset_s(self) -> float:
        return self.onset_s + self.close_s + self.shut_s + self.open_s

    def add(self, t: F64, face: F64, pose: F64) -> None:
        curve = self.depth * bump(t, self.onset_s, self.onset_s + self.close_s, self.offset_s, self.shut_s)
        for name, share in (("eyeBlink", 1.0), ("cheekSquint", 0.06), ("browDown", 0.03)):
            for side in "LR":
                face[:, INDEX[f"{name}_{side}"]] += share * curve


@dataclass(frozen=True, slots=True)
class Gaze:
    """A glance and back: saccades of 50 ms, lids following. Positive is the subject's left, and up."""

    onset_s: float
    offset_s: float
    horizontal: float
    vertical: float

    def add(self, t: F64, face: F64, pose: F64) -> None:
        jump = min(0.05, (self.offset_s - self.onset_s) / 2)
        curve = bump(
            t, self.onset_s, self.onset_s + jump, self.offset_s, self.offset_s - self.onset_s - 2 * jump
        )
        sides = ("Out_L", "In_R") if self.horizontal > 0 else ("In_L", "Out_R")
        lids = ("Up_L", "Up_R") if self.vertical > 0 else ("Down_L", "Down_R")
        for names, size in ((sides, abs(self.horizontal)), (lids, abs(self.vertical))):
            for name in names:
                face[:, INDEX[f"eyeLook{name}"]] += size * curve


_SPEECH = (
    *("jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthRollLower", "mouthRollUpper"),
    *("mouthLowerDown_L", "mouthLowerDown_R", "mouthUpperUp_L", "mouthUpperUp_R"),
    *("mouthStretch_L", "mouthStretch_R", "mouthPress_L", "mouthPress_R", "mouthShrugLower"),
    *("mouthSmile_L", "mouthSmile_R", "cheekSquint_L", "cheekSquint_R"),
)
_SPEECH_COLUMNS = np.array([INDEX[name] for name in _SPEECH])


@dataclass(frozen=True, slots=True)
class Speech:
    """Jaw and lips at 3–7 syllables a second: each syllable opens towards a vowel and ends in a consonant."""

    onset_s: float
    offset_s: float
    rate_hz: float
    amplitude: float
    seed: int

    def _keys(self) -> tuple[F64, F64]:
        """Times (K) and mouth shapes (K × len(_SPEECH)) that the mouth passes through."""
        rng = np.random.default_rng([0x57, self.seed])
        count = max(2, round((self.offset_s - self.onset_s) * self.rate_hz))
        length = rng.lognormal(0, 0.25, count)
        ends = self.onset_s + np.cumsum(length) / length.sum() * (self.offset_s - self.onset_s)
        starts = np.concatenate([[self.onset_s], ends[:-1]])
        vowel_at = starts + rng.uniform(0.35, 0.6, count) * (ends - starts)
        column = {name: i for i, name in enumerate(_SPEECH)}
        vowels, stops = np.zeros((2, count, len(_SPEECH)))
        stress = rng.lognormal(-0.1, 0.45, count)
        round_lips = rng.random(count) < 0.3
        vowels[:, column["jawOpen"]] = stress * rng.uniform(0.04, 0.2, count)
        vowels[:, column["mouthFunnel"]] = stress * round_lips * rng.uniform(0.1, 0.4, count)
        vowels[:, column["mouthPucker"]] = stress * round_lips * rng.uniform(0.1, 0.5, count)
        for name, size in (("LowerDown", 0.35), ("UpperUp", 0.25), ("Stretch", 0.25), ("Smile", 0.16)):
            both = stress * ~round_lips * rng.uniform(0, size, count)
            vowels[:, column[f"mouth{name}_L"]] = both * rng.uniform(0.85, 1.15)
            vowels[:, column[f"mouth{name}_R"]] = both * rng.uniform(0.85, 1.15)
        squint = stress * rng.uniform(0, 0.3, count)  # cheeks ride on the moving mouth
        vowels[:, column["cheekSquint_L"]] = vowels[:, column["cheekSquint_R"]] = squint
        lips = rng.random(count) < 0.35  # p, b, m: the lips meet
        stops[:, column["jawOpen"]] = np.where(lips, 0.02, rng.uniform(0.02, 0.1, count))
        for name, size in (("mouthPress_L", 0.3), ("mouthPress_R", 0.3), ("mouthRollLower", 0.2)):
            stops[:, column[name]] = lips * rng.uniform(0, size, count)
        stops[:, column["mouthShrugLower"]] = rng.uniform(0, 0.12, count)
        stops[-1] = 0
        times = np.concatenate([[self.onset_s], np.stack([vowel_at, ends], 1).ravel()])
        shapes = np.concatenate(
            [np.zeros((1, len(_SPEECH))), np.stack([vowels, stops], 1).reshape(2 * count, -1)]
        )
        return times, self.amplitude * shapes

    def add(self, t: F64, face: F64, pose: F64) -> None:
        times, shapes = self._keys()
        k = np.clip(np.searchsorted(times, t, side="right") - 1, 0, len(times) - 2)
        mix = smoothstep((t - times[k]) / (times[k + 1] - times[k]))[:, None]
        face[:, _SPEECH_COLUMNS] += shapes[k] * (1 - mix) + shapes[k + 1] * mix


@dataclass(frozen=True, slots=True)
class Chewing:
    """Jaw circles with closed lips."""

    onset_s: float
    offset_s: float
    rate_hz: float
    amplitude: float
    seed: int

    def add(self, t: F64, face: F64, pose: F64) -> None:
        wobble = 0.15 * slow_noise(t, self.seed, 0.6)
        phase = 2 * np.pi * (self.rate_hz * (t - self.onset_s) + wobble)
        size = self.amplitude * bump(t, self.onset_s, self.onset_s + 0.3, self.offset_s, self._chew_s)
        drop = size * (0.5 - 0.5 * np.cos(phase))
        aside = size * np.sin(phase)
        face[:, INDEX["jawOpen"]] += 0.22 * drop
        face[:, INDEX["mouthClose"]] += 0.20 * drop
        face[:, INDEX["jawLeft"]] += 0.3 * np.maximum(aside, 0)
        face[:, INDEX["jawRight"]] += 0.3 * np.maximum(-aside, 0)
        for side in "LR":
            face[:, INDEX[f"mouthPress_{side}"]] += 0.3 * (size - drop)

    @property
    def _chew_s(self) -> float:
        return max(0.0, self.offset_s - self.onset_s - 0.6)


@dataclass(frozen=True, slots=True)
class Swallow:
    """Lips press, the chin rises, the jaw closes."""

    onset_s: float
    offset_s: float
    amplitude: float

    def add(self, t: F64, face: F64, pose: F64) -> None:
        middle = 0.45 * self.onset_s + 0.55 * self.offset_s
        curve = self.amplitude * bump(t, self.onset_s, middle, self.offset_s, 0.1)
        face[:, INDEX["mouthShrugLower"]] += 0.2 * curve
        for name in ("mouthPress_L", "mouthPress_R", "mouthDimple_L", "mouthDimple_R"):
            face[:, INDEX[name]] += (0.4 if "Press" in name else 0.1) * curve
        pose[:, 1] -= np.deg2rad(1.2) * curve


@dataclass(frozen=True, slots=True)
class BrowBeat:
    """Brows that stress a word: like an expression to the eye, but part of speech and not truth."""

    onset_s: float
    offset_s: float
    raise_: float
    frown: float
    nod: float = 0.0

    def add(self, t: F64, face: F64, pose: F64) -> None:
        length = self.offset_s - self.onset_s
        curve = bump(t, self.onset_s, self.onset_s + 0.4 * length, self.offset_s, 0.1 * length)
        for side in "LR":
            face[:, INDEX[f"browInnerUp_{side}"]] += self.raise_ * curve
            face[:, INDEX[f"browOuterUp_{side}"]] += 0.8 * self.raise_ * curve
            face[:, INDEX[f"browDown_{side}"]] += self.frown * curve
        pose[:, 1] -= self.nod * curve


@dataclass(frozen=True, slots=True)
class HeadDrift:
    """Slow wandering of the head. ``size``: standard deviation of the six pose numbers."""

    onset_s: float
    offset_s: float
    size: tuple[float, float, float, float, float, float]
    tau_s: float
    seed: int

    def add(self, t: F64, face: F64, pose: F64) -> None:
        for axis, size in enumerate(self.size):
            if size:
                pose[:, axis] += size * slow_noise(t, 6 * self.seed + axis, self.tau_s)


@dataclass(frozen=True, slots=True)
class HeadTurn:
    """The head goes to a pose and comes back. ``to``: yaw, pitch, roll (radians), shift (cm)."""

    onset_s: float
    offset_s: float
    move_s: float
    to: tuple[float, float, float, float, float, float]

    def add(self, t: F64, face: F64, pose: F64) -> None:
        stay = max(0.0, self.offset_s - self.onset_s - 2 * self.move_s)
        pose += bump(t, self.onset_s, self.onset_s + self.move_s, self.offset_s, stay)[:, None] * self.to


@dataclass(frozen=True, slots=True)
class Nod:
    """Yes or no: a swing that dies away. ``size``: yaw and pitch amplitude, radians."""

    onset_s: float
    offset_s: float
    rate_hz: float
    size: tuple[float, float]

    def add(self, t: F64, face: F64, pose: F64) -> None:
        share = (t - self.onset_s) / (self.offset_s - self.onset_s)
        fade = smoothstep(share / 0.15) * smoothstep((1 - share) / 0.6)
        swing = fade * np.sin(2 * np.pi * self.rate_hz * (t - self.onset_s))
        pose[:, 0] += self.size[0] * swing
        pose[:, 1] += self.size[1] * swing
