"""People for tests: a smooth random picture whose left lip corner or eyes move, two pairs each. Cheap, and no face."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import cv2
import numpy as np

from mellm.training.instruct.pairs import Pair, UnitTruth

SPLITS = {"train": "train", "val": "validation", "test": "test"}


def landmarks() -> np.ndarray:
    """68 points of a standard crop: eyes where crops have them, the others spread below and above."""
    rng = np.random.default_rng(5)
    points = rng.uniform((100, 160), (220, 280), (68, 2))
    for eye, x in ((range(36, 42), 103), (range(42, 48), 217)):
        angles = np.linspace(0, 2 * np.pi, 6, endpoint=False)
        points[list(eye)] = np.stack([x + 12 * np.cos(angles), 128 + 5 * np.sin(angles)], 1)
    points[27:31] = [(160, 130), (160, 150), (160, 170), (160, 190)]
    points[31], points[35], points[48], points[54] = (140, 195), (180, 195), (125, 240), (195, 240)
    points[17:27, 1] = 105
    points[17:27, 0] = np.linspace(85, 235, 10)
    points[57], points[8] = (160, 260), (160, 310)
    points[50], points[52] = (150, 232), (170, 232)
    return points.astype(np.float32)


def picture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (368, 320)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 4)
    return np.clip((soft - soft.mean()) / soft.std() * 50 + 128, 0, 255).astype(np.uint8)


def moved(onset: np.ndarray, centre: tuple[float, float], vector: tuple[float, float]) -> np.ndarray:
    y, x = np.mgrid[:368, :320].astype(np.float32)
    near = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * 18.0**2)).astype(np.float32)
    return cv2.remap(
        onset, x - vector[0] * near, y - vector[1] * near, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )


def pair(split: str, person: int, number: int, negative: bool) -> Pair:
    onset = picture(person)
    at, vector = ((217, 128), (0.0, 5.0)) if negative else ((198, 240), (2.0, -5.0))
    return Pair(
        id=f"rendered-{split}{person}-{number}",
        subject=f"rendered-{split}{person}",
        split=split,
        source="rendered",
        kind="blink" if negative else "expression",
        units=() if negative else (UnitTruth(12, "left", 0.5),),
        peak=0.0 if negative else 3.0,
        talks=False,
        duration_ms=300.0,
        onset=onset,
        apex=moved(onset, at, vector),
        landmarks=landmarks(),
        emotion=None if negative else "happiness",
        coarse=None if negative else "positive",
    )


def person(split: str, number: int, negatives: int = 1) -> Iterator[Pair]:
    yield pair(split, number, 0, False)
    if negatives:
        yield pair(split, number, 1, True)


def people(source: str, split: str, count: int, first: int = 0) -> list[partial[Iterator[Pair]]]:
    """Stands for :func:`mellm.training.instruct.pairs.people`."""
    return [partial(person, SPLITS[split], first + i) for i in range(count)]
