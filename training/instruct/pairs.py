"""Onset–apex pairs with known truth: what instruction data are made from.

A pair is two grey standard crops, the landmarks at the onset, and what really happened between them. Synthetic pairs
come from drawn people (``rendered``) and from photographs of people moved by a script (``stills``); scripts hold
micro-expressions and everything else a face does, so the same script gives the *negatives*: moments in which it only
blinks, talks, glances, turns or does nothing, whose right answer is to abstain.

:func:`draw` gives them one by one; :mod:`mellm.training.mellm.store` keeps what a training needs of many.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import cv2
import numpy as np

from mellm.detectors.patches import apply, crop_matrix
from mellm.detectors.regions import eye_frame
from mellm.detectors.types import F32, U8
from mellm.engine.describe.base import Recipe
from mellm.engine.evidence import motion_map
from mellm.engine.map_recipe import LIVE_HEIGHT, LIVE_WIDTH
from mellm.engine.types import Coarse, Evidence, Side
from mellm.stream.errors import UsageError
from mellm.stream.sources.media import open_container
from mellm.training.instruct import labels
from mellm.training.spotter.sets import still_split
from mellm.training.synth.clips import RenderedClip, draw_spec
from mellm.training.synth.composite import StillClip, coded, draw_film
from mellm.training.synth.events import Blink, Expression, Gaze, HeadTurn, Nod
from mellm.training.synth.rig import SPLITS, Split, load_rig
from mellm.training.synth.script import Script
from mellm.training.tools.make_sample import landmarks as find_landmarks

log = logging.getLogger(__name__)

Source: TypeAlias = Literal["rendered", "stills"]
Kind: TypeAlias = Literal["expression", "still", "head", "blink", "gaze", "speech"]
NEGATIVES: tuple[Kind, ...] = get_args(Kind)[1:]
SIDES: dict[str, Side] = {"L": "left", "R": "right", "B": "both"}
SPLIT_NAMES: dict[Split, str] = {"train": "train", "val": "validation", "test": "test"}

SECONDS = 60.0
"""Length of the script that pairs are taken from."""

FIRST = 20_000
"""First identity of each split that is used here: the spotter's come before."""

LANDMARK_ERROR = 0.015
"""Standard deviation of the error put on landmarks of drawn faces, inter-ocular distances."""

JPEG_FOR_H264 = (85, 96)
"""Still compression that stands for the video's, which needs the frames before: qualities drawn between."""

JITTER_S = 0.02
"""How far the moments of training pairs lie from the true ones, standard deviation: a spotter errs too."""

RISE_S = (0.08, 0.26)
"""Length of a negative pair, as between onset and apex of micro-expressions."""

STILL_PX = (110.0, 320.0)
"""Range of face widths of photographs."""


@dataclass(frozen=True, slots=True)
class UnitTruth:
    """An action unit that is there. ``intensity``: share of the face model's full movement."""

    au: int
    side: Side
    intensity: float


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What is known of a pair.

    :param subject: a person; one person is in one split only
    :param units: ascending; empty for negatives
    :param peak: true largest regional displacement, 1/100 inter-ocular distance; 0 for negatives
    :param talks: whether the mouth speaks at that moment
    :param emotion: fine label, ``None`` for negatives or where there is none
    :param coarse: its class
    """

    id: str
    subject: str
    split: str
    source: str
    kind: Kind
    units: tuple[UnitTruth, ...]
    peak: float
    talks: bool
    duration_ms: float
    emotion: str | None
    coarse: Coarse | None


@dataclass(frozen=True, eq=False)
class Pair(Truth):
    """One pair.

    :param onset: 368×320 uint8 grey standard crops
    :param apex: as ``onset``
    :param landmarks: 68×2 pixels of the crop, at the onset
    """

    onset: U8
    apex: U8
    landmarks: F32

    def __repr__(self) -> str:
        return f"<Pair {self.id} {self.kind} {'+'.join(str(u.au) for u in self.units)}>"

    def evidence(self, recipe: Recipe = "live") -> Evidence:
        """What a describer would be shown."""
        if recipe == "live":
            return self._live
        return motion_map.build(self.onset, self.apex, self.landmarks, recipe)

    @cached_property
    def _live(self) -> Evidence:
        return motion_map.build(self.onset, self.apex, self.landmarks, "live")


@dataclass(frozen=True, slots=True)
class _Moment:
    onset_s: float
    apex_s: float
    duration_s: float
    kind: Kind
    expression: Expression | None = None


def _kind(script: Script, onset_s: float, apex_s: float) -> Kind | None:
    """What a window shows besides expressions; ``None`` where it touches one."""
    seen = [e for e in script.events if e.onset_s < apex_s and onset_s < e.offset_s]
    near = [e for e in script.expressions if e.onset_s < apex_s + 0.1 and onset_s - 0.1 < e.offset_s]
    if near:
        return None
    return kind_of({type(e).__name__ for e in seen})


def kind_of(events: Set[str]) -> Kind:
    """What a window without an expression shows, by the names of the events that touch it."""
    if events & {"Speech", "BrowBeat", "Chewing", "Swallow"}:
        return "speech"
    if "Blink" in events:
        return "blink"
    if "Gaze" in events:
        return "gaze"
    return "head" if events & {"HeadTurn", "Nod"} else "still"


def moments(script: Script, rng: np.random.Generator, negatives: int, jitter_s: float = 0.0) -> list[_Moment]:
    """Every micro-expression, and up to ``negatives`` windows without any, kinds as even as the script allows."""
    out = []
    for e in script.expressions:
        if e.kind == "micro":
            shift = np.clip(rng.normal(0, jitter_s, 2), -2 * jitter_s, 2 * jitter_s)
            onset = e.onset_s + min(shift[0], 0.3 * (e.apex_s - e.onset_s))
            out.append(_Moment(onset, e.apex_s + shift[1], e.offset_s - e.onset_s, "expression", e))
    found: dict[Kind, list[_Moment]] = {kind: [] for kind in NEGATIVES}
    starts = [e.onset_s for e in script.events if isinstance(e, Blink | Gaze | HeadTurn | Nod)]
    for at in (*rng.permutation(starts), *rng.uniform(0.3, script.seconds - 0.6, 30)):
        rise = float(rng.uniform(*RISE_S))
        onset = float(at + rng.uniform(-0.06, 0.04))
        if not 0.1 < onset < script.seconds - 0.5:
            continue
        kind = _kind(script, onset, onset + rise)
        if kind is not None:
            found[kind].append(_Moment(onset, onset + rise, 2.1 * rise, kind))
    while negatives and any(found.values()):
        for kind in NEGATIVES:
            if found[kind] and negatives:
                out.append(found[kind].pop())
                negatives -= 1
    return out


def standard(onset: U8, apex: U8, landmarks: F32) -> tuple[U8, U8, F32]:
    """Grey standard crops of two frames (H×W×3 BGR), by one transform, and the landmarks in them."""
    matrix = crop_matrix(eye_frame(landmarks), LIVE_WIDTH)
    size = (LIVE_WIDTH, LIVE_HEIGHT)
    gray = [np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8) for picture in (onset, apex)]
    first, second = (motion_map.warp(picture, matrix, size) for picture in gray)
    return first, second, apply(matrix, landmarks)


def clip_truth(video: Path) -> Any:
    """The truth beside a clip of :mod:`mellm.training.synth.clips`.

    :raises UsageError: there is none
    """
    beside = video.with_suffix(".json")
    if not beside.is_file():
        raise UsageError(
            f"no truth beside {video}", remedy="render clips with python -m mellm.training.synth.clips"
        )
    return json.loads(beside.read_text(encoding="utf-8"))


def clip_frames(video: Path, fps: float, times: Iterable[float]) -> dict[float, U8]:
    """Frames (BGR) of a clip at some times (s)."""
    at = {time: round(time * fps) for time in times}
    wanted = set(at.values())
    with open_container(video) as container:
        found = {
            i: np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
            for i, frame in enumerate(container.decode(video=0))
            if i in wanted
        }
    return {time: found[i] for time, i in at.items()}


def _pair(
    name: str, subject: str, split: Split, source: Source, moment: _Moment, peak: float, talks: bool,
    pictures: Sequence[U8], landmarks: F32, rng: np.random.Generator,
) -> Pair:  # fmt: skip
    onset, apex, points = standard(pictures[0], pictures[1], landmarks)
    actions = sorted(moment.expression.actions, key=lambda a: a.au) if moment.expression else ()
    units = tuple(UnitTruth(a.au, SIDES[a.side], round(a.intensity, 3)) for a in actions)
    emotion = labels.draw((u.au for u in units), rng) if units else None
    return Pair(
        id=name,
        subject=subject,
        split=SPLIT_NAMES[split],
        source=source,
        kind=moment.kind,
        units=units,
        peak=round(peak, 3),
        talks=talks,
        duration_ms=round(1e3 * moment.duration_s),
        onset=onset,
        apex=apex,
        landmarks=points,
        emotion=emotion,
        coarse=None if emotion is None else labels.coarse(emotion),
    )


def of_drawn(seed: int, split: Split, negatives: int = 9) -> Iterator[Pair]:
    """Pairs of one drawn person; ``seed`` belongs to ``split`` (:data:`mellm.training.synth.rig.SPLITS`)."""
    rng = np.random.default_rng([0x9A12, seed])
    spec = draw_spec(seed, SECONDS)
    if spec.compression == "h264":
        spec = replace(spec, compression="jpeg", quality=int(rng.integers(*JPEG_FOR_H264)))
    clip = RenderedClip(spec, load_rig())
    peaks = {(e["onset_s"], e["offset_s"]): e["peak"] for e in clip.truth()["expressions"]}
    jitter = JITTER_S if split == "train" else 0.0
    for number, moment in enumerate(moments(clip.script, rng, negatives, jitter)):
        frames = np.rint(np.array([moment.onset_s, moment.apex_s]) * spec.fps).astype(int)
        face, pose = clip.script.evaluate(frames / spec.fps)
        shots = [clip.renderer.render(face[i], pose[i], frames[i] / spec.fps, int(frames[i])) for i in (0, 1)]
        error = rng.normal(0, LANDMARK_ERROR * eye_frame(shots[0].landmarks).iod, (68, 2))
        e = moment.expression
        yield _pair(
            f"rendered-{seed}-{number:02d}",
            f"rendered-{seed}",
            split,
            "rendered",
            moment,
            peaks[round(e.onset_s, 4), round(e.offset_s, 4)] if e else 0.0,
            _kind_talks(clip.script, moment),
            [s.image for s in shots],
            (shots[0].landmarks + error).astype(np.float32),
            rng,
        )


def of_still(path: Path, version: int, split: Split, negatives: int = 9) -> Iterator[Pair]:
    """Pairs of one photograph; each version is another script."""
    person = path.stem.split("_")[-2]
    rng = np.random.default_rng([0x9A13, int(person), version])
    read = cv2.imread(str(path))
    if read is None:
        raise UsageError(f"{path} is not a picture", remedy="give a folder of JPEG portraits")
    image = np.asarray(read, np.uint8)
    profile = ("quiet", "talk")[version % 2]
    width = float(np.exp(rng.uniform(*np.log(STILL_PX))))
    film = draw_film(rng)
    if film.codec == "h264":
        film = replace(film, codec="jpeg", quality=int(rng.integers(*JPEG_FOR_H264)))
    clip = StillClip(
        image, _points(path), seed=1000 * version + int(person), seconds=SECONDS, fps=50.0,
        profile=profile, face_px=width, film=film,
    )  # fmt: skip
    jitter = JITTER_S if split == "train" else 0.0
    for number, moment in enumerate(moments(clip.script, rng, negatives, jitter)):
        at = np.array([moment.onset_s, moment.apex_s])
        filmed = film.shoot(clip.pictures_at(at), clip.fps, int(rng.integers(1 << 30)))
        shot = [f.image for f in coded(filmed, film, [0, 1], "still")]
        e = moment.expression
        yield _pair(
            f"stills-{person}-{version}-{number:02d}",
            f"stills-{person}",
            split,
            "stills",
            moment,
            clip.peak(e) if e else 0.0,
            _kind_talks(clip.script, moment),
            shot,
            find_landmarks(shot[0]),
            rng,
        )


@lru_cache(maxsize=256)
def _points(path: Path) -> F32:
    return find_landmarks(np.asarray(cv2.imread(str(path)), np.uint8))


def _kind_talks(script: Script, moment: _Moment) -> bool:
    return any(
        type(e).__name__ == "Speech" and e.onset_s < moment.apex_s and moment.onset_s < e.offset_s
        for e in script.events
    )


def people(
    source: Source, split: Split, count: int, first: int = FIRST
) -> list[Callable[[], Iterator[Pair]]]:
    """What gives the pairs of each of ``count`` people; photographs come again with other scripts.

    :raises UsageError: unknown source or split
    :raises ModelMissing: the folder of photographs is not there
    """
    if source not in get_args(Source) or split not in SPLIT_NAMES:
        raise UsageError(
            f"no {source} pairs of {split}",
            remedy=f"choose one of {', '.join(get_args(Source))}, and one of {', '.join(SPLIT_NAMES)}",
        )
    if source == "rendered":
        return [partial(of_drawn, seed, split) for seed in SPLITS[split][first : first + count]]
    paths = still_split(split)
    return [partial(of_still, paths[i % len(paths)], i // len(paths), split) for i in range(count)]


def draw(source: Source, split: Split, count: int, first: int = FIRST) -> Iterator[Pair]:
    """``count`` pairs, person after person; the same arguments give the same pairs."""
    for person in people(source, split, 1 + count // 4, first):
        for pair in person():
            if count <= 0:
                return
            count -= 1
            yield pair
