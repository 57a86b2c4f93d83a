"""What was found, as plain values: an expression and how far it can be trusted. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from mellm.stream.frames import FrameRef

Verdict: TypeAlias = Literal["ok", "warn", "refused"]


class Sensitivity(NamedTuple):
    """How small a motion would have been found, per cent of the eye distance; see :mod:`mellm.detectors.sensitivity`.

    :param upper: brows, lids, glabella, forehead
    :param lower: cheeks, nasolabial folds, nose wings, lips, chin
    """

    upper: float
    lower: float


@dataclass(frozen=True, slots=True)
class Quality:
    """How far a result can be trusted.

    :param fps: measured frames a second
    :param face_width: pixels in the original picture
    :param blur: variance of the Laplacian on the crop, higher is sharper
    :param yaw: degrees, positive when the subject turns to their left
    :param pitch: degrees, up positive
    :param occlusion: 1 - presence of the landmark network
    :param motion: peak region displacement, hundredths of the inter-ocular distance
    :param verdict: ``refused`` results are not analysed
    :param reasons: codes such as ``fps_low``,
        ``face_small``, ``yaw_high``, ``fps_warn``
    """

    fps: float
    face_width: float
    blur: float
    yaw: float
    pitch: float
    occlusion: float
    motion: float = 0.0
    verdict: Verdict = "ok"
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Expression:
    """A spotted micro-expression. Its id derives from source, segment, track, onset and apex.

    :param aus: action unit number → probability, as the spotter network sees it (no side)
    :param sensitivity: how small a motion would have been found just before it, ``None`` where that is not known
    """

    id: str
    source: str
    segment: int
    track: int
    onset: FrameRef
    apex: FrameRef
    offset: FrameRef
    score: float
    quality: Quality
    aus: tuple[tuple[int, float], ...] = ()
    sensitivity: Sensitivity | None = None
