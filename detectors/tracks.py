"""Which face is which from one moment to the next. Pure geometry; ids are never used twice."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot

from mellm.detectors.held import HeldFace
from mellm.detectors.landmarks import Roi, ibug68, roi_of_mesh
from mellm.detectors.types import F32, Face

SAME_IOU = 0.4
"""Two tracks that overlap more than this follow one face."""

NEAR = 0.75
"""A face is looked for again within this many face widths of where it was."""

Box = tuple[float, float, float, float]


@dataclass(slots=True)
class Track:
    """One face over time.

    :param roi: where the next look is
    :param mesh: the network's points at the last look that saw the face, pixels
    :param presence: the network's probability that a face is there
    :param misses: looks in a row that did not see it
    :param looked_ns: media time of the last look
    :param held: the face as it was then
    """

    id: int
    roi: Roi
    mesh: F32
    presence: float
    misses: int = 0
    looked_ns: int | None = None
    held: HeldFace | None = None

    @property
    def box(self) -> Box:
        """Bounding box of the mesh."""
        low, high = self.mesh.min(axis=0), self.mesh.max(axis=0)
        return (float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))

    def face(self) -> Face:
        """The track as it is now."""
        return Face(self.id, self.box, ibug68(self.mesh), self.presence, self.mesh)

    def saw(self, mesh: F32, presence: float) -> None:
        """A look that found the face: move the region of interest only when it has left its hysteresis."""
        self.mesh, self.presence, self.misses = mesh, presence, 0
        roi = roi_of_mesh(mesh)
        if self.roi.moved(roi):
            self.roi = roi

    def moved(self, mesh: F32, presence: float) -> None:
        """The face was found elsewhere: follow it there, without hysteresis."""
        self.mesh, self.presence, self.misses = mesh, presence, 0
        self.roi = roi_of_mesh(mesh)

    def near(self, box: Box) -> bool:
        """Whether a face in this box may be this one, by place and size."""
        x, y, w, h = self.box
        dx, dy = box[0] + box[2] / 2 - x - w / 2, box[1] + box[3] / 2 - y - h / 2
        return hypot(dx, dy) < NEAR * max(w, box[2]) and 0.5 < box[2] / w < 2


class Tracks:
    """The faces that are followed."""

    def __init__(self) -> None:
        self.live: dict[int, Track] = {}
        self._next = 1

    def start(self, mesh: F32, presence: float, id: int | None = None) -> Track:
        """A new face, with an id that no face had before, or with that of a face that was here."""
        track = Track(self._next if id is None else id, roi_of_mesh(mesh), mesh, presence)
        self._next += id is None
        self.live[track.id] = track
        return track

    def claims(self, box: Box, besides: Track | None = None) -> bool:
        """Whether a track, other than ``besides``, already follows what is in this box."""
        return any(
            overlap(box, track.box) > SAME_IOU or _holds(track.box, box)
            for track in self.live.values()
            if track is not besides
        )

    def end(self, id: int) -> None:
        """Forget a track; its id is not used again."""
        del self.live[id]

    def duplicates(self) -> list[int]:
        """Younger tracks that have drifted onto an older one's face."""
        ids = sorted(self.live)
        return [
            b
            for i, b in enumerate(ids)
            if any(overlap(self.live[a].box, self.live[b].box) > SAME_IOU for a in ids[:i])
        ]

    def clear(self) -> None:
        """Forget all tracks; ids go on counting."""
        self.live.clear()


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / (a[2] * a[3] + b[2] * b[3] - w * h)


def _holds(outer: Box, inner: Box) -> bool:
    """Whether the middle of ``inner`` lies in the middle half of ``outer``."""
    x, y = inner[0] + inner[2] / 2, inner[1] + inner[3] / 2
    return abs(x - outer[0] - outer[2] / 2) < outer[2] / 4 and abs(y - outer[1] - outer[3] / 2) < outer[3] / 4
