"""Types that flow out of the detectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mellm.stream.frames import FrameRef

F32: TypeAlias = NDArray[np.float32]
U8: TypeAlias = NDArray[np.uint8]
Verdict: TypeAlias = Literal["ok", "warn", "refused"]


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One face in one frame.

    :param track: id of the track, never reused within a source
    :param box: x, y, width, height in pixels of the frame
    :param landmarks: 68×2 float32, pixels, iBUG order (see :mod:`mellm.detectors.landmarks`)
    :param mesh: the network's own points, 478×2 or 468×2, pixels
    :param score: presence probability of the landmark network
    """

    track: int
    box: tuple[float, float, float, float]
    landmarks: F32
    score: float
    mesh: F32 | None = None

    def __repr__(self) -> str:
        x, y, w, h = self.box
        return f"<Face {self.track} {w:.0f}×{h:.0f} at {x:.0f},{y:.0f} score {self.score:.2f}>"


@dataclass(frozen=True, slots=True)
class Quality:
    """How far a result can be trusted.

    :param fps: measured frames a second; :param face_width: pixels in the original picture
    :param blur: variance of the Laplacian on the crop, higher is sharper
    :param yaw: degrees, positive when the subject turns to their left; :param pitch: degrees, up positive
    :param occlusion: 1 - presence of the landmark network
    :param motion: peak region displacement, hundredths of the inter-ocular distance
    :param verdict: ``refused`` results are not analysed; :param reasons: codes such as ``fps_low``,
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
