"""Frames in, followed faces out. Scheduled by media time alone, so a recording gives the same faces every time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from detectors import weights
from detectors.faces import Detection, FaceDetector
from detectors.landmarks import MIN_PRESENCE, Landmarker, Roi, roi_of_detection, roi_of_mesh
from detectors.onnx import session
from detectors.tracks import Tracks
from detectors.types import F32, U8, Face
from stream.frames import Frame

MS = 1_000_000


@dataclass(frozen=True, slots=True)
class AnalyzerOptions:
    """What is looked for, and how often, in milliseconds of media time.

    :param max_faces: faces followed at once; the largest come first
    :param detect_ms: between looks for new faces; :param search_ms: the same while no face is followed
    :param landmark_ms: between looks at a face that is followed
    :param min_width: faces narrower than this many pixels are not followed
    """

    max_faces: int = 4
    device: str = "auto"
    detect_ms: int = 1000
    search_ms: int = 100
    landmark_ms: int = 64
    min_width: float = 24.0


@dataclass(frozen=True, slots=True)
class FaceUpdate:
    """The faces at one frame.

    :param refreshed: whether landmarks are new; else they are those of the last look
    """

    faces: tuple[Face, ...]
    appeared: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()
    refreshed: bool = False


class Detect(Protocol):
    """Finds faces; see :class:`detectors.faces.FaceDetector`."""

    def __call__(self, image: U8) -> list[Detection]:
        """Faces, best first."""
        ...


class Place(Protocol):
    """Places a mesh; see :class:`detectors.landmarks.Landmarker`."""

    def __call__(self, image: U8, roi: Roi) -> tuple[F32, float]:
        """Mesh and presence."""
        ...


class FaceAnalyzer:
    """Finds faces, follows them, and notices when they come and go. One instance per source, one thread.

    :param detect, place: the networks; those of the cache by default
    :raises ModelMissing: the models were not pulled
    """

    def __init__(
        self,
        options: AnalyzerOptions | None = None,
        *,
        detect: Detect | None = None,
        place: Place | None = None,
    ) -> None:
        self.options = options or AnalyzerOptions()
        device = self.options.device
        self._detect = detect or FaceDetector(session(weights.path("face_detector"), device))
        self._place = place or Landmarker(session(weights.path("face_landmarks"), device))
        self._tracks = Tracks()
        self._segment: int | None = None
        self._detected_ns: int | None = None
        self._looked_ns: int | None = None
        self._faces: tuple[Face, ...] = ()

    def reset(self) -> None:
        """Forget all tracks, at a gap or a new segment; ids go on counting."""
        self._tracks.clear()
        self._detected_ns = self._looked_ns = None
        self._faces = ()

    def push(self, frame: Frame) -> FaceUpdate:
        """The faces at the next frame."""
        gone: tuple[int, ...] = ()
        if frame.segment != self._segment:
            gone = tuple(self._tracks.live)
            self.reset()
            self._segment = frame.segment
        now, options = frame.pts_ns, self.options
        lost: list[int] = []
        looked = self._looked_ns is None or now - self._looked_ns >= options.landmark_ms * MS
        if looked and self._tracks.live:
            self._looked_ns = now
            lost = self._look(frame.image)
        every = options.detect_ms if self._tracks.live else options.search_ms
        appeared: list[int] = []
        if (
            self._detected_ns is None
            or now - self._detected_ns >= every * MS
            or (lost and not self._tracks.live)
        ):
            self._detected_ns = now
            appeared = self._search(frame.image)
            if appeared:
                self._looked_ns = now
        refreshed = bool(appeared) or (looked and bool(self._tracks.live))
        if refreshed or lost or gone:
            self._faces = tuple(track.face() for track in self._tracks.live.values())
        return FaceUpdate(self._faces, tuple(appeared), (*gone, *lost), refreshed)

    def _look(self, image: U8) -> list[int]:
        """Look at every face that is followed; returns the tracks that are lost."""
        lost = []
        for track in list(self._tracks.live.values()):
            mesh, presence = self._place(image, track.roi)
            if presence >= MIN_PRESENCE:
                track.saw(mesh, presence)
            elif self._tracks.missed(track):
                lost.append(track.id)
        lost += [id for id in self._tracks.duplicates() if id not in lost]
        for id in lost:
            self._tracks.end(id)
        return lost

    def _search(self, image: U8) -> list[int]:
        """Look for faces that nobody follows; returns the new tracks, largest faces first."""
        appeared = []
        found = sorted(self._detect(image), key=lambda d: -d.box[2] * d.box[3])
        for detection in found:
            if len(self._tracks.live) >= self.options.max_faces:
                break
            if detection.box[2] < self.options.min_width or self._tracks.claims(detection.box):
                continue
            mesh, presence = self._place(image, roi_of_detection(detection))
            if presence < MIN_PRESENCE:
                continue
            # a second look from the mesh's own square: the detector's is too rough to be held
            mesh, presence = self._place(image, roi_of_mesh(mesh))
            if presence >= MIN_PRESENCE:
                appeared.append(self._tracks.start(mesh, presence).id)
        return appeared


class FakeFaceAnalyzer:
    """An analyzer without networks: one face where a function says it is, for tests of everything behind it.

    :param landmarks: frame → 68×2 pixels, or ``None`` for no face
    """

    def __init__(self, landmarks: Callable[[Frame], F32 | None]) -> None:
        self._landmarks = landmarks
        self._track = 0
        self._present = False

    def reset(self) -> None:
        """The next face gets a new id."""
        self._present = False

    def push(self, frame: Frame) -> FaceUpdate:
        """The face at the next frame."""
        points = self._landmarks(frame)
        if points is None:
            lost = (self._track,) if self._present else ()
            self._present = False
            return FaceUpdate((), lost=lost)
        appeared: tuple[int, ...] = ()
        if not self._present:
            self._track += 1
            self._present = True
            appeared = (self._track,)
        low, high = points.min(axis=0), points.max(axis=0)
        box = (float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))
        return FaceUpdate((Face(self._track, box, points, 1.0),), appeared, refreshed=True)
