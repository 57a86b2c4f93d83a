"""Types that flow out of the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:  # who reads results needs no numpy
    import numpy as np
    from numpy.typing import NDArray

Side: TypeAlias = Literal["left", "right", "both"]
Coarse: TypeAlias = Literal["negative", "positive", "surprise"]
State: TypeAlias = Literal["described", "abstained", "dropped"]


@dataclass(frozen=True, slots=True)
class RegionMotion:
    """Motion of one facial region from onset to apex, head motion removed.

    :param dx: mean displacement, 1/100 of the inter-ocular distance; x to the picture's right, y down
    :param dy: as ``dx``
    :param mean_px: mean and largest magnitude in pixels of the analysed pair
    :param max_px: as ``mean_px``
    :param direction: octant word with angle, or the two "no …" sentences of the mellm-v3 recipe
    """

    region: str
    dx: float
    dy: float
    mean_px: float
    max_px: float
    direction: str


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What a describer is shown.

    :param motion_map: H×W×3 uint8 BGR
    :param flow_stats: raw flow statistics, so that noise is not
        mistaken for motion after normalisation
    :param recipe: ``mellm-v1``, ``mellm-v3`` or ``live``
    :param refused: reason code when the motion is under the floor or over the ceiling, else ``None``
    :param again: makes the evidence of the same moment under small changes that must not matter, one after the other
        on the thread that asks for it; ``None`` where the pictures are not known any more
    :param mirrored: left and right have changed places in it
    """

    motion_map: NDArray[np.uint8]
    regions: tuple[RegionMotion, ...]
    flow_stats: dict[str, float]
    recipe: str
    refused: str | None = None
    again: Callable[[], Iterable[Evidence]] | None = None
    mirrored: bool = False

    def __repr__(self) -> str:
        h, w = self.motion_map.shape[:2]
        return f"<Evidence {self.recipe} {w}×{h} {len(self.regions)} regions>"


@dataclass(frozen=True, slots=True)
class ActionUnit:
    """One FACS action unit. ``side`` is the subject's own left or right.

    :param readings: of several readings of the moment, those that name it; ``None`` where it was read once
    """

    au: int
    side: Side
    score: float
    readings: int | None = None


@dataclass(frozen=True, slots=True)
class Emotion:
    """Coarse class with the scores of all three; they sum to 1."""

    coarse: Coarse
    scores: dict[str, float]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens a describer spent; zero for describers without tokens."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Fallback:
    """Why somebody else answered.

    :param model: who was to answer
    :param reason: code of the error that it gave instead
    """

    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class Description:
    """What a describer answered.

    :param abstained: reason code when the describer will not say; ``text`` may then hold the raw answer
    :param latency_ms: wall time of the call; never part of a result's identity
    :param fallback: set when a stand-in answered for the describer that was asked for
    :param readings: how often the moment was read, see :mod:`mellm.engine.evidence.readings`
    :param agreement: mean overlap of the units of any two readings (Jaccard), 0…1; ``None`` for one reading
    """

    text: str
    action_units: tuple[ActionUnit, ...]
    emotion: Emotion | None
    model: str
    profile: str
    prompt_version: str
    abstained: str | None = None
    usage: Usage = field(default_factory=Usage)
    latency_ms: float = 0.0
    fallback: Fallback | None = None
    readings: int = 1
    agreement: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended. ``reason`` is a code, set unless ``state`` is ``described``."""

    state: State
    reason: str | None
    description: Description | None
