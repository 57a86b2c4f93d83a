"""Faces driven by motion capture of real people: speech and idling that no script of ours has drawn.

Curves lie in the shared folder (``mocap/``, its README says where they come from). Where they are missing, nothing can
be driven by them, and training goes on without.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mellm.stream.errors import ModelMissing
from mellm.training.synth.composite import media
from mellm.training.synth.events import Event
from mellm.training.synth.lively import LivelyOptions
from mellm.training.synth.rig import BLENDSHAPES, INDEX
from mellm.training.synth.script import PROFILES, Profile, Script, random_script, restless

F64: TypeAlias = NDArray[np.float64]
Kind: TypeAlias = Literal["speech", "idle"]

_SPEECH: dict[str, tuple[tuple[str, float], ...]] = {
    "mouth_stretch_c": (("jawOpen", 0.6),),
    "mouth_oh_c": (("mouthFunnel", 0.5), ("jawOpen", 0.1)),
    "mouth_oo_c": (("mouthPucker", 0.6),),
    "mouth_chinRaise_d": (("mouthShrugLower", 1.0),),
    "mouth_chinRaise_u": (("mouthShrugUpper", 1.0),),
    **{f"mouth_funnel_{k}": (("mouthFunnel", 0.2),) for k in ("dl", "dr", "ul", "ur")},
    **{f"mouth_suck_d{k}": (("mouthRollLower", 0.5),) for k in "lr"},
    **{f"mouth_suck_u{k}": (("mouthRollUpper", 0.5),) for k in "lr"},
    **{f"mouth_pucker_{k}": (("mouthPucker", 0.4),) for k in "lr"},
    **{
        f"{theirs}_{k}": ((f"{ours}_{k.upper()}", 1.0),)
        for k in "lr"
        for theirs, ours in (
            ("mouth_lipCornerPull", "mouthSmile"),
            ("mouth_lipCornerDepress", "mouthFrown"),
            ("mouth_lipStretch", "mouthStretch"),
            ("mouth_lowerLipDepress", "mouthLowerDown"),
            ("mouth_upperLipRaise", "mouthUpperUp"),
            ("mouth_press", "mouthPress"),
            ("mouth_dimple", "mouthDimple"),
            ("nose_wrinkle", "noseSneer"),
            ("cheek_raise", "cheekSquint"),
        )
    },
}
"""The speaker's channels as blendshapes. In the file each channel's name stands one column before its values: only so
do left and right channels come in pairs."""


class Take(NamedTuple):
    """One recording: coefficients T×53 at ``fps``."""

    name: str
    fps: float
    curves: F64


@lru_cache(maxsize=2)
def takes(kind: Kind) -> tuple[Take, ...]:
    """All takes of one kind.

    :raises ModelMissing: the curves are not on this machine
    """
    file, fps = ("speech_facegood_30fps", 30.0) if kind == "speech" else ("idle_livelink_60fps", 60.0)
    path = media().parent / "mocap" / f"{file}.npz"
    if not path.is_file():
        raise ModelMissing(
            f"no motion capture at {path.name}", remedy="set MELLM_SHARED to the folder that holds mocap/"
        )
    with np.load(path) as stored:
        names = [str(n) for n in stored["names"]]
        to = _from_speech(names) if kind == "speech" else _from_arkit(names)
        return tuple(Take(k, fps, stored[k].astype(np.float64) @ to) for k in stored.files if k != "names")


def _from_speech(names: list[str]) -> F64:
    out = np.zeros((len(names), len(BLENDSHAPES)))
    for column in range(1, len(names)):
        for name, weight in _SPEECH.get(names[column - 1], ()):
            out[column, INDEX[name]] += weight
    return out


def _from_arkit(names: list[str]) -> F64:
    out = np.zeros((len(names), len(BLENDSHAPES)))
    for column, name in enumerate(names):
        ours = name[0].lower() + name[1:]
        for side in ("Left", "Right"):
            if ours.endswith(side) and ours not in INDEX:
                ours = f"{ours.removesuffix(side)}_{side[0]}"
        for target in (ours, f"{ours}_L", f"{ours}_R"):
            if target in INDEX:
                out[column, INDEX[target]] = 1
    return out


@dataclass(frozen=True, slots=True)
class Captured:
    """A stretch of a take, played onto the face: what it adds to the take's own first moment.

    :param take: index in :func:`takes` of ``kind``
    :param start_s: in the take
    :param speed: above 1 faster
    :param gain: size of the motion
    """

    onset_s: float
    offset_s: float
    kind: Kind
    take: int
    start_s: float
    speed: float = 1.0
    gain: float = 1.0

    def add(self, t: F64, face: F64, pose: F64) -> None:
        take = takes(self.kind)[self.take]
        at = (self.start_s + (t - self.onset_s) * self.speed) * take.fps
        first = np.clip(np.floor(at).astype(int), 0, len(take.curves) - 2)
        part = np.clip(at - first, 0, 1)[:, None]
        fade = np.clip(np.minimum(t - self.onset_s, self.offset_s - t) / 0.1, 0, 1)[:, None]
        face += self.gain * fade * ((1 - part) * take.curves[first] + part * take.curves[first + 1])


def captured(
    rng: np.random.Generator,
    kind: Kind,
    onset_s: float,
    offset_s: float,
    chosen: tuple[int, ...] | None = None,
) -> Captured:
    """Some stretch of some take. ``chosen``: indices of the takes to draw from, all of them by default."""
    there = takes(kind)
    take = int(rng.choice(chosen if chosen is not None else len(there)))
    length = len(there[take].curves) / there[take].fps
    speed = float(rng.uniform(0.8, 1.3))
    start = float(rng.uniform(0, max(0.0, length - (offset_s - onset_s) * speed - 0.1)))
    gain = float(np.exp(rng.uniform(np.log(0.5), np.log(1.6))))
    return Captured(onset_s, offset_s, kind, take, start, speed, gain)


HELD = {"speech": (5, 6), "idle": (0, 6)}
"""Takes from which no training clip is made: they serve for tests."""


def captured_script(
    rng: np.random.Generator, seconds: float, profile: Profile, *, held: bool = False, talk: float = 0.6
) -> Script:
    """A script whose speech, or whose idling and blinks, were captured from a person.

    :param held: of the takes that training never sees
    """

    def some(kind: Kind) -> tuple[int, ...]:
        every = range(len(takes(kind)))
        return tuple(i for i in every if (i in HELD[kind]) == held)

    talks = rng.random() < talk
    idles = rng.random() < (0.5 if talks else 0.9)
    still = replace(
        profile, talk=0.0, chew=0.0, blinks_per_min=(0.0, 1.0) if idles else profile.blinks_per_min
    )
    events: list[Event] = list(random_script(rng, seconds, still).events)
    if idles:
        events.append(captured(rng, "idle", 0.0, seconds, some("idle")))
    at = float(rng.uniform(0, 1.0))
    while talks and at < seconds - 0.6:
        end = min(seconds, at + float(np.clip(rng.lognormal(1.0, 0.6), 0.6, 8.0)))
        events.append(captured(rng, "speech", at, end, some("speech")))
        at = end + float(rng.exponential(0.8))
    if rng.random() < 0.25:
        events += restless(rng, seconds)
    return Script(seconds, tuple(events))


@dataclass(frozen=True, slots=True)
class CapturedOptions(LivelyOptions):
    """:class:`LivelyOptions` whose faces are driven by motion capture."""

    def script(self, rng: np.random.Generator) -> Script:
        base = PROFILES["mixed" if rng.random() < 0.6 else "quiet"]
        if rng.random() < self.free:
            base = replace(base, micro_per_min=0.0)
        return captured_script(rng, self.duration_s, base)
