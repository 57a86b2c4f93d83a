"""Describers on damaged onset–apex pairs.

The whole way is walked for each damaged pair: face and landmarks are looked for in the damaged onset, both pictures are
cropped by them, and the motion map is made of that. A face that is not found is a pair that nobody describes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from mellm.detectors.types import U8
from mellm.engine.describe.base import DescribeContext
from mellm.engine.describe.local import NanoDescriber
from mellm.engine.describe.rules import RulesDescriber
from mellm.engine.evidence import motion_map
from mellm.engine.types import Description, Evidence
from mellm.evaluation.robustness import degrade
from mellm.evaluation.robustness.axes import BASE, MOMENTS, Axis
from mellm.evaluation.robustness.degrade import Motion
from mellm.evaluation.robustness.rows import Row, Rows
from mellm.evaluation.robustness.scenes import EXPRESSIONS, NEGATIVES, Person, Scene
from mellm.stream.errors import FaceError
from mellm.training.instruct import pairs
from mellm.training.tools.make_sample import landmarks as find_landmarks

Reader: TypeAlias = Callable[[list[Evidence]], list[Description]]
Damage: TypeAlias = Callable[[Scene, float, int], tuple[U8, U8]]


def key() -> str:
    """What rows of today are measured with."""
    return f"{NanoDescriber().name}, {RulesDescriber.profile}, {EXPRESSIONS}+{NEGATIVES} a person"


def readers() -> dict[str, Reader]:
    """The describers that come with the package, as the product asks them."""
    nano, rules = NanoDescriber(), RulesDescriber()
    context = DescribeContext(deadline_s=60)
    return {
        "nano": nano.describe_many,
        "rules": lambda shown: [rules.describe(e, context) for e in shown],
    }


def _each(change: Callable[[U8, float, list[int]], U8]) -> Damage:
    """Both pictures alike, but for what is drawn."""

    def damage(scene: Scene, level: float, seed: int) -> tuple[U8, U8]:
        onset, apex = scene.at(scene.onset_s, scene.apex_s)
        return change(onset, level, [seed, 0]), change(apex, level, [seed, 1])

    return damage


def _apex_moves(motion: Callable[[float, float, np.random.Generator], Motion]) -> Damage:
    """The head moves between the two pictures; ``motion`` gets level, inter-ocular distance and what is drawn."""

    def damage(scene: Scene, level: float, seed: int) -> tuple[U8, U8]:
        onset, apex = scene.at(scene.onset_s, scene.apex_s)
        drawn = motion(level, scene.iod, np.random.default_rng([0x4EAD, seed]))
        return onset, degrade.moved(apex, drawn, scene.centre)

    return damage


def _shift(level: float, iod: float, rng: np.random.Generator) -> Motion:
    angle = rng.uniform(0, 2 * np.pi)
    return Motion(float(level * iod / 100 * np.cos(angle)), float(level * iod / 100 * np.sin(angle)))


def _sign(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


def _on_frames(scene: Scene, fps: float, seed: int) -> tuple[U8, U8]:
    """The frames nearest to the moments, of a camera that began at no particular time."""
    if not fps:
        return scene.at(scene.onset_s, scene.apex_s)
    began = float(np.random.default_rng([0xF95, seed]).uniform(0, 1 / fps))
    onset, apex = (began + round((t - began) * fps) / fps for t in (scene.onset_s, scene.apex_s))
    return scene.at(onset, apex)


def _off(scene: Scene, onset_ms: float, apex_ms: float) -> tuple[U8, U8]:
    return scene.at(scene.onset_s + onset_ms / 1e3, scene.apex_s + apex_ms / 1e3)


DAMAGE: Mapping[str, Damage] = {
    BASE: lambda scene, level, seed: scene.at(scene.onset_s, scene.apex_s),
    "noise": _each(lambda picture, level, seed: degrade.noise(picture, level, seed)),
    "jpeg": _each(lambda picture, level, seed: degrade.jpeg(picture, int(level))),
    "blur": _each(lambda picture, level, seed: degrade.blur(picture, level)),
    "size": _each(lambda picture, level, seed: degrade.resized(picture, level)),
    "shift": _apex_moves(_shift),
    "turn": _apex_moves(lambda level, iod, rng: Motion(degrees=level * _sign(rng))),
    "zoom": _apex_moves(lambda level, iod, rng: Motion(zoom=level / 100 * _sign(rng))),
    "fps": _on_frames,
    "onset": lambda scene, level, seed: _off(scene, level, 0),
    "apex": lambda scene, level, seed: _off(scene, 0, level),
}
"""Axis → pictures of a scene at a level; the seed is the scene's own and the same at every level."""


def evidence(onset: U8, apex: U8) -> Evidence | None:
    """What a describer would be shown of two pictures; ``None`` where no face is found in the first."""
    try:
        return motion_map.build(*pairs.standard(onset, apex, find_landmarks(onset)), "live")
    except FaceError:
        return None


def item(scene: Scene, shown: Evidence | None, told: Mapping[str, Description | None]) -> dict[str, Any]:
    """Truth and answers of a pair as JSON data; a reader's answer is ``None`` where it described nothing."""
    return {
        "id": scene.id,
        "units": sorted(scene.units),
        "coarse": scene.coarse,
        "iod": round(scene.iod, 1),
        "lost": shown is None,
        "refused": None if shown is None else shown.refused,
        "told": {
            name: None
            if said is None or said.abstained is not None
            else {
                "units": sorted(u.au for u in said.action_units),
                "coarse": None if said.emotion is None else said.emotion.coarse,
            }
            for name, said in told.items()
        },
    }


def measure(
    people: Iterable[Person], axes: Iterable[Axis], rows: Rows, set_: str, asked: Mapping[str, Reader],
    tell: Callable[[str], None] = lambda text: None,
) -> None:  # fmt: skip
    """Measure every person at every level that is not there yet."""
    places = [(BASE, 0.0), *((axis.name, level) for axis in axes for level in axis.levels)]
    for person in people:
        todo = [p for p in places if rows.get("describe", set_, person.subject, *p) is None]
        if not todo:
            continue
        began = time.process_time()
        scenes = person.scenes()
        for axis, level in todo:
            some = [s for s in scenes if s.units] if axis in MOMENTS else scenes
            items = _at(some, axis, level, asked)
            now = time.process_time()
            rows.add(
                Row(rows.key, "describe", set_, person.subject, axis, level, items, round(now - began, 3))
            )
            began = now
        tell(f"{set_} {person.subject}: {len(todo)} levels")


def _at(scenes: list[Scene], axis: str, level: float, asked: Mapping[str, Reader]) -> list[dict[str, Any]]:
    shown = [evidence(*DAMAGE[axis](s, level, seed)) for seed, s in enumerate(scenes)]
    seen = [e for e in shown if e is not None]
    answers = {name: iter(read(seen)) if seen else iter(()) for name, read in asked.items()}
    return [
        item(
            s,
            e,
            {name: None if e is None else next(said) for name, said in answers.items()},
        )
        for s, e in zip(scenes, shown, strict=True)
    ]
