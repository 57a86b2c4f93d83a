"""People as lively as filmed ones: gestures that are no expressions, each in its owner's way, and worse recordings.

The profiles of :mod:`mellm.training.synth.script` move smoothly, evenly and on both sides alike, and a spotter that
grew up with them takes what real faces do while they talk for micro-expressions. :class:`LivelyOptions` draws, for a
share of the clips, a person with habits (:func:`draw_person`) and fills the clip with them: speech that pulls at
cheeks and nose, beats of the brows from a sixth of a second on, squints, pressed and bitten lips, laughter, shaking
heads. None of this is truth. Micro-expressions lie on top, in talkers as often in the upper face as in the lower; so
do expressions that come fast and stay, and small ones that are too slow to be called micro.

Which sizes and rates: ``python -m mellm.training.tools.realism`` compares with recordings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mellm.detectors.regions import COUNT, NAMES
from mellm.engine.facs import action_units as facs
from mellm.training.synth.envelope import bump
from mellm.training.synth.events import Blink, Event, Expression, Gaze, HeadTurn, Nod, Speech
from mellm.training.synth.measurement import Camera, smooth_noise
from mellm.training.synth.rig import BLENDSHAPES, INDEX
from mellm.training.synth.script import AU_SETS, Profile, Range, Script, draw_actions, random_script
from mellm.training.synth.simulator import SimOptions, mean_centres

F64 = NDArray[np.float64]


class Habit(NamedTuple):
    """A gesture: blendshapes (both sides where the name has none) with weights, and how it is made.

    :param size: coefficient at the peak
    :param seconds: whole length
    :param per_min: rate in a person who has it
    :param common: share of people who have it
    """

    shapes: tuple[tuple[str, float], ...]
    size: Range
    seconds: Range
    per_min: float
    common: float


HABITS: dict[str, Habit] = {
    "brow beat": Habit((("browInnerUp", 1), ("browOuterUp", 0.8)), (0.1, 1.0), (0.15, 0.9), 22, 0.85),
    "inner brow": Habit((("browInnerUp", 1), ("browDown", 0.25)), (0.1, 1.0), (0.15, 0.9), 10, 0.45),
    "frown beat": Habit((("browDown", 1), ("eyeSquint", 0.2)), (0.1, 1.0), (0.15, 1.0), 14, 0.6),
    "squint": Habit((("eyeSquint", 1), ("cheekSquint", 0.6)), (0.1, 0.9), (0.2, 1.5), 8, 0.5),
    "wide eyes": Habit((("eyeWide", 1), ("browOuterUp", 0.3)), (0.1, 0.9), (0.2, 1.2), 6, 0.4),
    "wrinkled nose": Habit((("noseSneer", 1), ("mouthUpperUp", 0.3)), (0.05, 0.5), (0.15, 0.8), 8, 0.4),
    "raised cheeks": Habit((("cheekSquint", 1), ("mouthSmile", 0.4)), (0.1, 0.7), (0.2, 1.2), 6, 0.4),
    "pressed lips": Habit((("mouthPress", 1), ("mouthRollLower", 0.4)), (0.1, 0.9), (0.2, 1.5), 6, 0.6),
    "licked lip": Habit(
        (("mouthRollLower", 0.7), ("jawOpen", 0.12), ("mouthLowerDown", 0.2)), (0.4, 1), (0.4, 1.2), 3, 0.4
    ),
    "bitten lip": Habit((("mouthRollLower", 1), ("mouthUpperUp", 0.25)), (0.3, 1.0), (0.4, 2.0), 2, 0.2),
    "swallow": Habit((("mouthShrugLower", 0.5), ("mouthPress", 0.6)), (0.2, 0.8), (0.5, 1.1), 3, 0.5),
    "raised chin": Habit((("mouthShrugLower", 1),), (0.05, 0.6), (0.2, 1.0), 4, 0.4),
    "drawn corner": Habit((("mouthDimple", 1), ("mouthSmile", 0.5)), (0.05, 0.7), (0.2, 1.2), 6, 0.5),
    "fast smile": Habit((("mouthSmile", 1), ("cheekSquint", 0.5)), (0.05, 0.8), (0.25, 2.0), 6, 0.5),
    "shown teeth": Habit(
        (("mouthUpperUp", 0.8), ("mouthStretch", 0.6), ("mouthLowerDown", 0.5)), (0.1, 0.8), (0.2, 1.0), 6, 0.4
    ),
    "pucker": Habit((("mouthPucker", 1), ("mouthFunnel", 0.4)), (0.1, 0.8), (0.2, 0.9), 5, 0.4),
    "jaw": Habit((("jawOpen", 1), ("mouthClose", 0.3)), (0.05, 0.5), (0.2, 0.9), 5, 0.5),
}  # fmt: skip
"""What people do with their faces that is no expression. Sizes are drawn log-uniformly, so most are small."""

UPPER_AUS = facs.UPPER | {9}
"""Units that can be seen while the mouth talks; the nose is wrinkled above it."""
BLINK_TUG = (("cheekSquint", 0.25), ("browDown", 0.15), ("noseSneer", 0.05), ("eyeSquint", 0.2))
"""Shapes that people pull along when they blink, and the most of each."""


ALONE_S = (0.55, 1.4)
"""Length of gestures that would be shorter but come outside speech."""


def _columns(name: str) -> list[int]:
    return [INDEX[n] for n in ((name,) if name in INDEX else (f"{name}_L", f"{name}_R"))]


@dataclass(frozen=True, slots=True, eq=False)
class Gesture:
    """Shapes that come and go: a beat, a squint, a pressed lip. Part of life, not truth.

    :param shape: 53 coefficients at the peak
    :param nod: pitch at the peak, radians
    :param ease: see :func:`mellm.training.synth.envelope.bump`
    """

    onset_s: float
    offset_s: float
    rise_s: float
    hold_s: float
    shape: F64
    nod: float = 0.0
    ease: tuple[float, float] = (1.0, 1.0)

    def add(self, t: F64, face: F64, pose: F64) -> None:
        apex = self.onset_s + self.rise_s
        curve = bump(t, self.onset_s, apex, self.offset_s, self.hold_s, self.ease)
        face += curve[:, None] * self.shape
        pose[:, 1] -= self.nod * curve


@dataclass(frozen=True, slots=True, eq=False)
class Styled:
    """Another event's face in somebody's own way: coefficients times a 53×53 matrix."""

    inner: Event
    way: F64

    @property
    def onset_s(self) -> float:
        return self.inner.onset_s

    @property
    def offset_s(self) -> float:
        return self.inner.offset_s

    def add(self, t: F64, face: F64, pose: F64) -> None:
        own = np.zeros_like(face)
        self.inner.add(t, own, pose)
        face += own @ self.way


@dataclass(frozen=True, slots=True, eq=False)
class Laugh:
    """A smile that shakes, four to six times a second, and takes the head with it."""

    onset_s: float
    offset_s: float
    rate_hz: float
    shape: F64
    shake: float

    def add(self, t: F64, face: F64, pose: F64) -> None:
        length = self.offset_s - self.onset_s
        whole = bump(t, self.onset_s, self.onset_s + 0.25 * length, self.offset_s, 0.3 * length)
        pulse = np.sin(2 * np.pi * self.rate_hz * (t - self.onset_s))
        face += (whole * (0.7 + 0.3 * pulse))[:, None] * self.shape
        pose[:, 1] += self.shake * whole * pulse


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """Habits of one person: rate (a minute) and shape (53, at size 1) of each, how speech looks, how blinks do."""

    habits: tuple[tuple[str, float, F64], ...]
    speech: F64
    tug: F64
    sides: F64
    """Strength of every coefficient, most of it how much more one half of the face does than the other."""


def _shape(parts: tuple[tuple[str, float], ...]) -> F64:
    out = np.zeros(len(BLENDSHAPES))
    for name, weight in parts:
        out[_columns(name)] += weight
    return out


def draw_person(rng: np.random.Generator, liveliness: float) -> Person:
    """Habits drawn once for a clip."""
    count = len(BLENDSHAPES)
    tilt = rng.normal(0, 0.2)
    lean = np.array([{"_L": 1.0, "_R": -1.0}.get(name[-2:], 0.0) for name in BLENDSHAPES])
    sides = np.exp(lean * (tilt + rng.normal(0, 0.15, count)))
    habits = []
    for name, habit in HABITS.items():
        if rng.random() < habit.common:
            own = _shape(habit.shapes) * rng.lognormal(0, 0.4, count) * sides
            if rng.random() < 0.15:  # some raise one brow, draw one corner
                own = own * (lean >= 0 if rng.random() < 0.5 else lean <= 0)
            habits.append((name, habit.per_min * liveliness * float(rng.lognormal(-0.2, 0.6)), own))
    # speech: own size of every shape, and what it pulls along
    way = np.diag(rng.lognormal(0, 0.35, count) * sides)
    for column in _columns("jawOpen"):
        way[column, column] *= rng.uniform(0.35, 0.9)
    for column in _columns("cheekSquint"):
        way[column, column] *= rng.uniform(0.2, 0.8)
    pulls = (
        ("mouthUpperUp", "noseSneer", 0.6), ("mouthUpperUp", "cheekSquint", 0.35), ("mouthSmile", "cheekSquint", 0.35),
        ("mouthSmile", "mouthDimple", 0.4), ("mouthStretch", "cheekSquint", 0.25), ("mouthStretch", "mouthFrown", 0.3),
        ("mouthStretch", "browDown", 0.4), ("cheekSquint", "browDown", 0.4), ("cheekSquint", "eyeSquint", 0.4),
        ("mouthLowerDown", "mouthShrugLower", 0.3),
    )  # fmt: skip
    for source, target, most in pulls:
        for a, b in zip(_columns(source), _columns(target) * 2, strict=False):
            way[a, b] += rng.uniform(0, most) * sides[b]
    way[INDEX["jawOpen"], _columns("browInnerUp")] += rng.uniform(0, 0.5) * (rng.random() < 0.4)
    tug = _shape(BLINK_TUG) * rng.uniform(0, 1.3, count) * sides
    tug[_columns("eyeBlink")] = 1
    return Person(tuple(habits), way, tug, sides)


def _log(rng: np.random.Generator, bounds: Range) -> float:
    return float(np.exp(rng.uniform(*np.log(bounds))))


def _times(rng: np.random.Generator, per_min: float, seconds: float) -> F64:
    return rng.uniform(0, seconds, rng.poisson(per_min * seconds / 60))


def _gesture(
    rng: np.random.Generator, at: float, habit: Habit, own: F64, size: float, spoken: bool
) -> Gesture:
    """Up fast and down slowly, or the other way round, with or without a stay.

    Only speech tells a brief gesture from a micro-expression. Where nobody speaks it lasts longer than one: the same
    motion with and without the label would teach nothing.
    """
    length = _log(rng, habit.seconds)
    if length < ALONE_S[0] and not spoken:
        length = float(rng.uniform(*ALONE_S))
    hold = length * float(rng.choice([0.0, rng.uniform(0, 0.5)]))
    rise = (length - hold) * float(rng.uniform(0.25, 0.7))
    ease = (float(rng.uniform(0.7, 1.4)), float(rng.uniform(0.7, 1.4)))
    nod = np.deg2rad(rng.normal(0, 1.5)) if rng.random() < 0.6 else 0.0
    return Gesture(at, at + length, rise, hold, size * _log(rng, habit.size) * own, float(nod), ease)


def _speech(rng: np.random.Generator, seconds: float, person: Person, size: float) -> list[Event]:
    out: list[Event] = []
    at, rate = float(rng.uniform(0, 0.6)), float(rng.uniform(3.0, 6.5))
    pauses = _log(rng, (0.1, 1.2))
    while at < seconds - 0.5:
        end = min(at + float(np.clip(rng.lognormal(np.log(1.6), 0.6), 0.4, 5.0)), seconds)
        loud = size * float(rng.lognormal(0, 0.45))
        talk = Speech(at, end, rate * float(rng.uniform(0.8, 1.3)), loud, int(rng.integers(2**31)))
        out.append(Styled(talk, person.speech))
        at = end + float(rng.exponential(pauses)) + 0.08
    return out


def _blinks(rng: np.random.Generator, seconds: float, person: Person) -> list[Event]:
    """Whole, partial and double blinks that pull at cheeks and brows."""
    out: list[Event] = []
    for at in _times(rng, _log(rng, (6, 45)), seconds):
        starts = [float(at)]
        while rng.random() < 0.2 and len(starts) < 3:
            starts.append(starts[-1] + float(rng.uniform(0.22, 0.5)))
        for start in starts:
            close, shut, reopen = rng.uniform((0.05, 0.01, 0.1), (0.11, 0.08, 0.25))
            depth = 1.0 if rng.random() < 0.75 else float(rng.uniform(0.2, 0.9))
            length = float(close + shut + reopen)
            out.append(Gesture(start, start + length, float(close), float(shut), depth * person.tug))
    return out


def _head(rng: np.random.Generator, seconds: float, size: float) -> list[Event]:
    """Fast nods, shakes and turns."""
    out: list[Event] = []
    degree = np.deg2rad(1.0) * size
    for at in _times(rng, 5 * size, seconds):
        if rng.random() < 0.5:
            swing, yes = degree * _log(rng, (0.5, 3)), rng.random() < 0.5
            length = float(rng.uniform(0.4, 1.6))
            nod = (0.0, float(swing)) if yes else (float(2 * swing), 0.0)
            out.append(Nod(float(at), float(at) + length, float(rng.uniform(1.5, 3.5)), nod))
        else:
            go = float(rng.uniform(0.2, 0.6))
            to = np.concatenate([degree * rng.normal(0, (10, 5, 3)), 0.4 * size * rng.normal(0, 1, 3)])
            length = 2 * go + float(rng.exponential(0.8))
            out.append(HeadTurn(float(at), float(at) + length, go, tuple(to.tolist())))
    return out


def _glances(rng: np.random.Generator, seconds: float, person: Person) -> list[Event]:
    """Glances, half of them with the brows and a turn of the head."""
    out: list[Event] = []
    for at in _times(rng, _log(rng, (5, 40)), seconds):
        length = 0.15 + float(rng.exponential(0.7))
        across, up = float(rng.normal(0, 0.4)), float(rng.normal(0, 0.3))
        out.append(Gaze(float(at), float(at) + length, across, up))
        if rng.random() < 0.4:
            shape = _shape((("browInnerUp", 1), ("browOuterUp", 0.8))) * person.sides * max(0.0, up)
            out.append(Gesture(float(at), float(at) + length, min(0.12, length / 2), 0.0, shape))
    return out


def _truths(rng: np.random.Generator, script: Script, talks: bool, profile: Profile) -> list[Expression]:
    """Expressions of ``script``, some redrawn: upper face in talkers, fast onsets that stay, small slow ones."""
    upper = np.array([set(units) <= UPPER_AUS for units, _ in AU_SETS])
    weight = np.array([w for _, w in AU_SETS])
    out = []
    for e in script.expressions:
        if e.kind == "micro" and talks:
            half = upper if rng.random() < 0.5 else ~upper
            share = half * (0.7 * weight / weight[half].sum() + 0.3 / half.sum())
            peak = float(np.exp(rng.uniform(*np.log(profile.peak))))
            out.append(replace(e, actions=draw_actions(rng, peak, shares=share / share.sum())))
        elif e.kind == "macro":
            length, kind = e.offset_s - e.onset_s, rng.random()
            if kind < 0.4:  # comes fast and stays
                rise = float(rng.uniform(0.08, 0.2))
                out.append(
                    replace(
                        e, apex_s=e.onset_s + rise, hold_s=max(0.0, length - rise - rng.uniform(0.15, 0.4))
                    )
                )
            elif kind < 0.75:  # as small as a micro-expression, but slower
                slow = min(length, float(rng.uniform(0.55, 2.0)))
                rise = slow * float(rng.uniform(0.15, 0.5))
                hold = (slow - rise) * float(rng.uniform(0, 0.6))
                peak = float(np.exp(rng.uniform(*np.log(profile.peak))))
                offset = e.onset_s + slow
                out.append(Expression(e.onset_s, e.onset_s + rise, offset, draw_actions(rng, peak), hold))
            else:
                out.append(e)
        else:
            out.append(e)
    return out


def lively_script(rng: np.random.Generator, seconds: float, free: bool = False) -> Script:
    """What a lively person does in ``seconds``; ``free`` of micro-expressions."""
    talks = rng.random() < 0.75
    alive = _log(rng, (0.25, 3.0))
    person = draw_person(rng, alive)
    profile = Profile(
        talk=0.0,
        chew=0.02,
        head=(0.3, 3.5),
        moves_per_min=5.0,
        macro_per_min=float(rng.choice([2.0, 6.0, 16.0])),
        macro_peak=(1.5, 40.0),
        micro_per_min=0.0 if free else 11.0,
        blinks_per_min=(1e-3, 2e-3),
        gazes_per_min=(1e-3, 2e-3),
        swallows_per_min=0.0,
    )
    script = random_script(rng, seconds, profile)
    events: list[Event] = [e for e in script.events if not isinstance(e, Expression | Blink)]
    events += _truths(rng, script, talks, profile)
    size = _log(rng, (0.5, 2.5))
    phrases = _speech(rng, seconds, person, _log(rng, (0.6, 5.5))) if talks else []
    events += phrases
    for name, per_min, own in person.habits:
        for at in _times(rng, per_min, seconds):
            spoken = any(p.onset_s - 0.15 <= at <= p.offset_s for p in phrases)
            events.append(_gesture(rng, float(at), HABITS[name], own, size, spoken))
    for at in _times(rng, 2.0 * alive, seconds):
        smile = _shape((("mouthSmile", 0.6), ("cheekSquint", 0.7), ("mouthUpperUp", 0.3), ("jawOpen", 0.2)))
        length, shake = float(rng.uniform(0.7, 2.5)), float(np.deg2rad(rng.exponential(0.8)))
        shape = smile * person.sides * float(rng.uniform(0.3, 1.3))
        events.append(Laugh(float(at), float(at) + length, float(rng.uniform(3.5, 6.5)), shape, shake))
    events += _blinks(rng, seconds, person) + _glances(rng, seconds, person)
    events += _head(rng, seconds, _log(rng, (0.4, 5.0)))
    return Script(seconds, tuple(events))


def trouble(rng: np.random.Generator, camera: Camera, stamps: F64) -> F64:
    """Motion that nobody made, N×COUNT×2, 1/100 IOD: exposure, key frames, glare, a hand before the face."""
    n, points = stamps.size, mean_centres()
    out = np.zeros((n, COUNT, 2))
    step, seconds = float(np.median(np.diff(stamps))), float(stamps[-1])
    for at in _times(
        rng, float(rng.choice([0.0, 0.0, 3.0])), seconds
    ):  # exposure: all smooth skin drifts at once
        length = float(rng.uniform(0.2, 1.5))
        ramp = np.clip((stamps - at) / length, 0, 1)
        out += ramp[:, None, None] * rng.normal(0, _log(rng, (0.05, 0.8)), (COUNT, 2))
    if rng.random() < 0.35:  # key frames: blocks are drawn anew and jump
        size = _log(rng, (0.05, 0.5))
        for at in np.arange(rng.uniform(0, 2), seconds, _log(rng, (0.5, 5.0))):
            out += (stamps >= at)[:, None, None] * rng.normal(0, size, (COUNT, 2))
    if rng.random() < 0.15:  # glasses: what they mirror slides over lids, brows and cheeks
        eyes = [i for i, name in enumerate(NAMES) if "lid" in name or name.startswith("brow")]
        size = _log(rng, (0.1, 1.0))
        out[:, eyes] += size * smooth_noise(rng, (n, len(eyes), 2), step, float(rng.uniform(0.1, 0.6)))
    if rng.random() < 0.06:  # a hand
        start, length = float(rng.uniform(0, seconds)), float(rng.uniform(0.3, 2.5))
        covered = np.hypot(*(points - points[rng.integers(COUNT)]).T) < rng.uniform(0.2, 0.7)
        over = bump(stamps, start, start + 0.2 * length, start + length, 0.6 * length)[:, None, None]
        moved = smooth_noise(rng, (n, int(covered.sum()), 2), step, float(rng.uniform(0.08, 0.4)))
        out[:, covered] += over * _log(rng, (3.0, 15.0)) * moved
    return out


@dataclass(frozen=True, slots=True)
class LivelyOptions(SimOptions):
    """:class:`SimOptions` in which the hard share of the clips is :func:`lively_script`.

    :param profiled: share of the hard clips that keep the profiles of :mod:`mellm.training.synth.simulator`
    """

    hard: float = 0.6
    profiled: float = 0.2

    def script(self, rng: np.random.Generator) -> Script:
        if rng.random() >= self.hard:
            return SimOptions.script(replace(self, hard=0.0), rng)
        if rng.random() < self.profiled:
            return SimOptions.script(replace(self, hard=1.0), rng)
        return lively_script(rng, self.duration_s, bool(rng.random() < self.free))

    def camera(self, rng: np.random.Generator) -> Camera:
        camera = SimOptions.camera(self, rng)
        smooth = np.array([name.startswith(("cheek", "forehead", "chin", "temple")) for name in NAMES])
        texture = np.where(smooth & (rng.random() < 0.4), rng.uniform(1, 4), 1.0)
        return replace(
            camera,
            white=camera.white * texture,
            pair=camera.pair * texture,
            parallax=camera.parallax * _log(rng, (0.8, 3.0)),  # heads are not shaped like the average one
            moving=camera.moving * _log(rng, (0.7, 3.0)),  # blur: the faster, the worse
            anchor=(camera.anchor[0], camera.anchor[1] * _log(rng, (0.7, 3.0))),
        )

    def trouble(self, rng: np.random.Generator, camera: Camera, stamps: F64) -> F64 | None:
        return trouble(rng, camera, stamps)
