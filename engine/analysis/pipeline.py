"""One source's chain: frames in, spotted expressions with their evidence out.

Synchronous and free of wall-clock time, so a recording played live and analysed offline gives equal results.
Whoever owns the threads pushes items in and passes what comes out on.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from mellm.detectors.analyzer import MEMORY_NS, Analyzer, FaceUpdate
from mellm.detectors.flow import FlowEstimator
from mellm.detectors.quality import assess
from mellm.detectors.sensitivity import JudgedTime
from mellm.detectors.signals import FacePair, SignalStep, TrackSignals
from mellm.detectors.spotting import Score, Spot, TrackSpotter
from mellm.detectors.stillness import Still, StillPicture
from mellm.detectors.types import Expression, Face, Quality
from mellm.detectors.windows import STEP_NS
from mellm.engine.analysis.overload import ServiceChanged
from mellm.engine.analysis.setup_check import SetupCheck
from mellm.engine.results import region_curves
from mellm.engine.results.expressions import expression_id
from mellm.engine.results.region_curves import RegionCurves
from mellm.engine.types import Evidence
from mellm.stream.errors import InternalError, MellmError, ModelOutputInvalid
from mellm.stream.frames import Frame, Gap, Item

logger = logging.getLogger(__name__)

STILL: tuple[Still, ...] = ("frozen", "dark")
MODEL_INVALID = "model_invalid"
CHAIN_DROPS = (*STILL, MODEL_INVALID)
"""Why the chain itself drops frames; all other drops happen before it."""

RATE_WINDOW = 60
"""Frames, repeats left out, over which the frame rate is measured."""

PAIR_WIDTH = 320
"""Width of the pictures that evidence is made from, pixels: an inter-ocular distance of 114."""


@dataclass(frozen=True, slots=True)
class FaceAppeared:
    """A track began."""

    track: int
    t_ns: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class FaceLost:
    """A track ended."""

    track: int
    t_ns: int


@dataclass(frozen=True, slots=True)
class Scored:
    """One grid step of one track's spotter, for displays and latency.

    :param wall_ns: when the newest frame it rests on arrived
    :param lag_ns: that frame's media time minus the
        time the score speaks about (the network looks 0.3 s ahead before it decides)
    :param face: where the face is in the newest frame
    """

    track: int
    wall_ns: int
    lag_ns: int
    score: Score
    face: Face


@dataclass(frozen=True, slots=True, eq=False)
class Spotted:
    """An expression and what a describer may be shown.

    :param pair: the faces that the evidence was made from; ``None`` when none could be made
    :param curves: how the strongest regions moved around it
    """

    expression: Expression
    evidence: Evidence
    pair: FacePair | None = None
    curves: RegionCurves | None = None

    @property
    def duration_ms(self) -> float:
        """Onset to offset."""
        return (self.expression.offset.pts_ns - self.expression.onset.pts_ns) / 1e6


@dataclass(frozen=True, slots=True)
class PictureChanged:
    """The picture froze or went dark, or is fine again (``None``). Frames of a still picture are dropped."""

    still: Still | None
    t_ns: int


Output: TypeAlias = FaceAppeared | FaceLost | PictureChanged | Scored | ServiceChanged | Spotted


@dataclass(slots=True)
class ChainCounts:
    """Both sides of the sums, per source."""

    captured: int = 0
    analysed: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    gaps: Counter[str] = field(default_factory=Counter)
    repaired: int = 0
    frames_with_face: int = 0
    faces_refused: Counter[str] = field(default_factory=Counter)
    tracks: int = 0
    spotted: int = 0
    unresolved: int = 0
    invalid_steps: int = 0  # the spotter's network answered with NaN
    judged: JudgedTime = field(default_factory=lambda: JudgedTime(STEP_NS / 1e9))


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A frame or gap, and the faces that are in it.

    :param faces: ``None`` for a gap, for a picture that shows nothing, and where a network answered with NaN
    """

    item: Item
    faces: FaceUpdate | None
    still: Still | None = None


@dataclass(slots=True)
class _Track:
    signals: TrackSignals
    spotter: TrackSpotter
    quality: Quality | None = None
    scored_ns: int | None = None
    recent: deque[SignalStep] = field(default_factory=region_curves.recent)


class SourcePipeline:
    """Frames of one source → faces → motion signals → expressions → evidence.

    :meth:`push` is :meth:`look` and then :meth:`take`. The two share no state, so one thread may look at frames while
    another takes what was seen; each must get all items in order, and the results are the same.

    :param analyzer: finds and follows faces
    :param make_spotter: a fresh spotter for a new track; spotters of one chain may share a model
    :param build_evidence: onset–apex pair → evidence
    :param providers: network → execution provider in use, for the record
    :param flow: makes a track's estimator of motion, for comparison; by default that of :class:`TrackSignals`
    :param mirrored: pictures are mirror images; they are turned back, so that left stays the subject's left
    """

    def __init__(
        self,
        source: str,
        analyzer: Analyzer,
        make_spotter: Callable[[], TrackSpotter],
        build_evidence: Callable[[FacePair], Evidence],
        *,
        mirrored: bool = False,
        flow: Callable[[], FlowEstimator] | None = None,
        providers: Mapping[str, str] | None = None,
    ) -> None:
        self.source = source
        self.providers = dict(providers or {})
        self.counts = ChainCounts()
        self.setup = SetupCheck()
        self._analyzer = analyzer
        self._make_spotter = make_spotter
        self._build_evidence = build_evidence
        self._mirrored = mirrored
        self._flow = flow
        self._watch = StillPicture()
        self._looked_at: int | None = None  # the segment, where :meth:`look` is
        self._still: Still | None = None
        self._complained_ns: int | None = None
        self._tracks: dict[int, _Track] = {}
        self._resting: dict[int, int] = {}  # tracks across a gap → when their face was last seen
        self._segment: int | None = None
        self._origin_ns: int | None = None
        self._times: deque[int] = deque(maxlen=RATE_WINDOW)
        self._last_ns = 0

    def limit_faces(self, faces: int | None) -> None:
        """Follow no more faces than this from now on, ``None`` for as many as were asked for. On the thread that
        looks."""
        self._analyzer.limit(faces)

    def push(self, item: Item) -> list[Output]:
        """Take the next frame or gap; return what it brought to light."""
        return self.take(self.look(item))

    def look(self, item: Item) -> Seen:
        """Find the faces in the next frame or gap."""
        if isinstance(item, Gap):
            self._analyzer.reset()
            self._watch.reset()
            return Seen(item, None)
        if self._looked_at is not None and item.segment != self._looked_at:
            self._analyzer.reset()
            self._watch.reset()
        self._looked_at = item.segment
        still = self._watch.push(item.picture.small, item.pts_ns)
        if still is not None:
            self._analyzer.reset()
            return Seen(item, None, still)
        if self._mirrored:
            item = replace(item, picture=item.picture.mirrored())
        try:
            return Seen(item, self._analyzer.push(item))
        except ModelOutputInvalid as error:
            self._analyzer.reset()
            self._complain(item, error)
            return Seen(item, None)

    def take(self, seen: Seen) -> list[Output]:
        """Go on with what :meth:`look` saw; return what it brought to light."""
        item = seen.item
        now = item.to_ns if isinstance(item, Gap) else item.pts_ns
        out: list[Output] = self._expire(now)
        if isinstance(item, Gap):
            return out + self._gap(item)
        if seen.still is not None:
            return out + self._nothing_to_see(item, seen.still)
        if seen.faces is None:
            return out + self._invalid(item)
        if self._still is not None:
            self._still = None
            out.append(PictureChanged(None, item.pts_ns))
        self.counts.captured += 1
        self.counts.repaired += item.repaired
        if self._segment is not None and item.segment != self._segment:
            out += self._cut()
        if item.segment != self._segment or self._origin_ns is None:
            self._segment, self._origin_ns = item.segment, item.pts_ns
        out += self._frame(item, seen.faces)
        self.counts.analysed += 1
        return out

    def finish(self) -> list[Output]:
        """The source has ended: what was still open is decided now."""
        self._analyzer.reset()
        return self._cut() + self._expire(None)

    def _nothing_to_see(self, frame: Frame, still: Still) -> list[Output]:
        """A still picture is a gap with frames in it: nothing is spotted across it."""
        self.counts.captured += 1
        self.counts.repaired += frame.repaired
        self.counts.dropped[still] += 1
        if self._still == still:
            return []
        self._still = still
        return [*self._cut(), PictureChanged(still, frame.pts_ns)]

    def _invalid(self, frame: Frame) -> list[Output]:
        """A face network answered with NaN: the frame is dropped, and nothing is followed across it."""
        self.counts.captured += 1
        self.counts.repaired += frame.repaired
        self.counts.dropped[MODEL_INVALID] += 1
        return self._cut()

    def _complain(self, frame: Frame, error: ModelOutputInvalid) -> None:
        """Once a minute of media time: a network that fails on one frame often fails on the next."""
        if self._complained_ns is None or frame.pts_ns - self._complained_ns >= 60_000_000_000:
            self._complained_ns = frame.pts_ns
            logger.error("%s: frames are dropped: %s", self.source, error)

    def _gap(self, gap: Gap) -> list[Output]:
        self.counts.gaps[gap.reason] += 1
        self.counts.captured += gap.frames
        self.counts.dropped[gap.reason] += gap.frames
        return self._cut()

    def _cut(self) -> list[Output]:
        """Nothing crosses a gap or a segment: decide what is open, forget the rest."""
        self._resting |= dict.fromkeys(self._tracks, self._last_ns)
        out = [o for track in list(self._tracks) for o in self._decide(track)]
        self._times.clear()
        return out

    def _expire(self, now_ns: int | None) -> list[Output]:
        """Faces that were not seen again soon after a gap are lost."""
        lost = [
            FaceLost(track, at)
            for track, at in self._resting.items()
            if now_ns is None or not 0 <= now_ns - at <= MEMORY_NS
        ]
        for each in lost:
            del self._resting[each.track]
        return list(lost)

    def _end(self, track: int) -> list[Output]:
        return [*self._decide(track), FaceLost(track, self._last_ns)]

    def _decide(self, track: int) -> list[Output]:
        """What is open of a track; it is followed no longer."""
        state = self._tracks.pop(track)
        out = [o for spot in state.spotter.flush() for o in self._spotted(track, state, spot)]
        self.counts.invalid_steps += state.spotter.invalid_steps
        return out

    def _frame(self, frame: Frame, update: FaceUpdate) -> list[Output]:
        self._last_ns = frame.pts_ns
        if not frame.repeated:  # a picture shown twice is one look at the face
            self._times.append(frame.pts_ns)
        out: list[Output] = [o for track in update.lost if track in self._tracks for o in self._end(track)]
        if not update.faces:
            self.setup.nothing(frame.pts_ns)
            return out
        self.counts.frames_with_face += 1
        for face in update.faces:
            state = self._tracks.get(face.track)
            fresh = face.track in update.refreshed or state is None
            if state is None:
                signals = TrackSignals(self._flow and self._flow(), origin_ns=self._origin_ns)
                state = self._tracks[face.track] = _Track(signals, self._make_spotter())
                if self._resting.pop(face.track, None) is None:
                    self.counts.tracks += 1
                    out.append(FaceAppeared(face.track, frame.pts_ns, face.box))
            if fresh or state.quality is None:
                state.quality = assess(face, frame.picture, self.rate())
            out += self._face(frame, face, state, state.quality, fresh)
        measured = ((face, self._tracks[face.track].quality) for face in update.faces)
        self.setup.look(
            frame.pts_ns, frame.picture, tuple((face, q) for face, q in measured if q is not None)
        )
        return out

    def _face(self, frame: Frame, face: Face, state: _Track, quality: Quality, fresh: bool) -> list[Output]:
        out: list[Output] = []
        refused = quality.verdict == "refused"
        if refused:
            self.counts.faces_refused.update(quality.reasons[:1])
        landmarks = face.landmarks if fresh else None
        for step in state.signals.push(frame.picture, frame.pts_ns, frame.index, landmarks):
            state.recent.append(step)
            # a refused face still advances the grid, with void steps: nothing is spotted on it
            for spot in state.spotter.push(step.t_ns, None if refused else step.features, quality.fps):
                out += self._spotted(face.track, state, spot)
            score = state.spotter.score
            if score is not None and score.t_ns != state.scored_ns:  # a void step brings no new one
                state.scored_ns = score.t_ns
                self.counts.judged.add(score.sensitivity)
                out.append(Scored(face.track, frame.wall_ns, frame.pts_ns - score.t_ns, score, face))
        return out

    def _spotted(self, track: int, state: _Track, spot: Spot) -> list[Output]:
        signals = state.signals
        try:
            onset, apex, offset = (signals.ref(t) for t in (spot.onset_ns, spot.apex_ns, spot.offset_ns))
        except LookupError:
            # the frames round it are gone: nothing could be shown or timed
            self.counts.unresolved += 1
            return []
        if not onset.pts_ns < apex.pts_ns < offset.pts_ns:
            self.counts.unresolved += 1  # shorter than three frames: nothing to show, nothing to measure
            return []
        assert self._segment is not None
        assert state.quality is not None
        evidence, pair = self._evidence(signals, spot)
        motion = evidence.flow_stats.get("peak_iod", 0.0)
        self.counts.spotted += 1
        expression = Expression(
            expression_id(self.source, self._segment, track, onset, apex),
            self.source,
            self._segment,
            track,
            onset,
            apex,
            offset,
            spot.score,
            replace(state.quality, motion=motion),
            spot.aus,
            spot.sensitivity,
        )
        return [
            Spotted(expression, evidence, pair, RegionCurves.of(state.recent, onset.pts_ns, offset.pts_ns))
        ]

    def _evidence(self, signals: TrackSignals, spot: Spot) -> tuple[Evidence, FacePair | None]:
        try:
            pair = signals.pair(spot.onset_ns, spot.apex_ns, PAIR_WIDTH)
            return self._build_evidence(pair), pair
        except Exception as error:
            # an expression is never lost: it ends as abstained, with the reason
            if not isinstance(error, MellmError):
                logger.exception("%s: making evidence failed", self.source)
                error = InternalError.of("making evidence", error)
            logger.warning("%s: no evidence at %.0f ms: %s", self.source, spot.apex_ns / 1e6, error)
            return Evidence(np.zeros((1, 1, 3), np.uint8), (), {}, "none", refused=error.code), None

    def rate(self) -> float:
        """Frames a second from time stamps; 0 until two frames have come."""
        if len(self._times) < 2:
            return 0.0
        span = self._times[-1] - self._times[0]
        return (len(self._times) - 1) * 1e9 / span if span > 0 else 0.0
