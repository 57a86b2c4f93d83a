"""Frames in, followed faces out. Scheduled by media time alone, so a recording gives the same faces every time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import hypot
from typing import Protocol

from mellm.detectors.faces import Detection, FaceDetector
from mellm.detectors.held import HeldFace
from mellm.detectors.landmarks import MIN_PRESENCE, Landmarker, Roi, roi_of_detection, roi_of_mesh
from mellm.detectors.onnx import Session, session
from mellm.detectors.tracks import Track, Tracks
from mellm.detectors.types import F32, U8, Face
from mellm.detectors.weights import store as weights
from mellm.stream.frames import SMALL, Frame

MS = 1_000_000

PATIENCE = 3
"""A track is lost after this many looks in a row that did not find its face."""

MEMORY_NS = 2_000_000_000
"""A face that is where it was before frames were missing keeps its number, if no more than this were."""

DISPLACE = 1.5
"""Where no more faces may be followed, one this many times wider than the smallest takes its place."""


@dataclass(frozen=True, slots=True)
class AnalyzerOptions:
    """What is looked for, and how often, in milliseconds of media time.

    :param max_faces: faces followed at once; the largest come first
    :param device: for both networks, see :func:`mellm.detectors.onnx.session`
    :param detect_ms: between looks for new faces
    :param search_ms: the same while no face is followed
    :param landmark_ms: between looks at a face that moves (15 a second, and every second frame at 30)
    :param hold_ms: the same at a face that does not; no more than ``landmark_ms`` looks at all faces alike
    :param hold_motion: what moves less than this, in face widths, does not
    :param min_width: faces narrower than this many pixels are not followed
    """

    max_faces: int = 4
    device: str = "auto"
    detect_ms: int = 1000
    search_ms: int = 100
    landmark_ms: int = 64
    hold_ms: int = 256
    hold_motion: float = 0.03
    min_width: float = 24.0


@dataclass(frozen=True, slots=True)
class FaceUpdate:
    """The faces at one frame.

    :param faces: those in sight; a track whose face was not seen at the last look has none, until it is seen
        again or lost
    :param appeared: tracks that began
    :param lost: tracks that ended, but for those that a reset or a new segment has cut off
    :param refreshed: tracks whose landmarks are new; those of the others are from their last look
    """

    faces: tuple[Face, ...]
    appeared: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()
    refreshed: tuple[int, ...] = ()


class Detect(Protocol):
    """Finds faces; see :class:`mellm.detectors.faces.FaceDetector`."""

    def __call__(self, image: U8) -> list[Detection]:
        """Faces, best first."""
        ...


class Place(Protocol):
    """Places a mesh; see :class:`mellm.detectors.landmarks.Landmarker`."""

    def __call__(self, image: U8, roi: Roi) -> tuple[F32, float]:
        """Mesh and presence."""
        ...


class Analyzer(Protocol):
    """Finds and follows faces; see :class:`FaceAnalyzer`."""

    def push(self, frame: Frame) -> FaceUpdate:
        """Faces in this frame."""
        ...

    def reset(self) -> None:
        """Nothing is followed across what comes now. A face that is where it was within :data:`MEMORY_NS` keeps its
        id, every other one gets a new one."""
        ...

    def limit(self, faces: int | None) -> None:
        """Follow no more faces than this from now on, ``None`` for as many as the options allow."""
        ...


class FaceAnalyzer:
    """Finds faces, follows them, and notices when they come and go. One instance per source, one thread.

    No two faces get the same id. Nothing here tells people apart: whoever comes back is a new track, unless only frames
    were missing, for no more than :data:`MEMORY_NS`, and a face is where one was before.

    :attr providers: network → execution provider in use, of the networks loaded here

    :param detect: the networks; those of the cache by default
    :param place: as ``detect``
    :raises ModelMissing: the models were not pulled
    :raises ModelCorrupt: they are not what they should be
    :raises ProviderUnavailable: the device asked for is not there
    """

    def __init__(
        self,
        options: AnalyzerOptions | None = None,
        *,
        detect: Detect | None = None,
        place: Place | None = None,
    ) -> None:
        self.options = options or AnalyzerOptions()
        self.providers: dict[str, str] = {}
        if detect is None:
            detect = FaceDetector(self._session("face_detector"))
        if place is None:
            place = Landmarker(self._session("face_landmarks"))
        self._detect, self._place = detect, place
        self._tracks = Tracks()
        self._segment: int | None = None
        self._detected_ns: int | None = None
        self._faces: tuple[Face, ...] = ()
        self._most = self.options.max_faces
        self._now_ns = 0
        self._before: dict[int, tuple[Track, int]] = {}  # of before a reset, and when that was

    def _session(self, name: str) -> Session:
        loaded = session(weights.path(name), self.options.device)
        self.providers[name] = loaded.provider
        return loaded

    def reset(self) -> None:
        """At a gap or a new segment, see :class:`Analyzer`."""
        self._before |= {track.id: (track, self._now_ns) for track in self._tracks.live.values()}
        self._tracks.clear()
        self._detected_ns = None
        self._faces = ()

    def limit(self, faces: int | None) -> None:
        """See :class:`Analyzer`; the smallest go."""
        self._most = self.options.max_faces if faces is None else min(faces, self.options.max_faces)

    def push(self, frame: Frame) -> FaceUpdate:
        """The faces at the next frame.

        :raises ModelOutputInvalid: a network answered with NaN
        """
        if frame.segment != self._segment:
            self.reset()
            self._segment = frame.segment
        for id in [i for i, (_, at) in self._before.items() if not 0 <= frame.pts_ns - at <= MEMORY_NS]:
            del self._before[id]
        self._now_ns = frame.pts_ns
        gone = self._narrow()
        now, options = frame.pts_ns, self.options
        every = options.detect_ms if self._tracks.live else options.search_ms
        search = _due(self._detected_ns, now, every)
        due = [t for t in self._tracks.live.values() if search or self._is_due(t, frame)]
        if not due and not search:
            return FaceUpdate(self._faces, lost=tuple(gone))
        unseen = self._look(frame.image, due)
        appeared: list[int] = []
        if search or unseen:
            self._detected_ns = now
            found = sorted(self._detect(frame.image), key=lambda d: -d.box[2] * d.box[3])
            unseen = self._find_again(frame.image, unseen, found)
            gone += self._give_up(unseen)
            appeared, displaced = self._welcome(frame.image, found)
            gone += displaced
        for id in self._merge():
            # one that began at this very look never was
            (appeared.remove if id in appeared else gone.append)(id)
        new = {*appeared, *(track.id for track in due)}
        looked = [track for track in self._tracks.live.values() if track.id in new]
        for track in looked:
            track.looked_ns = now
            box = [side / SMALL for side in track.box]
            track.held = HeldFace(frame.picture.small, (box[0], box[1], box[2], box[3]))
        self._faces = tuple(t.face() for t in self._tracks.live.values() if not t.misses)
        return FaceUpdate(
            self._faces, tuple(appeared), tuple(gone), tuple(t.id for t in looked if not t.misses)
        )

    def _is_due(self, track: Track, frame: Frame) -> bool:
        """Whether it is time for another look at a face: soon where it moves, and where it was not seen."""
        options = self.options
        if not _due(track.looked_ns, frame.pts_ns, options.landmark_ms):
            return False
        if track.held is None or track.misses or _due(track.looked_ns, frame.pts_ns, options.hold_ms):
            return True
        return track.held.moved(frame.picture.small) > options.hold_motion

    def _narrow(self) -> list[int]:
        """End the smallest faces beyond what may be followed."""
        live = self._tracks.live
        beyond = sorted(live.values(), key=lambda track: -track.box[2])[self._most :]
        for track in beyond:
            self._tracks.end(track.id)
        self._faces = tuple(face for face in self._faces if face.track in live) if beyond else self._faces
        return [track.id for track in beyond]

    def _look(self, image: U8, due: list[Track]) -> list[Track]:
        """Look at faces where they were; returns the tracks whose face is not there."""
        unseen = []
        for track in due:
            mesh, presence = self._place(image, track.roi)
            if presence >= MIN_PRESENCE:
                track.saw(mesh, presence)
            else:
                unseen.append(track)
        return unseen

    def _find_again(self, image: U8, unseen: list[Track], found: list[Detection]) -> list[Track]:
        """Look for faces that moved too fast, where the detector sees one; returns the tracks still unseen."""
        still = []
        for track in unseen:
            near = [d for d in found if track.near(d.box) and not self._tracks.claims(d.box, besides=track)]
            placed = self._place_detection(image, near[0]) if near else None
            if placed is None:
                still.append(track)
            else:
                track.moved(*placed)
        return still

    def _give_up(self, unseen: list[Track]) -> list[int]:
        """Count the miss; returns the tracks that are lost by it."""
        lost = []
        for track in unseen:
            track.misses += 1
            if track.misses >= PATIENCE:
                self._tracks.end(track.id)
                lost.append(track.id)
        return lost

    def _welcome(self, image: U8, found: list[Detection]) -> tuple[list[int], list[int]]:
        """Follow faces that nobody follows, the largest first; returns new tracks and those that made room."""
        appeared: list[int] = []
        displaced: list[int] = []
        for detection in found:
            if detection.box[2] < self.options.min_width or self._tracks.claims(detection.box):
                continue
            room = len(self._tracks.live) < self._most
            smallest = None if room else min(self._tracks.live.values(), key=lambda t: t.box[2])
            if smallest is not None and detection.box[2] < DISPLACE * smallest.box[2]:
                break  # so are all that follow
            placed = self._place_detection(image, detection)
            if placed is None:
                continue
            if smallest is not None:
                self._tracks.end(smallest.id)
                displaced.append(smallest.id)
            appeared.append(self._tracks.start(*placed, id=self._known(detection)).id)
        return appeared, displaced

    def _known(self, detection: Detection) -> int | None:
        """The face that was here before frames were missing."""
        x, y, w, h = detection.box

        def away(track: Track) -> float:
            left, top, wide, high = track.box
            return hypot(x + w / 2 - left - wide / 2, y + h / 2 - top - high / 2)

        near = [track for track, _ in self._before.values() if track.near(detection.box)]
        if not near:
            return None
        found = min(near, key=away)
        del self._before[found.id]
        return found.id

    def _place_detection(self, image: U8, detection: Detection) -> tuple[F32, float] | None:
        """Mesh and presence of a detected face, ``None`` if the landmark network sees none there."""
        mesh, presence = self._place(image, roi_of_detection(detection))
        if presence >= MIN_PRESENCE:
            # a second look from the mesh's own square: the detector's is too rough to be held
            mesh, presence = self._place(image, roi_of_mesh(mesh))
        return (mesh, presence) if presence >= MIN_PRESENCE else None

    def _merge(self) -> list[int]:
        """End younger tracks that have drifted onto an older one's face."""
        double = self._tracks.duplicates()
        for id in double:
            self._tracks.end(id)
        return double


def _due(last_ns: int | None, now_ns: int, every_ms: int) -> bool:
    return last_ns is None or now_ns - last_ns >= every_ms * MS


class FakeFaceAnalyzer:
    """An analyzer without networks: one face where a function says it is, for tests of everything behind it.

    :param landmarks: frame → 68×2 pixels, or ``None`` for no face
    """

    def __init__(self, landmarks: Callable[[Frame], F32 | None]) -> None:
        self._landmarks = landmarks
        self._track = 0
        self._present = False
        self._segment: int | None = None
        self._now_ns = 0
        self._left_ns: int | None = None

    def reset(self) -> None:
        """See :class:`Analyzer`; this face always is where it was."""
        if self._present:
            self._present, self._left_ns = False, self._now_ns

    def limit(self, faces: int | None) -> None:
        """There is one at the most."""

    def push(self, frame: Frame) -> FaceUpdate:
        """The face at the next frame."""
        points = self._landmarks(frame)
        lost: tuple[int, ...] = ()
        if frame.segment != self._segment:
            self.reset()
        self._now_ns = frame.pts_ns
        if self._present and points is None:
            lost, self._present = (self._track,), False
        self._segment = frame.segment
        if points is None:
            return FaceUpdate((), lost=lost)
        appeared: tuple[int, ...] = ()
        if not self._present:
            left, self._left_ns = self._left_ns, None
            if left is None or not 0 <= frame.pts_ns - left <= MEMORY_NS:
                self._track += 1
            self._present = True
            appeared = (self._track,)
        low, high = points.min(axis=0), points.max(axis=0)
        box = (float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))
        return FaceUpdate((Face(self._track, box, points, 1.0),), appeared, lost, (self._track,))
