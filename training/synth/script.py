"""Expression scripts: what one face does during one clip, on a media clock, and the truth about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mellm.training.synth.events import (
    MICRO_S,
    AuAction,
    Blink,
    BrowBeat,
    Chewing,
    Event,
    Expression,
    Gaze,
    HeadDrift,
    HeadTurn,
    Nod,
    Speech,
    Swallow,
)
from mellm.training.synth.rig import AU_BLENDSHAPES, BLENDSHAPES, Side

F64: TypeAlias = NDArray[np.float64]
Range: TypeAlias = tuple[float, float]

AU_SETS: tuple[tuple[tuple[int, ...], float], ...] = (
    ((4,), 22), ((4, 7), 14), ((4, 5), 3), ((1, 4), 2), ((4, 9), 2), ((4, 10), 1), ((4, 17), 1), ((4, 14), 1),
    ((1, 2), 6), ((1, 2, 5), 3), ((1,), 3), ((2,), 3), ((5,), 5), ((1, 2, 4), 1), ((1, 2, 26), 0.5),
    ((12,), 9), ((6, 12), 5), ((6,), 1), ((12, 14), 1), ((7,), 6), ((6, 7), 1), ((7, 10), 1), ((7, 12), 1),
    ((14,), 5), ((15,), 2.5), ((15, 17), 1.5), ((17,), 3), ((14, 17), 0.7), ((9,), 2), ((9, 10), 1),
    ((10,), 3.5), ((20,), 2), ((24,), 3), ((17, 24), 1), ((26,), 0.8), ((20, 26), 0.4),
)  # fmt: skip
"""Sets of action units that fire together, and weights. Chosen so that the share of each unit lies between
those counted in CASME II, SAMM and DFME (AU 4 in four clips of ten; 7, 12, 1, 2 and 14 next), with four sets
in ten holding several units."""

REACH: dict[int, float] = {
    1: 8.3, 2: 11.2, 4: 8.3, 5: 4.6, 6: 6.3, 7: 4.7, 9: 14.8, 10: 12.3,
    12: 17.7, 14: 5.4, 15: 7.2, 17: 16.9, 20: 9.5, 24: 7.9, 26: 18.1,
}  # fmt: skip
"""Largest regional displacement at full intensity on the average face, seen from the front, hundredths of
the inter-ocular distance (mean of each region's vertices)."""

IOD_CM = 6.5
"""Inter-ocular distance that a pose's shift in centimetres is told against."""

ONE_SIDED = 0.19
"""Share of one-sided expressions (CASME II 49 of 250, DFME 312 of 1856)."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How lively a clip is. Ranges are drawn once per clip or event, log-uniformly where both ends are > 0.

    :param micro_per_min: micro-expressions a minute
    :param macro_per_min: macro-expressions
    :param peak: largest regional displacement of a micro-expression, hundredths of IOD
    :param macro_peak: the same of a macro-expression
    :param micro_s: shortest and longest micro-expression (durations are log-normal round 0.34 s between)
    :param even: share of action-unit sets drawn evenly instead of by frequency
    :param talk: probability that the subject talks
    :param talk_share: part of the time, when talking
    :param speech: amplitude of speech
    :param beats_per_min: brow beats while talking
    :param chew: probability of chewing in a clip without speech
    :param head: amplitude of head motion, 1 is a person who watches a screen
    :param moves_per_min: nods and turns, at ``head`` 1
    """

    micro_per_min: float = 12.0
    macro_per_min: float = 3.0
    peak: Range = (0.7, 5.0)
    macro_peak: Range = (3.0, 16.0)
    micro_s: Range = (0.18, 0.5)
    even: float = 0.25
    talk: float = 0.5
    talk_share: Range = (0.5, 1.0)
    speech: Range = (0.5, 1.6)
    beats_per_min: float = 26.0
    chew: float = 0.04
    head: Range = (0.3, 2.4)
    moves_per_min: float = 5.0
    blinks_per_min: Range = (5.0, 30.0)
    gazes_per_min: Range = (4.0, 30.0)
    swallows_per_min: float = 1.0


PROFILES: dict[str, Profile] = {
    "quiet": Profile(talk=0.0, head=(0.3, 1.2)),
    "talk": Profile(talk=1.0, head=(0.5, 2.4)),
    "mixed": Profile(),
    "still": Profile(
        talk=0.0, chew=0.0, head=(0.1, 0.3), macro_per_min=0, moves_per_min=0, gazes_per_min=(0, 5)
    ),
}


@dataclass(frozen=True, slots=True)
class Script:
    """Events of one clip of ``seconds`` seconds."""

    seconds: float
    events: tuple[Event, ...] = field(default=())

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """Micro- and macro-expressions in order of onset: the truth."""
        return tuple(sorted((e for e in self.events if isinstance(e, Expression)), key=lambda e: e.onset_s))

    @property
    def talks(self) -> bool:
        """Whether anything is said."""
        return any(isinstance(e, Speech) for e in self.events)

    def evaluate(self, t: ArrayLike) -> tuple[F64, F64]:
        """Expression coefficients (T×53, 0…1) and poses (T×6) at times ``t`` (seconds, any order)."""
        at = np.atleast_1d(np.asarray(t, np.float64))
        face, pose = np.zeros((at.size, len(BLENDSHAPES))), np.zeros((at.size, 6))
        for event in self.events:
            rows = np.flatnonzero((at >= event.onset_s) & (at <= event.offset_s))
            if rows.size:
                some, turn = np.zeros((rows.size, len(BLENDSHAPES))), np.zeros((rows.size, 6))
                event.add(at[rows], some, turn)
                face[rows] += some
                pose[rows] += turn
        return np.clip(face, 0, 1), pose

    def coefficients(self, t: ArrayLike) -> F64:
        """Expression coefficients, T×53, in the order of :data:`mellm.training.synth.rig.BLENDSHAPES`."""
        return self.evaluate(t)[0]

    def pose(self, t: ArrayLike) -> F64:
        """Poses, T×6, as :mod:`mellm.training.synth.rig` defines them."""
        return self.evaluate(t)[1]


def _draw(rng: np.random.Generator, bounds: Range) -> float:
    low, high = bounds
    if low > 0:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return float(rng.uniform(low, high))


def _count(rng: np.random.Generator, per_min: float, seconds: float) -> int:
    """A whole number whose mean is ``per_min * seconds / 60`` and that strays by less than one."""
    return int(per_min * seconds / 60 + rng.random())


def draw_actions(
    rng: np.random.Generator,
    peak: float,
    even: float = 0.25,
    lag_s: float = 0.015,
    shares: F64 | None = None,
) -> tuple[AuAction, ...]:
    """A set of action units whose strongest region moves by about ``peak`` hundredths of IOD.

    :param shares: probability of each of :data:`AU_SETS`, in place of the counted ones and ``even``
    """
    weight = np.array([w for _, w in AU_SETS])
    share = (1 - even) * weight / weight.sum() + even / len(weight) if shares is None else shares
    units = AU_SETS[rng.choice(len(AU_SETS), p=share)][0]
    one_sided = rng.random() < ONE_SIDED and all("L" in AU_BLENDSHAPES[au] for au in units)
    side: Side = ("L" if rng.random() < 0.5 else "R") if one_sided else "B"
    lead = rng.integers(len(units))
    actions = []
    for i, au in enumerate(units):
        share_of_peak = 1.0 if i == lead else rng.uniform(0.4, 1.0)
        intensity = float(np.clip(peak * share_of_peak / REACH[au], 0.02, 0.85))
        skew = float(np.clip(rng.normal(0, 0.12), -0.3, 0.3)) if side == "B" else 0.0
        lag = 0.0 if i == lead else float(rng.normal(0, lag_s))
        actions.append(AuAction(au, side, intensity, skew, lag))
    return tuple(actions)


def draw_micro(rng: np.random.Generator, onset_s: float, profile: Profile) -> Expression:
    """A micro-expression: median duration 0.34 s, median rise 0.16 s, as in the high-speed data sets."""
    low, high = profile.micro_s
    duration = float(np.clip(np.exp(rng.normal(np.log(0.345), 0.3)), low, high))
    rise = duration * float(np.clip(rng.normal(0.47, 0.1), 0.25, 0.7))
    ease = (float(rng.uniform(0.8, 1.3)), float(rng.uniform(0.8, 1.3)))
    peak = _draw(rng, profile.peak)
    actions = draw_actions(rng, peak, profile.even)
    return Expression(onset_s, onset_s + rise, onset_s + duration, actions, ease=ease)


def draw_macro(rng: np.random.Generator, onset_s: float, profile: Profile) -> Expression:
    """A macro-expression: 0.6 to 4 s, with time at its apex."""
    duration = float(np.clip(np.exp(rng.normal(np.log(1.2), 0.5)), 0.6, 4.0))
    rise = float(np.clip(rng.lognormal(np.log(0.3), 0.4), 0.15, 0.45 * duration))
    fall = float(np.clip(rng.lognormal(np.log(0.4), 0.4), 0.2, 0.5 * duration))
    actions = draw_actions(rng, _draw(rng, profile.macro_peak), profile.even, lag_s=0.06)
    hold = duration - rise - fall
    return Expression(onset_s, onset_s + rise, onset_s + duration, actions, hold_s=hold)


def _expressions(rng: np.random.Generator, seconds: float, profile: Profile) -> list[Event]:
    """Expressions that do not meet: at least 0.25 s lie between two."""
    wanted = [draw_macro] * _count(rng, profile.macro_per_min, seconds)
    wanted += [draw_micro] * _count(rng, profile.micro_per_min, seconds)
    placed: list[Event] = []
    for draw in wanted:
        for _ in range(30):
            made = draw(rng, float(rng.uniform(0.4, max(0.41, seconds - 0.9))), profile)
            free = all(made.offset_s + 0.25 < e.onset_s or e.offset_s + 0.25 < made.onset_s for e in placed)
            if free and made.offset_s < seconds - 0.3:
                placed.append(made)
                break
    return placed


def _speech(rng: np.random.Generator, seconds: float, profile: Profile) -> list[Event]:
    """Phrases with pauses, and the brow beats and small nods that go with them."""
    out: list[Event] = []
    amplitude, share = _draw(rng, profile.speech), _draw(rng, profile.talk_share)
    rate = float(rng.uniform(3.2, 6.5))
    beat = float(rng.lognormal(np.log(0.2), 0.5))
    at = float(rng.uniform(0, 0.6))
    while at < seconds - 0.5:
        phrase = float(np.clip(rng.lognormal(np.log(1.8), 0.5), 0.5, 5.0))
        end = min(at + phrase, seconds)
        size = amplitude * rng.uniform(0.75, 1.25)
        out.append(Speech(at, end, rate * rng.uniform(0.85, 1.2), float(size), int(rng.integers(2**31))))
        for _ in range(_count(rng, profile.beats_per_min, end - at)):
            start = float(rng.uniform(at - 0.1, end - 0.2))
            length = float(rng.uniform(0.4, 1.1))
            up = beat * rng.lognormal(0, 0.4) if rng.random() < 0.75 else 0.0
            nod = float(np.deg2rad(rng.exponential(1.5)))
            out.append(BrowBeat(start, start + length, float(min(up, 0.6)), 0.0 if up else beat, nod))
        at = end + float(rng.exponential(phrase * (1 / share - 1))) + 0.12
    return out


def _head(rng: np.random.Generator, seconds: float, size: float, talks: bool, moves: float) -> list[Event]:
    """Wandering, a quicker sway when talking, nods and turns. ``size`` 1 is a person who watches a screen."""
    degree = np.deg2rad(1.0) * size
    slow = (2.0 * degree, 1.5 * degree, 1.0 * degree, 0.3 * size, 0.2 * size, 0.3 * size)
    out: list[Event] = [HeadDrift(0, seconds, slow, float(rng.uniform(1.0, 2.5)), int(rng.integers(2**31)))]
    if talks:
        quick = (0.55 * degree, 0.55 * degree, 0.35 * degree, 0.04 * size, 0.04 * size, 0.04 * size)
        out.append(HeadDrift(0, seconds, quick, float(rng.uniform(0.2, 0.4)), int(rng.integers(2**31))))
    for _ in range(_count(rng, moves * min(size, 2), seconds)):
        onset = float(rng.uniform(0, seconds - 0.5))
        if rng.random() < 0.5:
            swing = float(degree * rng.uniform(0.8, 2.5))
            yes = rng.random() < 0.7
            rate, length = float(rng.uniform(1.0, 2.6)), float(rng.uniform(0.6, 1.6))
            out.append(Nod(onset, onset + length, rate, (0.0, swing) if yes else (swing, 0.0)))
        else:
            go = float(rng.uniform(0.3, 0.8))
            turn = degree * rng.normal(0, (5, 3, 2))
            shift = 0.5 * size * rng.normal(0, 1, 3)
            length = 2 * go + float(rng.exponential(1.0))
            out.append(HeadTurn(onset, onset + length, go, tuple(np.concatenate([turn, shift]).tolist())))
    return out


def restless(rng: np.random.Generator, seconds: float) -> list[Event]:
    """A head that is never still, a camera in the hand, or both: what :func:`random_script` does not draw.

    Standard deviation of the shift along each axis: 2–16 hundredths of IOD within about 0.3 s, 0.3–4 within 0.05 s.
    """
    out: list[Event] = []
    for chance, bounds, tau in ((0.7, (2.0, 16.0), (0.2, 0.6)), (0.5, (0.3, 4.0), (0.04, 0.09))):
        if rng.random() >= chance:
            continue
        level = _draw(rng, bounds)
        shift, roll = level / 100 * IOD_CM, float(np.deg2rad(0.1)) * level
        size = (0.0, 0.0, roll, shift, shift, 0.5 * shift)
        out.append(HeadDrift(0, seconds, size, float(rng.uniform(*tau)), int(rng.integers(2**31))))
    return out


def random_script(rng: np.random.Generator, seconds: float, profile: Profile | None = None) -> Script:
    """A clip's script, drawn from ``profile``. The same generator state gives the same script."""
    if seconds < 2:
        raise ValueError(f"a script of {seconds} s is too short to hold an expression")
    p = profile or Profile()
    talks = rng.random() < p.talk
    events = _expressions(rng, seconds, p)
    events += _speech(rng, seconds, p) if talks else []
    if not talks and rng.random() < p.chew:
        start = float(rng.uniform(0, seconds / 2))
        end = min(start + float(rng.uniform(2, 6)), seconds)
        chew = float(rng.uniform(0.4, 1.0))
        events.append(Chewing(start, end, float(rng.uniform(1.0, 1.8)), chew, int(rng.integers(2**31))))
    events += _head(rng, seconds, _draw(rng, p.head), talks, p.moves_per_min)
    for _ in range(_count(rng, _draw(rng, p.blinks_per_min), seconds)):
        close, shut, reopen = rng.uniform((0.06, 0.01, 0.11), (0.11, 0.06, 0.22))
        depth = 1.0 if rng.random() < 0.85 else rng.uniform(0.4, 0.9)
        events.append(
            Blink(float(rng.uniform(0, seconds)), float(close), float(shut), float(reopen), float(depth))
        )
    for _ in range(_count(rng, _draw(rng, p.gazes_per_min), seconds)):
        start = float(rng.uniform(0, seconds))
        length = 0.15 + float(rng.exponential(0.8))
        events.append(Gaze(start, start + length, float(rng.normal(0, 0.35)), float(rng.normal(-0.05, 0.25))))
    for _ in range(_count(rng, p.swallows_per_min, seconds)):
        start = float(rng.uniform(0, seconds))
        events.append(Swallow(start, start + float(rng.uniform(0.55, 1.1)), float(rng.uniform(0.3, 1.0))))
    return Script(seconds, tuple(events))


__all__ = [
    "AU_SETS",
    "MICRO_S",
    "PROFILES",
    "REACH",
    "AuAction",
    "Expression",
    "Profile",
    "Script",
    "draw_actions",
    "draw_macro",
    "draw_micro",
    "random_script",
    "restless",
]
