"""The clips that describers are fitted (``val``) and judged (``test``) on: who is in them, and what they do.

Everybody is apart from what ``rules`` and ``nano`` learnt from: drawn people by identity, photographed people by
:func:`mellm.training.spotter.sets.still_split`, filmed people by the folds of the spotter. Filmed people of a fold were
seen by the shipped spotter; their moments are to be spotted by the network of that fold.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import cv2
import numpy as np

from mellm.detectors.types import U8
from mellm.stream.errors import UsageError
from mellm.stream.frames import Frame
from mellm.training.spotter.people import FOLDS, VALIDATION, VIDEOS, Video, video
from mellm.training.spotter.sets import still_split
from mellm.training.synth import composite
from mellm.training.synth.clips import RenderedClip, draw_spec
from mellm.training.synth.events import Expression
from mellm.training.synth.rig import SPLITS
from mellm.training.synth.script import PROFILES, random_script
from mellm.training.tools.make_sample import landmarks as find_landmarks

Split: TypeAlias = Literal["val", "test"]
Kind: TypeAlias = Literal["rendered", "stills", "drawn-speech", "silent", "acting", "talking"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FILMED: tuple[Kind, ...] = ("silent", "acting", "talking")

FIRST = 40_000
"""First identity of each split that is used here; spotter and describer networks have others."""

FPS, SECONDS = 30.0, 14.0

MICRO_PER_MINUTE = 40.0
"""More than anybody shows: what is judged is the describer, and a spot costs seconds of processor time."""

PER_MINUTE = {"silent": 40.0, "acting": 24.0, "talking": 18.0}
"""The same on recordings, which hold motion of their own."""

EACH = 2
"""Recordings of one person, at most."""


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """How to make one clip.

    :param fold: of a filmed person in the training of the spotter, else empty
    :param change: what was done to it that must not matter, see :mod:`mellm.training.readings.changed`
    """

    name: str
    kind: Kind
    split: Split
    seed: int
    subject: str
    source: str = ""
    fold: str = ""
    seconds: float = SECONDS
    change: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Filmed:
    """A clip that can be read once.

    :param pictures: before any codec
    :param stamps_ns: of each
    :param peak: largest region of an expression, 1/100 inter-ocular distance; known once the pictures were read
    :param sent: in place of the film's codec: pictures → frames
    """

    spec: ClipSpec
    pictures: Iterator[U8]
    stamps_ns: tuple[int, ...]
    film: composite.Film
    expressions: tuple[Expression, ...]
    peak: Callable[[Expression], float]
    sent: Callable[[Iterator[U8]], Iterator[Frame]] | None = None

    def frames(self) -> Iterator[Frame]:
        """Through the codec and back."""
        if self.sent is not None:
            return self.sent(self.pictures)
        return composite.coded(self.pictures, self.film, self.stamps_ns, self.spec.name)


def clips(split: Split, kind: Kind, count: int) -> list[ClipSpec]:
    """Up to ``count`` clips of a kind; of photographs and recordings there are only so many people.

    :raises UsageError: no such kind
    :raises ModelMissing: the folder of real pictures is not there
    """
    if kind == "rendered":
        seeds = SPLITS[split][FIRST : FIRST + count]
        return [ClipSpec(f"rendered-{s}", kind, split, s, f"rendered-{s}") for s in seeds]
    if kind in ("stills", "drawn-speech"):
        first = 4_000_000 + 1000 * (kind == "drawn-speech")
        return [
            ClipSpec(f"{kind}-{who}-{i // len(paths)}", kind, split, first + i, f"still-{who}", str(path))
            for paths in [still_split(split)]
            for i in range(count)
            for path in [paths[i % len(paths)]]
            for who in [path.stem.split("_")[-2]]
        ]
    if kind not in FILMED:
        raise UsageError(f"no kind {kind!r}", remedy=f"choose one of {', '.join(KINDS)}")
    folds = (VALIDATION,) if split == "val" else FOLDS
    listed = [v for v in VIDEOS if v.fold in folds and v.group == kind]
    # everybody once before anybody twice
    turns = [[v for v in listed if v.subject == who] for who in dict.fromkeys(v.subject for v in listed)]
    order = [v for turn in itertools.zip_longest(*(t[:EACH] for t in turns)) for v in turn if v is not None]
    return [
        ClipSpec(f"{kind}-{Path(v.file).stem}", kind, split, 4_100_000 + i, v.subject, v.file, v.fold)
        for i, v in enumerate(order[:count])
    ]


def filmed(spec: ClipSpec, traces: Path) -> Filmed:
    """Draw, move or cut a clip.

    :param traces: folder of landmarks of recordings
    :raises SourceEmpty: no face in the recording
    """
    rng = np.random.default_rng([0x5907, spec.seed])
    film = composite.Film(noise=float(rng.uniform(0.5, 2.0)), codec="h264", quality=int(rng.integers(18, 27)))
    if spec.kind in FILMED:
        return _recording(spec, film, traces)
    stamps = tuple(round(k * 1e9 / FPS) for k in range(round(spec.seconds * FPS)))
    if spec.kind == "rendered":
        drawn = draw_spec(spec.seed, spec.seconds, FPS)
        clip = RenderedClip(drawn)
        profile = replace(PROFILES[drawn.profile], micro_per_min=MICRO_PER_MINUTE)
        clip.script = random_script(rng, spec.seconds, profile)
        peaks = {e["onset_s"]: e["peak"] for e in clip.truth()["expressions"]}
        coded = film if drawn.compression == "h264" else composite.Film(codec="none")
        micro = _micro(clip.script.expressions)
        return Filmed(spec, iter(clip), stamps, coded, micro, lambda e: float(peaks[round(e.onset_s, 4)]))
    image = np.asarray(cv2.imread(spec.source), np.uint8)
    profile = replace(PROFILES["quiet" if spec.kind == "stills" else "talk"], micro_per_min=MICRO_PER_MINUTE)
    width = float(np.exp(rng.uniform(*np.log((120, 240)))))
    script = random_script(rng, spec.seconds, profile)
    still = composite.StillClip(
        image, find_landmarks(image), seed=spec.seed, seconds=spec.seconds, fps=FPS, face_px=width,
        film=film, script=script,
    )  # fmt: skip
    pictures = film.shoot(still.pictures(), FPS, spec.seed)
    return Filmed(spec, pictures, stamps, film, _micro(script.expressions), still.peak)


def _micro(expressions: tuple[Expression, ...]) -> tuple[Expression, ...]:
    return tuple(e for e in expressions if e.kind == "micro")


def _recording(spec: ClipSpec, film: composite.Film, traces: Path) -> Filmed:
    who = video(spec.source)
    start, end = _stretch(who, spec.seconds, traces)
    laid = composite.VideoClip(
        composite.trace(who.path, traces), seed=spec.seed, per_min=PER_MINUTE[spec.kind],
        film=film, start_s=start, end_s=end,
    )  # fmt: skip
    pictures = film.shoot(laid.pictures(), laid.fps, spec.seed)
    stamps = tuple(round(t * 1e9) for t in laid.times)
    return Filmed(spec, pictures, stamps, film, laid.expressions, laid.peak)


def _stretch(who: Video, seconds: float, traces: Path) -> tuple[float, float]:
    """The middle of the longest stretch without a cut (s)."""
    last = float(composite.trace(who.path, traces).times_s[-1])
    spans = [(a + 0.1 * (a > 0), b) for a, b in itertools.pairwise([0.0, *who.cuts, last])]
    begin, end = max(spans, key=lambda span: span[1] - span[0])
    start = begin + max(0.0, (end - begin - seconds) / 2)
    return start, min(end, start + seconds) + 1e-3
