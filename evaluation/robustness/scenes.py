"""Held-out people at known moments, as pictures before anything is measured on them.

Drawn people (identities of the test split) can be seen at any time, so that a moment may be missed on purpose;
photographs of the test people are moved to their moments once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mellm.detectors.regions import eye_frame
from mellm.detectors.types import F32, U8
from mellm.engine.types import Coarse
from mellm.stream.errors import UsageError
from mellm.training.instruct import labels, pairs
from mellm.training.spotter.sets import still_split
from mellm.training.synth.clips import RenderedClip, draw_spec
from mellm.training.synth.composite import Film, StillClip
from mellm.training.synth.rig import SPLITS, load_rig
from mellm.training.synth.script import Script
from mellm.training.tools.make_sample import landmarks as find_landmarks

SETS = ("rendered", "stills")
EXPRESSIONS, NEGATIVES = 3, 2
"""Pairs of one person."""

STILL_FACE_PX = (130.0, 300.0)
"""Range of face widths of photographs; drawn people have about the same."""

FILM = Film(noise=0.8, codec="none")
"""Photographs are filmed by a good camera: what is worse is the axes' business."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A pair to be. ``units`` is empty and ``coarse`` ``None`` where there is no expression.

    :param at: pictures (H×W×3) at an onset and an apex in seconds
    :param iod: inter-ocular distance, pixels
    :param centre: of the face, pixels
    """

    id: str
    units: frozenset[int]
    coarse: Coarse | None
    onset_s: float
    apex_s: float
    iod: float
    centre: tuple[float, float]
    at: Callable[[float, float], tuple[U8, U8]]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whose scenes are made when they are asked for: that takes seconds."""

    subject: str
    scenes: Callable[[], list[Scene]]


def people(name: str, count: int) -> list[Person]:
    """The first ``count`` test people of a set; fewer where there are fewer.

    :raises UsageError: no such set
    :raises ModelMissing: the folder of photographs is not there
    """
    if name == "rendered":
        seeds = SPLITS["test"][pairs.FIRST : pairs.FIRST + count]
        return [Person(f"rendered-{seed}", partial(_drawn, seed)) for seed in seeds]
    if name == "stills":
        paths = still_split("test")[:count]
        return [Person(f"stills-{p.stem.split('_')[-2]}", partial(_still, p)) for p in paths]
    raise UsageError(f"no set {name!r}", remedy=f"choose one of {', '.join(SETS)}")


class _Moment(NamedTuple):
    onset_s: float
    apex_s: float
    units: frozenset[int]


def _moments(script: Script, rng: np.random.Generator) -> list[_Moment]:
    """Some expressions of a script, and some windows without any, in which a face does something else."""
    every = pairs.moments(script, rng, 12)
    shown = [m for m in every if m.expression]
    nothing = [m for m in every if not m.expression]
    out = []
    for some, count in ((shown, EXPRESSIONS), (nothing, NEGATIVES)):
        for k in sorted(rng.permutation(len(some))[:count]):
            m = some[k]
            units = frozenset(a.au for a in m.expression.actions) if m.expression else frozenset[int]()
            out.append(_Moment(m.onset_s, m.apex_s, units))
    return out


def _drawn(seed: int) -> list[Scene]:
    rng = np.random.default_rng([0x20B, seed])
    clip = RenderedClip(draw_spec(seed, pairs.SECONDS), load_rig())

    def at(onset_s: float, apex_s: float) -> tuple[U8, U8]:
        times = np.array([onset_s, apex_s])
        face, pose = clip.script.evaluate(times)
        # the sensor's noise goes by the time, so that a moment looks the same whenever it is asked for
        first, second = (
            clip.renderer.render(face[i], pose[i], float(t), round(1000 * float(t))).image
            for i, t in enumerate(times)
        )
        return first, second

    out = []
    for number, m in enumerate(_moments(clip.script, rng)):
        face, pose = clip.script.evaluate(np.array([m.onset_s]))
        seen = clip.renderer.render(face[0], pose[0], m.onset_s, 0).landmarks
        out.append(_scene(f"rendered-{seed}-{number}", m, seen, at, rng))
    return out


def _still(path: Path) -> list[Scene]:
    person = int(path.stem.split("_")[-2])
    rng = np.random.default_rng([0x20C, person])
    image = np.asarray(cv2.imread(str(path)), np.uint8)
    clip = StillClip(
        image,
        find_landmarks(image),
        seed=900_000 + person,
        seconds=pairs.SECONDS,
        fps=50.0,
        profile=("quiet", "talk")[person % 2],
        face_px=float(np.exp(rng.uniform(*np.log(STILL_FACE_PX)))),
        film=FILM,
    )
    moments = _moments(clip.script, rng)
    times = [t for m in moments for t in (m.onset_s, m.apex_s)]
    filmed = FILM.shoot(clip.pictures_at(np.array(times)), clip.fps, person)
    known = dict(zip(times, filmed, strict=True))

    def at(onset_s: float, apex_s: float) -> tuple[U8, U8]:
        return known[onset_s], known[apex_s]

    return [_scene(f"stills-{person}-{k}", m, clip.landmarks, at, rng) for k, m in enumerate(moments)]


def _scene(
    name: str,
    moment: _Moment,
    seen: F32,
    at: Callable[[float, float], tuple[U8, U8]],
    rng: np.random.Generator,
) -> Scene:
    x, y = seen.mean(axis=0)
    return Scene(
        id=name,
        units=moment.units,
        coarse=labels.coarse(labels.draw(moment.units, rng)) if moment.units else None,
        onset_s=moment.onset_s,
        apex_s=moment.apex_s,
        iod=eye_frame(seen).iod,
        centre=(float(x), float(y)),
        at=at,
    )
