"""A clip of the face that is no face, and spots whose truth and readings are put together by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mellm.detectors.analyzer import FakeFaceAnalyzer
from mellm.engine.describe.observation import CUES, UNITS, Observation
from mellm.engine.types import Coarse
from mellm.training.readings.clips import ClipSpec, Filmed
from mellm.training.readings.observed import SAYS, Observed
from mellm.training.readings.spots import Truth
from mellm.training.synth.composite import Film
from mellm.training.synth.events import AuAction, Expression
from tests.engine.moving import APEXES_S, SECONDS, picture, sheet

FPS = 30


def clip(name: str = "rendered-1", seconds: float = SECONDS) -> Filmed:
    """Brows that go up and down twice; nothing is coded."""
    count = round(seconds * FPS)
    brows = tuple(Expression(at - 0.2, at, at + 0.2, (AuAction(1, "B", 0.3),)) for at in APEXES_S)
    return Filmed(
        ClipSpec(name, "rendered", "val", 1, name),
        (picture(k / FPS % SECONDS) for k in range(count)),
        tuple(round(k * 1e9 / FPS) for k in range(count)),
        Film(noise=0, codec="none"),
        brows,
        lambda e: 4.0,
    )


def analyzer() -> FakeFaceAnalyzer:
    landmarks = sheet().landmarks()
    return FakeFaceAnalyzer(lambda frame: landmarks)


def spot(
    number: int,
    units: tuple[int, ...] | None,
    *,
    subject: str = "p",
    kind: str = "rendered",
    seen: tuple[int, ...] | None = None,
    sure: float = 4.0,
    score: float = 2.0,
    coarse: Coarse = "negative",
    name: str | None = None,
    own: bool = True,
) -> Observed:
    """A spot with these true units (``None``: a false alarm), of which ``seen`` are read by every voice."""
    read = np.full((3, len(UNITS)), -5.0)
    for au in (units or ()) if seen is None else seen:
        read[:, UNITS.index(au)] = sure
    cues = np.array([score, 0.8, 0.5, -1.0])
    assert len(cues) == len(CUES)
    u = len(UNITS)
    looked = Observation(
        read, read.copy(), np.full((3, 3), np.nan), read[0].copy(), np.ones((u, 2)), np.zeros((u, 3)), cues
    )
    said = {
        "abstained": None,
        "action_units": [{"au": au, "side": "both", "score": 0.9} for au in units or (4,)],
        "emotion": {"coarse": coarse, "scores": {}},
    }
    truth = None if units is None else Truth(tuple((au, "both") for au in units), 3.0, coarse, 1.0, 1.4)
    return Observed(
        name or f"{subject}-{number}@1.000", subject, kind, own, 0.7, truth, None, 2.0, looked,
        dict.fromkeys(SAYS, said),
    )  # fmt: skip


def refused(o: Observed) -> Observed:
    """The same, too large to be read."""
    return replace(o, refused="motion_large")
